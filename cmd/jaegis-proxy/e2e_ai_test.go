package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// provider is an AI API that gives recorded answers: the one that Recording
// names, or what a test sets.
type provider struct {
	*httptest.Server
	calls atomic.Int64
	mu    sync.Mutex
	does  func(w http.ResponseWriter, r *http.Request) bool // true when it has answered
	seen  http.Header                                       // of the last request
}

func recording(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "internal", "protocol", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func serveProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.calls.Add(1)
		p.mu.Lock()
		does := p.does
		p.seen = r.Header.Clone()
		p.mu.Unlock()
		if does != nil && does(w, r) {
			return
		}
		name := r.Header.Get("Recording")
		switch filepath.Ext(name) {
		case ".sse":
			w.Header().Set("Content-Type", "text/event-stream")
		case ".ndjson":
			w.Header().Set("Content-Type", "application/x-ndjson")
		default:
			w.Header().Set("Content-Type", "application/json")
		}
		w.Header().Set("Cache-Control", "no-cache, private") // as providers do by rote
		fmt.Fprint(w, recording(t, name))
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *provider) set(does func(w http.ResponseWriter, r *http.Request) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.does = does
}

func (p *provider) last() http.Header {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen
}

const aiRoutes = `
upstreams: {u: {url: %q}}
prices: {"gpt-*": {input: 1000000, output: 2000000}}
routes:
  - {name: chat, match: {path: "/chat*"}, upstream: u, namespace: ai_responses, protocol: openai-chat, override_no_store: true, stale_if_error: 1h, key: {headers: [Recording]}%s}
  - {name: responses, match: {path: "/responses*"}, upstream: u, namespace: ai_responses, protocol: openai-responses, override_no_store: true, key: {headers: [Recording]}}
  - {name: messages, match: {path: "/messages*"}, upstream: u, namespace: ai_responses, protocol: anthropic-messages, override_no_store: true, key: {headers: [Recording]}}
  - {name: gemini, match: {path: "/gemini*"}, upstream: u, namespace: ai_responses, protocol: gemini, override_no_store: true, key: {headers: [Recording]}}
  - {name: ollama, match: {path: "/ollama*"}, upstream: u, namespace: ai_responses, protocol: ollama, override_no_store: true, key: {headers: [Recording]}}
`

// startAI runs the proxy before the provider; more is added to the chat route.
func startAI(t *testing.T, p *provider, more string) *proc {
	t.Helper()
	if more != "" {
		more = ", " + more
	}
	return start(t, fmt.Sprintf(aiRoutes, p.URL, more))
}

func TestOnlyGoodAnswersAreKept(t *testing.T) {
	u := serveProvider(t)
	p := startAI(t, u, "")
	f := func(path, name, reason string) {
		t.Helper()
		want := recording(t, name)
		for i := range 2 {
			resp, body := ask(t, "POST", p.URL+path, `{"model":"m"}`, "Authorization", "Bearer k", "Content-Type", "application/json", "Recording", name)
			xCache := "MISS"
			if i == 1 && reason == "" {
				xCache = "HIT"
			}
			status := resp.Header.Get("Cache-Status")
			if body != want || resp.Header.Get("X-Cache") != xCache {
				t.Errorf("%s, time %d: %s, want %s; %d bytes of %d", name, i, status, xCache, len(body), len(want))
			}
			if isStream := !strings.HasSuffix(name, ".json"); reason != "" && (i == 1 || !isStream) && !strings.HasSuffix(status, reason) {
				t.Errorf("%s, time %d: %s, want detail %s", name, i, status, reason)
			}
		}
		if n := p.metric(t, `jaegis_not_stored_total\{reason="`+reason+`",route="[a-z]*"\}`); reason != "" && n == 0 {
			t.Errorf("%s: nothing counted for %s", name, reason)
		}
	}
	f("/chat", "chat-text.json", "")
	f("/chat", "chat-text.sse", "")
	f("/chat", "chat-tools.sse", "")
	f("/chat", "chat-length.json", "finish-length")
	f("/chat", "chat-error.sse", "answer-error")
	f("/chat", "chat-empty.json", "empty")
	f("/chat", "chat-tools-bad.json", "tool-arguments")
	f("/chat", "chat-refusal.sse", "finish-refusal")
	f("/responses", "responses-text.sse", "")
	f("/responses", "responses-tools.sse", "")
	f("/responses", "responses-failed.sse", "answer-error")
	f("/responses", "responses-incomplete.sse", "finish-length")
	f("/messages", "anthropic-thinking.sse", "")
	f("/messages", "anthropic-tools.json", "")
	f("/messages", "anthropic-error.sse", "answer-error")
	f("/gemini/m:streamGenerateContent", "gemini-text.sse", "")
	f("/gemini/m:generateContent", "gemini-safety.json", "finish-content-filter")
	f("/ollama", "ollama-chat.ndjson", "")
	f("/ollama", "ollama-error.ndjson", "answer-error")
}

// A stream that ends too soon, at whatever byte, is never kept, and where its
// end cannot be trusted the client sees that. These are 40,000 requests, one
// after the other.
func TestAStreamThatEndsTooSoonIsNeverKept(t *testing.T) {
	u := serveProvider(t)
	p := startPlain(t, fmt.Sprintf(aiRoutes, u.URL, ""))
	for _, c := range []struct{ path, name string }{
		{"/chat", "chat-text.sse"}, {"/messages", "anthropic-text.json"}, {"/messages", "anthropic-thinking.sse"}, {"/responses", "responses-text.sse"},
		{"/gemini/m:streamGenerateContent", "gemini-text.sse"}, {"/ollama", "ollama-chat.ndjson"},
	} {
		whole := recording(t, c.name)
		var at atomic.Int64
		var clean atomic.Bool
		u.set(func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Type", map[string]string{".sse": "text/event-stream", ".json": "application/json", ".ndjson": "application/x-ndjson"}[filepath.Ext(c.name)])
			fmt.Fprint(w, whole[:at.Load()])
			_ = http.NewResponseController(w).Flush()
			if !clean.Load() {
				panic(http.ErrAbortHandler)
			}
			return true
		})
		end := len(strings.TrimRight(whole, "\r\n"))
		client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
		for n := range len(whole) + 1 {
			at.Store(int64(n))
			for _, isClean := range []bool{false, true} {
				if isClean && n >= end { // all is there
					continue
				}
				clean.Store(isClean)
				for range 2 {
					before := u.calls.Load()
					got, cut := fetch(t, client, p.URL+c.path, fmt.Sprintf(`{"n":%d,"clean":%v}`, n, isClean))
					if u.calls.Load() == before {
						t.Fatalf("%s cut at %d (clean %v) was kept", c.name, n, isClean)
					}
					if !isClean && !cut {
						t.Fatalf("%s cut at %d ended cleanly at the client, with %d bytes", c.name, n, len(got))
					}
				}
			}
		}
		client.CloseIdleConnections()
	}
}

// fetch posts and says whether the answer was refused or cut.
func fetch(t *testing.T, c *http.Client, url, body string) (got string, cut bool) {
	t.Helper()
	resp, err := c.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b := new(strings.Builder)
	_, err = copyTo(b, resp)
	return b.String(), err != nil || resp.StatusCode != http.StatusOK
}

// The SDK of one provider closes its connection right after the end mark.
func TestAClientThatLeavesAfterTheEndMarkLosesNothing(t *testing.T) {
	u := serveProvider(t)
	gate := make(chan struct{})
	whole := recording(t, "chat-text.sse")
	u.set(func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, whole)
		_ = http.NewResponseController(w).Flush()
		select {
		case <-gate: // the final chunk comes later
		case <-r.Context().Done():
			t.Error("the fetch was given up")
		}
		return true
	})
	p := startAI(t, u, "on_abandon: cancel")
	s := connect(t, p.Addr)
	s.send(send("POST", "/chat", "{}", "Content-Type: application/json"))
	for got := ""; !strings.Contains(got, "[DONE]"); {
		line, err := s.br.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		got += line
	}
	_ = s.c.Close()
	time.Sleep(100 * time.Millisecond) // for its leaving to be seen; too short a time hides a fault and makes none
	close(gate)
	(&rig{proc: p}).until(t, send("POST", "/chat", "{}", "Content-Type: application/json"), "a hit", func(r *reply) bool { return r.xCache() == "HIT" && string(r.Body) == whole })
	if n := u.calls.Load(); n != 1 {
		t.Errorf("%d calls", n)
	}
}

func TestAStoredStreamIsReplayedAtItsPace(t *testing.T) {
	u := serveProvider(t)
	u.set(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, event := range strings.SplitAfter(recording(t, "chat-text.sse"), "\n\n") {
			fmt.Fprint(w, event)
			_ = http.NewResponseController(w).Flush()
			time.Sleep(30 * time.Millisecond)
		}
		return true
	})
	events := strings.Count(recording(t, "chat-text.sse"), "\n\n")
	for _, pace := range []string{"original", "40/s"} {
		p := startAI(t, u, `replay: {pace: "`+pace+`"}`)
		for i := range 2 {
			begun := time.Now()
			resp, body := ask(t, "POST", p.URL+"/chat", "{}", "Authorization", "Bearer k", "Content-Type", "application/json")
			want(t, resp, []string{"MISS", "HIT"}[i])
			if took := time.Since(begun); body != recording(t, "chat-text.sse") || took < time.Duration(events-1)*20*time.Millisecond {
				t.Errorf("%s: %d events in %v, %d bytes", pace, events, took, len(body))
			}
		}
	}
}

func TestShadowModeForwardsEverythingAndCompares(t *testing.T) {
	u := serveProvider(t)
	p := startAI(t, u, "shadow: true")
	one := func(name string) {
		t.Helper()
		resp, _ := ask(t, "POST", p.URL+"/chat", "{}", "Authorization", "Bearer k", "Content-Type", "application/json", "Recording", name)
		want(t, resp, "BYPASS")
	}
	result := func(kind string) float64 {
		return p.metric(t, `jaegis_shadow_total\{result="`+kind+`",route="chat"\}`)
	}
	await := func(what string, holds func() bool) {
		t.Helper()
		for deadline := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: miss %v, same %v, different %v", what, result("miss"), result("same"), result("different"))
			}
		}
	}
	one("chat-text.json")
	await("the first", func() bool { return result("miss") == 1 })
	await("then", func() bool { one("chat-text.json"); return result("same") > 0 })
	u.set(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, strings.Replace(recording(t, "chat-text.json"), "Hel", "Pel", 1), " ")
		return true
	})
	one("chat-text.json")
	await("another", func() bool { return result("different") == 1 })
	if calls, all := u.calls.Load(), result("miss")+result("same")+result("different"); float64(calls) != all {
		t.Errorf("%d calls for %v requests", calls, all)
	}
}

func TestUpToNAnswersAreKeptForOneKey(t *testing.T) {
	u := serveProvider(t)
	var n atomic.Int64
	u.set(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"id":"%d","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":"stop"}]}`, n.Add(1))
		return true
	})
	p := startAI(t, u, "variants: 3")
	seen := map[string]int{}
	for range 200 {
		_, body := ask(t, "POST", p.URL+"/chat", "{}", "Authorization", "Bearer k", "Content-Type", "application/json")
		seen[body]++
	}
	if len(seen) != 3 || u.calls.Load() != 3 {
		t.Errorf("%d answers, %d calls", len(seen), u.calls.Load())
	}
	for body, n := range seen {
		if n < 20 {
			t.Errorf("%s was given %d times of 200", body, n)
		}
	}
}

func TestOnlyDeterministicRequestsAreCachedWhereARouteSaysSo(t *testing.T) {
	u := serveProvider(t)
	p := startAI(t, u, "when: {temperature_max: 0}")
	for body, second := range map[string]string{
		`{"temperature":0}`:   "HIT",
		`{"temperature":0.0}`: "HIT",
		`{"temperature":0.1}`: "BYPASS",
		`{}`:                  "BYPASS",
		`{"temperature":"0"}`: "BYPASS",
	} {
		var resp *http.Response
		for range 2 {
			resp, _ = ask(t, "POST", p.URL+"/chat", body, "Authorization", "Bearer k", "Content-Type", "application/json", "Recording", "chat-text.json")
		}
		if got := resp.Header.Get("X-Cache"); got != second {
			t.Errorf("%s: %s, want %s", body, got, second)
		}
	}
}

// An answer that is too large to be held back goes on as it comes, whole, and
// is judged at its end.
func TestALargeAnswerIsNotHeldBack(t *testing.T) {
	u := serveProvider(t)
	body := `{"model":"m","choices":[{"index":0,"message":{"content":"` + strings.Repeat("x", 9<<20) + `"},"finish_reason":"stop"}]}`
	u.set(func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Type", "application/json")
		if r.Header.Get("Recording") == "sized" {
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		}
		fmt.Fprint(w, body)
		return true
	})
	p := startAI(t, u, "")
	for _, how := range []string{"sized", "chunked"} {
		for i := range 2 {
			resp, got := ask(t, "POST", p.URL+"/chat", "{}", "Authorization", "Bearer k", "Content-Type", "application/json", "Recording", how)
			want(t, resp, []string{"MISS", "HIT"}[i])
			if got != body {
				t.Errorf("%s, time %d: %d bytes of %d", how, i, len(got), len(body))
			}
		}
	}
}
