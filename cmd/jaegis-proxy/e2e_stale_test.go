package main

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"jaegis-proxy/internal/origintest"
)

const staleRoutes = `
upstreams:
  origin: {url: ORIGIN, first_byte_timeout: 300ms, idle_timeout: 300ms}
routes:
  - {name: refreshed, match: {path: /swr/*}, ttl: 1s, stale_while_revalidate: 1h}
  - {name: fallback, match: {path: /sie/*}, ttl: 1s, stale_if_error: 1h}
  - {name: plain, match: {path: /c/*}, ttl: 1s}
  - {name: long, match: {path: /long/*}, ttl: 1h, stale_if_error: 1h}
`

// silent takes the request and never answers.
func silent(w *origintest.Wire, _ *origintest.Request) { <-w.Gone() }

// However many come for a stale answer, they get it at once, and one fetch for
// all of them brings the newer one.
func TestAStaleAnswerIsGivenAtOnceAndRefreshedOnce(t *testing.T) {
	r := e2e(t, strings.Replace(staleRoutes, "first_byte_timeout: 300ms", "first_byte_timeout: 1m", 1))
	gate := make(chan struct{})
	r.origin.On("/swr/a", origintest.Reply{Pieces: []string{"old"}}.Serve, origintest.Reply{Pieces: []string{"new"}, HeadGate: gate}.Serve, origintest.Hangup)
	raw := send("POST", "/swr/a", "hello")
	r.whole(t, raw)
	f := func(got *reply) {
		t.Helper()
		if string(got.Body) != "old" || !regexp.MustCompile(`^jaegis; hit; ttl=(0|-\d+); detail=memory$`).MatchString(got.status()) {
			t.Errorf("%q, %q", got.Body, got.status())
		}
	}
	f(r.untilX(t, raw, "STALE"))
	r.awaitCalls(t, "/swr/a", 2)
	readers := (&crowd{t: t, addr: r.Addr, raw: raw}).add(50)
	each(t, readers, "the stale answer", func(c *client) error {
		f(c.s.receive("POST"))
		return nil
	})
	r.expectCalls(t, "/swr/a", 2)
	close(gate)
	got := r.until(t, raw, "the newer answer", func(got *reply) bool { return string(got.Body) == "new" })
	if got.xCache() != "HIT" {
		t.Errorf("the newer answer: %s", got.status())
	}
	r.expectCalls(t, "/swr/a", 2)
}

func TestARefreshThatFailsKeepsTheStaleAnswer(t *testing.T) {
	for name, fails := range map[string]origintest.Handler{
		"503": origintest.Reply{Status: 503}.Serve, "404": origintest.Reply{Status: 404}.Serve, "no head": origintest.Hangup,
		"cut": origintest.Reply{Pieces: []string{"ne"}, Claim: 3, End: origintest.EndCut}.Serve, "silent": silent,
		"no-store": origintest.Reply{Fields: []string{"Cache-Control: no-store"}}.Serve,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := e2e(t, staleRoutes)
			r.origin.On("/swr/a", origintest.Reply{Pieces: []string{"old"}}.Serve, fails)
			raw := send("POST", "/swr/a", "hello")
			r.whole(t, raw)
			r.untilX(t, raw, "STALE")
			r.awaitCalls(t, "/swr/a", 2)
			for range 20 {
				if got := r.whole(t, raw); string(got.Body) != "old" || got.xCache() != "STALE" {
					t.Errorf("after the failure: %q, %s", got.Body, got.status())
				}
			}
			if calls := r.origin.CallsTo("/swr/a"); calls > 4 {
				t.Errorf("%d calls: a refresh that failed is tried again with every request", calls)
			}
			r.origin.On("/swr/a", origintest.Reply{Pieces: []string{"new"}}.Serve)
			r.until(t, raw, "the newer answer", func(got *reply) bool { return string(got.Body) == "new" })
		})
	}
}

// failures are the ways of an upstream to fail, with what a client is told who
// cannot be given anything stale.
var failures = []struct {
	name   string
	script origintest.Handler // nil: nobody listens any more
	kind   string
	status int
}{
	{"503", origintest.Reply{Status: 503, Pieces: []string{"busy"}}.Serve, "", 503},
	{"500", origintest.Reply{Status: 500, Pieces: []string{"oh"}}.Serve, "", 500},
	{"no head", origintest.Hangup, "jaegis_upstream_broken", http.StatusBadGateway},
	{"silent", silent, "jaegis_upstream_timeout", http.StatusGatewayTimeout},
	{"gone", nil, "jaegis_upstream_unreachable", http.StatusBadGateway},
}

func TestWhenTheUpstreamFailsAStaleAnswerIsBetterThanNone(t *testing.T) {
	for _, fails := range failures {
		t.Run(fails.name, func(t *testing.T) {
			t.Parallel()
			r := e2e(t, staleRoutes)
			for _, path := range []string{"/sie/a", "/c/a"} {
				r.origin.On(path, origintest.Reply{Pieces: []string{"old"}}.Serve, fails.script)
				r.whole(t, send("POST", path, "hello"))
			}
			if fails.script == nil {
				r.origin.Close()
			}
			raw := send("POST", "/sie/a", "hello")
			for range 3 {
				got := r.untilX(t, raw, "STALE")
				if string(got.Body) != "old" || got.StatusCode != 200 || !strings.Contains(got.status(), "detail=upstream-error") {
					t.Errorf("%d %q, %s", got.StatusCode, got.Body, got.status())
				}
			}
			failed := func(raw string) {
				t.Helper()
				got := r.until(t, raw, "a failure", func(got *reply) bool { return got.xCache() != "HIT" })
				if fails.kind == "" && got.StatusCode != fails.status {
					t.Errorf("status %d, want %d", got.StatusCode, fails.status)
				}
				if fails.kind != "" {
					if err := refusedBy(got, fails.kind, fails.status); err != nil {
						t.Error(err)
					}
				}
			}
			failed(send("POST", "/c/a", "hello")) // expired
			if fails.script == nil {
				failed(send("POST", "/sie/never", "hello"))
				failed(get("/d/never"))
			}
		})
	}
}

// A client may ask for a newer answer than the store has, and is still given
// the stored one when there is none.
func TestAClientThatWantsANewerAnswerGetsTheOldOneOfAFailingUpstream(t *testing.T) {
	r := e2e(t, staleRoutes)
	r.origin.On("/long/a", origintest.Reply{Pieces: []string{"old"}}.Serve, origintest.Hangup)
	r.untilX(t, send("POST", "/long/a", "hello"), "HIT")
	got := r.do(t, send("POST", "/long/a", "hello", "Cache-Control: max-age=0"))
	if got.StatusCode != 200 || string(got.Body) != "old" || got.xCache() != "STALE" {
		t.Errorf("max-age=0: %d %q, %s", got.StatusCode, got.Body, got.status())
	}
	got = r.do(t, send("POST", "/long/a", "hello", "Cache-Control: no-cache"))
	if err := refusedBy(got, "jaegis_upstream_broken", http.StatusBadGateway); err != nil {
		t.Errorf("no-cache: %v", err)
	}
}

// An upstream that falls silent within a body is cut off, and so is its answer.
func TestAnUpstreamThatFallsSilentIsCutOff(t *testing.T) {
	r := e2e(t, staleRoutes)
	for _, path := range []string{"/c/a", "/d/a"} {
		r.origin.On(path, origintest.Reply{Fields: storable, Chunked: true, Pieces: []string{"begin", "never"}, Gate: onlyFor(1)}.Serve, origintest.Reply{Pieces: []string{"whole"}}.Serve)
		if got := r.do(t, get(path)); got.StatusCode != 200 || got.Err == nil || string(got.Body) != "begin" {
			t.Errorf("%s: %d, %v, %q", path, got.StatusCode, got.Err, got.Body)
		}
		if got := r.whole(t, get(path)); string(got.Body) != "whole" {
			t.Errorf("%s then: %q", path, got.Body)
		}
	}
}

// onlyFor is a gate that lets n pass, and then nobody.
func onlyFor(n int) <-chan struct{} {
	gate := make(chan struct{}, n)
	for range n {
		gate <- struct{}{}
	}
	return gate
}
