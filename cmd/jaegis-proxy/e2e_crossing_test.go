package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// crossings is how many requests the tenants make: JAEGIS_REQUESTS, which make
// soak sets to a million.
func crossings(t *testing.T) int {
	t.Helper()
	text := os.Getenv("JAEGIS_REQUESTS")
	if text == "" {
		return 20_000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Two tenants ask the same questions in any order, some with keys of the
// provider and some with keys that the proxy knows, for streams and wholes,
// while answers expire and fail: each is given its own answers alone.
func TestNoAnswerCrossesFromOneTenantToAnother(t *testing.T) {
	u := serveProvider(t)
	u.set(func(w http.ResponseWriter, r *http.Request) bool {
		body, _ := io.ReadAll(r.Body)
		who := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ") + r.Header.Get("X-Tenant")
		switch rand.IntN(20) {
		case 0:
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		case 1:
			panic(http.ErrAbortHandler)
		}
		if strings.Contains(string(body), `"stream":true`) {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprintf(w, "data: {\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":%q}}]}\n\n", who+" "+string(body))
			_ = http.NewResponseController(w).Flush()
			fmt.Fprint(w, "data: {\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
			return true
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"model":"m","choices":[{"index":0,"message":{"content":%q},"finish_reason":"stop"}]}`, who+" "+string(body))
		return true
	})
	sum := func(key string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(key))) }
	p := start(t, fmt.Sprintf(`
upstreams:
  own: {url: %q}
  ours: {url: %q, headers: {Authorization: "Bearer provider"}}
clients:
  - {name: red, keys: [%q]}
  - {name: blue, keys: [%q]}
routes:
  - {name: ours, match: {path: "/ours/*"}, upstream: ours, namespace: ai_responses, ttl: 1s, protocol: openai-chat}
  - {name: own, match: {path: "/own/*"}, upstream: own, namespace: ai_responses, ttl: 1s, stale_while_revalidate: 1s, stale_if_error: 1s, protocol: openai-chat, key: {ignore: [/user]}}
`, u.URL, u.URL, sum("key-of-red"), sum("key-of-blue")))
	var hits, good, left atomic.Int64
	left.Store(int64(crossings(t)))
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			transport := &http.Transport{DisableCompression: true}
			defer transport.CloseIdleConnections()
			c := &http.Client{Transport: transport, Timeout: patience}
			for left.Add(-1) >= 0 {
				askAsTenant(t, c, p.URL, &hits, &good)
			}
		})
	}
	wg.Wait()
	t.Logf("%d whole answers, %d of them from the cache, %d upstream calls", good.Load(), hits.Load(), u.calls.Load())
	if hits.Load() == 0 || hits.Load() == good.Load() {
		t.Errorf("%d hits of %d: nothing was tried", hits.Load(), good.Load())
	}
}

// askAsTenant asks one question, and judges its answer if one comes whole.
func askAsTenant(t *testing.T, c *http.Client, base string, hits, good *atomic.Int64) {
	who := [...]string{"red", "blue"}[rand.IntN(2)]
	question := fmt.Sprintf(`{"q":%d,"stream":%v}`, rand.IntN(30), rand.IntN(2) == 0)
	path, key, says := "/own/chat", "key-at-provider-of-"+who, "key-at-provider-of-"+who
	if rand.IntN(2) == 0 {
		path, key, says = "/ours/chat", "key-of-"+who, "provider"+who
	}
	req, err := http.NewRequestWithContext(t.Context(), "POST", base+path, strings.NewReader(question))
	if err != nil {
		t.Error(err)
		return
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+key)
	if path == "/ours/chat" {
		req.Header.Set("X-Tenant", who) // not in the key: the origin alone is to see it
	}
	resp, err := c.Do(req)
	if err != nil {
		return
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 500 {
		return
	}
	if want := fmt.Sprintf("%q", says+" "+question); resp.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
		t.Errorf("%s asked %s %s: status %d, %s, %s", who, path, question, resp.StatusCode, resp.Header.Get("Cache-Status"), body)
	}
	good.Add(1)
	if strings.Contains(resp.Header.Get("Cache-Status"), "; hit") {
		hits.Add(1)
	}
}
