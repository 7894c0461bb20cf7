package main

import (
	"strings"
	"testing"
	"time"

	"jaegis-proxy/internal/origintest"
)

// A client of another node's answer is slower than that comes, by more than is
// kept for nodes and than may be stored: it gets all of it, from the one call.
func TestASlowClientOfAnotherNodesAnswerGetsAllOfIt(t *testing.T) {
	n := startNodes(t, 2, inMemoryToo)
	for i, f := range framings {
		t.Run(f.name, func(t *testing.T) {
			path, pieces, gate := "/c/"+f.name, parts(160, 256<<10), make(chan struct{}) // 40 MiB; sockets hold some of that
			n.origin.On(path, origintest.Reply{Pieces: pieces, Chunked: f.chunked, HeadGate: gate, Gate: gate}.Serve)
			raw := send("POST", path, "hello")
			own := n.all[0].clients(t, 1, raw)
			n.awaitCalls(t, path, 1)
			slow := n.all[1].clients(t, 2, raw)
			n.all[1].awaitClaims(t, "followed", i+1)
			open(t, gate)
			each(t, append(own, slow...), "head", (*client).head)
			open(t, gate)
			each(t, append(own, slow...), "first bytes", func(c *client) error { return c.upTo(1000) })
			for i := 2; i < len(pieces); i++ { // no faster than nodes tell each other
				open(t, gate)
				each(t, own, "one more piece", func(c *client) error { return c.upTo(i * 256 << 10) })
			}
			close(gate)
			body := strings.Join(pieces, "")
			each(t, own, "all of it", func(c *client) error { return c.rest(body) })
			each(t, slow, "all of it", func(c *client) error { return c.rest(body) })
			n.expectCalls(t, path, 1)
		})
	}
}

// Nobody waits for what another node has asked for before a purge.
func TestWhoAsksAfterAPurgeDoesNotWaitForAnOlderFetchOfAnotherNode(t *testing.T) {
	n := startNodes(t, 2, inMemoryToo)
	gate := make(chan struct{})
	n.origin.On("/c/a", origintest.Reply{Pieces: []string{"old"}, HeadGate: gate}.Serve, origintest.Reply{Pieces: []string{"new"}}.Serve)
	raw := send("POST", "/c/a", "hello")
	before := n.all[0].clients(t, 1, raw)
	n.awaitCalls(t, "/c/a", 1)
	before = append(before, n.all[1].clients(t, 1, raw)...)
	n.all[1].awaitClaims(t, "followed", 1)
	n.all[1].purge(t, `{"route":"cached"}`)
	for range 2 { // the second from what the first has brought
		if got := n.all[1].do(t, raw); string(got.Body) != "new" {
			t.Errorf("%s %q", got.status(), got.Body)
		}
	}
	n.expectCalls(t, "/c/a", 2)
	close(gate)
	each(t, before, "head", (*client).head)
	each(t, before[:1], "what it waited for", func(c *client) error { return c.rest("old") })
	each(t, before[1:], "either", func(c *client) error { return c.upTo(3) })
}

// After a purge in mid-fetch one node fetches anew for all, be it the one that
// fetches already or another.
func TestAfterAPurgeOneNodeFetchesAnewForAll(t *testing.T) {
	n := startNodes(t, 3, inMemoryToo)
	old, gate := make(chan struct{}), make(chan struct{})
	n.origin.On("/c/a", origintest.Reply{Pieces: []string{"old"}, HeadGate: old}.Serve, origintest.Reply{Pieces: []string{"new"}, HeadGate: gate}.Serve, origintest.Hangup)
	raw := send("POST", "/c/a", "hello")
	before := n.all[0].clients(t, 1, raw)
	n.awaitCalls(t, "/c/a", 1)
	n.all[1].purge(t, `{"route":"cached"}`)
	time.Sleep(500 * time.Millisecond) // all have heard of it
	var after []*client
	for _, r := range n.all {
		after = append(after, r.clients(t, 5, raw)...)
	}
	n.awaitCalls(t, "/c/a", 2)
	close(gate)
	each(t, after, "head", (*client).head)
	each(t, after, "the new answer", func(c *client) error { return c.rest("new") })
	close(old)
	each(t, before, "head", (*client).head)
	each(t, before, "the old answer", func(c *client) error { return c.rest("old") })
	n.expectCalls(t, "/c/a", 2)
}

// A fetch that is of no more use to anybody, at any node, ends: where the route
// says so, and where its answer is too large to be stored.
func TestAFetchEndsWithItsLastClientAtAllNodes(t *testing.T) {
	n := startNodesWith(t, 2, inMemoryToo, "  - {name: cancel, match: {path: /cancel/*}, ttl: 1h, on_abandon: cancel}\n  - {name: small, match: {path: /small/*}, ttl: 1h, max_object_bytes: 1KiB}\n")
	for i, path := range []string{"/cancel/a", "/small/a"} {
		t.Run(path, func(t *testing.T) {
			head, gate, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
			n.origin.On(path, func(w *origintest.Wire, q *origintest.Request) {
				defer close(ended)
				origintest.Reply{Pieces: parts(1000, 1000), Chunked: true, HeadGate: head, Gate: gate}.Serve(w, q)
			})
			raw := send("POST", path, "hello")
			all := n.all[0].clients(t, 1, raw)
			n.awaitCalls(t, path, 1)
			all = append(all, n.all[1].clients(t, 1, raw)...)
			n.all[1].awaitClaims(t, "followed", i+1)
			open(t, head)
			each(t, all, "head", (*client).head)
			for i := range 5 {
				open(t, gate)
				each(t, all, "piece", func(c *client) error { return c.upTo((i + 1) * 1000) })
			}
			for _, c := range all {
				c.leave(true)
			}
			for deadline := time.After(patience); ; {
				select {
				case <-ended: // the origin saw its connection close
					return
				case gate <- struct{}{}: // what still comes
					time.Sleep(20 * time.Millisecond)
				case <-deadline:
					t.Fatal("the fetch goes on without clients")
				}
			}
		})
	}
}
