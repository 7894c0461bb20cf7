package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/pflag"

	"jaegis-proxy/config"
)

// newFlags gives an empty set of flags for a command.
func newFlags(name string) *pflag.FlagSet {
	fs := pflag.NewFlagSet(name, pflag.ContinueOnError)
	fs.SortFlags = false
	fs.SetOutput(io.Discard) // parseFlags says what there is to say
	return fs
}

// parseFlags reads a command line that has flags only. With ok false the
// command is to end with code: the help has been printed, or what is wrong.
func parseFlags(fs *pflag.FlagSet, help string, args []string, std stdio) (code int, ok bool) {
	err := fs.Parse(args)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		fmt.Fprintf(std.Out, "usage: jaegis-proxy %s [FLAGS]\n\n%s\n", fs.Name(), help)
		if fs.HasFlags() {
			fmt.Fprintf(std.Out, "\nflags:\n%s", fs.FlagUsages())
		}
		return exitOK, false
	case err == nil && fs.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if err != nil {
		fmt.Fprintf(std.Err, "jaegis-proxy %s: %v; see jaegis-proxy %s --help\n", fs.Name(), err, fs.Name())
		return exitUsage, false
	}
	return exitOK, true
}

// loadConfig loads the configuration and prints its warnings, or all that is
// wrong with it; with ok false the command is to end with exitUsage.
func loadConfig(src config.Sources, std stdio) (cfg *config.Config, ok bool) {
	cfg, warnings, err := config.Load(src)
	for _, w := range warnings {
		fmt.Fprintf(std.Err, "warning: %s\n", w)
	}
	if err != nil {
		fmt.Fprintln(std.Err, err)
		return nil, false
	}
	return cfg, true
}
