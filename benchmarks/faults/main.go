// Command faults breaks everything around the proxy, one thing at a time, and
// says whether what must hold then does, with a figure to each. It runs the
// real program, Redis, and an upstream that can be told how to fail, all on
// 127.0.0.1; everything that it starts ends with it.
//
//	go run ./benchmarks/faults
//
// It prints a table, writes it to benchmarks/results/faults-DATE.md, and exits
// with 1 when something does not hold. Times are figures: they decide nothing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"jaegis-proxy/internal/proxytest"
)

// fault is one row.
type fault struct {
	name string
	how  string // it is made
	must string // hold
	run  func(ctx context.Context, r *rig) error
}

func allFaults() []fault {
	return slices.Concat(redisFaults(), networkFaults(), upstreamFaults(), clientFaults(), machineFaults())
}

// row is what a fault has shown.
type row struct {
	fault  fault
	held   string // yes, no, or skipped
	why    string // it does not hold, or was skipped
	figure string
}

// errSkipped is for what cannot be made on this machine, or by this program.
var errSkipped = errors.New("skipped")

func skip(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errSkipped, fmt.Sprintf(format, args...))
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func command(ctx context.Context, args []string, out, errs io.Writer) int {
	fs := flag.NewFlagSet("faults", flag.ContinueOnError)
	fs.SetOutput(errs)
	program := fs.String("program", "", "the proxy; empty: it is built")
	only := fs.String("only", "", "only the faults whose name has this in it")
	file := fs.String("out", filepath.Join("benchmarks", "results", "faults-"+time.Now().UTC().Format(time.DateOnly)+".md"), "where the table goes; empty: nowhere")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	rows, err := runAll(ctx, *program, *only, out)
	if err == nil && *file != "" && len(rows) > 0 {
		err = os.WriteFile(*file, []byte(markdown(rows, machine())), 0o644)
	}
	if err != nil {
		fmt.Fprintf(errs, "faults: %v\n", err)
		return 2
	}
	if slices.ContainsFunc(rows, func(r row) bool { return r.held == "no" }) {
		return 1
	}
	return 0
}

// runAll makes the faults, and tells of each as it goes.
func runAll(ctx context.Context, program, only string, out io.Writer) (rows []row, err error) {
	dir, err := os.MkdirTemp("", "jaegis-faults-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if program == "" {
		if program, err = proxytest.Build(dir, false); err != nil {
			return nil, err
		}
	} else if program, err = filepath.Abs(program); err != nil {
		return nil, err
	}
	for _, f := range allFaults() {
		if !strings.Contains(f.name, only) {
			continue
		}
		if ctx.Err() != nil {
			return rows, ctx.Err()
		}
		r := runOne(ctx, program, dir, f)
		rows = append(rows, r)
		fmt.Fprintf(out, "%-32s %-8s %s\n", f.name, r.held, strings.Join(slices.DeleteFunc([]string{r.why, r.figure}, func(s string) bool { return s == "" }), "; "))
	}
	return rows, nil
}

// runOne makes one fault with servers of its own.
func runOne(ctx context.Context, program, dir string, f fault) row {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	r, err := newRig(program, dir)
	if err == nil {
		err = f.run(ctx, r)
		if r.proxy != nil && r.proxy.Trouble() != "" {
			err = errors.Join(err, errors.New(r.proxy.Trouble()))
		}
		err = errors.Join(err, r.close())
	}
	out := row{fault: f, held: "yes", figure: strings.Join(r.figures, ", ")}
	switch {
	case errors.Is(err, errSkipped):
		out.held, out.why = "skipped", strings.TrimPrefix(err.Error(), errSkipped.Error()+": ")
	case err != nil:
		out.held, out.why = "no", err.Error()
	}
	return out
}

func machine() string {
	cpu := "?"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		_, rest, _ := strings.Cut(string(b), "model name")
		line, _, _ := strings.Cut(rest, "\n")
		_, name, _ := strings.Cut(line, ":")
		cpu = strings.TrimSpace(name)
	}
	return fmt.Sprintf("%s, %d cores, %s %s", cpu, runtime.NumCPU(), runtime.GOOS, runtime.Version())
}

// markdown is the table as it is kept.
func markdown(rows []row, machine string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# What holds when things break, %s\n\n    go run ./benchmarks/faults\n\nOn %s; everything ran on that machine. ", time.Now().UTC().Format(time.DateOnly), machine)
	b.WriteString("Each row has servers of its own: the program, a Redis where it says so, and an upstream whose answers prove whose they are. Times depend on what else the machine does; they decide nothing.\n\n")
	b.WriteString("| fault | made by | must hold | held | figure |\n| --- | --- | --- | --- | --- |\n")
	cell := strings.NewReplacer("|", "\\|", "\n", " ")
	for _, r := range rows {
		held := r.held
		if r.why != "" {
			held += ": " + r.why
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", r.fault.name, cell.Replace(r.fault.how), cell.Replace(r.fault.must), cell.Replace(held), cell.Replace(r.figure))
	}
	return b.String()
}
