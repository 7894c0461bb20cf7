package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"jaegis-proxy/config"
	"jaegis-proxy/internal/origintest"
)

// demoOptions are the flags of demo.
type demoOptions struct {
	scale  float64 // of the sample upstream's latencies
	redis  string  // URL; empty: the embedded store
	listen string  // host:port of the proxy
	exit   bool    // end after the table
}

// cmdDemo makes the command demo: a slow sample upstream, the proxy before it,
// the same requests with and without the cache, and a table of what that
// changed. Then it stays up to be tried until it is interrupted.
func cmdDemo() command {
	const help = "show on this machine what the cache does, with a sample upstream"
	return command{name: "demo", help: help, run: func(ctx context.Context, args []string, std stdio) int {
		opts, code, ok := parseDemo(args, help, std)
		if !ok {
			return code
		}
		switch err := runDemo(ctx, opts, std.Out, std.Err); {
		case err == nil:
			return exitOK
		case ctx.Err() != nil:
			fmt.Fprintln(std.Err, "interrupted")
			return exitInterrupted
		default:
			fmt.Fprintf(std.Err, "jaegis-proxy demo: %v\n", err)
			return exitFailure
		}
	}}
}

// exitInterrupted is the exit code of a demo that was ended before its table,
// as shells have it for SIGINT.
const exitInterrupted = 130

// parseDemo reads the flags; with ok false the command is to end with code.
func parseDemo(args []string, help string, std stdio) (opts demoOptions, code int, ok bool) {
	flags := newFlags("demo")
	flags.Float64Var(&opts.scale, "scale", 0.1, "multiplies the sample's latencies: documents 15 s, AI 8 s, builds 5 s, templates 3 s")
	flags.StringVar(&opts.redis, "redis", "", "`URL` of a Redis to cache in (default: the embedded store)")
	flags.StringVar(&opts.listen, "listen", "127.0.0.1:8080", "`address` of the proxy; a free port is taken when it is busy")
	flags.BoolVar(&opts.exit, "exit", false, "end after the table")
	if code, ok := parseFlags(flags, help, args, std); !ok {
		return opts, code, false
	}
	if !(opts.scale >= 0 && opts.scale <= 100) { // written so that NaN is refused too
		fmt.Fprintf(std.Err, "jaegis-proxy demo: --scale %v is not between 0 and 100\n", opts.scale)
		return opts, exitUsage, false
	}
	return opts, exitOK, true
}

// runDemo is the demo from its first server to the last one's end.
func runDemo(ctx context.Context, opts demoOptions, stdout, stderr io.Writer) error {
	sample := &origintest.Sample{Scale: opts.scale}
	upstream, closeUpstream, err := serveSample(sample)
	if err != nil {
		return err
	}
	defer closeUpstream()
	proxy, err := startDemoProxy(ctx, opts, upstream, stdout, stderr)
	if err != nil {
		return fmt.Errorf("start the proxy: %w", err)
	}
	defer stopDemoProxy(proxy)

	bench := &demoBench{
		direct: upstream, cached: "http://" + proxy.Addr(), calls: sample.Calls,
		// A credential of this run's own: its entries are nobody else's, so
		// the first request is a miss even with a Redis that is already full.
		credential: "Bearer demo-" + strings.ToLower(rand.Text()[:8]),
		client:     &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: demoCrowd, DisableCompression: true}},
	}
	defer bench.client.CloseIdleConnections()
	rows, err := bench.run(ctx, demoOperations(), newProgress(stdout))
	if err != nil {
		return err
	}
	printTable(stdout, rows)
	if opts.exit {
		return nil
	}
	fmt.Fprint(stdout, demoHints(bench.cached, upstream, proxy.AdminAddr(), bench.credential))
	<-ctx.Done()
	fmt.Fprintln(stdout, "\nThe demo has ended.")
	return nil
}

// serveSample serves the sample upstream on a free loopback port.
func serveSample(sample *origintest.Sample) (url string, closeIt func(), err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("start the sample upstream: %w", err)
	}
	srv := &http.Server{Handler: sample.Handler(), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.Serve(ln) // always ends with ErrServerClosed, by the Close below
	}()
	return "http://" + ln.Addr().String(), func() { _ = srv.Close(); <-served }, nil
}

// startDemoProxy starts the proxy where it was asked for or, when something
// else listens there, on a free port.
func startDemoProxy(ctx context.Context, opts demoOptions, upstream string, stdout, stderr io.Writer) (*server, error) {
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	cfg := demoConfig(opts, upstream)
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	proxy, err := startServer(ctx, cfg, log)
	if errors.Is(err, syscall.EADDRINUSE) {
		cfg.Listen = "127.0.0.1:0"
		if proxy, err = startServer(ctx, cfg, log); err == nil {
			fmt.Fprintf(stdout, "%s is busy: the proxy listens on %s instead.\n\n", opts.listen, proxy.Addr())
		}
	}
	return proxy, err
}

func stopDemoProxy(proxy *server) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = proxy.Shutdown(ctx) // the demo is over: nobody waits for what is left
}

// demoConfig is the configuration that the demo runs with.
func demoConfig(opts demoOptions, upstream string) *config.Config {
	cfg := config.Default()
	cfg.Listen = opts.listen
	cfg.Admin.Listen = "127.0.0.1:0"
	cfg.Cache.Redis.URL = config.SecretURL(opts.redis)
	sample := config.DefaultUpstream()
	sample.URL = upstream
	cfg.Upstreams = map[string]config.Upstream{"sample": sample}
	route := func(name, method, path, namespace string) {
		r := config.DefaultRoute()
		r.Name, r.Namespace, r.Upstream = name, namespace, "sample"
		r.Match = config.Match{Methods: []string{method}, Path: path}
		cfg.Routes = append(cfg.Routes, r)
	}
	route("chat", "POST", "/v1/chat/completions", "ai_responses")
	route("embeddings", "POST", "/v1/embeddings", "ai_responses")
	route("convert", "POST", "/convert/*", "documents")
	route("templates", "GET", "/templates/*", "templates")
	route("builds", "POST", "/builds", "builds")
	cfg.Complete()
	return cfg
}
