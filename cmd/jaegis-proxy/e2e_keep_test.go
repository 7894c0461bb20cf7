package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// A kept connection is as strict with its later requests as with its first,
// whatever became of those before.
func TestAKeptConnectionStaysStrict(t *testing.T) {
	r := e2e(t, `
upstreams: {origin: {url: ORIGIN}}
routes:
  - {name: cancel, match: {path: /cancel/*}, ttl: 1h, on_abandon: cancel}
  - {name: cached, match: {path: /c/*}, ttl: 1h}
`)
	before := map[string]string{
		"a miss":             send("POST", "/c/miss", "hello"),
		"a large upload":     send("POST", "/c/large", strings.Repeat("x", 100_000)),
		"a passed request":   send("POST", "/d/a", "hello"),
		"a passed GET":       get("/d/b", "Cache-Control: no-store"),
		"a cancelled-if":     send("POST", "/cancel/a", "hello"),
		"an error":           get("/c/none", "Cache-Control: only-if-cached"),
		"an unread answer":   strings.Replace(get("/c/miss"), "GET", "HEAD", 1),
		"an expected upload": send("POST", "/c/expected", "hello", "Expect: 100-continue"),
	}
	bad := map[string]string{
		"bare LF after the request line": "GET /c/x HTTP/1.1\nHost: h\r\n\r\n",
		"bare LF after a field":          "GET /c/x HTTP/1.1\r\nHost: h\nX: y\r\n\r\n",
		"two lengths":                    "POST /c/x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
	}
	for first, raw := range before {
		for second, lie := range bad {
			t.Run(first+", then "+second, func(t *testing.T) {
				s := connect(t, r.Addr)
				for range 3 {
					s.send(raw)
					method, _, _ := strings.Cut(raw, " ")
					got := s.receive(method)
					for got.StatusCode/100 == 1 {
						got = s.receive(method)
					}
					if got.StatusCode == 0 || got.Close {
						t.Fatalf("%s: status %d, %v, close %v", first, got.StatusCode, got.Err, got.Close)
					}
				}
				calls := r.origin.Calls()
				s.send(lie)
				if got := s.receive("GET"); got.StatusCode != http.StatusBadRequest {
					t.Errorf("status %d, %v, want 400", got.StatusCode, got.Err)
				}
				if rest, closed := s.rest(); rest != "" || !closed {
					t.Errorf("then %q, closed %v", rest, closed)
				}
				if n := r.origin.Calls() - calls; n != 0 {
					t.Errorf("%d requests reached the origin", n)
				}
			})
		}
	}
}

// Requests of all kinds one behind the other on one connection each get their
// own answer, sent one at a time and all at once.
func TestOneConnectionCarriesRequestsOfAllKinds(t *testing.T) {
	r := e2e(t, cachedRoute)
	type one struct{ raw, method, target, body string }
	var all []one
	for i := range 12 {
		target, body := fmt.Sprintf("/%c/%d?pad=%d", "cd"[i%2], i/4, i%3*9000), strings.Repeat("b", i*2000)
		all = append(all,
			one{send("POST", target, body), "POST", target, body},
			one{get(target), "GET", target, ""},
			one{strings.Replace(get(target), "GET", "HEAD", 1), "HEAD", target, ""})
	}
	check := func(s *session, o one) {
		t.Helper()
		got := s.receive(o.method)
		if o.method == "HEAD" && (got.StatusCode != 200 || len(got.Body) != 0) {
			t.Fatalf("HEAD %s: %d, %v", o.target, got.StatusCode, got.Err)
		}
		if o.method != "HEAD" {
			got.proof(t, o.method, o.target, "", o.body)
		}
	}
	s := connect(t, r.Addr)
	for _, o := range all {
		s.send(o.raw)
		check(s, o)
	}
	s = connect(t, r.Addr)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for _, o := range all {
			s.send(o.raw)
		}
	}()
	for _, o := range all {
		check(s, o)
	}
	<-sent
}
