package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"sync"
	"time"
)

// purgers is how many purge at the same time.
const purgers = 3

// purgeTime is how long a purge may take; what has not been acknowledged by
// then may have its effect or not.
const purgeTime = 15 * time.Second

// kinds are what is purged how often, of a thousand.
var kinds = []struct {
	kind  string
	share int
}{{"key", 300}, {"tag", 440}, {"tenant", 80}, {"model", 120}, {"route", 30}, {"namespace", 20}, {"all", 10}}

// purgeCounts are what became of purges. It is safe for concurrent use.
type purgeCounts struct {
	mu      sync.Mutex
	acked   map[string]int64 // by kind
	refused int64            // because the ledger was away
	unknown int64            // the proxy was ended or frozen
	longest time.Duration    // that an undisturbed one took
}

func (c *purgeCounts) ack(kind string, took time.Duration, undisturbed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.acked == nil {
		c.acked = map[string]int64{}
	}
	c.acked[kind]++
	if undisturbed {
		c.longest = max(c.longest, took)
	}
}

// purger changes something at the upstream, purges, and asks for it at once:
// where it was acknowledged, and a little later elsewhere. It is for one
// goroutine.
type purger struct {
	r      *run
	rng    *rand.Rand
	client *http.Client
	probes []*worker // by node
}

func newPurger(r *run, i, firstID int) *purger {
	p := &purger{r: r, rng: rand.New(rand.NewPCG(r.opts.seed, uint64(i)<<32)), client: &http.Client{Timeout: purgeTime}}
	for _, n := range r.nodes {
		p.probes = append(p.probes, newWorker(r, firstID+n.index, n))
	}
	return p
}

func (p *purger) work(ctx context.Context) {
	defer p.client.CloseIdleConnections()
	for ctx.Err() == nil {
		a, s := p.choose()
		n := p.r.nodes[p.rng.IntN(len(p.r.nodes))]
		incarnation, ok := n.await(ctx)
		if !ok {
			return
		}
		if p.purge(ctx, s, n, incarnation) {
			p.probe(ctx, a, n)
			p.pause(ctx, p.r.opts.grace+time.Millisecond)
			p.probe(ctx, a, p.r.nodes[(n.index+1)%len(p.r.nodes)])
		} else {
			p.pause(ctx, 50*time.Millisecond)
		}
	}
}

// choose picks something that is often asked for, and a scope that it is in.
func (p *purger) choose() (*ask, int) {
	for {
		dice, kind := p.rng.IntN(1000), ""
		for _, k := range kinds {
			if kind = k.kind; dice < k.share {
				break
			}
			dice -= k.share
		}
		a := p.r.plan.pick(p.rng)
		for _, s := range a.scopes {
			if p.r.plan.scopes[s].kind == kind {
				return a, s
			}
		}
	}
}

// purge says whether it was acknowledged.
func (p *purger) purge(ctx context.Context, s int, n *node, incarnation int64) bool {
	scope, soft := p.r.plan.scopes[s], p.rng.IntN(4) == 0
	rec := &record{Kind: "purge", Node: n.index, Run: int(incarnation), Scope: scope.String(), Soft: soft, Ask: -1}
	rec.Version = p.r.version.Add(1) // what the upstream gives from now on is newer
	rec.Begun = p.r.now()
	status, said, err := p.post(ctx, n, scope, soft)
	rec.Ended, rec.Status = p.r.now(), status
	disturbed := p.r.checker.wasDisturbed(n.index, rec.Begun, rec.Ended)
	switch {
	case err == nil && status == http.StatusOK:
		p.r.checker.purged(mark{scope: s, node: n.index, incarnation: int(incarnation), version: rec.Version, acked: rec.Ended, soft: soft})
		p.r.purges.ack(scope.kind, time.Duration(rec.Ended-rec.Begun), !disturbed)
		p.r.history.purges.add(rec)
		return true
	case ctx.Err() != nil:
	case err != nil && (n.incarnation.Load() != incarnation || disturbed):
		p.r.purges.mu.Lock()
		p.r.purges.unknown++
		p.r.purges.mu.Unlock()
	case err == nil && status == http.StatusServiceUnavailable && disturbed && json.Valid([]byte(said)):
		p.r.purges.mu.Lock()
		p.r.purges.refused++
		p.r.purges.mu.Unlock()
	default:
		rec.Ask, rec.Detail = 0, fmt.Sprintf("purge: %d %s %v", status, said, err)
		p.probes[n.index].counts.operations++
		p.probes[n.index].violation(failed, rec, nil)
	}
	rec.Detail = fmt.Sprintf("not acknowledged: %s %v", said, err)
	p.r.history.purges.add(rec)
	return false
}

func (p *purger) post(ctx context.Context, n *node, s scope, soft bool) (status int, said string, err error) {
	what := map[string]any{s.kind: s.value}
	if s.kind == "all" {
		what["all"] = true
	}
	if soft {
		what["soft"] = true
	}
	body, err := json.Marshal(what)
	if err != nil {
		return 0, "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+n.Admin+"/api/v1/purge", bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := p.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	return resp.StatusCode, string(b), err
}

// probe asks a node once.
func (p *purger) probe(ctx context.Context, a *ask, n *node) {
	w := p.probes[n.index]
	incarnation, ok := n.await(ctx)
	if !ok {
		return
	}
	if w.opened != incarnation {
		w.client.close()
		w.opened = incarnation
	}
	w.batch = append(w.batch[:0], a)
	w.round(incarnation)
}

func (p *purger) pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// findKeys has the program say which keys the popular asks have, so that they
// can be purged by these.
func (r *run) findKeys(program string) error {
	if !r.opts.purge {
		return nil
	}
	const keys = 40
	for _, a := range r.plan.asks[:min(keys, len(r.plan.asks))] {
		if a.route == "origin" {
			continue // its answers have keys of their own
		}
		args := []string{"key", "--config", r.nodes[0].File, "--json", "-X", a.method}
		for _, h := range a.headers() {
			args = append(args, "-H", h)
		}
		if len(a.body) > 0 {
			args = append(args, "-d", string(a.body))
		}
		out, err := exec.Command(program, append(args, a.target)...).Output()
		if err != nil {
			return fmt.Errorf("jaegis-proxy key: %w", err)
		}
		var said struct{ Key string }
		if err := json.Unmarshal(out, &said); err != nil || said.Key == "" {
			return fmt.Errorf("jaegis-proxy key said %s: %w", out, err)
		}
		r.plan.scope(a, "key", said.Key)
	}
	r.checker.grow(len(r.plan.scopes))
	return nil
}
