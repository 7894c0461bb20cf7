package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"jaegis-proxy/store/storetest"
)

// RFC 9211, section 2: hit and fwd say whether a request went forward, and each
// other word what is true of that.
func TestCacheStatusSaysWhatBecameOfARequest(t *testing.T) {
	o := serveVersions(t)
	p := start(t, fmt.Sprintf(`
upstreams: {u: {url: %q, first_byte_timeout: 1s}, gone: {url: "http://127.0.0.1:1"}}
default_upstream: u
routes:
  - {name: gone, match: {path: /gone/*}, upstream: gone, ttl: 1h}
  - {name: passed, match: {path: /passed/*}, upstream: gone, cache: false}
  - {name: ruled, match: {path: /ruled/*}, ttl: 1h, when: {without: [/store]}}
  - {name: own, match: {path: /own/*}, ttl: 1h}
  - {name: all, freshness: origin}
`, o.URL))
	var holds atomic.Bool
	asked, goOn := make(chan struct{}, 10), make(chan struct{})
	o.answers(func(w http.ResponseWriter, r *http.Request, _ int64) bool {
		w.Header().Set("ETag", `"e"`)
		w.Header().Set("Cache-Control", "public, max-age=600, stale-if-error=600")
		switch {
		case r.URL.Path == "/late":
			time.Sleep(2 * time.Second)
		case r.URL.Path == "/confirmed":
			w.Header().Set("Cache-Control", "public, max-age=1")
			if r.Header.Get("If-None-Match") != "" {
				if holds.Load() {
					asked <- struct{}{}
					<-goOn
				}
				w.WriteHeader(http.StatusNotModified)
				return true
			}
		case strings.HasPrefix(r.URL.Path, "/range"):
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader("0123456789"))
			return true
		}
		return false
	})
	f := func(method, path string, status int, want string, fields ...string) {
		t.Helper()
		body := ""
		if method == "POST" {
			body = `{"store":true}`
		}
		resp, _ := ask(t, method, p.URL+path, body, fields...)
		if got := resp.Header.Get("Cache-Status"); resp.StatusCode != status || !strings.HasPrefix(got+";", "jaegis"+want+";") {
			t.Errorf("%s %s %q: %d %s, want %d jaegis%s", method, path, fields, resp.StatusCode, got, status, want)
		}
	}
	rig := &rig{proc: p}

	// Refused here: nothing went forward.
	f("GET", "/none", 504, "; detail=not_cached", "Cache-Control", "only-if-cached")
	f("QUERY", "/x", 400, "; detail=bad_request")
	// Forwarded, and no answer came.
	f("POST", "/gone/x", 502, "; fwd=miss; detail=upstream_unreachable")
	f("POST", "/passed/x", 502, "; fwd=bypass; detail=upstream_unreachable")
	f("POST", "/gone/x", 502, "; fwd=bypass; detail=upstream_unreachable", "Cache-Control", "no-store")
	f("GET", "/late", 504, "; fwd=miss; detail=upstream_timeout")

	f("GET", "/range", 200, "; fwd=miss; fwd-status=200; stored")
	rig.untilX(t, get("/range"), "HIT")
	f("GET", "/range", 206, "; hit; ttl=600", "Range", "bytes=2-3")
	f("GET", "/range", 416, "; hit; ttl=600", "Range", "bytes=20-30")
	f("GET", "/range", 304, "; hit; ttl=600", "If-None-Match", `"e"`)
	f("HEAD", "/range", 200, "; hit; ttl=600")
	f("GET", "/range", 200, "; hit; ttl=600", "Cache-Control", "only-if-cached")
	f("HEAD", "/head", 200, "; fwd=miss; fwd-status=200; detail=method")
	f("GET", "/range2", 206, "; fwd=miss; fwd-status=206; stored", "Range", "bytes=0-3")
	f("POST", "/ruled/x", 200, "; fwd=bypass; fwd-status=200; detail=when")

	// A reload goes forward whatever there is, which may be nothing.
	f("POST", "/own/x", 200, "; fwd=miss; fwd-status=200; stored", "Jaegis-Cache-Mode", "refresh")
	rig.untilX(t, send("POST", "/own/x", `{"store":true}`), "HIT")
	f("POST", "/own/x", 200, "; fwd=request; fwd-status=200; stored", "Jaegis-Cache-Mode", "refresh")

	// One validation confirms what is stored for two requests.
	f("GET", "/confirmed", 200, "; fwd=miss; fwd-status=200; stored")
	rig.untilX(t, get("/confirmed"), "HIT")
	time.Sleep(2 * time.Second) // it is stale then
	holds.Store(true)
	said := make(chan string)
	for range 2 {
		go func() {
			resp, _ := ask(t, "GET", p.URL+"/confirmed", "")
			said <- resp.Header.Get("Cache-Status")
		}()
	}
	<-asked
	time.Sleep(300 * time.Millisecond) // for the other one to join it
	close(goOn)
	first, second := <-said, <-said
	if strings.Contains(first, "collapsed") == strings.Contains(second, "collapsed") || !strings.HasPrefix(first, "jaegis; fwd=stale; ") || !strings.HasPrefix(second, "jaegis; fwd=stale; ") {
		t.Errorf("confirmed for both: %q, %q", first, second)
	}
}

// What a store that is away has not stored is not said to be stored.
func TestCacheStatusOfAStoreThatIsAway(t *testing.T) {
	server := storetest.StartRedis(t)
	r := e2e(t, redisYAML(fmt.Sprintf("url: %q", server.URL)))
	r.fromRedis(t, "/c/a")
	server.Kill()
	storetest.Eventually(t, patience, "it is known to be away", func() bool {
		r.whole(t, send("POST", "/c/a", "hello"))
		return len(r.readyz(t).Degraded) > 0
	})
	if got := r.whole(t, send("POST", "/c/a", "hello")).status(); got != "jaegis; fwd=miss; fwd-status=200; detail=store-unavailable" {
		t.Error(got)
	}
}
