package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"jaegis-proxy/store/storetest"
)

// Where the route says how long answers hold, those without a tag get one from
// their bytes. The origin never hears of it.
func TestAnswersWithoutATagGetOne(t *testing.T) {
	var mu sync.Mutex
	conditions := 0
	o := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		for _, name := range []string{"If-None-Match", "If-Match", "If-Range"} {
			if r.Header.Get(name) != "" {
				conditions++
			}
		}
		if strings.Contains(r.URL.Path, "modified") {
			w.Header().Set("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
			if r.Header.Get("If-Modified-Since") != "" {
				w.WriteHeader(http.StatusNotModified)
				return
			}
		}
		if strings.HasPrefix(r.URL.Path, "/http/") {
			w.Header().Set("Cache-Control", "public, max-age=3600")
		}
		if strings.Contains(r.URL.Path, "own") {
			w.Header().Set("ETag", `W/"own"`)
		}
		w.Header().Set("Content-Type", "text/plain")
		_, _ = fmt.Fprint(w, strings.Repeat("0123456789", 30_000), r.URL.Path[len(r.URL.Path)-1:])
	}))
	t.Cleanup(o.Close)
	server := storetest.StartRedis(t)
	for _, cache := range []string{"", `memory: {max_bytes: 0}, redis: {url: "` + server.URL + `", budget: 2s}`} {
		r := &rig{proc: start(t, fmt.Sprintf("cache: {%s}\nupstreams: {u: {url: %q}}\nroutes:\n  - {name: http, match: {path: /http/*}, freshness: origin}\n  - {name: all, ttl: 1h, scope: public}\n", cache, o.URL))}
		hit := func(path string, fields ...string) *reply {
			t.Helper()
			return r.until(t, get(path, fields...), "from the store", func(got *reply) bool {
				return strings.Contains(got.status(), "hit;") && !strings.Contains(got.status(), "flight")
			})
		}
		tag := hit("/c/a").Header.Get("ETag")
		if len(tag) != 26 || tag[0] != '"' {
			t.Fatalf("ETag %q", tag)
		}
		if other := hit("/c/b").Header.Get("ETag"); other == tag || len(other) != 26 {
			t.Errorf("of other bytes: %q, of these: %q", other, tag)
		}
		if same := hit("/c/1a").Header.Get("ETag"); same != tag {
			t.Errorf("of the same bytes: %q, want %q", same, tag)
		}
		if coded := hit("/c/a", "Accept-Encoding: gzip"); coded.Header.Get("ETag") != "W/"+tag || coded.Header.Get("Content-Encoding") != "gzip" {
			t.Errorf("of what is coded: %q, want it weak", coded.Header.Get("ETag"))
		}
		for _, condition := range []string{tag, "W/" + tag, `"x", ` + tag, "*"} {
			if got := r.do(t, get("/c/a", "If-None-Match: "+condition)); got.StatusCode != 304 || got.Header.Get("ETag") != tag || len(got.Body) > 0 {
				t.Errorf("If-None-Match: %s: %d, ETag %q", condition, got.StatusCode, got.Header.Get("ETag"))
			}
		}
		if got := r.do(t, get("/c/a", `If-None-Match: "x"`)); got.StatusCode != 200 {
			t.Errorf("another tag: %d", got.StatusCode)
		}
		if own := hit("/c/own").Header.Get("ETag"); own != `W/"own"` {
			t.Errorf("the origin's own: %q", own)
		}
		if none := hit("/http/a").Header.Get("ETag"); none != "" {
			t.Errorf("where the origin says how long it holds: %q", none)
		}
		// What is validated is validated by what the origin has said.
		tag = hit("/c/modified").Header.Get("ETag")
		if got := r.do(t, get("/c/modified", "Cache-Control: no-cache", "If-None-Match: "+tag)); got.StatusCode != 304 || got.Header.Get("ETag") != tag {
			t.Errorf("validated: %d, %s, ETag %q", got.StatusCode, got.status(), got.Header.Get("ETag"))
		}
		if again := hit("/c/modified").Header.Get("ETag"); again != tag {
			t.Errorf("after that: %q, was %q", again, tag)
		}
		if conditions > 0 {
			t.Errorf("the origin was shown %d tags that it has not made", conditions)
		}
	}
}
