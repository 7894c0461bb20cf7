package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Of several answers to a request any will do when the one that was picked
// cannot be had.
func TestAnyOfSeveralAnswersIsBetterThanNone(t *testing.T) {
	u := serveProvider(t)
	var fails atomic.Bool
	u.set(func(w http.ResponseWriter, _ *http.Request) bool {
		if fails.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"model":"m","choices":[{"index":0,"message":{"content":"kept"},"finish_reason":"stop"}]}`)
		return true
	})
	p := startAI(t, u, "variants: 8")
	one := func(fields ...string) *http.Response {
		resp, _ := ask(t, "POST", p.URL+"/chat", "{}", append(fields, "Content-Type", "application/json")...)
		return resp
	}
	if one("Cache-Control", "only-if-cached").StatusCode != http.StatusGatewayTimeout {
		t.Error("nothing is stored, and something was given")
	}
	one()
	fails.Store(true)
	for deadline := time.Now().Add(patience); one("Cache-Control", "only-if-cached").StatusCode != 200; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never stored")
		}
	}
	stale := 0
	for range 40 {
		if resp := one("Cache-Control", "only-if-cached"); resp.StatusCode != 200 || resp.Header.Get("X-Cache") != "HIT" {
			t.Errorf("only-if-cached: status %d, %s", resp.StatusCode, resp.Header.Get("Cache-Status"))
		}
		resp := one()
		if resp.StatusCode != 200 {
			t.Errorf("the upstream fails: status %d, %s", resp.StatusCode, resp.Header.Get("Cache-Status"))
		}
		if strings.Contains(resp.Header.Get("Cache-Status"), "detail=upstream-error") {
			stale++
		}
	}
	if stale == 0 {
		t.Error("every answer was the one that was picked")
	}
}

// What a preset caches is not kept when it is an error in a 200.
func TestPresetsKeepNoErrorIn200(t *testing.T) {
	u := serveProvider(t)
	var answer atomic.Value
	u.set(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, answer.Load())
		return true
	})
	f := func(preset, path, good string) {
		t.Helper()
		p := start(t, fmt.Sprintf("upstreams: {u: {url: %q, preset: %s}}\n", u.URL, preset))
		one := func(want, answers string) {
			t.Helper()
			answer.Store(answers)
			resp, _ := ask(t, "POST", p.URL+path, `{"input":"x","messages":[]}`, "Content-Type", "application/json")
			if resp.Header.Get("X-Cache") != want {
				t.Errorf("%s %s %s: %s, want %s", preset, path, answers, resp.Header.Get("Cache-Status"), want)
			}
		}
		one("MISS", `{"error":{"message":"no"}}`)
		one("MISS", `{"error":{"message":"no"}}`)
		one("MISS", `{}`)
		one("MISS", good)
		one("HIT", good)
	}
	f("openai", "/v1/moderations", `{"id":"m","model":"m","results":[{"flagged":false}]}`)
	f("openai-compatible", "/v1/moderations", `{"id":"m","model":"m","results":[{"flagged":false}]}`)
	f("anthropic", "/v1/messages/count_tokens", `{"input_tokens":7}`)
}

// What cannot be passed on is said, and not made another request.
func TestWebSocketsAreRefused(t *testing.T) {
	u := serveProvider(t)
	p := start(t, fmt.Sprintf("upstreams: {u: {url: %q, preset: openai}}\n", u.URL))
	got := (&rig{proc: p}).do(t, get("/v1/realtime?model=m", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: x"))
	if got.StatusCode != http.StatusNotImplemented || !strings.Contains(string(got.Body), "jaegis_upgrade_not_supported") {
		t.Errorf("status %d, %s", got.StatusCode, got.Body)
	}
	if u.calls.Load() != 0 {
		t.Error("it reached the upstream")
	}
	if got := (&rig{proc: p}).do(t, get("/v1/files", "Recording: chat-text.json", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: x")); got.StatusCode != 200 {
		t.Errorf("another upgrade, which may be ignored: status %d", got.StatusCode)
	}
}
