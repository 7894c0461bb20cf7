package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// RFC 10008: what the content of a QUERY is, is a part of the request.
func TestWhatAQuerysContentIsIsInItsKey(t *testing.T) {
	o := serveVersions(t)
	p := start(t, routesBefore(o.URL))
	o.answers(func(w http.ResponseWriter, r *http.Request, _ int64) bool {
		fmt.Fprint(w, r.Header.Get("Content-Language"), r.Header.Get("Content-Location"), r.Header.Get("Content-Type"))
		return true
	})
	for range 2 {
		for _, fields := range [][]string{
			{"Content-Type", "text/plain"}, {"Content-Type", "text/csv"}, {"Content-Type", "text/plain", "Content-Language", "de"},
			{"Content-Type", "text/plain", "Content-Language", "fr"}, {"Content-Type", "text/plain", "Content-Location", "/other"},
		} {
			want := fields[1]
			if len(fields) > 2 {
				want = fields[3] + fields[1]
			}
			if _, body := ask(t, "QUERY", p.URL+"/x", "select", fields...); body != want {
				t.Errorf("%q: %q", fields, body)
			}
		}
	}
}

// RFC 9110, section 13.2.2: a copy that will do is enough, whatever the success;
// RFC 9111, section 4.3.2: an answer is not older than its Date.
func TestACopyThatWillDoIsEnough(t *testing.T) {
	o := serveVersions(t)
	p := start(t, routesBefore(o.URL))
	now := time.Now().UTC()
	o.answers(func(w http.ResponseWriter, r *http.Request, _ int64) bool {
		w.Header().Set("Date", now.Format(http.TimeFormat))
		if r.URL.Path != "/undated" {
			w.Header().Set("ETag", `"e"`)
		}
		switch r.URL.Path {
		case "/203":
			w.WriteHeader(http.StatusNonAuthoritativeInfo)
		case "/part":
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader("0123456789"))
			return true
		}
		return false
	})
	f := func(path string, want int, fields ...string) {
		t.Helper()
		for i := range 3 {
			resp, body := ask(t, "GET", p.URL+path, "", fields...)
			if resp.StatusCode != want || want == 304 && body != "" {
				t.Errorf("%s %q, time %d: status %d, %q (%s)", path, fields, i, resp.StatusCode, body, resp.Header.Get("Cache-Status"))
			}
		}
	}
	f("/203", 304, "If-None-Match", `"e"`)
	f("/203", 203, "If-None-Match", `"other"`)
	f("/part", 304, "Range", "bytes=0-3", "If-None-Match", `"e"`)
	f("/part", 206, "Range", "bytes=0-3", "If-None-Match", `"other"`)
	f("/undated", 304, "If-Modified-Since", now.Add(time.Second).Format(http.TimeFormat))
	f("/undated", 200, "If-Modified-Since", now.Add(-time.Hour).Format(http.TimeFormat))
}

// RFC 9211: each word of Cache-Status where it is true.
func TestCacheStatusUsesTheWordsOfRFC9211(t *testing.T) {
	o := serveVersions(t)
	p := start(t, routesBefore(o.URL))
	var fails atomic.Bool
	o.answers(func(w http.ResponseWriter, r *http.Request, _ int64) bool {
		if fails.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		w.Header().Set("ETag", `"e"`)
		switch r.URL.Path {
		case "/stale":
			w.Header().Set("Cache-Control", "public, max-age=0, stale-if-error=600")
		case "/part":
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader("0123456789"))
			return true
		case "/again":
			if r.Header.Get("If-None-Match") != "" {
				w.Header().Set("Set-Cookie", "of=this-one")
				w.WriteHeader(http.StatusNotModified)
				return true
			}
		}
		return false
	})
	f := func(method, path, want string, fields ...string) *http.Response {
		t.Helper()
		resp, _ := ask(t, method, p.URL+path, "", fields...)
		if got := resp.Header.Get("Cache-Status"); !strings.HasPrefix(got, want) {
			t.Errorf("%s %s %q: %q, want %q", method, path, fields, got, want)
		}
		return resp
	}
	f("POST", "/x", "jaegis; fwd=method; fwd-status=200")
	f("OPTIONS", "/x", "jaegis; fwd=method; fwd-status=200")
	f("GET", "/x", "jaegis; fwd=miss; fwd-status=200; stored", "Cookie", "a=1")
	f("GET", "/stale", "jaegis; fwd=miss; fwd-status=200; stored")
	fails.Store(true)
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) { // until it is in the store
		resp, _ := ask(t, "GET", p.URL+"/stale", "")
		if got := resp.Header.Get("Cache-Status"); strings.HasPrefix(got, "jaegis; fwd=stale; fwd-status=503; ttl=") && strings.HasSuffix(got, "detail=upstream-error") && resp.StatusCode == 200 {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("never stale: %s", got)
		}
	}
	fails.Store(false)
	f("GET", "/part", "jaegis; fwd=miss; fwd-status=206; stored", "Range", "bytes=0-3")
	f("GET", "/part", "jaegis; fwd=partial; fwd-status=206; stored", "Range", "bytes=4-6")
	f("GET", "/again", "jaegis; fwd=miss; fwd-status=200; stored")
	resp := f("GET", "/again", "jaegis; fwd=request; fwd-status=304; ttl=", "Cache-Control", "no-cache")
	if got := resp.Header.Get("Cache-Status"); !strings.Contains(got, "; stored") || resp.Header.Get("Set-Cookie") != "of=this-one" {
		t.Errorf("confirmed: %s, %v", got, resp.Header)
	}
	if resp := f("GET", "/again", "jaegis; hit; ttl="); resp.Header.Get("Set-Cookie") != "" {
		t.Errorf("another's cookie: %v", resp.Header)
	}
}

// RFC 9111, section 3.5: must-revalidate is leave to share only where a route
// says so.
func TestMustRevalidateIsLeaveToShareByChoiceAlone(t *testing.T) {
	o := serveVersions(t)
	f := func(route, want string, others ...string) {
		t.Helper()
		p := start(t, fmt.Sprintf("upstreams: {u: {url: %q}}\nroutes: [{name: all, freshness: origin%s}]\n", o.URL, route))
		o.answers(func(w http.ResponseWriter, r *http.Request, _ int64) bool {
			w.Header().Set("Cache-Control", "max-age=600, must-revalidate")
			fmt.Fprint(w, "for ", r.Header.Get("Authorization"))
			return true
		})
		as := func(who string) (asked, sent []string) {
			asked, sent = []string{"Authorization", who}, []string{"Authorization: " + who}
			for _, name := range others {
				asked, sent = append(asked, name, who), append(sent, name+": "+who)
			}
			return asked, sent
		}
		asked, sent := as("a")
		ask(t, "GET", p.URL+"/x", "", asked...)
		(&rig{proc: p}).untilX(t, get("/x", sent...), "HIT")
		asked, _ = as("b")
		if _, body := ask(t, "GET", p.URL+"/x", "", asked...); body != want {
			t.Errorf("%q, %q: %q", route, others, body)
		}
		if _, body := ask(t, "GET", p.URL+"/x", "", "Authorization", "c"); want == "for b" && body != "for c" {
			t.Errorf("%q, %q: without those, %q", route, others, body)
		}
	}
	const leave = ", share_authorized: true"
	f("", "for b")
	f(leave, "for a")
	for _, other := range []string{"Cookie", "X-Api-Key", "Api-Key", "X-Goog-Api-Key"} {
		f(leave, "for b", other) // of which that section says nothing
	}
	f(leave+", key: {credentials: [Authorization, X-Session]}", "for b", "X-Session")
	f(leave+", key: {credentials: [Authorization, X-Session]}", "for b", "X-Api-Key")
}

// What was joined of a large file is not lost to a part that lies apart from it.
func TestALargePartIsNotLostToASmallOne(t *testing.T) {
	content := strings.Repeat("0123456789", 300_000)
	f := serveFile(t, content, `"v1"`)
	p := start(t, routesBefore(f.URL))
	const step = 300_000
	for from := 0; from < len(content); from += step {
		if _, body := ask(t, "GET", p.URL+"/x", "", "Range", fmt.Sprintf("bytes=%d-%d", from, from+step-1)); body != content[from:from+step] {
			t.Fatalf("part at %d: %d bytes", from, len(body))
		}
	}
	f.since()
	if _, body := ask(t, "GET", p.URL+"/x", ""); body != content {
		t.Errorf("%d bytes", len(body))
	}
	if asked := f.since(); asked == "whole" || asked == "bytes=300000-" {
		t.Errorf("the origin was asked for %s", asked)
	}
}
