package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"jaegis-proxy/config"
)

func cmdHealthcheck() command {
	const help = "ask a running proxy on this machine whether it is ready"
	return command{name: "healthcheck", help: help, run: func(ctx context.Context, args []string, std stdio) int {
		fs := newFlags("healthcheck")
		config.AddFlags(fs)
		if code, ok := parseFlags(fs, help, args, std); !ok {
			return code
		}
		cfg, ok := loadConfig(config.FromFlags(fs, std.Environ), std)
		if !ok {
			return exitUsage
		}
		if err := ready(ctx, cfg.Admin.Listen); err != nil {
			fmt.Fprintf(std.Err, "jaegis-proxy healthcheck: %v\n", err)
			return exitFailure
		}
		return exitOK
	}}
}

// ready asks the admin listener, which needs no token for that.
func ready(ctx context.Context, listen string) error {
	base, err := urlOf(listen)
	if err != nil {
		return fmt.Errorf("there is no admin listener to ask: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // the status is all that counts
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s", resp.Status)
	}
	return nil
}
