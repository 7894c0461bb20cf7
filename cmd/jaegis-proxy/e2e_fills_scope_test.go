package main

import (
	"fmt"
	"strings"
	"testing"

	"jaegis-proxy/internal/origintest"
	"jaegis-proxy/store/storetest"
)

// shares counts what a node has asked the others, in all of its stores.
func (p *proc) shares(t *testing.T) int {
	t.Helper()
	return int(p.metric(t, `jaegis_shared_fills_total\{result="\w+",store="[\w-]+"\}`))
}

// An answer is shared by way of the Redis in which it is kept.
func TestEachNamespaceIsSharedInItsOwnRedis(t *testing.T) {
	other := storetest.StartRedis(t)
	n := startNodesAs(t, 2, fmt.Sprintf(`upstreams: {origin: {url: ORIGIN}}
cache:
  redis: {url: REDIS, budget: 2s}
  stores: {templates: {url: %q, budget: 2s}}
routes:
  - {name: templates, match: {path: /t/*}, namespace: templates}
  - {name: documents, match: {path: /d/*}, namespace: documents}
`, other.URL))
	count := func(r *rig, result, store string) int {
		return int(r.metric(t, fmt.Sprintf(`jaegis_shared_fills_total\{result=%q,store=%q\}`, result, store)))
	}
	for i, of := range []struct{ path, store, not string }{{"/t/a", "redis-templates", "redis"}, {"/d/a", "redis", "redis-templates"}} {
		gate := make(chan struct{})
		n.origin.On(of.path, origintest.Reply{Pieces: []string{"hello"}, HeadGate: gate}.Serve, origintest.Hangup)
		raw := send("POST", of.path, "hello")
		all := n.all[0].clients(t, 5, raw)
		n.awaitCalls(t, of.path, 1)
		all = append(all, n.all[1].clients(t, 5, raw)...)
		storetest.Eventually(t, patience, "the other node follows", func() bool { return count(n.all[1], "followed", of.store) == 1 })
		if count(n.all[0], "led", of.store) != 1 || count(n.all[1], "followed", of.not) != i {
			t.Errorf("%s is not shared in %s", of.path, of.store)
		}
		close(gate)
		each(t, all, "head", (*client).head)
		each(t, all, "answer", func(c *client) error { return c.rest("hello") })
		n.expectCalls(t, of.path, 1)
	}
}

// What cannot be joined by callers of one node is not shared by nodes either.
func TestWhatNobodyCanJoinIsNotAskedOfOtherNodes(t *testing.T) {
	n := startNodesWith(t, 2, inMemoryToo, "  - {name: c, match: {path: /c/*}, ttl: 1h}\n  - {name: o, match: {path: /o/*}, freshness: origin, scope: public}\n")
	requests := []string{
		"HEAD /c/head HTTP/1.1\r\nHost: h\r\n\r\n",
		get("/o/part", "Range: bytes=0-1"),
		get("/c/anew", "Cache-Control: no-cache"),
		get("/c/unkept", "Cache-Control: no-store"),
		send("POST", "/passed", "hello"),
	}
	for _, raw := range requests {
		path, gate := strings.Fields(raw)[1], make(chan struct{})
		n.origin.On(path, origintest.Reply{Pieces: []string{"hello"}, HeadGate: gate}.Serve)
		all := n.crowds(t, 1, raw)
		n.awaitCalls(t, path, 2)
		close(gate)
		for _, c := range all {
			if got := c.s.receive(strings.Fields(raw)[0]); got.Err != nil || got.StatusCode/100 != 2 {
				t.Errorf("%s: status %d, %v", path, got.StatusCode, got.Err)
			}
		}
	}
	for _, r := range n.all {
		if got := r.shares(t); got != 0 {
			t.Errorf("a node has asked %d times", got)
		}
	}
}

// A batch is fetched item by item; its items are in the store for all nodes, but
// on their way they are for callers of one node alone.
func TestBatchesAreNotAskedOfOtherNodes(t *testing.T) {
	origin, redis := serveVectors(t), storetest.StartRedis(t)
	for range 2 {
		p := start(t, strings.Replace(embeddingsBefore(origin.URL, redis.URL, "20s"), "cache:\n", "cache:\n  shared_fills: {enabled: true}\n", 1))
		resp, body := ask(t, "POST", p.URL+"/v1/embeddings", `{"model":"m","input":["a","b"]}`, "Authorization", "Bearer k", "Content-Type", "application/json")
		if resp.StatusCode != 200 || !strings.Contains(string(body), "embedding") {
			t.Errorf("status %d, %s", resp.StatusCode, body)
		}
		if got := p.shares(t); got != 0 {
			t.Errorf("a node has asked %d times", got)
		}
	}
}

// Where an answer is for all whom the upstream accepts, another node's answer is
// given to the same caller, and to no other before the upstream has accepted
// that one too.
func TestAnAnswerForAllWhoAreAcceptedIsGivenElsewhereToNobodyElse(t *testing.T) {
	n := startNodesWith(t, 2, inMemoryToo, "  - {name: c, match: {path: /c/*}, ttl: 1h, scope: shared, proof_ttl: 1h}\n")
	gate := make(chan struct{})
	n.origin.On("/c/a", func(w *origintest.Wire, r *origintest.Request) {
		status := 200
		if r.Value("Authorization") == "bad" {
			status = 401
		}
		origintest.Reply{Status: status, Pieces: []string{"for " + r.Value("Authorization")}, HeadGate: gate}.Serve(w, r)
	})
	by := func(who string) string { return send("POST", "/c/a", "hello", "Authorization: "+who) }
	one := n.all[0].clients(t, 3, by("one"))
	n.awaitCalls(t, "/c/a", 1)
	one = append(one, n.all[1].clients(t, 3, by("one"))...)
	n.all[1].awaitClaims(t, "followed", 1)
	two := n.all[1].clients(t, 3, by("two"))
	n.awaitCalls(t, "/c/a", 2)
	bad := n.all[1].clients(t, 1, by("bad"))
	n.awaitCalls(t, "/c/a", 3)
	close(gate)
	each(t, append(one, two...), "head", (*client).head)
	each(t, one, "the answer", func(c *client) error { return c.rest("for one") })
	each(t, two, "an answer of its own", func(c *client) error { return c.rest("for two") })
	if got := bad[0].s.receive("POST"); got.StatusCode != 401 {
		t.Errorf("status %d for one who is not accepted", got.StatusCode)
	}
	n.expectCalls(t, "/c/a", 3)
}
