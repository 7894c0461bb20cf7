package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
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
		for range 2 { // those who came at once, and one more
			for _, c := range all {
				got := c.s.receive(http.MethodGet)
				if got.StatusCode != http.StatusOK || got.Err != nil || seen[string(got.Body)] {
					t.Errorf("%s: status %d, %v, %q given before: %v", field, got.StatusCode, got.Err, got.Body, seen[string(got.Body)])
				}
				seen[string(got.Body)] = true
			}
			all = all[:1]
			all[0].s.send(get(path))
		}
		r.expectCalls(t, path, callers+1)
	}
}

// 36: whatever range is asked for, what comes is what the answer has there.
func TestARangeIsAPieceOfTheAnswerOrNone(t *testing.T) {
	r := e2e(t, proofRoutes)
	body := text(20_000)
	ranges := []string{
		"bytes=-65535,-9223372036854710273", "bytes=-9223372036854710273,-65535", "bytes=0-9223372036854775807", "bytes=0-18446744073709551615", "bytes=0-18446744073709551616", "bytes=-18446744073709551615",
		"bytes=9223372036854775807-", "bytes=9223372036854775806-9223372036854775807", "bytes=18446744073709551616-", "bytes=4294967296-4294967300", "bytes=-9223372036854775808", "bytes=-0", "bytes=-1", "bytes=-20000", "bytes=-20001",
		"bytes=0-0", "bytes=19999-", "bytes=20000-", "bytes=19999-20000", "bytes=5-4", "bytes=0-", "bytes=0-9,5-14", "bytes=5-14,0-9", "bytes=0-0,-1", "bytes=0-0,2-2,4-4", "bytes=20000-,0-0", "bytes=,0-1,,",
		"bytes=0-1;q=1", "bytes=--1", "bytes=+1-2", "bytes=0x1-2", "bytes=0-1 ", "bytes =0-1", "bytes= 0-1", "bytes=0 -1", "bytes=0- 1", "BYTES=0-1", "byte=0-1", "bytes", "bytes=", "bytes=-", "=0-1", "0-1", "bytes:0-1", "bytes=0-1, 3-4 , 6-7", "bytes=a-b", "bytes=0-1,x", "none=0-1", "bytes=0-1\x80", "bytes=\u0660-\u0661",
		"bytes=" + strings.Repeat("0-,", 2_000) + "0-", "bytes=" + strings.Repeat("0-0,", 2_000) + "0-0", "bytes=" + strings.Repeat("-1,", 2_000) + "-1", "bytes=0-" + strings.Repeat("9", 9_000), "bytes=" + strings.Repeat("0", 9_000) + "-1", manyRanges(500),
	}
	for _, route := range []string{"/c/", "/public/", "/d/"} {
		path := route + "range"
		r.origin.On(path, origintest.Reply{Fields: []string{"Content-Type: text/plain", "Cache-Control: max-age=3600", `ETag: "v1"`, "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT"}, Pieces: []string{body}}.Serve)
		r.untilX(t, get(path), "HIT")
		for _, value := range ranges {
			for _, more := range [][]string{nil, {`If-Range: "v1"`}, {`If-Range: "v2"`}, {"Accept-Encoding: gzip"}} {
				got := r.do(t, get(path, append([]string{"Range: " + value}, more...)...))
				if err := wrongPiece(t, body, got); err != nil {
					t.Errorf("%s %.60q %q: status %d, Content-Range %q: %v", path, value, more, got.StatusCode, got.Header.Get("Content-Range"), err)
				}
			}
		}
		if got := r.whole(t, get(path)); string(got.Body) != body || got.xCache() != "HIT" {
			t.Errorf("%s: after all that %d bytes, %s", path, len(got.Body), got.status())
		}
		r.expectCalls(t, path, 1)
	}
}

// manyRanges is n ranges of a byte each with a gap behind it.
func manyRanges(n int) string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%d-%d", 2*i, 2*i)
	}
	return "bytes=" + strings.Join(all, ",")
}

// wrongPiece says what is wrong with an answer to a request for ranges of body.
// An answer may be the whole, never much more than that.
func wrongPiece(t *testing.T, body string, got *reply) error {
	t.Helper()
	size := fmt.Sprint("bytes */", len(body))
	switch {
	case got.Err != nil:
		return got.Err
	case len(got.Body) > len(body)+4_000:
		return fmt.Errorf("%d bytes, more than the whole of %d", len(got.Body), len(body))
	case got.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		if cr := got.Header.Get("Content-Range"); cr != size {
			return fmt.Errorf("a refusal with Content-Range %q, want %q", cr, size)
		}
		return nil
	case got.StatusCode == http.StatusOK:
		return wrongWhole(t, body, got)
	case got.StatusCode != http.StatusPartialContent || got.Header.Get("Content-Encoding") != "":
		return fmt.Errorf("status %d, Content-Encoding %q", got.StatusCode, got.Header.Get("Content-Encoding"))
	}
	kind, params, err := mime.ParseMediaType(got.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/byteranges" {
		return wrongSlice(body, got.Header.Get("Content-Range"), got.Body)
	}
	parts := multipart.NewReader(bytes.NewReader(got.Body), params["boundary"])
	for n := 0; ; n++ {
		p, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) && n > 1 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("part %d: %w", n, err)
		}
		piece, err := io.ReadAll(p)
		if err != nil {
			return fmt.Errorf("part %d: %w", n, err)
		}
		if err := wrongSlice(body, p.Header.Get("Content-Range"), piece); err != nil {
			return err
		}
	}
}

// wrongWhole says what is wrong with an answer of 200.
func wrongWhole(t *testing.T, body string, got *reply) error {
	t.Helper()
	plain := string(got.Body)
	if got.Header.Get("Content-Encoding") == "gzip" {
		plain = gunzip(t, got.Body)
	}
	if plain != body || got.Header.Get("Content-Range") != "" {
		return fmt.Errorf("%d bytes that are not the whole answer, Content-Range %q", len(plain), got.Header.Get("Content-Range"))
	}
	return nil
}

// wrongSlice says why piece is not what body has where contentRange says.
func wrongSlice(body, contentRange string, piece []byte) error {
	var first, last, size int
	if n, err := fmt.Sscanf(contentRange, "bytes %d-%d/%d", &first, &last, &size); n != 3 || err != nil {
		return fmt.Errorf("Content-Range %q", contentRange)
	}
	if first < 0 || last < first || last >= len(body) || size != len(body) || contentRange != fmt.Sprintf("bytes %d-%d/%d", first, last, size) {
		return fmt.Errorf("Content-Range %q of %d bytes", contentRange, len(body))
	}
	if string(piece) != body[first:last+1] {
		return fmt.Errorf("%d bytes that are not those of %q", len(piece), contentRange)
	}
	return nil
}
