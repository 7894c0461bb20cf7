package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"jaegis-proxy/internal/origintest"
)

// 33: no path is kept for how it ends, and none is taken for another.
func TestAPathThatEndsLikeAStyleSheetIsLikeAnyOther(t *testing.T) {
	r := e2e(t, proofRoutes)
	endings := []string{"", ";x.css", "/x.css", ".css", "%2Fx.css", "%3Bx.css", "?x.css", "%3Fx.css", "%23x.css", "%0Ax.css", ";x.js", "/x.png", ".ico", "/robots.txt", "/..%2Fx.css", "/static/x.css", "//x.css"}
	var kept []string
	for _, e := range endings {
		kept = append(kept, "/c/me"+e)
		path := "/d/me" + e
		for _, fields := range [][]string{nil, {"Cookie: id=1"}, {"Authorization: one"}, {"Accept: text/css"}} {
			calls := map[int]bool{}
			for range 3 {
				a := asked{http.MethodGet, path, fields, ""}
				got := r.whole(t, a.raw())
				got.proof(t, "GET", path, a.credential(), "")
				if calls[callOf(t, a, got)] = true; strings.Contains(got.status(), "stored") || got.xCache() == "HIT" {
					t.Errorf("%s: what does not say how long it is good was kept: %s", a, got.status())
				}
			}
			if len(calls) != 3 {
				t.Errorf("%s %q: %d answers to three requests", path, fields, len(calls))
			}
		}
	}
	r.apart(t, gets(kept...)...)
}

// 34: who cannot say which codings it takes is given the whole answer all the
// same, in none or in one that it named.
func TestAnUnreadableAcceptEncodingCostsNobodyTheAnswer(t *testing.T) {
	r := e2e(t, proofRoutes)
	body := text(10_000)
	offers := []string{
		"gzip;q=abc", "gzip;q=1.0001", "gzip;q=2", "gzip;q=-1", "gzip;q=", "gzip;q", "gzip;;q=1", "gzip; q=0.5; x=y", "gzip;q=1;q=0", "gzip;Q=0", "gzip ;q=1", "gzip;q =1", "gzip;q=0.0000",
		",", ",,,gzip,,", ";", ";;;", "q=1", "=", "gzip gzip", "gzip\tbr", "\"gzip\"", "'gzip'", "gzipx", "xgzip", "x-gzip", "GZip", "gzip\x80", "\xff", "*;q=abc", "*;q=0", "identity;q=0", "identity;q=0, *;q=0",
		"gzip;q=NaN", "gzip;q=Inf", "gzip;q=1e9", "gzip;q=0x1", "gzip;q=\u0661", strings.Repeat("gzip;q=0.1,", 900), strings.Repeat(",", 9_000), "gzip;q=0." + strings.Repeat("1", 9_000), "br;q=1, gzip;q=0, *", "*, gzip;q=0",
	}
	check := func(a asked, offer string) {
		t.Helper()
		got := r.whole(t, a.raw())
		coding, plain := got.Header.Get("Content-Encoding"), string(got.Body)
		switch {
		case coding == "gzip" && (strings.Contains(strings.ToLower(offer), "gzip") || strings.Contains(offer, "*")):
			plain = gunzip(t, got.Body)
		case coding != "":
			t.Errorf("%.60q: Content-Encoding %q", offer, coding)
		}
		if plain != body {
			t.Errorf("%.60q: %s, %d bytes that are not the answer: %.60q", offer, got.xCache(), len(got.Body), plain)
		}
	}
	for i, offer := range offers {
		for _, route := range []string{"/c/", "/d/"} {
			path := fmt.Sprint(route, "coding/", i)
			r.origin.On(path, origintest.Reply{Fields: []string{"Content-Type: text/plain", "Cache-Control: max-age=3600"}, Pieces: []string{body}}.Serve)
			a := asked{http.MethodGet, path, []string{"Accept-Encoding: " + offer}, ""}
			check(a, offer) // the first, which asks the upstream
			r.untilX(t, a.raw(), "HIT")
			check(a, offer)
			check(asked{http.MethodGet, path, nil, ""}, "")
			check(asked{http.MethodGet, path, []string{"Accept-Encoding: gzip"}, ""}, "gzip")
		}
	}
}

// 35: by the rules of HTTP too, an answer that turns out to be for one caller
// is given to none of those who came at the same time.
func TestByTheRulesOfHTTPAnAnswerForOneCallerIsGivenToNoOther(t *testing.T) {
	r := e2e(t, proofRoutes)
	const callers = 6
	for i, field := range []string{"Set-Cookie: id=1", "Cache-Control: private, max-age=60", "Cache-Control: no-store", "Cache-Control: max-age=60, no-store", "Vary: *", "Cache-Control: max-age=60, private=\"x\"", "X-Nothing: said"} {
		path, gate := fmt.Sprint("/d/personal/", i), make(chan struct{})
		fields := []string{field}
		if !strings.HasPrefix(field, "Cache-Control") && !strings.HasPrefix(field, "X-") {
			fields = append(fields, "Cache-Control: max-age=60")
		}
		r.origin.On(path, numbered(http.StatusOK, fields, gate), numbered(http.StatusOK, fields, nil))
		before := r.lookups(t)
		all := (&crowd{t: t, addr: r.Addr, raw: get(path)}).add(callers)
		r.awaitLookups(t, before, callers)
		close(gate)
		seen := map[string]bool{}
		for again := range 2 { // those who came at once, and one more
			for _, c := range all {
				got := c.s.receive(http.MethodGet)
				if got.StatusCode != http.StatusOK || got.Err != nil || seen[string(got.Body)] {
					t.Errorf("%s: status %d, %v, %q given before: %v", field, got.StatusCode, got.Err, got.Body, seen[string(got.Body)])
				}
				seen[string(got.Body)] = true
			}
			if all = all[:1]; again == 0 {
				all[0].s.send(get(path))
			}
		}
		r.expectCalls(t, path, callers+1)
	}
}

// A failure is given to those who waited for it. A client that has seen it to
// its end and asks again is not among them, whatever of it is kept for later.
func TestAnAnswerThatIsNotFreshIsNotGivenToWhoAsksNext(t *testing.T) {
	r := e2e(t, proofRoutes)
	const past = "Mon, 01 Jan 2024 00:00:00 GMT"
	for _, status := range []int{http.StatusOK, http.StatusNotFound, http.StatusTooManyRequests, http.StatusServiceUnavailable, 599} {
		given := 0
		for i := range 100 {
			path := fmt.Sprint("/d/ended/", status, "/", i)
			r.origin.On(path, numbered(status, []string{"Expires: " + past, "Last-Modified: " + past}, nil))
			s := connect(t, r.Addr)
			s.send(get(path))
			first := s.receive(http.MethodGet)
			s.send(get(path))
			if second := s.receive(http.MethodGet); first.StatusCode != status || second.StatusCode != status || string(first.Body) == string(second.Body) {
				given++
			}
			_ = s.c.Close()
		}
		if given > 0 {
			t.Errorf("%d: %d of 100 were given the answer of the request before", status, given)
		}
	}
}
