package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"jaegis-proxy/internal/origintest"
)

// hearsay are fields by which a client could change what an upstream answers,
// although no key has them, and what it could say in them.
var hearsay = []string{
	"X-Forwarded-For: evil", "X-Forwarded-Host: evil", "X-Forwarded-Proto: evil", "X-Forwarded-Port: evil", "X-Forwarded-Prefix: /evil",
	"X-Forwarded-Scheme: evil", "X-Forwarded-Server: evil", "X-Forwarded-Path: /evil", "X-Forwarded-Anything: evil", "x-fORWARDED-hOST: evil", "X_Forwarded_Host: evil", "X-Forwarded_Host: evil",
	"Forwarded: for=evil;host=evil", "X-Real-IP: evil", "X-Original-URL: /evil", "X-Original-Host: evil", "X-Rewrite-URL: /evil", "X-Host: evil",
	"X-HTTP-Method-Override: EVIL", "X-HTTP-Method: EVIL", "X-Method-Override: EVIL",
	"Origin: http://evil", "Cookie: evil=1",
	"Proxy-Authorization: evil", "Connection: evil", "Keep-Alive: evil", "TE: evil", "Upgrade: evil", "HTTP2-Settings: evil",
}

// 28, 30: what a client says about where it came from, what it asked for or
// what it meant is in the key or does not reach the upstream: nobody else is
// ever given an answer made for it.
func TestNobodyIsGivenAnAnswerMadeForWhatAnotherSaid(t *testing.T) {
	r := e2e(t, proofRoutes)
	for i, field := range hearsay {
		for _, route := range []string{"/c/", "/public/", "/d/"} {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				if route == "/d/" && method == http.MethodPost {
					continue // never kept
				}
				path := fmt.Sprintf("%shearsay/%s/%d", route, method, i)
				r.origin.On(path, mirror)
				evil, plain := asked{method, path, []string{field}, ""}, asked{method, path, nil, ""}
				got := r.whole(t, evil.raw())
				if strings.Contains(got.status(), "stored") {
					r.untilX(t, evil.raw(), "HIT")
				}
				for range 3 {
					got := r.whole(t, plain.raw())
					if strings.Contains(strings.ToLower(string(got.Body)), "evil") {
						t.Errorf("%s %s: %q came to another client: %s, %q", method, path, field, got.status(), got.Body)
						break
					}
				}
				// All of this means something only where answers are kept.
				r.untilX(t, plain.raw(), "HIT")
			}
		}
	}
}

// 29: fields that say who a client is, or what it sends, and say it twice.
func TestRepeatedCredentialsAndTypesAreRefusedOrKeyed(t *testing.T) {
	r := e2e(t, proofRoutes)
	for _, name := range []string{"Authorization", "Content-Type"} {
		for _, path := range []string{"/c/twice", "/public/twice", "/d/twice"} {
			for _, values := range [][2]string{{"a/b", "c/d"}, {"c/d", "a/b"}, {"a/b", "a/b"}, {"a/b", ""}, {"", "a/b"}} {
				fields := []string{name + ": " + values[0], strings.ToLower(name) + ": " + values[1]}
				got := talk(t, r.Addr, send("POST", path, "hello", fields...))
				if got.StatusCode != http.StatusBadRequest || !got.Closed || got.Rest != "" {
					t.Errorf("%s %q: status %d, closed %v, then %q", path, fields, got.StatusCode, got.Closed, got.Rest)
				}
			}
			r.expectCalls(t, path, 0)
		}
	}
	for _, name := range []string{"X-Api-Key", "Api-Key", "X-Goog-Api-Key"} {
		r.apart(t, posts("/c/keys/"+name, "hello",
			[]string{name + ": a", name + ": b"}, []string{name + ": b", name + ": a"}, []string{name + ": a"}, []string{name + ": b"}, []string{name + ": a, b"}, []string{name + ": a,b"}, []string{name + ": a", name + ": a"},
		)...)
	}
	r.apart(t, posts("/c/cookies", "hello",
		[]string{"Cookie: a=1", "Cookie: a=2"}, []string{"Cookie: a=2", "Cookie: a=1"}, []string{"Cookie: a=1"}, []string{"Cookie: a=2"}, []string{"Cookie: a=1, a=2"}, nil,
	)...)
}

// 32: a client that can provoke an error provokes it for itself alone.
func TestAnErrorThatOneClientProvokesIsNotGivenToOthers(t *testing.T) {
	r := e2e(t, proofRoutes)
	statuses := []int{400, 403, 404, 405, 406, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 421, 422, 425, 426, 428, 429, 431, 451, 500, 501, 502, 503, 504, 505, 507, 599}
	for _, status := range statuses {
		for _, a := range concat(gets("/c/odd", "/public/odd", "/d/odd"), posts("/c/odd", "hello", nil), posts("/public/odd", "hello", nil)) {
			a.target = fmt.Sprintf("%s/%s/%d", a.target, a.method, status)
			r.origin.On(a.target, func(w *origintest.Wire, q *origintest.Request) {
				if q.Value("X-Odd") != "" {
					origintest.Reply{Status: status, Pieces: []string{"provoked"}}.Serve(w, q)
					return
				}
				proven(w, q)
			})
			odd := a
			odd.fields = []string{"X-Odd: \x80"}
			for range 2 {
				if got := r.do(t, odd.raw()); got.StatusCode != status || strings.Contains(got.status(), "stored") {
					t.Errorf("%s: status %d, %s", odd, got.StatusCode, got.status())
				}
			}
			first := r.whole(t, a.raw())
			first.proof(t, a.method, a.target, "", a.body)
			if first.xCache() != "MISS" {
				t.Errorf("%s: the first good answer is a %s", a, first.xCache())
			}
			r.stored(t, a)
		}
	}
}
