package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"jaegis-proxy/internal/origintest"
	"jaegis-proxy/proxy"
	"jaegis-proxy/store/storetest"
)

// An answer that is for one caller alone crosses from node to node as little as
// from caller to caller: each gets one of its own.
func TestAnAnswerForOneCallerIsGivenToNoOtherNode(t *testing.T) {
	for _, of := range personal {
		t.Run(of.name, func(t *testing.T) {
			n := startNodes(t, 3, inMemoryToo)
			path, gate := "/c/a", make(chan struct{})
			n.origin.On(path, numbered(of.status, of.fields, gate))
			raw := send("POST", path, "hello")
			clients := n.all[0].clients(t, 10, raw)
			n.awaitCalls(t, path, 1)
			for _, r := range n.all[1:] {
				clients = append(clients, r.clients(t, 10, raw)...)
				r.awaitClaims(t, "followed", 1)
			}
			close(gate)
			var mu sync.Mutex
			seen := map[string]bool{}
			each(t, clients, "an answer of its own", func(c *client) error {
				resp, err := http.ReadResponse(c.s.br, nil)
				if err != nil {
					return err
				}
				body, err := io.ReadAll(resp.Body)
				mu.Lock()
				defer mu.Unlock()
				if seen[string(body)] || resp.StatusCode != of.status {
					err = errors.Join(err, fmt.Errorf("status %d, and %q is another caller's too", resp.StatusCode, body))
				}
				seen[string(body)] = true
				return err
			})
			n.expectCalls(t, path, len(clients))
		})
	}
}

// A failure is given to those who wait, wherever they do, and not remembered.
func TestAFailureIsSharedByThoseWhoWaitAtAnyNode(t *testing.T) {
	failures := []struct {
		name   string
		reply  origintest.Reply
		status int
	}{
		{"500", origintest.Reply{Status: 500, Pieces: []string{"broken"}}, 500},
		{"503", origintest.Reply{Status: 503}, 503},
		{"no head", origintest.Reply{}, 502},
		{"malformed", origintest.Reply{Fields: []string{"Content-Length: 1", "Content-Length: 2"}}, 502},
	}
	for _, f := range failures {
		t.Run(f.name, func(t *testing.T) {
			n := startNodes(t, 3, inMemoryToo)
			path, gate := "/c/a", make(chan struct{})
			f.reply.HeadGate = gate
			serve := f.reply.Serve
			if f.name == "no head" {
				serve = func(w *origintest.Wire, r *origintest.Request) {
					w.Wait(gate)
					w.Reset()
				}
			}
			n.origin.On(path, serve, origintest.Reply{Pieces: []string{"good"}}.Serve)
			raw := send("POST", path, "hello")
			clients := n.all[0].clients(t, 10, raw)
			n.awaitCalls(t, path, 1)
			for _, r := range n.all[1:] {
				clients = append(clients, r.clients(t, 10, raw)...)
				r.awaitClaims(t, "followed", 1)
			}
			close(gate)
			each(t, clients, "the failure", func(c *client) error {
				if got := c.s.receive("POST"); got.StatusCode != f.status || got.Err != nil {
					return fmt.Errorf("status %d, %w, %s", got.StatusCode, got.Err, got.Body)
				}
				return nil
			})
			n.expectCalls(t, path, 1)
			storetest.Eventually(t, patience, "the lease is given back", func() bool { return n.metric(t, `jaegis_leases\{store="redis"\}`) == 0 })
			for _, r := range n.all {
				if got := r.whole(t, raw); string(got.Body) != "good" {
					t.Errorf("%q", got.Body)
				}
			}
			n.expectCalls(t, path, 2)
		})
	}
}

func TestACutAnswerIsCutAtAllNodes(t *testing.T) {
	n := startNodes(t, 2, inMemoryToo)
	for _, end := range []origintest.End{origintest.EndCut, origintest.EndInChunk, origintest.EndReset} {
		path, gate := fmt.Sprintf("/c/%d", end), make(chan struct{})
		n.origin.On(path, origintest.Reply{Pieces: parts(2, 1000), Chunked: true, End: end, Gate: gate}.Serve, origintest.Reply{Pieces: []string{"good"}}.Serve)
		raw := send("POST", path, "hello")
		clients := n.all[0].clients(t, 10, raw)
		n.awaitCalls(t, path, 1)
		clients = append(clients, n.all[1].clients(t, 10, raw)...)
		each(t, clients, "head", (*client).head)
		open(t, gate)
		each(t, clients, "first piece", func(c *client) error { return c.upTo(1000) })
		close(gate)
		each(t, clients, "the cut", (*client).cut)
		for _, r := range n.all {
			if got := r.whole(t, raw); string(got.Body) != "good" {
				t.Errorf("%q", got.Body)
			}
		}
		n.expectCalls(t, path, 2)
	}
}

// What the request's headers select is known when the first answer is there:
// those whom it is not for ask for themselves, all others are given it.
func TestVariantsAreGivenToThoseWhomTheyAreForAtAllNodes(t *testing.T) {
	for _, cache := range []string{inMemoryToo, inRedisAlone} {
		n := startNodes(t, 3, cache)
		path, gate := "/c/a", make(chan struct{})
		n.origin.On(path, func(w *origintest.Wire, r *origintest.Request) {
			origintest.Reply{Fields: []string{"Vary: X-Kind"}, Pieces: []string{"for " + r.Value("X-Kind")}, HeadGate: gate}.Serve(w, r)
		})
		red, blue := send("POST", path, "hello", "X-Kind: red"), send("POST", path, "hello", "X-Kind: blue")
		reds := n.all[0].clients(t, 5, red)
		n.awaitCalls(t, path, 1)
		var blues []*client
		for _, r := range n.all[1:] {
			blues = append(blues, r.clients(t, 1, blue)...)
			r.awaitClaims(t, "followed", 1)
		}
		reds = append(reds, n.crowds(t, 5, red)...)
		close(gate)
		each(t, append(reds, blues...), "head", (*client).head)
		each(t, reds, "red", func(c *client) error { return c.rest("for red") })
		each(t, blues, "blue", func(c *client) error { return c.rest("for blue") })
		n.expectCalls(t, path, 3) // one for red, and one for blue at each node where that came before it was known
		for _, r := range n.all {
			for raw, want := range map[string]string{red: "for red", blue: "for blue"} {
				if got := r.untilX(t, raw, "HIT"); string(got.Body) != want {
					t.Errorf("%q, want %q", got.Body, want)
				}
			}
		}
	}
}

// With HTTP's own freshness: a stale answer is refreshed by one node for all,
// whatever each has in its memory, by a new answer or by the upstream's word
// that it still holds.
func TestAStaleAnswerIsRefreshedOnceForAllNodes(t *testing.T) {
	routes := "  - {name: swr, match: {path: /swr/*}, ttl: 2s, stale_while_revalidate: 1h}\n  - {name: c, match: {path: /c/*}, freshness: origin, scope: public}\n"
	for _, cache := range []string{inMemoryToo, inRedisAlone} {
		n := startNodesWith(t, 3, cache, routes)
		gate := make(chan struct{})
		n.origin.On("/swr/a", origintest.Reply{Pieces: []string{"old"}}.Serve, origintest.Reply{Pieces: []string{"new"}, HeadGate: gate}.Serve, origintest.Hangup)
		raw := send("POST", "/swr/a", "hello")
		for _, r := range n.all {
			r.untilX(t, raw, "HIT")
		}
		for _, r := range n.all {
			if got := r.untilX(t, raw, "STALE"); string(got.Body) != "old" {
				t.Errorf("%q, %s", got.Body, got.status())
			}
		}
		n.awaitCalls(t, "/swr/a", 2)
		close(gate)
		for _, r := range n.all {
			r.until(t, raw, "the newer answer", func(got *reply) bool { return string(got.Body) == "new" })
		}
		n.expectCalls(t, "/swr/a", 2)
	}
}

func TestAnAnswerIsConfirmedOnceForAllNodes(t *testing.T) {
	routes := "  - {name: c, match: {path: /c/*}, freshness: origin, scope: public}\n"
	n := startNodesWith(t, 3, inMemoryToo, routes)
	gate := make(chan struct{})
	fields := []string{"Cache-Control: public, max-age=1", `ETag: "a"`}
	n.origin.On("/c/a", origintest.Reply{Fields: fields, Pieces: []string{"good"}}.Serve,
		origintest.Reply{Status: 304, Fields: []string{"Cache-Control: public, max-age=3600", `ETag: "a"`}, HeadGate: gate}.Serve, origintest.Hangup)
	raw := get("/c/a")
	n.whole(t, raw)
	asks := func(directives string, want int) { // whoever asks otherwise would have it confirmed
		n.until(t, get("/c/a", "Cache-Control: only-if-cached"+directives), fmt.Sprint(want), func(got *reply) bool { return got.StatusCode == want })
	}
	asks(", max-stale", http.StatusOK)  // it is stored
	asks("", http.StatusGatewayTimeout) // and stale
	clients := n.all[0].clients(t, 5, raw)
	n.awaitCalls(t, "/c/a", 2)
	for _, r := range n.all[1:] {
		clients = append(clients, r.clients(t, 5, raw)...)
		r.awaitClaims(t, "followed", 1)
	}
	close(gate)
	each(t, clients, "head", (*client).head)
	each(t, clients, "answer", func(c *client) error { return c.rest("good") })
	n.expectCalls(t, "/c/a", 2)
}

// An answer that is larger than what is kept of one on its way, and than what is
// stored, reaches those who read along all the same. Whoever comes when its
// beginning is gone asks for himself. (One that says at its beginning that it is
// too large to be stored can be joined by nobody, on no node.)
func TestALargeAnswerReachesAllNodes(t *testing.T) {
	n := startNodes(t, 3, inMemoryToo+"\n  shared_fills: {enabled: true, max_bytes: 1MiB}")
	for _, f := range framings {
		if !f.chunked {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			path, pieces := "/c/"+f.name, parts(48, 256<<10) // 12 MiB, of which 8 may be stored
			gate := make(chan struct{})
			n.origin.On(path, origintest.Reply{Pieces: pieces, Chunked: f.chunked, Gate: gate}.Serve)
			raw := send("POST", path, "hello")
			clients := n.all[0].clients(t, 2, raw)
			n.awaitCalls(t, path, 1)
			clients = append(clients, n.all[1].clients(t, 2, raw)...)
			each(t, clients, "head", (*client).head)
			for i := range pieces {
				open(t, gate)
				upTo := (i+1)*(256<<10) - 1
				each(t, clients, fmt.Sprintf("piece %d", i), func(c *client) error { return c.upTo(upTo) })
				if i == len(pieces)-2 {
					n.expectCalls(t, path, 1)
					late := n.all[2].clients(t, 1, raw)
					n.awaitCalls(t, path, 2)
					late[0].leave(true)
				}
			}
			close(gate)
			each(t, clients, "end", func(c *client) error { return c.rest(strings.Join(pieces, "")) })
		})
	}
}

// Who fetches may have nobody left who waits for it, also where a route cancels
// fetches that nobody wants: once another node follows, the fetch goes on.
func TestAFetchGoesOnForTheClientsOfOtherNodes(t *testing.T) {
	n := startNodesWith(t, 2, inMemoryToo, "  - {name: cancel, match: {path: /c/*}, ttl: 1h, on_abandon: cancel}\n")
	gate := make(chan struct{})
	n.origin.On("/c/a", origintest.Reply{Pieces: []string{"hel", "lo"}, Chunked: true, Gate: gate}.Serve, origintest.Hangup)
	raw := send("POST", "/c/a", "hello")
	own := n.all[0].clients(t, 2, raw)
	n.awaitCalls(t, "/c/a", 1)
	others := n.all[1].clients(t, 2, raw)
	all := append(own, others...)
	each(t, all, "head", (*client).head)
	open(t, gate)
	each(t, all, "first piece", func(c *client) error { return c.upTo(3) })
	for _, c := range own {
		c.leave(true)
	}
	n.until(t, get("/other"), "all that has left", func(*reply) bool { return n.metric(t, "jaegis_connections") == 0 })
	close(gate)
	each(t, others, "all of it", func(c *client) error { return c.rest("hello") })
	n.expectCalls(t, "/c/a", 1)
}

// A large upload is on disk, and is needed again when what another node fetched
// is not for this caller.
func TestAnUploadIsSentWholeWhenAnotherNodesAnswerIsNotForIt(t *testing.T) {
	n := startNodesWith(t, 2, inMemoryToo, "  - {name: c, match: {path: /c/*}, ttl: 1h}\nspool: {memory: 64KiB}\n")
	upload := content("upload", 1<<20)
	for i, fields := range [][]string{{"Vary: X-Kind"}, {"Set-Cookie: a=b"}} {
		path, gate := fmt.Sprintf("/c/%d", i), make(chan struct{})
		n.origin.On(path, func(w *origintest.Wire, r *origintest.Request) {
			origintest.Reply{Fields: fields, Pieces: []string{fmt.Sprintf("%s %v", r.Value("X-Kind"), string(r.Body) == upload)}, HeadGate: gate}.Serve(w, r)
		})
		one := n.all[0].clients(t, 1, send("POST", path, upload, "X-Kind: one"))
		n.awaitCalls(t, path, 1)
		two := n.all[1].clients(t, 3, send("POST", path, upload, "X-Kind: two"))
		n.all[1].awaitClaims(t, "followed", 1+i)
		close(gate)
		each(t, append(one, two...), "head", (*client).head)
		each(t, one, "one", func(c *client) error { return c.rest("one true") })
		each(t, two, "two", func(c *client) error { return c.rest("two true") })
	}
	for _, r := range n.all {
		r.awaitNoSpool(t)
	}
}

// What an answer cost is counted where it was fetched, what it saved where it
// was given.
func TestAnAIAnswerIsPaidOnceAndSavesAtEveryNode(t *testing.T) {
	u := serveProvider(t)
	begun, gate := make(chan struct{}, 10), make(chan struct{})
	u.set(func(http.ResponseWriter, *http.Request) bool {
		begun <- struct{}{}
		<-gate
		return false
	})
	for i, name := range []string{"chat-text.sse", "chat-text.json"} {
		n := startNodesAs(t, 2, "cache:\n  "+inMemoryToo+fmt.Sprintf(aiRoutes, u.URL, ""))
		raw := send("POST", "/chat", `{"model":"m"}`, "Authorization: Bearer k", "Content-Type: application/json", "Recording: "+name)
		clients := n.all[0].clients(t, 3, raw)
		<-begun
		clients = append(clients, n.all[1].clients(t, 3, raw)...)
		n.all[1].awaitClaims(t, "followed", 1)
		gate <- struct{}{}
		each(t, clients, "head", (*client).head)
		each(t, clients, "answer", func(c *client) error { return c.rest(recording(t, name)) })
		if got := int(u.calls.Load()); got != i+1 {
			t.Errorf("%d calls, want %d", got, i+1)
		}
		for k, want := range [][2]float64{{1, 2}, {0, 3}} { // answers spent and saved
			r := n.all[k]
			var st proxy.Stats
			storetest.Eventually(t, patience, fmt.Sprintf("node %d has counted %v", k, want), func() bool {
				if err := json.Unmarshal([]byte(r.adminGet(t, "/api/v1/stats")), &st); err != nil {
					t.Fatal(err)
				}
				return st.Total.Spent.Requests == int64(want[0]) && st.Total.Saved.Requests == int64(want[1])
			})
			if st.Total.Saved.TokensOut == 0 || st.Total.Saved.Money == 0 {
				t.Errorf("node %d has saved %+v", k, st.Total.Saved)
			}
		}
	}
}

// Callers of two tenants ask three nodes at random, while answers expire: every
// answer is the one to its own request.
func TestNoAnswerCrossesWhereNodesShareFetches(t *testing.T) {
	n := startNodesWith(t, 3, "redis: {url: REDIS, budget: 200ms}\n  memory: {max_bytes: 64MiB}",
		"  - {name: c, match: {path: /c/*}, ttl: 200ms, stale_while_revalidate: 100ms}\n")
	var asked, hits, joined atomic.Int64
	var wg sync.WaitGroup
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	defer transport.CloseIdleConnections()
	c := &http.Client{Transport: transport, Timeout: patience}
	for range 16 {
		wg.Go(func() {
			for range 250 {
				err := func() error {
					tenant := fmt.Sprintf("tenant-%d", rand.IntN(2))
					target := fmt.Sprintf("/c/%d?pad=%d&chunk=%d", rand.IntN(3), 70_000*rand.IntN(2), 5000*rand.IntN(2))
					req, err := http.NewRequest(http.MethodPost, n.all[rand.IntN(3)].URL+target, strings.NewReader("hello"))
					if err != nil {
						return err
					}
					req.Header.Set("Authorization", tenant)
					resp, err := c.Do(req)
					if err != nil {
						return err
					}
					defer func() { _ = resp.Body.Close() }()
					body, err := io.ReadAll(resp.Body)
					if err != nil {
						return err
					}
					asked.Add(1)
					switch cs := resp.Header.Get("Cache-Status"); {
					case strings.Contains(cs, "; hit"):
						hits.Add(1)
					case strings.Contains(cs, "; collapsed"):
						joined.Add(1)
					}
					_, err = origintest.VerifyProof(http.MethodPost, target, tenant, []byte("hello"), body)
					return err
				}()
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d answers: %d hits, %d joined, %d led, %d followed, %d landed, %d calls", asked.Load(), hits.Load(), joined.Load(),
		n.sum(t, "led"), n.sum(t, "followed"), n.sum(t, "landed"), n.origin.Calls())
	if n.sum(t, "followed") == 0 || n.sum(t, "landed") == 0 || hits.Load() == 0 {
		t.Error("not all was tried")
	}
}
