package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"jaegis-proxy/internal/proxytest"
)

// run is one check with all that it has started.
type run struct {
	opts    *options
	errs    io.Writer
	began   time.Time
	plan    *plan
	checker *checker
	history *history
	origin  *origin
	backend *backend
	nodes   []*node
	dir     string

	version atomic.Int64 // of everything at the upstream
	left    atomic.Int64 // requests still to be made
	kills   atomic.Int64 // nodes ended, frozen or cut off so far
	goneAt  atomic.Int64 // when the last of them was
	faults  faultCounts
	purges  purgeCounts
}

// check runs it to its end.
func check(ctx context.Context, opts *options, errs io.Writer) (_ *result, err error) {
	r := &run{opts: opts, errs: errs, began: time.Now(), plan: newPlan(opts.docs)}
	r.left.Store(opts.ops)
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.start(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, opts.time)
	defer cancel()
	began := time.Now()
	workers, err := r.work(ctx)
	took := time.Since(began)
	if err != nil {
		return nil, err
	}
	return r.result(workers, took)
}

// now is the time in nanoseconds since the beginning.
func (r *run) now() int64 { return int64(time.Since(r.began)) }

// start starts the upstream, the stores and the proxies.
func (r *run) start() (err error) {
	if r.dir, err = os.MkdirTemp("", "jaegis-history-"); err != nil {
		return err
	}
	program := r.opts.program
	if program == "" {
		if program, err = proxytest.Build(r.dir, r.opts.race); err != nil {
			return err
		}
	} else if program, err = filepath.Abs(program); err != nil {
		return err
	}
	if r.origin, err = startOrigin(&r.version, r.now); err != nil {
		return err
	}
	if r.backend, err = startBackend(r.opts.redis, r.opts.proxies); err != nil {
		return err
	}
	for i := range r.opts.proxies {
		p, err := proxytest.Start(proxytest.Options{Program: program, Config: config(r.origin.URL, r.cacheConfig(i))})
		if err != nil {
			return err
		}
		r.nodes = append(r.nodes, newNode(i, p))
	}
	clients := r.opts.proxies * (r.opts.clients + purgers)
	r.history = newHistory(clients, r.opts.dir)
	r.checker = newChecker(len(r.plan.scopes), r.opts.proxies, rules{
		shared: r.opts.redis != "memory", grace: int64(r.opts.grace), disconnected: int64(r.opts.disconnected),
		slack: int64(slack), settled: int64(2 * replyTime),
	})
	return r.findKeys(program)
}

// slack is how much longer than its lifetime an answer may be seen: the
// upstream's clock is read before it answers, the proxy's when it has, and any
// of them may be frozen in between.
const slack = 10 * time.Second

// cacheConfig is the cache block of a proxy's configuration. The memory tier is
// small, so that the tier behind it is asked.
func (r *run) cacheConfig(node int) string {
	s := "cache:\n  memory: {max_bytes: 24MiB}\n" + r.backend.config(node)
	s += fmt.Sprintf("  shared_fills: {enabled: %v}\n", r.opts.fills)
	if r.opts.purge {
		s += fmt.Sprintf("  max_disconnected: %v\n", r.opts.disconnected)
	}
	return s
}

// work has the clients work, purges and breaks things, until all is asked or
// ctx ends.
func (r *run) work(ctx context.Context) ([]*worker, error) {
	var workers []*worker
	var clients, others sync.WaitGroup
	during, done := context.WithCancelCause(ctx)
	defer done(nil)
	for id := range r.opts.proxies * r.opts.clients {
		w := newWorker(r, id, r.nodes[id%len(r.nodes)])
		workers = append(workers, w)
		clients.Go(func() { w.work(during) })
	}
	if r.opts.purge {
		for i := range purgers {
			p := newPurger(r, i, len(workers))
			workers = append(workers, p.probes...)
			others.Go(func() { p.work(during) })
		}
	}
	others.Go(func() {
		if err := r.breakThings(during, rand.New(rand.NewPCG(r.opts.seed, 1<<32))); err != nil {
			done(err)
		}
	})
	clients.Wait()
	err := context.Cause(during)
	done(nil)
	others.Wait()
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return nil, err
	}
	return workers, nil
}

// violation keeps what was found.
func (r *run) violation(v verdict, rec *record, purge *mark) {
	rec.Verdict = v.String()
	if purge != nil {
		rec.Detail += fmt.Sprintf("; purge of version %d, acknowledged at %d by node %d", purge.version, purge.acked, purge.node)
	}
	r.history.keep(rec, func(p *record) bool {
		for _, s := range r.plan.asks[rec.Ask].scopes {
			if r.plan.scopes[s].String() == p.Scope {
				return true
			}
		}
		return false
	})
}

// close ends all that was started.
func (r *run) close() error {
	var errs []error
	for _, n := range r.nodes {
		errs = append(errs, n.Close())
	}
	if r.backend != nil {
		errs = append(errs, r.backend.close())
	}
	if r.origin != nil {
		errs = append(errs, r.origin.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(r.dir))...)
}
