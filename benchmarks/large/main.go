// Command large gives clients that are slow a large answer each, from Redis, and
// measures what that does to small answers, from Redis too: their times beside
// those of an undisturbed run, by turns, and the memory of the proxy. It runs
// the real program and Redis on 127.0.0.1; everything that it starts ends with
// it.
//
//	go run ./benchmarks/large [-readers 100] [-rate 500] [-seconds 10] [-rounds 3]
//
// It prints a table. Times are figures: they decide nothing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"jaegis-proxy/internal/proxytest"
	"jaegis-proxy/store/storetest"
)

const (
	largeSize = 50_000_000
	smallSize = 1 << 10
	smallKeys = 200
	pace      = 64 << 10 // what a slow client reads four times a second
)

type options struct {
	readers, rate, rounds int
	seconds               int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	o := options{}
	flag.IntVar(&o.readers, "readers", 100, "clients that are given the large answer at the same time")
	flag.IntVar(&o.rate, "rate", 500, "small requests a second")
	flag.IntVar(&o.seconds, "seconds", 10, "length of a run")
	flag.IntVar(&o.rounds, "rounds", 3, "runs of each kind")
	flag.Parse()
	err := run(ctx, o, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "large:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, out io.Writer) (err error) {
	b, err := open()
	defer func() { err = errors.Join(err, b.close()) }()
	if err != nil {
		return err
	}
	if err := b.fill(ctx); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d small hits a second from Redis, %d clients that are given 50 MB from Redis at %d KiB/s each\n\n", o.rate, o.readers, 4*pace>>10)
	fmt.Fprintln(out, "| round | clients | small answers | no hits | p50 ms | p99 ms | max ms | proxy MiB | MB/s of large |\n|---|---|---|---|---|---|---|---|---|")
	for round := range o.rounds {
		for _, readers := range []int{0, o.readers} {
			line, err := b.round(ctx, o, readers)
			if err != nil {
				return err
			}
			fmt.Fprintf(out, "| %d | %d | %s |\n", round+1, readers, line)
		}
	}
	return nil
}

// bench is what runs.
type bench struct {
	dir     string
	origin  *httptest.Server
	proxy   *proxytest.Proxy
	client  *http.Client
	closers []func() error
}

func open() (*bench, error) {
	b := &bench{client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}}}
	var err error
	if b.dir, err = os.MkdirTemp("", "jaegis-large-"); err != nil {
		return b, err
	}
	b.closers = append(b.closers, func() error { return os.RemoveAll(b.dir) })
	program, err := proxytest.Build(b.dir, false)
	if err != nil {
		return b, err
	}
	redis, err := storetest.RunServer(storetest.ServerOptions{})
	if err != nil {
		return b, err
	}
	b.closers = append(b.closers, redis.Close)
	b.origin = httptest.NewServer(http.HandlerFunc(answer))
	b.closers = append(b.closers, func() error { b.origin.Close(); return nil })
	if b.proxy, err = proxytest.Start(proxytest.Options{Program: program, Config: fmt.Sprintf(
		"cache: {memory: {max_bytes: 0}, redis: {url: %q}}\nupstreams: {docs: {url: %q}}\nroutes: [{name: docs, ttl: 1h, scope: public}]\nspool: {dir: %q}\n", redis.URL, b.origin.URL, b.dir)}); err != nil {
		return b, err
	}
	b.closers = append(b.closers, b.proxy.Close)
	return b, nil
}

func (b *bench) close() error {
	b.client.CloseIdleConnections()
	var errs []error
	for _, c := range slices.Backward(b.closers) {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// answer gives a body that does not get smaller by a coding.
func answer(w http.ResponseWriter, r *http.Request) {
	size := smallSize
	if r.URL.Path == "/large" {
		size = largeSize
	}
	w.Header().Set("Content-Type", "application/pdf")
	w.Header().Set("Content-Length", strconv.Itoa(size))
	block := make([]byte, 1<<10)
	for ; size > 0; size -= len(block) {
		if _, err := w.Write(block[:min(size, len(block))]); err != nil {
			return
		}
	}
}

// get gives the answer's head; the body is the caller's.
func (b *bench) get(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.proxy.Addr+path, nil)
	if err != nil {
		return nil, err
	}
	return b.client.Do(req)
}

// isHit asks once, reads all, and says whether it came from Redis.
func (b *bench) isHit(ctx context.Context, path string) (bool, error) {
	resp, err := b.get(ctx, path)
	if err != nil {
		return false, err
	}
	defer func() { _ = resp.Body.Close() }() // its end was seen by reading it
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return false, err
	}
	return resp.StatusCode == http.StatusOK && strings.Contains(resp.Header.Get("Cache-Status"), "detail=redis"), nil
}

// fill has all answers stored.
func (b *bench) fill(ctx context.Context) error {
	paths := []string{"/large"}
	for i := range smallKeys {
		paths = append(paths, small(i))
	}
	for _, path := range paths {
		for tries := 0; ; tries++ {
			hit, err := b.isHit(ctx, path)
			if err != nil {
				return err
			}
			if hit {
				break
			}
			if tries == 200 {
				return fmt.Errorf("%s never comes from Redis", path)
			}
			if err := wait(ctx, 10*time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}

func small(i int) string { return "/small/" + strconv.Itoa(i%smallKeys) }

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// round is one run, with so many slow clients in the midst of the large answer.
func (b *bench) round(ctx context.Context, o options, readers int) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var slow sync.WaitGroup
	read := make([]int64, readers)
	failed := make([]error, readers)
	for i := range readers {
		slow.Go(func() { read[i], failed[i] = b.slowly(ctx) })
	}
	if err := wait(ctx, time.Second); err != nil { // until all have begun
		return "", err
	}
	began := time.Now()
	times, misses, err := b.small(ctx, o)
	took := time.Since(began) + time.Second
	memory := b.resident()
	cancel()
	slow.Wait()
	if err = errors.Join(append(failed, err)...); err != nil {
		return "", err
	}
	total := int64(0)
	for _, n := range read {
		total += n
	}
	slices.Sort(times)
	ms := func(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d.Microseconds())/1000) }
	return fmt.Sprintf("%d | %d | %s | %s | %s | %d | %.0f", len(times), misses, ms(times[len(times)/2]), ms(times[len(times)*99/100]), ms(times[len(times)-1]), memory>>20, float64(total)/1e6/took.Seconds()), nil
}

// slowly reads the large answer until ctx ends, and again if it is at its end.
func (b *bench) slowly(ctx context.Context) (read int64, err error) {
	for ctx.Err() == nil {
		resp, err := b.get(ctx, "/large")
		if err != nil {
			break
		}
		for err == nil && ctx.Err() == nil {
			var n int64
			n, err = io.CopyN(io.Discard, resp.Body, pace)
			read += n
			_ = wait(ctx, time.Second/4) // ctx is looked at
		}
		_ = resp.Body.Close()
		if err != nil && !errors.Is(err, io.EOF) && ctx.Err() == nil {
			return read, fmt.Errorf("the large answer, after %d bytes: %w", read, err)
		}
	}
	return read, nil
}

// small asks for small answers at an even rate, and takes each one's time from
// when it was due.
func (b *bench) small(ctx context.Context, o options) (times []time.Duration, misses int, err error) {
	var mu sync.Mutex
	var asking sync.WaitGroup
	began, n := time.Now(), o.rate*o.seconds
	for i := range n {
		due := began.Add(time.Duration(i) * time.Second / time.Duration(o.rate))
		if err := wait(ctx, time.Until(due)); err != nil {
			return nil, 0, err
		}
		asking.Go(func() {
			hit, failed := b.isHit(ctx, small(i))
			mu.Lock()
			defer mu.Unlock()
			times = append(times, time.Since(due))
			if err = errors.Join(err, failed); !hit {
				misses++
			}
		})
	}
	asking.Wait()
	return times, misses, err
}

// resident is the proxy's memory in bytes; 0 where the system does not say.
func (b *bench) resident() int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.proxy.PID()))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, _ := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			return kib << 10
		}
	}
	return 0
}
