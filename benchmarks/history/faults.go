package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"jaegis-proxy/store/storetest"
)

// fault is something that goes wrong and comes right again. It runs to its end
// whether ctx ends or not, but does not wait any more then.
type fault struct {
	name string
	node bool // it is one proxy's alone
	on   func(b *backend) bool
	run  func(ctx context.Context, r *run, rng *rand.Rand, n *node) error
}

func anyBackend(*backend) bool     { return true }
func anyRedis(b *backend) bool     { return len(b.servers) > 0 }
func singleRedis(b *backend) bool  { return len(b.links) > 0 }
func manyServers(b *backend) bool  { return len(b.servers) > 1 }
func withSentinel(b *backend) bool { return b.sentinel != nil }

// faults are all that can be done.
var allFaults = []fault{
	{"proxy-killed", true, anyBackend, killProxy},
	{"proxy-stopped", true, anyBackend, stopProxy},
	{"proxy-frozen", true, anyBackend, freezeProxy},
	{"link-silent", true, singleRedis, breakLink(linkSilent)},
	{"link-cut", true, singleRedis, breakLink(linkDown)},
	{"redis-frozen", false, anyRedis, freezeRedis},
	{"redis-paused", false, anyRedis, pauseRedis},
	{"redis-killed", false, anyRedis, killRedis},
	{"redis-rolled-back", false, singleRedis, rollRedisBack},
	{"redis-restarted", false, singleRedis, restartRedis},
	{"redis-flushed", false, anyRedis, flushRedis},
	{"redis-clients-killed", false, anyRedis, killClients("normal")},
	{"redis-subscribers-killed", false, anyRedis, killClients("pubsub")},
	{"failover", false, manyServers, failOver},
	{"sentinel-killed", false, withSentinel, killSentinel},
}

func faultNames() []string {
	var names []string
	for _, f := range allFaults {
		names = append(names, f.name)
	}
	return names
}

// faultCounts are how often each was made. It is safe for concurrent use.
type faultCounts struct {
	mu    sync.Mutex
	count map[string]int64
}

func (c *faultCounts) add(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count == nil {
		c.count = map[string]int64{}
	}
	c.count[name]++
}

// breakThings makes one fault after the other, with pauses, until ctx ends.
func (r *run) breakThings(ctx context.Context, rng *rand.Rand) error {
	var can []fault
	for _, f := range allFaults {
		if slices.Contains(r.opts.faultList(), f.name) && f.on(r.backend) {
			can = append(can, f)
		}
	}
	for {
		pause(ctx, r.opts.every/2+rand.N(r.opts.every))
		if ctx.Err() != nil || len(can) == 0 {
			return nil
		}
		f := can[rng.IntN(len(can))]
		if err := r.breakThing(ctx, f, rng); err != nil && ctx.Err() == nil {
			return fmt.Errorf("fault %s: %w", f.name, err)
		}
	}
}

// breakThing makes one fault and waits until all is well again.
func (r *run) breakThing(ctx context.Context, f fault, rng *rand.Rand) error {
	n := r.nodes[rng.IntN(len(r.nodes))]
	touched := r.nodes
	if f.node {
		touched = []*node{n}
	}
	rec := &record{Kind: "fault", Begun: r.now(), Node: -1, Ask: -1, Detail: f.name}
	if f.node {
		rec.Node = n.index
	}
	begins := *rec // one that lasts is to be seen too
	begins.Ended, begins.Detail = begins.Begun, f.name+" begins"
	r.history.faults.add(&begins)
	for _, n := range touched {
		r.checker.disturb(n.index, r.now())
	}
	err := f.run(ctx, r, rng, n)
	if err == nil {
		err = r.awaitWell(ctx, touched)
		pause(ctx, settleTime)
	}
	for _, n := range touched {
		r.checker.undisturb(n.index, r.now())
	}
	rec.Ended = r.now()
	r.history.faults.add(rec)
	r.faults.add(f.name)
	return err
}

// wellTime is how long the proxies may take to find everything in order again.
const wellTime = 60 * time.Second

// settleTime is how much longer they may take to follow the ledger as before:
// what they say of themselves says less than that.
const settleTime = time.Second

// awaitWell waits until proxies say that they lack nothing.
func (r *run) awaitWell(ctx context.Context, nodes []*node) error {
	ctx, cancel := context.WithTimeout(ctx, wellTime)
	defer cancel()
	for _, n := range nodes {
		err := n.Await(ctx, func(status int, body string) bool {
			return status == http.StatusOK && strings.Contains(body, `"status":"ok"`)
		})
		if err != nil {
			return fmt.Errorf("node %d does not recover: %w\n%s", n.index, err, n.Log())
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// some is a time between none and most.
func some(rng *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(rng.Int64N(int64(most)))
}

func killProxy(ctx context.Context, r *run, rng *rand.Rand, n *node) error {
	return r.endProxy(ctx, rng, n, n.Kill)
}

func stopProxy(ctx context.Context, r *run, rng *rand.Rand, n *node) error {
	return r.endProxy(ctx, rng, n, n.Stop)
}

func (r *run) endProxy(ctx context.Context, rng *rand.Rand, n *node, end func() error) error {
	n.down()
	r.gone()
	err := end()
	pause(ctx, some(rng, time.Second))
	if err = errors.Join(err, n.Restart()); err == nil {
		n.back()
	}
	return err
}

func freezeProxy(ctx context.Context, r *run, rng *rand.Rand, n *node) error {
	r.gone() // others may wait for its answers
	err := n.Pause()
	pause(ctx, some(rng, 2*r.opts.disconnected))
	return errors.Join(err, n.Resume())
}

func breakLink(state linkState) func(context.Context, *run, *rand.Rand, *node) error {
	return func(ctx context.Context, r *run, rng *rand.Rand, n *node) error {
		r.gone() // to those who read its answers by way of Redis it is as good as ended
		l := r.backend.links[n.index]
		l.set(state)
		pause(ctx, some(rng, 3*r.opts.disconnected))
		l.set(linkUp)
		return nil
	}
}

// primary picks one of the servers that take writes.
func (r *run) primary(ctx context.Context, rng *rand.Rand) (*storetest.Server, error) {
	all, err := r.backend.primaries(ctx, rng)
	if err != nil {
		return nil, err
	}
	return all[rng.IntN(len(all))], nil
}

// freezeRedis may last so long that another takes its place.
func freezeRedis(ctx context.Context, r *run, rng *rand.Rand, _ *node) error {
	s, err := r.primary(ctx, rng)
	if err != nil {
		return err
	}
	err = s.Pause()
	pause(ctx, some(rng, 4*time.Second))
	return errors.Join(err, s.Resume(), r.backend.awaitReady())
}

func pauseRedis(ctx context.Context, r *run, rng *rand.Rand, _ *node) error {
	s, err := r.primary(ctx, rng)
	if err != nil {
		return err
	}
	d, mode := some(rng, 3*time.Second)+time.Millisecond, "all"
	if rng.IntN(2) == 0 {
		mode = "write"
	}
	err = r.backend.do(ctx, s, "client", "pause", d.Milliseconds(), mode)
	pause(ctx, d)
	return errors.Join(err, r.backend.awaitReady())
}

// killRedis has it come back empty: at once, or when it has been missed.
func killRedis(ctx context.Context, r *run, rng *rand.Rand, _ *node) error {
	s, err := r.primary(ctx, rng)
	if err != nil {
		return err
	}
	err = s.Kill()
	if rng.IntN(2) == 0 {
		pause(ctx, some(rng, 4*time.Second))
	}
	return errors.Join(err, r.backend.restart(s, false), r.backend.awaitReady())
}

// rollRedisBack has it come back with what it had some time ago.
func rollRedisBack(ctx context.Context, r *run, rng *rand.Rand, _ *node) error {
	s := r.backend.servers[0]
	if err := r.backend.do(ctx, s, "save"); err != nil {
		return err
	}
	pause(ctx, some(rng, 3*time.Second))
	err := s.Kill()
	pause(ctx, some(rng, time.Second))
	return errors.Join(err, r.backend.restart(s, true))
}

// restartRedis has it come back with all that it had.
func restartRedis(ctx context.Context, r *run, rng *rand.Rand, _ *node) error {
	s := r.backend.servers[0]
	err := r.backend.do(ctx, s, "client", "pause", 5000, "write") // nothing comes after what is saved
	err = errors.Join(err, r.backend.do(ctx, s, "save"), s.Kill())
	pause(ctx, some(rng, time.Second))
	return errors.Join(err, r.backend.restart(s, true))
}

func flushRedis(ctx context.Context, r *run, rng *rand.Rand, _ *node) error {
	all, err := r.backend.primaries(ctx, rng)
	for _, s := range all {
		err = errors.Join(err, r.backend.do(ctx, s, "flushall"))
	}
	return err
}

// killClients cuts the connections of one kind, again and again for a while.
func killClients(kind string) func(context.Context, *run, *rand.Rand, *node) error {
	return func(ctx context.Context, r *run, rng *rand.Rand, _ *node) error {
		for range 1 + rng.IntN(10) {
			for _, s := range r.backend.servers {
				if err := r.backend.do(ctx, s, "client", "kill", "type", kind, "skipme", "yes"); err != nil {
					return err
				}
			}
			pause(ctx, some(rng, 200*time.Millisecond))
		}
		return r.backend.awaitReady()
	}
}

// failOver kills a primary until another has taken its place.
func failOver(ctx context.Context, r *run, rng *rand.Rand, _ *node) error {
	var old *storetest.Server
	var err error
	if b := r.backend; b.sentinel != nil {
		if old, err = b.sentinel.KillPrimary(ctx); err == nil {
			_, err = b.sentinel.AwaitPrimary(old)
		}
	} else {
		key := fmt.Sprint(rng.Uint64())
		if old, err = b.cluster.KillPrimary(ctx, key); err == nil {
			_, err = b.cluster.AwaitPrimary(key, old)
		}
	}
	if err != nil {
		return err
	}
	pause(ctx, some(rng, 2*time.Second))
	return errors.Join(r.backend.restart(old, false), r.backend.awaitReady())
}

func killSentinel(ctx context.Context, r *run, rng *rand.Rand, _ *node) error {
	s := r.backend.sentinel.Sentinels[rng.IntN(3)]
	err := s.Kill()
	pause(ctx, some(rng, 3*time.Second))
	return errors.Join(err, s.Restart(), r.backend.awaitReady())
}
