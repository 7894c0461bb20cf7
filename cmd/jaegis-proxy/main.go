// Command jaegis-proxy is a caching reverse proxy for document-processing and
// AI HTTP APIs.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

// The exit codes of all commands.
const (
	exitOK      = 0
	exitFailure = 1 // it was understood, and did not work
	exitUsage   = 2 // the command line or the configuration is wrong
)

// command is one of the things that the binary does.
type command struct {
	name string
	help string // one line
	run  func(ctx context.Context, args []string, std stdio) int
}

// commands lists them in the order of the help text. Each has a file of its
// own that makes it.
func commands() []command {
	return []command{
		cmdServe(),
		cmdDemo(),
		cmdCheck(),
		cmdKey(),
		cmdRoutes(),
		cmdStats(),
		cmdPurge(),
		cmdWarm(),
		cmdHealthcheck(),
		cmdVersion(),
	}
}

// stdio is what a command has of the process that it runs in.
type stdio struct {
	In       io.Reader
	Out, Err io.Writer
	Environ  []string // as of os.Environ
}

func main() {
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal asks the command to end; from then on a second one has
	// its usual effect and ends the process.
	context.AfterFunc(ctx, stop)
	return dispatch(ctx, commands(), os.Args[1:], stdio{os.Stdin, os.Stdout, os.Stderr, os.Environ()})
}

// dispatch runs the command that args begin with and gives its exit code.
func dispatch(ctx context.Context, all []command, args []string, std stdio) int {
	if len(args) == 0 {
		printUsage(std.Err, all)
		return exitUsage
	}
	switch args[0] {
	case "help", "-h", "--help":
		printUsage(std.Out, all)
		return exitOK
	case "--version":
		args = []string{"version"}
	}
	i := slices.IndexFunc(all, func(c command) bool { return c.name == args[0] })
	if i < 0 {
		fmt.Fprintf(std.Err, "jaegis-proxy: unknown command %q; see jaegis-proxy --help\n", args[0])
		return exitUsage
	}
	return all[i].run(ctx, args[1:], std)
}

func printUsage(w io.Writer, all []command) {
	fmt.Fprint(w, "usage: jaegis-proxy COMMAND [FLAGS]\n\ncommands:\n")
	for _, c := range all {
		fmt.Fprintf(w, "  %-12s %s\n", c.name, c.help)
	}
	fmt.Fprint(w, "\njaegis-proxy COMMAND --help lists the flags of a command.\n")
}
