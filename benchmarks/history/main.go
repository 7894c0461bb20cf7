// Command history looks for answers that must not be. It runs several proxies
// before one upstream, with many clients, purges, and faults, and checks every
// answer: that it is the one to this request and this caller, whole or visibly
// cut, and no older than the last purge that was acknowledged before it was
// asked for. The upstream's answers prove all that themselves (see proof.go).
//
//	go run ./benchmarks/history -redis single -ops 1000000
//
// It prints what it did and found as a table, and exits with 1 when it found
// anything; then the history around it is in a file. Everything that it starts
// stays on 127.0.0.1 and ends with it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	program      string
	race         bool
	redis        string
	proxies      int
	clients      int
	docs         int
	ops          int64
	time         time.Duration
	seed         uint64
	purge        bool
	fills        bool
	faults       string
	every        time.Duration
	grace        time.Duration
	disconnected time.Duration
	dir          string
}

const (
	exitOK      = 0
	exitFound   = 1
	exitTrouble = 2 // nothing was found out
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func command(ctx context.Context, args []string, out, errs io.Writer) int {
	opts, err := parse(args, errs)
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	if err != nil {
		fmt.Fprintf(errs, "history: %v\n", err)
		return exitTrouble
	}
	fmt.Fprintf(out, "history: %s, seed %d\n", opts.redis, opts.seed)
	result, err := check(ctx, opts, errs)
	if err != nil {
		fmt.Fprintf(errs, "history: %v\n", err)
		return exitTrouble
	}
	fmt.Fprint(out, result.table())
	if result.history != "" {
		fmt.Fprintf(out, "\nThe history of what was found is in %s, and what the proxies said beside it.\n", result.history)
	}
	if result.found() > 0 || result.trouble != "" {
		return exitFound
	}
	return exitOK
}

func parse(args []string, errs io.Writer) (*options, error) {
	o := &options{}
	fs := flag.NewFlagSet("history", flag.ContinueOnError)
	fs.SetOutput(errs)
	fs.StringVar(&o.program, "program", "", "the proxy; empty: it is built")
	fs.BoolVar(&o.race, "race", false, "build the proxy with the race detector")
	fs.StringVar(&o.redis, "redis", "single", strings.Join(backends, ", "))
	fs.IntVar(&o.proxies, "proxies", 3, "how many proxies")
	fs.IntVar(&o.clients, "clients", 24, "clients of each proxy")
	fs.IntVar(&o.docs, "docs", 120, "documents of each kind and tenant")
	fs.Int64Var(&o.ops, "ops", 1_000_000, "requests after which it ends")
	fs.DurationVar(&o.time, "time", 20*time.Minute, "time after which it ends in any case")
	fs.Uint64Var(&o.seed, "seed", 0, "of all that is by chance; 0: another one each time")
	fs.BoolVar(&o.purge, "purge", true, "purge")
	fs.BoolVar(&o.fills, "fills", true, "have the proxies fetch for each other (cache.shared_fills)")
	fs.StringVar(&o.faults, "faults", "all", "all, none, or a list of: "+strings.Join(faultNames(), ", "))
	fs.DurationVar(&o.every, "every", 3*time.Second, "time between two faults")
	fs.DurationVar(&o.grace, "grace", 50*time.Millisecond, "time that a purge has to reach the other proxies")
	fs.DurationVar(&o.disconnected, "disconnected", 0, "time that a purge has to reach a proxy that is cut off; 0: the least that there is")
	fs.StringVar(&o.dir, "dir", os.TempDir(), "folder for the history of what is found")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if o.seed == 0 {
		o.seed = rand.Uint64()
	}
	if o.disconnected == 0 {
		if o.disconnected = 2 * time.Second; o.redis == "sentinel" {
			o.disconnected = 5 * time.Second
		}
	}
	switch {
	case fs.NArg() > 0:
		return nil, fmt.Errorf("%q is no flag", fs.Arg(0))
	case !slices.Contains(backends, o.redis):
		return nil, fmt.Errorf("-redis %s: must be one of %s", o.redis, strings.Join(backends, ", "))
	case o.proxies < 1 || o.clients < 1 || o.docs < 1 || o.ops < 1:
		return nil, errors.New("-proxies, -clients, -docs and -ops must be 1 at least")
	case o.every <= 0 || o.time <= 0:
		return nil, errors.New("-every and -time must be above 0")
	}
	for _, name := range o.faultList() {
		if !slices.Contains(faultNames(), name) {
			return nil, fmt.Errorf("-faults %s: there is %s", name, strings.Join(faultNames(), ", "))
		}
	}
	return o, nil
}

// faultList are the faults that may come, by name.
func (o *options) faultList() []string {
	switch o.faults {
	case "all":
		return faultNames()
	case "none", "":
		return nil
	}
	return strings.Split(o.faults, ",")
}
