package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"jaegis-proxy/internal/origintest"
)

// cuts are the ways in which an upstream breaks off. Behind a head the client
// must see an abort. A reset may overtake the head, and what is early comes
// before it: then the client is told by a 502.
func cuts() []struct {
	name    string
	script  origintest.Handler
	early   bool // always before the head
	perhaps bool // perhaps before the head, or seen as such
} {
	sized := origintest.Reply{Fields: storable, Pieces: []string{"hello ", "world"}}
	chunked := sized
	chunked.Chunked = true
	with := func(p origintest.Reply, end origintest.End, claim int) origintest.Handler {
		p.End, p.Claim = end, claim
		return p.Serve
	}
	return []struct {
		name    string
		script  origintest.Handler
		early   bool
		perhaps bool
	}{
		{"short Content-Length", with(sized, origintest.EndCut, 100), false, false},
		{"Content-Length and no byte", with(origintest.Reply{Fields: storable}, origintest.EndCut, 100), false, false},
		{"one byte short", with(sized, origintest.EndCut, 12), false, false},
		{"no final chunk", with(chunked, origintest.EndCut, 0), false, false},
		{"no chunk at all", with(origintest.Reply{Fields: storable, Chunked: true}, origintest.EndCut, 0), false, false},
		{"within a chunk", with(chunked, origintest.EndInChunk, 0), false, false},
		{"half the final chunk", with(chunked, origintest.EndHalfLast, 0), false, false},
		{"reset within a length", with(sized, origintest.EndReset, 100), false, true},
		{"reset within chunks", with(chunked, origintest.EndReset, 0), false, true},
		{"no head", origintest.Hangup, true, false},
		{"half a head", origintest.Literal("HTTP/1.1 200 OK\r\nContent-Len"), true, false},
	}
}

// storable lets a default route store the answer too.
var storable = []string{"Cache-Control: max-age=3600", "Content-Type: text/plain"}

// refusedBy says whether the answer is our own error of a broken upstream.
func refusedBy(got *reply, kind string, status int) error {
	var body struct {
		Error struct {
			Type      string `json:"type"`
			Message   string `json:"message"`
			RequestID string `json:"request_id"`
		} `json:"error"`
	}
	if got.StatusCode != status || got.Err != nil {
		return fmt.Errorf("status %d, %w, want %d; body %.200q", got.StatusCode, got.Err, status, got.Body)
	}
	if err := json.Unmarshal(got.Body, &body); err != nil {
		return fmt.Errorf("body %.200q: %w", got.Body, err)
	}
	if body.Error.Type != kind || body.Error.Message == "" || body.Error.RequestID != got.Header.Get("X-Request-Id") {
		return fmt.Errorf("error %+v, want type %s; X-Request-Id %q", body.Error, kind, got.Header.Get("X-Request-Id"))
	}
	return nil
}

func TestACutAnswerIsSeenAsCutAndNeverStored(t *testing.T) {
	r := e2e(t, cachedRoute)
	const times = 4
	for i, c := range cuts() {
		for name, raw := range map[string]string{
			"cached":  send("POST", fmt.Sprintf("/c/%d", i), "hello"),
			"default": get(fmt.Sprintf("/d/%d", i)),
		} {
			for _, version := range []string{"1.1", "1.0"} {
				t.Run(c.name+" "+name+" "+version, func(t *testing.T) {
					method, rest, _ := strings.Cut(raw, " ")
					path, _, _ := strings.Cut(rest, " ")
					path += version
					raw := strings.Replace(raw, " HTTP/", version+" HTTP/", 1)
					if version == "1.0" {
						raw = http10(raw)
					}
					script := make([]origintest.Handler, times, times+1)
					for k := range script {
						script[k] = c.script
					}
					whole := origintest.Reply{Fields: storable, Pieces: []string{"hello world"}}
					r.origin.On(path, append(script, whole.Serve)...)
					for k := range times {
						got := r.do(t, raw)
						aborted := got.StatusCode == http.StatusOK && got.Err != nil && !c.early
						refused := refusedBy(got, "jaegis_upstream_broken", http.StatusBadGateway)
						// Without chunks HTTP/1.0 knows a cut by the length alone.
						mayRefuse := c.early || c.perhaps || version == "1.0"
						if !aborted && (refused != nil || !mayRefuse) {
							t.Errorf("time %d: %v, aborted %v", k, refused, aborted)
						}
						r.expectCalls(t, path, k+1)
					}
					if got := r.whole(t, raw); string(got.Body) != "hello world" || got.xCache() != "MISS" {
						t.Errorf("%s after the cuts: %q, X-Cache %q", method, got.Body, got.xCache())
					}
					r.expectCalls(t, path, times+1)
				})
			}
		}
	}
}

// Everybody who read along sees that it was cut, and the cut costs one call.
func TestACutIsSeenByEveryReader(t *testing.T) {
	r := e2e(t, cachedRoute)
	for i, end := range []origintest.End{origintest.EndCut, origintest.EndInChunk, origintest.EndHalfLast, origintest.EndReset} {
		for _, chunked := range []bool{true, false} {
			if !chunked && end != origintest.EndCut && end != origintest.EndReset {
				continue
			}
			t.Run(fmt.Sprintf("end %d chunked %v", end, chunked), func(t *testing.T) {
				path, gate := fmt.Sprintf("/c/%d%v", i, chunked), make(chan struct{})
				cut := origintest.Reply{Pieces: []string{"hello ", "world"}, Chunked: chunked, End: end, Gate: gate}
				if !chunked {
					cut.Claim = 100
				}
				r.origin.On(path, cut.Serve, origintest.Reply{Pieces: []string{"hello world"}}.Serve)
				readers := (&crowd{t: t, addr: r.Addr, raw: send("POST", path, "x")}).add(20)
				open(t, gate)
				each(t, readers, "head", (*client).head)
				each(t, readers, "first piece", func(c *client) error { return c.upTo(len("hello ")) })
				open(t, gate)
				open(t, gate)
				each(t, readers, "end", (*client).cut)
				r.expectCalls(t, path, 1)
				if got := r.whole(t, send("POST", path, "x")); string(got.Body) != "hello world" {
					t.Errorf("after the cut: %q", got.Body)
				}
				r.expectCalls(t, path, 2)
			})
		}
	}
}

// A client that waits for the head of a failed fetch gets an error, and at
// most one call is made for each.
func TestAFailureBeforeTheHeadIsToldToEveryWaiter(t *testing.T) {
	r := e2e(t, cachedRoute)
	gate := make(chan struct{})
	r.origin.On("/c/a", func(w *origintest.Wire, _ *origintest.Request) {
		w.Wait(gate)
		w.Close()
	})
	const callers = 20
	waiting := (&crowd{t: t, addr: r.Addr, raw: send("POST", "/c/a", "x")}).add(callers)
	r.awaitCalls(t, "/c/a", 1)
	close(gate)
	each(t, waiting, "refusal", func(c *client) error {
		return refusedBy(c.s.receive("POST"), "jaegis_upstream_broken", http.StatusBadGateway)
	})
	if n := r.origin.CallsTo("/c/a"); n > callers {
		t.Errorf("%d calls for %d callers", n, callers)
	}
	r.origin.On("/c/a")
	r.whole(t, send("POST", "/c/a", "x")).proof(t, "POST", "/c/a", "", "x")
}

func TestAnAnswerThatLiesAboutItsFramingIsNeverTakenForWhole(t *testing.T) {
	r := e2e(t, cachedRoute)
	for i, lie := range origintest.Lies() {
		for _, path := range []string{fmt.Sprintf("/c/%d", i), fmt.Sprintf("/d/%d", i)} {
			r.origin.On(path, origintest.Literal(lie.Raw), origintest.Literal(lie.Raw), origintest.Reply{Fields: storable, Pieces: []string{"true"}}.Serve)
			for range 2 {
				got := r.do(t, get(path))
				aborted := got.StatusCode == http.StatusOK && got.Err != nil
				kind := "jaegis_upstream_malformed"
				if lie.Name == "head cut short" { // there is nothing to judge
					kind = "jaegis_upstream_broken"
				}
				if err := refusedBy(got, kind, http.StatusBadGateway); err != nil && !aborted {
					t.Errorf("%s: %v", lie.Name, err)
				}
			}
			if got := r.whole(t, get(path)); string(got.Body) != "true" || got.xCache() != "MISS" {
				t.Errorf("%s: then %q, X-Cache %q", lie.Name, got.Body, got.xCache())
			}
		}
	}
}
