package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"jaegis-proxy/internal/origintest"
)

const hitRoutes = `
upstreams: {origin: {url: ORIGIN}}
cache: {ttl: {default: 1h}}
routes:
  - {name: brief, match: {path: /brief/*}, ttl: 10s, stale_while_revalidate: 1h}
  - {name: cached, match: {path: /c/*}, ttl: 1h}
`

// text is n bytes that shrink when they are compressed.
func text(n int) string { return strings.Repeat("All work is done once. ", n/23+1)[:n] }

// sizes are body sizes on both sides of every bound that the path has.
var sizes = []int{0, 1, 1 << 10, 128 << 10, 300_000, 5 << 20}

func gunzip(t *testing.T, b []byte) string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func zip(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, s) // memory takes all
	_ = w.Close()
	return b.String()
}

// A stored answer is what the upstream sent, whatever coding it is kept in, to
// clients that take that coding and to those that do not.
func TestAHitIsWhatTheUpstreamSentInACodingThatTheClientTakes(t *testing.T) {
	r := e2e(t, hitRoutes)
	offers := []struct {
		field string
		gzip  bool
	}{
		{"", false}, {"Accept-Encoding: gzip", true}, {"Accept-Encoding: identity", false},
		{"Accept-Encoding: gzip;q=0", false}, {"Accept-Encoding: *", true}, {"Accept-Encoding: gzip;q=0, *", false},
		{"Accept-Encoding: br, GZIP;q=0.1", true}, {"Accept-Encoding: ", false}, {"Accept-Encoding: br", false},
	}
	for _, size := range sizes {
		for _, upstreamZips := range []bool{false, true} {
			path, body := fmt.Sprintf("/c/%d/%v", size, upstreamZips), text(size)
			answer := origintest.Reply{Fields: []string{"Content-Type: text/plain", `ETag: "v1"`}, Pieces: []string{body}}
			if upstreamZips { // without having been asked
				answer.Fields, answer.Pieces = append(answer.Fields, "Content-Encoding: gzip"), []string{zip(body)}
			}
			r.origin.On(path, answer.Serve, origintest.Hangup)
			compressed := size >= 1<<10 || upstreamZips
			r.untilStored(t, get(path))
			for _, o := range offers {
				f := func(raw string) *reply {
					got := r.whole(t, raw)
					coded := got.Header.Get("Content-Encoding") == "gzip"
					if want := o.gzip && compressed; coded != want || got.xCache() != "HIT" {
						t.Errorf("%s %q: Content-Encoding %q, %s", path, o.field, got.Header.Values("Content-Encoding"), got.status())
					}
					if compressed && got.Header.Get("Vary") != "Accept-Encoding" {
						t.Errorf("%s %q: Vary %q", path, o.field, got.Header.Values("Vary"))
					}
					// The tag is of the bytes that the upstream sent.
					if strong := got.Header.Get("ETag") == `"v1"`; strong != (coded == upstreamZips) || !strings.HasSuffix(got.Header.Get("ETag"), `"v1"`) {
						t.Errorf("%s %q: ETag %q", path, o.field, got.Header.Get("ETag"))
					}
					return got
				}
				got := f(get(path, nonEmpty(o.field)...))
				plain := string(got.Body)
				if got.Header.Get("Content-Encoding") == "gzip" {
					plain = gunzip(t, got.Body)
				}
				if plain != body {
					t.Errorf("%s %q: %d bytes that are not the answer", path, o.field, len(plain))
				}
				head := f(strings.Replace(get(path, nonEmpty(o.field)...), "GET", "HEAD", 1))
				if n := head.Header.Get("Content-Length"); len(head.Body) != 0 || n != "" && n != strconv.Itoa(len(got.Body)) {
					t.Errorf("%s %q: HEAD has %d bytes, Content-Length %q, GET %d", path, o.field, len(head.Body), n, len(got.Body))
				}
			}
			r.expectCalls(t, path, 1)
		}
	}
}

// untilStored asks until the answer comes out of the memory store.
func (r *rig) untilStored(t *testing.T, raw string) *reply {
	t.Helper()
	return r.until(t, raw, "a hit from memory", func(got *reply) bool { return strings.Contains(got.status(), "detail=memory") })
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// The first answer is told by the same rules as the later ones.
func TestAMissIsInACodingThatTheClientTakes(t *testing.T) {
	r := e2e(t, hitRoutes)
	body := text(300_000)
	zipped := origintest.Reply{Chunked: true, Fields: []string{"Content-Type: text/plain", "Content-Encoding: gzip", `ETag: "v1"`}, Pieces: []string{zip(body)[:10], zip(body)[10:]}}
	for i, field := range []string{"", "Accept-Encoding: gzip"} {
		path := fmt.Sprintf("/c/%d", i)
		r.origin.On(path, zipped.Serve, origintest.Hangup)
		got := r.whole(t, get(path, nonEmpty(field)...))
		plain, tag := string(got.Body), got.Header.Get("ETag")
		if field != "" {
			plain = gunzip(t, got.Body)
		}
		if plain != body || (tag == `"v1"`) != (field != "") || (got.Header.Get("Content-Encoding") == "gzip") != (field != "") {
			t.Errorf("%q: %d bytes, ETag %s, Content-Encoding %q", field, len(plain), tag, got.Header.Get("Content-Encoding"))
		}
	}
}

// An upstream's coding that is cut, or is none, is a cut answer to the client
// for whom it is undone.
func TestACodingThatBreaksOffIsACutAnswer(t *testing.T) {
	r := e2e(t, hitRoutes)
	zipped := zip(text(300_000))
	for i, sent := range []string{zipped[:len(zipped)/2], "no gzip at all", ""} {
		path := fmt.Sprintf("/c/%d", i)
		r.origin.On(path, origintest.Reply{Fields: []string{"Content-Encoding: gzip"}, Pieces: []string{sent}}.Serve)
		for range 3 { // fetched, then stored
			if got := r.do(t, get(path)); got.Err == nil && got.StatusCode == http.StatusOK {
				t.Errorf("%d: %d bytes as if whole, %s", i, len(got.Body), got.status())
			}
		}
	}
}

func TestAClientThatHoldsACopyIsSpared(t *testing.T) {
	r := e2e(t, hitRoutes)
	modified := "Last-Modified: Tue, 15 Nov 1994 12:45:26 GMT"
	r.origin.On("/c/a", origintest.Reply{Fields: []string{`ETag: "v1"`, modified, "Content-Type: text/plain", "X-Other: o", "Cache-Control: max-age=9"}, Pieces: []string{text(5000)}}.Serve, origintest.Hangup)
	for _, methods := range [][]string{{"GET"}, {"GET", "HEAD"}} { // from the flight that brings it, then from the store
		if len(methods) > 1 {
			r.untilStored(t, get("/c/a"))
		}
		f := func(want int, fields ...string) {
			t.Helper()
			for _, method := range methods {
				got := r.do(t, strings.Replace(get("/c/a", fields...), "GET", method, 1))
				if got.StatusCode != want || got.Err != nil || want == 304 && len(got.Body) > 0 {
					t.Errorf("%s %q: %d, %v, %d bytes", method, fields, got.StatusCode, got.Err, len(got.Body))
				}
				if want == 304 && (!strings.HasSuffix(got.Header.Get("ETag"), `"v1"`) || got.Header.Get("Cache-Control") == "" || got.Header.Get("Date") == "" ||
					got.Header.Get("Content-Encoding") != "" || got.Header.Get("X-Other") != "") {
					t.Errorf("%s %q: 304 with %v", method, fields, got.Header)
				}
			}
		}
		f(304, `If-None-Match: "v1"`)
		f(304, `If-None-Match: W/"v1"`)
		f(304, `If-None-Match: "v0", "v1"`)
		f(304, `If-None-Match: *`)
		f(304, `If-None-Match: "v1"`, "Accept-Encoding: gzip")
		f(304, `If-None-Match: W/"v1"`, "Accept-Encoding: gzip")
		f(200, `If-None-Match: "v2"`)
		f(304, "If-Modified-Since: Tue, 15 Nov 1994 12:45:26 GMT")
		f(304, "If-Modified-Since: Tue, 15 Nov 2022 12:45:26 GMT")
		f(200, "If-Modified-Since: Tue, 15 Nov 1994 12:45:25 GMT")
		f(200, "If-Modified-Since: yesterday")
		f(200, `If-None-Match: "v2"`, "If-Modified-Since: Tue, 15 Nov 2022 12:45:26 GMT")
	}
	r.expectCalls(t, "/c/a", 1)
	for _, q := range r.origin.Requests() {
		if q.Value("If-None-Match") != "" || q.Value("If-Modified-Since") != "" {
			t.Errorf("the origin was asked for less than the whole:\n%s", q.Head)
		}
	}
}

// Answers that differ by a request header are kept apart, and one is given to
// those who wait for the same one alone.
func TestVariantsAreKeptApart(t *testing.T) {
	r := e2e(t, hitRoutes)
	gate := make(chan struct{})
	r.origin.On("/c/a", func(w *origintest.Wire, q *origintest.Request) {
		origintest.Reply{Fields: []string{"Vary: X-Tone, Accept-Encoding"}, Pieces: []string{"in " + q.Value("X-Tone")}, HeadGate: gate}.Serve(w, q)
	})
	tones := []string{"C", "D", "E"}
	var all []*client
	for range 4 {
		for _, tone := range tones {
			all = append(all, (&crowd{t: t, addr: r.Addr, raw: get("/c/a", "X-Tone: "+tone)}).add(1)...)
		}
	}
	r.awaitCalls(t, "/c/a", 1)
	close(gate)
	each(t, all, "head", (*client).head)
	for i, c := range all {
		if err := c.rest("in " + tones[i%len(tones)]); err != nil {
			t.Errorf("%q: %v", c.got, err)
		}
	}
	for _, tone := range tones {
		if got := r.untilX(t, get("/c/a", "X-Tone: "+tone), "HIT"); string(got.Body) != "in "+tone {
			t.Errorf("%s: %q", tone, got.Body)
		}
	}
	calls := r.origin.CallsTo("/c/a")
	if got := r.whole(t, get("/c/a")); string(got.Body) != "in " {
		t.Errorf("without: %q", got.Body)
	}
	r.expectCalls(t, "/c/a", calls+1)
	for _, tone := range tones {
		if got := r.whole(t, get("/c/a", "X-Tone: "+tone)); string(got.Body) != "in "+tone || got.xCache() != "HIT" {
			t.Errorf("%s, when there is one more: %q, %s", tone, got.Body, got.status())
		}
	}
}

// Cache-Status and X-Cache say what happened (RFC 9211).
func TestEveryAnswerSaysHowItCameAbout(t *testing.T) {
	r := e2e(t, hitRoutes)
	f := func(got *reply, x, status string) {
		t.Helper()
		if got.xCache() != x || !regexp.MustCompile("^"+status+"$").MatchString(got.status()) {
			t.Errorf("X-Cache %q, Cache-Status %q, want %q, %q", got.xCache(), got.status(), x, status)
		}
		if !regexp.MustCompile(`^[0-9a-f]{24}$`).MatchString(got.Header.Get("X-Request-Id")) {
			t.Errorf("X-Request-Id %q", got.Header.Get("X-Request-Id"))
		}
	}
	gate := make(chan struct{})
	r.origin.On("/c/a", origintest.Reply{Chunked: true, Pieces: []string{"a"}, Gate: gate}.Serve, origintest.Hangup)
	c := &crowd{t: t, addr: r.Addr, raw: get("/c/a")}
	first := c.add(1)
	each(t, first, "head", (*client).head)
	second := c.add(1)
	each(t, second, "head", (*client).head)
	close(gate)
	f(&reply{Header: first[0].resp.Header}, "MISS", "jaegis; fwd=miss; fwd-status=200; stored")
	f(&reply{Header: second[0].resp.Header}, "MISS", "jaegis; fwd=miss; collapsed; fwd-status=200")
	each(t, c.clients, "end", func(c *client) error { return c.rest("a") })
	hit := r.untilStored(t, get("/c/a"))
	f(hit, "HIT", `jaegis; hit; ttl=3[56]\d\d; detail=memory`)
	if age, err := strconv.Atoi(hit.Header.Get("Age")); err != nil || age < 0 || age > 60 {
		t.Errorf("Age %q", hit.Header.Get("Age"))
	}
	if date, err := http.ParseTime(hit.Header.Get("Date")); err != nil || time.Since(date).Abs() > time.Minute {
		t.Errorf("Date %q", hit.Header.Get("Date"))
	}
	r.origin.On("/c/late", origintest.Reply{Status: 404}.Serve)
	f(r.do(t, get("/c/late")), "MISS", "jaegis; fwd=miss; fwd-status=404; detail=status")
	f(r.do(t, get("/c/b", "Cache-Control: no-store")), "BYPASS", "jaegis; fwd=bypass; fwd-status=200; detail=request-no-store")
	f(r.do(t, send("PUT", "/c/b", "x")), "PASS", "jaegis; fwd=method; fwd-status=200")
	f(r.do(t, send("POST", "/d/b", "x")), "PASS", "jaegis; fwd=method; fwd-status=200")
	f(r.do(t, get("/d/b")), "MISS", "jaegis; fwd=miss; fwd-status=200; detail=no-lifetime")
	f(r.do(t, get("/c/none", "Cache-Control: only-if-cached")), "MISS", "jaegis; .*detail=not_cached")
}

func TestTheClientsDirectivesHold(t *testing.T) {
	r := e2e(t, hitRoutes)
	n := 0
	f := func(directive string, call int, x string, route ...string) {
		t.Helper()
		n++
		path := fmt.Sprintf("/c/%d", n)
		if len(route) > 0 {
			path = route[0] + strconv.Itoa(n)
		}
		r.untilX(t, get(path), "HIT")
		raw := get(path, nonEmpty(directive)...)
		got := r.whole(t, raw)
		if a := got.proof(t, "GET", path, "", ""); a.Call != r.origin.Calls() || r.origin.CallsTo(path) != call || got.xCache() != x {
			t.Errorf("%q: %s, call %d of %d", directive, got.status(), a.Call, r.origin.CallsTo(path))
		}
	}
	f("", 1, "HIT")
	f("Cache-Control: no-cache", 2, "MISS")
	f("Pragma: no-cache", 2, "MISS")
	f("Cache-Control: no-store", 2, "BYPASS")
	f("Cache-Control: max-age=0", 2, "MISS")
	f("Cache-Control: max-age=600", 1, "HIT")
	f("Cache-Control: min-fresh=600", 1, "HIT")
	f("Cache-Control: min-fresh=7200", 2, "MISS")
	f("Cache-Control: min-fresh=11", 2, "MISS", "/brief/")
	f("Cache-Control: max-stale", 1, "HIT")
	f("Cache-Control: only-if-cached", 1, "HIT")

	for _, path := range []string{"/c/absent", "/d/absent"} {
		got := r.do(t, get(path, "Cache-Control: only-if-cached"))
		if err := refusedBy(got, "jaegis_not_cached", http.StatusGatewayTimeout); err != nil {
			t.Error(err)
		}
		r.expectCalls(t, path, 0)
	}
	// no-store leaves nothing behind, no-cache a newer answer.
	r.whole(t, get("/c/once", "Cache-Control: no-store"))
	if got := r.whole(t, get("/c/once")); got.xCache() != "MISS" {
		t.Errorf("after no-store: %s", got.status())
	}
	r.origin.SetVersion(2)
	r.whole(t, get("/c/1", "Cache-Control: no-cache"))
	r.until(t, get("/c/1"), "the newer answer", func(got *reply) bool {
		return got.xCache() == "HIT" && got.proof(t, "GET", "/c/1", "", "").Version == 2
	})
}
