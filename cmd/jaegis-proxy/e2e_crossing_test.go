package main

import (
	"crypto/sha256"
	"encoding/json"
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
// provider and some with keys that the proxy knows, for streams, wholes and
// batches of embeddings, with namespaces and modes of their own, while answers
// expire and fail: each is given its own answers alone. Where callers share what
// the provider gives to both, neither is given what is the other's account's.
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
		if org := r.Header.Get("OpenAI-Organization"); org != "" { // of both, or of one alone
			if org != "both" && !strings.HasSuffix(who, org) {
				w.WriteHeader(http.StatusUnauthorized)
				return true
			}
			who = "org " + org
		}
		if r.URL.Path == "/own/embeddings" {
			var asked struct{ Input []string }
			if json.Unmarshal(body, &asked) != nil {
				w.WriteHeader(http.StatusBadRequest)
				return true
			}
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"object":"list","data":[`)
			for i, text := range asked.Input {
				fmt.Fprintf(w, `%.*s{"object":"embedding","index":%d,"embedding":%s}`, min(i, 1), ",", i, vectorFor(who, text))
			}
			fmt.Fprint(w, `],"model":"m","usage":{"prompt_tokens":1,"total_tokens":1}}`)
			return true
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
  - {name: shared, match: {path: "/shared/*"}, upstream: own, namespace: ai_responses, ttl: 1s, protocol: openai-chat, scope: shared, proof_ttl: 1m}
  - {name: embeddings, match: {path: "/own/embeddings"}, upstream: own, namespace: ai_responses, ttl: 1s, protocol: openai-embeddings}
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
	var fields [][2]string
	status, want := http.StatusOK, ""
	switch rand.IntN(4) {
	case 0:
		path, key, says = "/ours/chat", "key-of-"+who, "provider"+who
		fields = append(fields, [2]string{"X-Tenant", who}) // not in the key: the origin alone is to see it
	case 1:
		org := [...]string{"both", "red", "blue"}[rand.IntN(3)]
		path, says = "/shared/chat", "org "+org
		fields = append(fields, [2]string{"OpenAI-Organization", org})
		if org != "both" && org != who {
			status, want = http.StatusUnauthorized, " "
		}
	case 2:
		path = "/own/embeddings"
		question, want = askVectors(says)
	}
	if rand.IntN(4) == 0 {
		fields = append(fields, [2]string{"Jaegis-Cache-Namespace", [...]string{"a", "b"}[rand.IntN(2)]}, [2]string{"Jaegis-Cache-Mode", [...]string{"read-write", "read-only", "refresh"}[rand.IntN(3)]})
	}
	if want == "" {
		want = fmt.Sprintf("%q", says+" "+question)
	}
	req, err := http.NewRequestWithContext(t.Context(), "POST", base+path, strings.NewReader(question))
	if err != nil {
		t.Error(err)
		return
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+key)
	for _, f := range fields {
		req.Header.Set(f[0], f[1])
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
	if resp.StatusCode != status || status == http.StatusOK && !strings.Contains(string(body), want) {
		t.Errorf("%s asked %s %s %v: status %d, %s, %s", who, path, question, fields, resp.StatusCode, resp.Header.Get("Cache-Status"), body)
	}
	good.Add(1)
	if strings.Contains(resp.Header.Get("Cache-Status"), "; hit") {
		hits.Add(1)
	}
}

// vectorFor is the vector of a text for a caller, and of nothing else.
func vectorFor(who, text string) string {
	sum := sha256.Sum256([]byte(who + "|" + text))
	return fmt.Sprintf("[%d,%d]", sum[0], int(sum[1])<<8|int(sum[2]))
}

// askVectors is a batch of some texts, and what its answer must hold.
func askVectors(who string) (question, want string) {
	var texts, vectors []string
	for i := range 1 + rand.IntN(4) {
		text := fmt.Sprint("text ", rand.IntN(20))
		texts = append(texts, fmt.Sprintf("%q", text))
		vectors = append(vectors, fmt.Sprintf(`{"object":"embedding","index":%d,"embedding":%s}`, i, vectorFor(who, text)))
	}
	return `{"model":"m","input":[` + strings.Join(texts, ",") + `]}`, strings.Join(vectors, ",")
}
