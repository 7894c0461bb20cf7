package main

import (
	"context"
	"fmt"

	"jaegis-proxy/config"
)

func cmdCheck() command {
	const help = "check the configuration and print all of it, defaults included"
	return command{name: "check", help: help, run: func(_ context.Context, args []string, std stdio) int {
		fs := newFlags("check")
		config.AddFlags(fs)
		if code, ok := parseFlags(fs, help, args, std); !ok {
			return code
		}
		src := config.FromFlags(fs, std.Environ)
		src.AllowMasked = true // nothing is served by it
		cfg, ok := loadConfig(src, std)
		if !ok {
			return exitUsage
		}
		if _, err := std.Out.Write(config.Render(cfg)); err != nil {
			fmt.Fprintf(std.Err, "jaegis-proxy check: %v\n", err)
			return exitFailure
		}
		return exitOK
	}}
}
