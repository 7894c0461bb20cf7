package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"jaegis-proxy/internal/origintest"
)

const followRoutes = `
upstreams: {origin: {url: ORIGIN}}
cache: {uncacheable_ttl: 10m}
routes:
  - {name: public, match: {path: /public/*}, ttl: 1h, scope: public}
  - {name: small, match: {path: /small/*}, ttl: 1h, max_object_bytes: 4KiB}
  - {name: cancel, match: {path: /cancel/*}, ttl: 1h, on_abandon: cancel}
  - {name: cached, match: {path: /c/*}, ttl: 1h}
`

// personal are answers that are for one caller alone.
var personal = []struct {
	name   string
	status int
	fields []string
}{
	{"Set-Cookie", 200, []string{"Set-Cookie: id=1"}},
	{"private", 200, []string{"Cache-Control: private"}},
	{"private beside a lifetime", 200, []string{"Cache-Control: max-age=60, private=\"x\""}},
	{"no-store", 200, []string{"Cache-Control: no-store"}},
	{"Vary: *", 200, []string{"Vary: *"}},
	{"400", 400, nil},
	{"401", 401, nil},
	{"403", 403, nil},
	{"404", 404, nil},
	{"422", 422, nil},
}

// numbered answers each call with a body that no other call gets, once the
// gate is open.
func numbered(status int, fields []string, gate <-chan struct{}) origintest.Handler {
	return func(w *origintest.Wire, r *origintest.Request) {
		origintest.Reply{Status: status, Fields: fields, Pieces: []string{fmt.Sprintf("call %d", r.Call)}, HeadGate: gate}.Serve(w, r)
	}
}

// lookups is how often the memory store was asked: every caller asks it before
// it waits for a fetch.
func (p *proc) lookups(t *testing.T) float64 {
	return p.metric(t, `jaegis_store_operations_total\{op="get",result="\w+",store="memory"\}`)
}

// awaitLookups waits until n more callers than before have asked the store.
func (p *proc) awaitLookups(t *testing.T, before float64, n int) {
	t.Helper()
	for deadline := time.Now().Add(patience); p.lookups(t) < before+float64(n); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%v of %d callers have asked the store", p.lookups(t)-before, n)
		}
	}
}

func TestAnAnswerForOneCallerIsGivenToNoOther(t *testing.T) {
	r := e2e(t, followRoutes)
	const callers = 6
	for i, a := range personal {
		// Nobody's in the first case, somebody's for everybody in the second.
		for route, fields := range map[string][]string{"/c/": nil, "/public/": {"Authorization: a"}} {
			t.Run(a.name+" "+strings.Trim(route, "/"), func(t *testing.T) {
				path, gate := fmt.Sprintf("%s%d", route, i), make(chan struct{})
				raw := send("POST", path, "hello", fields...)
				r.origin.On(path, numbered(a.status, a.fields, gate), numbered(a.status, a.fields, nil))
				before := r.lookups(t)
				waiting := (&crowd{t: t, addr: r.Addr, raw: raw}).add(callers)
				r.awaitLookups(t, before, callers)
				close(gate)
				seen := map[string]bool{}
				own := func(got *reply) {
					if got.StatusCode != a.status || got.Err != nil || got.xCache() != "MISS" || strings.Contains(got.status(), "stored") {
						t.Errorf("status %d, %v, X-Cache %q, Cache-Status %q", got.StatusCode, got.Err, got.xCache(), got.status())
					}
					if seen[string(got.Body)] {
						t.Errorf("%q was given to two callers", got.Body)
					}
					seen[string(got.Body)] = true
				}
				for _, c := range waiting {
					own(c.s.receive("POST"))
				}
				own(r.do(t, raw))
				r.expectCalls(t, path, callers+1)
				r.expectNoQueue(t, path, raw)
			})
		}
	}
}

// expectNoQueue fails the test when a caller waits for another one's answer.
func (r *rig) expectNoQueue(t *testing.T, path, raw string) {
	t.Helper()
	gate := make(chan struct{})
	calls := r.origin.CallsTo(path)
	r.origin.On(path, numbered(200, []string{"Cache-Control: no-store"}, gate), numbered(200, []string{"Cache-Control: no-store"}, nil))
	slow := (&crowd{t: t, addr: r.Addr, raw: raw}).add(1)[0]
	r.awaitCalls(t, path, calls+1)
	r.whole(t, raw) // while the other waits for the gate
	close(gate)
	if got := slow.s.receive("POST"); got.StatusCode != 200 {
		t.Errorf("the slow caller: status %d, %v", got.StatusCode, got.Err)
	}
}

// What can be stored again is shared again.
func TestAKeyThatBecomesStorableIsSharedAgain(t *testing.T) {
	r := e2e(t, followRoutes)
	r.origin.On("/c/a", numbered(200, []string{"Cache-Control: no-store"}, nil), numbered(200, nil, nil))
	raw := send("POST", "/c/a", "hello")
	r.whole(t, raw)
	first := r.untilX(t, raw, "HIT")
	if again := r.whole(t, raw); string(again.Body) != string(first.Body) || again.xCache() != "HIT" {
		t.Errorf("%q then %q, %s", first.Body, again.Body, again.status())
	}
}

// A failing upstream is not asked once for each of those who wait, and asked
// again by the next who comes. Whether a caller has sat down beside the others
// cannot be seen from outside, only that it has asked the store before: now and
// then one is late and asks for itself.
func TestAFailureIsSharedByThoseWhoWaitAndNotRemembered(t *testing.T) {
	r := e2e(t, followRoutes)
	for _, status := range []int{500, 502, 503, 429} {
		const callers, tries = 10, 20
		shared := false
		for try := 0; try < tries && !shared; try++ {
			path, gate := fmt.Sprintf("/c/%d/%d", status, try), make(chan struct{})
			raw := send("POST", path, "hello")
			r.origin.On(path, numbered(status, nil, gate))
			before := r.lookups(t)
			waiting := (&crowd{t: t, addr: r.Addr, raw: raw}).add(callers)
			r.awaitLookups(t, before, callers)
			close(gate)
			each(t, waiting, "failure", func(c *client) error {
				got := c.s.receive("POST")
				if got.StatusCode != status || got.Err != nil || !strings.HasPrefix(string(got.Body), "call ") {
					return fmt.Errorf("status %d, %w, body %q", got.StatusCode, got.Err, got.Body)
				}
				return nil
			})
			calls := r.origin.CallsTo(path)
			shared = calls == 1
			r.origin.On(path)
			r.whole(t, raw).proof(t, "POST", path, "", "hello")
			r.expectCalls(t, path, calls+1)
		}
		if !shared {
			t.Errorf("%d: %d callers never shared one call, in %d tries", status, callers, tries)
		}
	}
}

func TestTenantsNeverShareAnAnswer(t *testing.T) {
	r := e2e(t, followRoutes)
	for i, name := range []string{"Authorization", "X-Api-Key", "Cookie", "Api-Key", "X-Goog-Api-Key"} {
		path, gate := fmt.Sprintf("/c/%d", i), make(chan struct{})
		r.origin.On(path, numbered(200, nil, gate))
		var raws []string
		for _, tenant := range []string{name + ": a", name + ": b", ""} {
			raws = append(raws, strings.Replace(send("POST", path, "hello", tenant), "\r\n\r\n\r\n", "\r\n\r\n", 1))
		}
		all := make([]*client, len(raws))
		for k, raw := range raws {
			all[k] = (&crowd{t: t, addr: r.Addr, raw: raw}).add(1)[0]
		}
		r.awaitCalls(t, path, len(raws)) // none waits for another
		close(gate)
		seen := map[string]int{}
		for k, c := range all {
			got := c.s.receive("POST")
			if other, twice := seen[string(got.Body)]; got.StatusCode != 200 || twice {
				t.Errorf("%s: caller %d: status %d, %q as caller %d", name, k, got.StatusCode, got.Body, other)
			}
			seen[string(got.Body)] = k
			if hit := r.untilX(t, raws[k], "HIT"); string(hit.Body) != string(got.Body) {
				t.Errorf("%s: caller %d had %q, and then %q", name, k, got.Body, hit.Body)
			}
		}
		r.expectCalls(t, path, len(raws))
	}
}

func TestWithScopePublicTenantsShare(t *testing.T) {
	r := e2e(t, followRoutes)
	gate := make(chan struct{})
	r.origin.On("/public/a", origintest.Reply{Chunked: true, Pieces: []string{"one", "two"}, Gate: gate}.Serve, origintest.Hangup)
	a := (&crowd{t: t, addr: r.Addr, raw: send("POST", "/public/a", "hello", "Authorization: a")}).add(1)
	r.awaitCalls(t, "/public/a", 1)
	b := (&crowd{t: t, addr: r.Addr, raw: send("POST", "/public/a", "hello", "Authorization: b")}).add(1)
	both := []*client{a[0], b[0]}
	open(t, gate)
	each(t, both, "head", (*client).head)
	each(t, both, "first piece", func(c *client) error { return c.upTo(3) })
	close(gate)
	each(t, both, "end", func(c *client) error { return c.rest("onetwo") })
	if got := r.whole(t, send("POST", "/public/a", "hello", "Authorization: c")); string(got.Body) != "onetwo" {
		t.Errorf("%q", got.Body)
	}
	r.expectCalls(t, "/public/a", 1)
}

func TestAPrivateAnswerIsKeptForACallerWithCredentialsAlone(t *testing.T) {
	r := e2e(t, followRoutes)
	r.origin.On("/c/a", numbered(200, []string{"Cache-Control: private"}, nil))
	known := send("POST", "/c/a", "hello", "Authorization: a")
	first := r.whole(t, known)
	if hit := r.untilX(t, known, "HIT"); string(hit.Body) != string(first.Body) {
		t.Errorf("%q, then %q", first.Body, hit.Body)
	}
	r.expectCalls(t, "/c/a", 1)
	for calls := 2; calls < 5; calls++ {
		if got := r.whole(t, send("POST", "/c/a", "hello")); got.xCache() != "MISS" || string(got.Body) == string(first.Body) {
			t.Errorf("without credentials: %q, %s", got.Body, got.status())
		}
		r.expectCalls(t, "/c/a", calls)
	}
}

func TestAnAnswerAboveTheBoundIsStreamedToAllAndNotStored(t *testing.T) {
	r := e2e(t, followRoutes)
	pieces := parts(8, 1000)
	body := strings.Join(pieces, "")
	gate := make(chan struct{})
	r.origin.On("/small/chunked", origintest.Reply{Pieces: pieces, Chunked: true, Gate: gate}.Serve)
	raw := send("POST", "/small/chunked", "hello")
	readers := (&crowd{t: t, addr: r.Addr, raw: raw}).add(10)
	r.awaitCalls(t, "/small/chunked", 1)
	open(t, gate)
	each(t, readers, "head", (*client).head)
	each(t, readers, "first piece", func(c *client) error { return c.upTo(1000) })
	close(gate)
	each(t, readers, "end", func(c *client) error { return c.rest(body) })
	r.expectCalls(t, "/small/chunked", 1)

	r.origin.On("/small/sized", origintest.Reply{Pieces: pieces}.Serve)
	for _, path := range []string{"/small/chunked", "/small/sized"} {
		for range 3 {
			calls := r.origin.CallsTo(path)
			if got := r.whole(t, send("POST", path, "hello")); string(got.Body) != body || got.xCache() != "MISS" {
				t.Errorf("%s: %d bytes, %s", path, len(got.Body), got.status())
			}
			r.expectCalls(t, path, calls+1)
		}
	}
	r.origin.On("/small/fits", origintest.Reply{Pieces: pieces[:4]}.Serve)
	r.untilX(t, send("POST", "/small/fits", "hello"), "HIT")
}

// With cancel a fetch lives as long as somebody waits for it, before its head
// as within its body.
func TestWithCancelAFetchEndsWithItsLastClient(t *testing.T) {
	r := e2e(t, followRoutes)
	for _, reset := range []bool{true, false} {
		for _, began := range []bool{true, false} {
			path, head, gate := fmt.Sprintf("/cancel/%v/%v", reset, began), make(chan struct{}), make(chan struct{})
			ended := make(chan struct{})
			r.origin.On(path, func(w *origintest.Wire, q *origintest.Request) {
				defer close(ended)
				origintest.Reply{Pieces: parts(3, 100), Chunked: true, HeadGate: head, Gate: gate}.Serve(w, q)
			}, origintest.Reply{Pieces: []string{"again"}}.Serve)
			raw := send("POST", path, "hello")
			c := &crowd{t: t, addr: r.Addr, raw: raw}
			both := c.add(2)
			r.awaitCalls(t, path, 1)
			if began {
				open(t, head)
				each(t, both, "head", (*client).head)
				open(t, gate)
				each(t, both, "first piece", func(c *client) error { return c.upTo(100) })
				both[0].leave(reset)
				open(t, gate) // the other one still has what comes
				each(t, both[1:], "second piece", func(c *client) error { return c.upTo(200) })
				both[1].leave(reset)
			} else {
				both[0].leave(reset)
				both[1].leave(reset)
			}
			select {
			case <-ended: // the origin saw its connection close
			case <-time.After(patience):
				t.Fatalf("reset %v, began %v: the fetch goes on without clients", reset, began)
			}
			if got := r.whole(t, raw); string(got.Body) != "again" {
				t.Errorf("then: %q, %s", got.Body, got.status())
			}
		}
	}
}

// What the cache has nothing to do with ends with its client.
func TestAPassedRequestEndsWithItsClient(t *testing.T) {
	r := e2e(t, followRoutes)
	ended := make(chan struct{})
	r.origin.On("/d/a", func(w *origintest.Wire, _ *origintest.Request) {
		<-w.Gone()
		close(ended)
	})
	one := (&crowd{t: t, addr: r.Addr, raw: send(http.MethodPost, "/d/a", "hello")}).add(1)[0]
	r.awaitCalls(t, "/d/a", 1)
	one.leave(false)
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("the upstream call goes on without its client")
	}
}
