package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"
)

func cmdWarm() command {
	const help = "send requests from a file to a running proxy, so that their answers are in the cache: warm --from FILE [FLAGS]\n" +
		"FILE has a request a line, as JSON or as a curl command; see docs/documents.md"
	return command{name: "warm", help: "send requests from a file, so that their answers are in the cache", run: func(ctx context.Context, args []string, std stdio) int {
		fs := newFlags("warm")
		o := addWarmFlags(fs)
		if code, ok := parseFlags(fs, help, args, std); !ok {
			return code
		}
		w, err := o.open(std)
		if err != nil {
			fmt.Fprintf(std.Err, "jaegis-proxy warm: %v\n", err)
			return exitUsage
		}
		defer w.close()
		return w.run(ctx)
	}}
}

type warmFlags struct {
	from, target *string
	concurrency  *int
	headers      *[]string
	timeout      *time.Duration
	json         *bool
}

func addWarmFlags(fs *pflag.FlagSet) *warmFlags {
	return &warmFlags{
		from:        fs.String("from", "", "the `FILE` of requests; - is standard input"),
		target:      fs.String("target", "", "`URL` of the proxy that all requests go to (default that of JAEGIS_LISTEN, or http://127.0.0.1:8080)"),
		concurrency: fs.Int("concurrency", 4, "how many requests are sent at the same time, 1 to 256"),
		headers:     fs.StringArrayP("header", "H", nil, "a header for all requests that have none of its name, \"Name: value\"; may be given many times"),
		timeout:     fs.Duration("timeout", 15*time.Minute, "the longest that one request may take"),
		json:        fs.Bool("json", false, "print the report as JSON"),
	}
}

// warmer sends requests and counts what becomes of them.
type warmer struct {
	in       *os.File // nil for standard input
	lines    *warmReader
	target   *url.URL
	named    bool // the target was named: requests may speak of other hosts
	workers  int
	header   http.Header
	client   *http.Client
	progress *warmProgress
	report   *warmReport
	json     bool
	std      stdio
}

func (o *warmFlags) open(std stdio) (*warmer, error) {
	if *o.from == "" {
		return nil, errors.New("which requests? write --from FILE")
	}
	if *o.concurrency < 1 || *o.concurrency > 256 {
		return nil, fmt.Errorf("--concurrency: %d is not from 1 to 256", *o.concurrency)
	}
	target, err := warmTarget(*o.target, std.Environ)
	if err != nil {
		return nil, err
	}
	w := &warmer{target: target, named: *o.target != "", workers: *o.concurrency, json: *o.json, std: std, report: newWarmReport()}
	if w.header, err = parseHeaders(*o.headers); err != nil {
		return nil, errors.New("--header: must be \"Name: value\"") // which one is not said: it may hold a credential
	}
	in, size, dir := std.In, int64(-1), "."
	if *o.from != "-" {
		if w.in, err = os.Open(*o.from); err != nil {
			return nil, err
		}
		if info, err := w.in.Stat(); err == nil && info.Mode().IsRegular() {
			size = info.Size()
		}
		in, dir = w.in, filepath.Dir(*o.from)
	}
	w.progress = newWarmProgress(std.Err, size)
	w.lines = newWarmReader(in, dir, std.Environ)
	w.client = &http.Client{
		Timeout: *o.timeout,
		// What is sent is for this one server: it is neither shown to a proxy of
		// the environment nor taken along to another place.
		Transport:     &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: w.workers},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return w, nil
}

func warmTarget(named string, environ []string) (*url.URL, error) {
	where := named
	if where == "" {
		if where = lookupEnv(environ, "JAEGIS_LISTEN"); where == "" {
			where = "127.0.0.1:8080"
		}
		var err error
		if where, err = urlOf(where); err != nil {
			return nil, errors.New("JAEGIS_LISTEN is not HOST:PORT; name the proxy by --target http://HOST:PORT")
		}
	}
	if !strings.Contains(where, "://") {
		where = "http://" + where
	}
	u, err := url.Parse(where)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("--target: not the URL of a proxy; write http://HOST:PORT")
	}
	if named == "" && !loopback(u.Hostname()) {
		return nil, errors.New("JAEGIS_LISTEN is no loopback address; name the proxy by --target http://HOST:PORT")
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	return u, nil
}

func (w *warmer) close() {
	w.client.CloseIdleConnections()
	if w.in != nil {
		_ = w.in.Close() // it was read only
	}
}

// run sends all requests, or those until ctx ends, and prints the report.
func (w *warmer) run(ctx context.Context) int {
	began := time.Now()
	requests := make(chan *warmRequest)
	var running sync.WaitGroup
	for range w.workers {
		running.Go(func() { // until there are no more requests
			for r := range requests {
				w.one(ctx, r)
			}
		})
	}
	ended := w.progress.follow(w.report)
	err := w.feed(ctx, requests)
	close(requests)
	running.Wait()
	ended()
	if err != nil {
		fmt.Fprintf(w.std.Err, "jaegis-proxy warm: %v\n", err)
	}
	interrupted := ctx.Err() != nil
	if printed := w.report.print(w.std.Out, w.json, time.Since(began), interrupted); printed != nil {
		fmt.Fprintf(w.std.Err, "jaegis-proxy warm: %v\n", printed)
		return exitFailure
	}
	if err != nil || interrupted || w.report.failed() {
		return exitFailure
	}
	return exitOK
}

// feed reads the requests. A line that is none is a failure like one of sending,
// and the next ones are read; the error is one of reading the file.
func (w *warmer) feed(ctx context.Context, requests chan<- *warmRequest) error {
	for ctx.Err() == nil {
		w.progress.reached(w.lines.read) // the requests before are on their way, or done
		r, err := w.lines.next()
		var bad *lineError
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &bad):
			w.fail(bad)
			continue
		case err != nil:
			return err
		}
		if err := w.mayGo(r); err != nil {
			w.fail(&lineError{r.line, err.Error()})
			continue
		}
		select {
		case requests <- r:
		case <-ctx.Done():
		}
	}
	return nil
}

// loopback says whether a host name or address is this machine's own.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// mayGo says what is wrong with where a request goes.
func (w *warmer) mayGo(r *warmRequest) error {
	host, port := r.hostname()
	if host == "" || w.named || loopback(host) {
		return nil
	}
	if host == w.target.Hostname() && port == w.target.Port() {
		return nil
	}
	return fmt.Errorf("goes to %s; write its path alone, or --target URL to send all requests to the proxy there", host)
}

// fail counts and tells of a request that failed.
func (w *warmer) fail(err *lineError) {
	w.report.countFailure()
	w.progress.say("line %d: %s", err.line, err.what)
}

// lineError is something wrong with the request that begins in a line.
type lineError struct {
	line int
	what string
}

func (e *lineError) Error() string { return fmt.Sprintf("line %d: %s", e.line, e.what) }
