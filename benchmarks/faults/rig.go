package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"jaegis-proxy/internal/origintest"
	"jaegis-proxy/internal/proxytest"
	"jaegis-proxy/store/storetest"
)

// rig is what one fault works with.
type rig struct {
	program string
	dir     string
	origin  *origintest.Origin
	proxy   *proxytest.Proxy // nil until start
	client  *http.Client
	closers []func() error
	figures []string
}

func newRig(program, dir string) (*rig, error) {
	r := &rig{program: program, client: &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true},
	}}
	var err error
	if r.dir, err = os.MkdirTemp(dir, "rig-"); err != nil {
		return r, err
	}
	if r.origin, err = origintest.Start(); err != nil {
		return r, err
	}
	r.closers = append(r.closers, func() error { r.origin.Close(); return nil })
	return r, nil
}

func (r *rig) close() error {
	r.client.CloseIdleConnections()
	var errs []error
	for _, c := range slices.Backward(r.closers) {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// route is one that caches everything below /c/.
const route = `
upstreams: {origin: {url: ORIGIN, idle_timeout: 1s, first_byte_timeout: 2s, total_timeout: 20s}}
routes:
  - {name: cached, match: {path: /c/*}, ttl: 1h, key: {credentials: [X-Api-Key]}}
`

// start starts the proxy: cache is the content of that block.
func (r *rig) start(cache string, more func(*proxytest.Options)) error {
	o := proxytest.Options{Program: r.program, Config: strings.ReplaceAll(route, "ORIGIN", r.origin.URL) + "cache: {" + cache + "}\n"}
	if more != nil {
		more(&o)
	}
	p, err := proxytest.Start(o)
	if err != nil {
		return err
	}
	r.proxy = p
	r.closers = append(r.closers, p.Close)
	return nil
}

// redis starts a Redis.
func (r *rig) redis(o storetest.ServerOptions) (*storetest.Server, error) {
	s, err := storetest.RunServer(o)
	if err == nil {
		r.closers = append(r.closers, s.Close)
	}
	return s, err
}

// do has a Redis carry out a command.
func do(ctx context.Context, o *goredis.Options, args ...any) error {
	o.Protocol, o.DisableIdentity, o.MaxRetries, o.PoolSize = 2, true, -1, 1
	c := goredis.NewClient(o)
	defer func() { _ = c.Close() }()
	return c.Do(ctx, args...).Err()
}

func (r *rig) figure(format string, args ...any) {
	r.figures = append(r.figures, fmt.Sprintf(format, args...))
}

// figures of a load.
type seen struct {
	mu       sync.Mutex
	took     []time.Duration
	hits     int // in the store
	failures int
	wrong    int
	why      string // of the first that failed or was wrong
}

// p gives a quantile of the times, in milliseconds.
func (s *seen) p(q float64) float64 {
	slices.Sort(s.took)
	if len(s.took) == 0 {
		return 0
	}
	return s.took[min(int(q*float64(len(s.took))), len(s.took)-1)].Seconds() * 1000
}

// err says what was not as it must be.
func (s *seen) err() error {
	if s.failures+s.wrong == 0 && len(s.took) > 0 {
		return nil
	}
	return fmt.Errorf("of %d requests %d failed, %d were answered wrongly: %s", len(s.took), s.failures, s.wrong, s.why)
}

// load has n clients ask for keys documents, until ctx or the time ends.
func (r *rig) load(ctx context.Context, n, keys int, d time.Duration, query string) *seen {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	s := &seen{}
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for ctx.Err() == nil {
				r.one(s, fmt.Sprintf("/c/%d?%s", rand.IntN(keys), query))
			}
		})
	}
	wg.Wait()
	return s
}

// another starts a proxy beside this one, with an upstream of its own.
func (r *rig) another(cache string) (*rig, error) {
	a, err := newRig(r.program, r.dir)
	r.closers = append(r.closers, a.close)
	if err == nil {
		err = a.start(cache, nil)
	}
	return a, err
}

// beside has clients ask this proxy and another in turn, at a rate that leaves
// the machine idle for most of the time: what is then seen is how long an answer
// takes, and not how much of them there can be.
func (r *rig) beside(ctx context.Context, other *rig, keys int, d time.Duration, query string) (ours, others *seen) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	ours, others = &seen{}, &seen{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for next := time.NewTimer(rand.N(20 * time.Millisecond)); ; next.Reset(20 * time.Millisecond) {
				select {
				case <-next.C:
				case <-ctx.Done():
					return
				}
				target := fmt.Sprintf("/c/%d?%s", rand.IntN(keys), query)
				if rand.IntN(2) == 0 { // neither always has the quieter moment
					r.one(ours, target)
					other.one(others, target)
				} else {
					other.one(others, target)
					r.one(ours, target)
				}
			}
		})
	}
	wg.Wait()
	return ours, others
}

// fill has each of them asked for once, and waits until it is a hit.
func (r *rig) fill(ctx context.Context, keys int, query string) error {
	for k := range keys {
		target := fmt.Sprintf("/c/%d?%s", k, query)
		if err := r.until(ctx, "a hit of "+target, func() bool {
			s := &seen{}
			r.one(s, target)
			return s.hits == 1
		}); err != nil {
			return err
		}
	}
	return nil
}

// one asks for one document and looks at what comes.
func (r *rig) one(s *seen, target string) {
	const key = "a-key"
	began := time.Now()
	resp, body, err := r.get(target, key)
	took := time.Since(began)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.took = append(s.took, took)
	switch {
	case err != nil:
		s.failures++
		s.why = err.Error()
		return
	case resp.StatusCode != http.StatusOK:
		s.failures++
		s.why = fmt.Sprintf("%s: status %d, %.200s", target, resp.StatusCode, body)
		return
	}
	if resp.Header.Get("X-Cache") == "HIT" && !strings.Contains(resp.Header.Get("Cache-Status"), "detail=flight") {
		s.hits++ // one that is on its way to the store is none of the store
	}
	if _, err := origintest.VerifyProof(http.MethodGet, target, key, nil, body); err != nil {
		s.wrong++
		s.why = err.Error()
	}
}

// get asks; the error is that of an answer that did not come whole, too.
func (r *rig) get(target, key string) (*http.Response, []byte, error) {
	req, err := http.NewRequest(http.MethodGet, "http://"+r.proxy.Addr+target, nil)
	if err != nil {
		return nil, nil, err
	}
	if key != "" {
		req.Header.Set("X-Api-Key", key)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return resp, body, err
}

// until asks until holds says yes.
func (r *rig) until(ctx context.Context, what string, holds func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for !holds() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("never came: %s", what)
		case <-time.After(2 * time.Millisecond):
		}
	}
	return nil
}

// metric sums the samples whose name and labels the pattern matches.
func (r *rig) metric(pattern string) float64 {
	resp, err := r.client.Get("http://" + r.proxy.Admin + "/metrics")
	if err != nil {
		return 0
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0
	}
	sum := 0.0
	for _, m := range regexp.MustCompile(`(?m)^`+pattern+` (\S+)$`).FindAllSubmatch(text, -1) {
		v, err := strconv.ParseFloat(string(m[len(m)-1]), 64)
		if err == nil {
			sum += v
		}
	}
	return sum
}

// open says whether the proxy leaves Redis alone.
func (r *rig) open() bool { return r.metric(`jaegis_breaker_open\{.*\}`) > 0 }

// rss is the proxy's memory, in bytes.
func (r *rig) rss() int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", r.proxy.PID()))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b))
	n, _ := strconv.ParseInt(f[1], 10, 64) // it is a number
	return n * int64(os.Getpagesize())
}

// alive says whether the proxy still serves.
func (r *rig) alive() error {
	if !r.proxy.Running() {
		return fmt.Errorf("the proxy has ended: %s", r.proxy.Log())
	}
	s := &seen{}
	r.one(s, fmt.Sprintf("/c/alive?pad=%d", rand.IntN(1000)))
	return s.err()
}

// counter counts, for several goroutines.
type counter struct{ atomic.Int64 }
