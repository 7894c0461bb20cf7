package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by the release build (-ldflags "-X main.version=v1.2.3").
var version string

// buildVersion gives the version of this binary: the release's, or else what
// the Go toolchain has recorded of its source.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

func cmdVersion() command {
	const help = "print the version of this binary and of the Go that built it"
	return command{name: "version", help: help, run: func(_ context.Context, args []string, std stdio) int {
		fs := newFlags("version")
		if code, ok := parseFlags(fs, help, args, std); !ok {
			return code
		}
		fmt.Fprintf(std.Out, "jaegis-proxy %s%s\n%s %s/%s\n", buildVersion(), revision(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return exitOK
	}}
}

// revision gives the commit that was built, where it is known.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	var commit, dirty string
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = ", changed"
		}
	}
	if commit == "" {
		return ""
	}
	return fmt.Sprintf(" (%.12s%s)", commit, dirty)
}
