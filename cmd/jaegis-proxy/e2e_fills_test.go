package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"jaegis-proxy/internal/origintest"
	"jaegis-proxy/store/storetest"
)

// What the origin has sent is with every client of every node while it holds
// back the rest.
func TestCallersOfAllNodesCostOneCallAndEachGetsEveryByteAsItComes(t *testing.T) {
	n := startNodes(t, 3, inMemoryToo)
	for _, f := range framings {
		t.Run(f.name, func(t *testing.T) {
			path, pieces := "/c/"+f.name, parts(5, 3000)
			head, gate := make(chan struct{}), make(chan struct{})
			body := strings.Join(pieces, "")
			n.origin.On(path, origintest.Reply{Pieces: pieces, Chunked: f.chunked, HeadGate: head, Gate: gate}.Serve, origintest.Hangup)
			raw := send("POST", path, "hello")
			all := n.crowds(t, 200, raw)
			n.awaitCalls(t, path, 1)
			open(t, head)
			each(t, all, "head", (*client).head)
			late := n.crowds(t, 100, raw)
			each(t, late, "head, once it was there", (*client).head)
			all = append(all, late...)
			for i := 1; i <= len(pieces); i++ {
				open(t, gate)
				upTo := min(3000*i, len(body)-1)
				each(t, all, fmt.Sprintf("piece %d", i), func(c *client) error { return c.upTo(upTo) })
			}
			open(t, gate)
			each(t, all, "end", func(c *client) error { return c.rest(body) })
			n.expectCalls(t, path, 1)
			for _, r := range n.all {
				r.untilX(t, raw, "HIT")
			}
			n.expectCalls(t, path, 1)
			for i, c := range all {
				if s := c.resp.Header.Get("Cache-Status"); !strings.HasPrefix(s, "jaegis; fwd=miss; ") {
					t.Fatalf("client %d: %s", i, s)
				}
			}
		})
	}
	if led, followed := n.sum(t, "led"), n.sum(t, "followed"); led != 2 || followed != 4 {
		t.Errorf("%d fetches were led and %d followed; want 2 and 4", led, followed)
	}
	n.awaitNothingLeft(t)
}

// The node that fetches is killed in mid-answer: nobody takes the half for the
// whole, and whoever asks then gets it whole, for one call more.
func TestKillingTheNodeThatFetchesCutsVisiblyAndCostsOneMoreCall(t *testing.T) {
	for _, f := range framings {
		t.Run(f.name, func(t *testing.T) {
			n := startNodes(t, 3, inMemoryToo)
			path, pieces := "/c/a", parts(3, 3000)
			body, gate := strings.Join(pieces, ""), make(chan struct{})
			n.origin.On(path, origintest.Reply{Pieces: pieces, Chunked: f.chunked, Gate: gate}.Serve,
				origintest.Reply{Pieces: pieces, Chunked: f.chunked}.Serve, origintest.Hangup)
			raw := send("POST", path, "hello")
			all := n.all[0].clients(t, 100, raw)
			n.awaitCalls(t, path, 1)
			all = append(all, n.all[1].clients(t, 100, raw)...)
			all = append(all, n.all[2].clients(t, 100, raw)...)
			each(t, all, "head", (*client).head)
			open(t, gate)
			each(t, all, "first piece", func(c *client) error { return c.upTo(3000) })
			killed := time.Now()
			n.all[0].crash()
			each(t, all, "the end of half an answer", (*client).cut)
			t.Logf("all were cut %v after the kill", time.Since(killed))
			n.expectCalls(t, path, 1)
			n.all = n.all[1:]
			after := n.crowds(t, 100, raw)
			each(t, after, "head", (*client).head)
			each(t, after, "all of it", func(c *client) error { return c.rest(body) })
			n.expectCalls(t, path, 2)
		})
	}
}

// It is killed before it has an answer: those who wait at other nodes get it
// from another call, all from the same.
func TestKillingTheNodeThatFetchesBeforeItsAnswerCostsOneMoreCall(t *testing.T) {
	n := startNodes(t, 3, inMemoryToo)
	path, pieces := "/c/a", parts(3, 3000)
	body, head := strings.Join(pieces, ""), make(chan struct{})
	n.origin.On(path, origintest.Reply{Pieces: pieces, Chunked: true, HeadGate: head}.Serve,
		origintest.Reply{Pieces: pieces, Chunked: true, HeadGate: head}.Serve, origintest.Hangup)
	raw := send("POST", path, "hello")
	lost := n.all[0].clients(t, 100, raw)
	n.awaitCalls(t, path, 1)
	n.all = n.all[1:]
	all := n.crowds(t, 100, raw)
	for _, r := range n.all {
		r.awaitClaims(t, "followed", 1)
	}
	killed := time.Now()
	n.rig.crash()
	n.awaitCalls(t, path, 2)
	t.Logf("the second call was made %v after the kill", time.Since(killed))
	all = append(all, n.crowds(t, 50, raw)...)
	storetest.Eventually(t, patience, "all follow the one that fetches now", func() bool { return n.sum(t, "followed") == 3 })
	close(head)
	each(t, all, "head", (*client).head)
	each(t, all, "all of it", func(c *client) error { return c.rest(body) })
	for _, c := range lost {
		if c.head() == nil {
			t.Error("a client of the killed node has an answer")
		}
	}
	n.expectCalls(t, path, 2)
	if led, followed := n.sum(t, "led"), n.sum(t, "followed"); led != 1 || followed != 3 {
		t.Errorf("%d fetches were led and %d followed; want 1, and 2 before and 1 after it", led, followed)
	}
}

// A node that stands still for longer than its lease lasts, and goes on: its
// own callers get its answer whole, and what another node has stored meanwhile
// stays.
func TestANodeThatStoodStillDoesNotOverwriteWhatAnotherHasStored(t *testing.T) {
	n := startNodes(t, 2, inRedisAlone)
	path, head := "/c/a", make(chan struct{})
	n.origin.On(path, origintest.Reply{Pieces: []string{"the old answer"}, HeadGate: head}.Serve,
		origintest.Reply{Pieces: []string{"the new answer"}}.Serve, origintest.Hangup)
	raw := send("POST", path, "hello")
	old := n.all[0].clients(t, 1, raw)
	n.awaitCalls(t, path, 1)
	waiting := n.all[1].clients(t, 1, raw)
	n.all[1].awaitClaims(t, "followed", 1)
	n.all[0].signal(t, syscall.SIGSTOP)
	each(t, waiting, "head", (*client).head)
	each(t, waiting, "answer", func(c *client) error { return c.rest("the new answer") })
	n.all[1].untilX(t, raw, "HIT")
	n.all[0].signal(t, syscall.SIGCONT)
	close(head)
	each(t, old, "head", (*client).head)
	each(t, old, "answer", func(c *client) error { return c.rest("the old answer") })
	storetest.Eventually(t, patience, "its answer is refused", func() bool {
		return n.all[0].metric(t, `jaegis_not_stored_total\{reason="lease-lost",route="cached"\}`) == 1
	})
	for _, r := range n.all {
		if got := r.whole(t, raw); string(got.Body) != "the new answer" || got.xCache() != "HIT" {
			t.Errorf("%q, %s", got.Body, got.status())
		}
	}
	n.expectCalls(t, path, 2)
}

// Redis dies or stands still in mid-fetch: no request fails that has had
// nothing yet, and the node that fetches does not notice.
func TestAFaultOfRedisInMidFetchCostsNoRequest(t *testing.T) {
	faults := []struct {
		name         string
		break_, mend func(*storetest.RedisServer)
	}{
		{"killed", (*storetest.RedisServer).Kill, (*storetest.RedisServer).Restart},
		{"stopped", (*storetest.RedisServer).Stop, (*storetest.RedisServer).Cont},
	}
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			n := startNodes(t, 3, atOnce)
			path, pieces := "/c/a", parts(3, 3000)
			body, head := strings.Join(pieces, ""), make(chan struct{})
			n.origin.On(path, origintest.Reply{Pieces: pieces, Chunked: true, HeadGate: head}.Serve)
			raw := send("POST", path, "hello")
			all := n.all[0].clients(t, 20, raw)
			n.awaitCalls(t, path, 1)
			for _, r := range n.all[1:] {
				all = append(all, r.clients(t, 20, raw)...)
				r.awaitClaims(t, "followed", 1)
			}
			fault.break_(n.redis)
			n.awaitCalls(t, path, 3) // each node for itself
			all = append(all, n.crowds(t, 20, raw)...)
			close(head)
			each(t, all, "head", (*client).head)
			each(t, all, "all of it", func(c *client) error { return c.rest(body) })
			n.expectCalls(t, path, 3)
			fault.mend(n.redis)
			for _, r := range n.all {
				r.awaitReadyz(t, "ok", backAfter)
			}
			n.origin.On("/c/b", origintest.Reply{Pieces: pieces}.Serve, origintest.Hangup)
			all = n.crowds(t, 20, send("POST", "/c/b", "hello"))
			each(t, all, "head, after that", (*client).head)
			each(t, all, "all of it, after that", func(c *client) error { return c.rest(body) })
			n.expectCalls(t, "/c/b", 1)
		})
	}
}

func TestEachNodeFetchesForItselfWhereThatIsNotShared(t *testing.T) {
	n := startNodes(t, 3, inMemoryToo+"\n  shared_fills: {enabled: false}")
	path, head := "/c/a", make(chan struct{})
	n.origin.On(path, origintest.Reply{Pieces: []string{"hello"}, HeadGate: head}.Serve)
	all := n.crowds(t, 10, send("POST", path, "hello"))
	n.awaitCalls(t, path, 3)
	close(head)
	each(t, all, "head", (*client).head)
	each(t, all, "answer", func(c *client) error { return c.rest("hello") })
	n.expectCalls(t, path, 3)
	if m := n.adminGet(t, "/metrics"); strings.Contains(m, "jaegis_shared_fills_total") {
		t.Error("it is counted all the same")
	}
}

func (n *nodes) sum(t *testing.T, result string) (sum int) {
	t.Helper()
	for _, r := range n.all {
		sum += r.claims(t, result)
	}
	return sum
}
