package main

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// What an upstream answers without looking at credentials proves none of them.
func TestNothingButTheSameKindOfRequestProvesACredential(t *testing.T) {
	u := serveProvider(t)
	u.set(func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.Method == "OPTIONS":
			w.WriteHeader(http.StatusNoContent)
		case r.Method == "GET":
			fmt.Fprint(w, `{"data":[]}`)
		case r.Header.Get("Authorization") == "Bearer good":
			fmt.Fprint(w, recording(t, "chat-text.json"))
		case r.URL.Path == "/chat/soft":
			fmt.Fprint(w, `{"error":{"type":"invalid_api_key"}}`)
		default:
			w.WriteHeader(http.StatusUnauthorized)
		}
		return true
	})
	p := startAI(t, u, "scope: shared")
	post := func(path, key string) *http.Response {
		t.Helper()
		resp, _ := ask(t, "POST", p.URL+path, "{}", "Content-Type", "application/json", "Authorization", "Bearer "+key)
		return resp
	}
	for _, path := range []string{"/chat", "/chat/soft"} {
		post(path, "good")
		want(t, post(path, "good"), "HIT")
	}
	for _, method := range []string{"OPTIONS", "GET", "HEAD"} {
		ask(t, method, p.URL+"/chat", "", "Authorization", "Bearer bad")
		if resp := post("/chat", "bad"); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("after %s: status %d, %s", method, resp.StatusCode, resp.Header.Get("Cache-Status"))
		}
	}
	for range 3 {
		want(t, post("/chat/soft", "bad"), "MISS") // an error with status 200
	}
	post("/chat/other", "good")
	if resp := post("/chat/other", "bad"); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("another path: status %d", resp.StatusCode)
	}
}

// One caller's quota is no other's.
func TestARefusalOfOneCallerGoesToNoOther(t *testing.T) {
	u := serveProvider(t)
	poor := make(chan struct{})
	u.set(func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Type", "application/json")
		if r.Header.Get("Poor") != "" {
			<-poor
			w.WriteHeader(http.StatusTooManyRequests)
			return true
		}
		fmt.Fprint(w, recording(t, "chat-text.json"))
		return true
	})
	p := startAI(t, u, "scope: shared")
	one := func(key, body string, fields ...string) *http.Response {
		resp, _ := ask(t, "POST", p.URL+"/chat", body, append(fields, "Content-Type", "application/json", "Authorization", "Bearer "+key)...)
		return resp
	}
	one("a", "{}")
	one("b", "{}")
	first := make(chan *http.Response)
	before := u.calls.Load()
	go func() { first <- one("a", `{"n":1}`, "Poor", "1") }()
	for deadline := time.Now().Add(patience); u.calls.Load() == before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody calls")
		}
	}
	second := make(chan *http.Response)
	go func() { second <- one("b", `{"n":1}`) }()
	time.Sleep(50 * time.Millisecond) // for it to join; if it comes too late nothing is shown
	close(poor)
	if resp := <-first; resp.StatusCode != http.StatusTooManyRequests {
		t.Errorf("the one over quota: %d", resp.StatusCode)
	}
	if resp := <-second; resp.StatusCode != http.StatusOK {
		t.Errorf("the other: %d, %s", resp.StatusCode, resp.Header.Get("Cache-Status"))
	}
}

// However a route names its credentials, and whatever is put into requests:
// tenants share nothing, and the key of a client goes nowhere.
func TestTenantsShareNothingHoweverCredentialsAreNamed(t *testing.T) {
	u := serveProvider(t)
	sum := func(key string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(key))) }
	p := start(t, fmt.Sprintf(`
upstreams:
  inject: {url: %q, headers: {X-Portkey-Api-Key: "provider"}}
  plain: {url: %q}
clients:
  - {name: a, keys: [%q]}
  - {name: b, keys: [%q]}
routes:
  - {name: query, match: {path: "/query*"}, upstream: inject, namespace: ai_responses, override_no_store: true, key: {credentials: ["?key", Authorization], headers: [Recording]}}
  - {name: shared, match: {path: "/shared*"}, upstream: inject, namespace: ai_responses, scope: shared, override_no_store: true, key: {headers: [Recording]}}
  - {name: plain, match: {path: "/plain*"}, upstream: plain, namespace: ai_responses, override_no_store: true, key: {headers: [Recording]}}
`, u.URL, u.URL, sum("key-a"), sum("key-b")))
	one := func(path string, status int, xCache string, fields ...string) {
		t.Helper()
		resp, _ := ask(t, "POST", p.URL+path, "{}", append(fields, "Content-Type", "application/json", "Recording", "chat-text.json")...)
		if resp.StatusCode != status || resp.Header.Get("X-Cache") != xCache {
			t.Errorf("%s %v: status %d, %s", path, fields, resp.StatusCode, resp.Header.Get("Cache-Status"))
		}
		for name, values := range u.last() {
			if strings.Contains(strings.Join(values, " "), "key-a") || strings.Contains(strings.Join(values, " "), "key-b") {
				t.Errorf("%s %v: the upstream got %s: %q", path, fields, name, values)
			}
		}
	}
	for _, path := range []string{"/query", "/shared"} {
		one(path, 200, "MISS", "Authorization", "Bearer key-a")
		one(path, 200, "HIT", "Authorization", "Bearer key-a")
		one(path, 200, "MISS", "Authorization", "Bearer key-b")
		one(path, 401, "MISS")
		one(path, 401, "MISS", "Authorization", "Bearer else")
	}
	one("/query?key=key-a", 400, "MISS")
	one("/plain", 200, "MISS", "X-Api-Key", "key-a", "Authorization", "Bearer user-1")
	one("/plain", 200, "HIT", "X-Api-Key", "key-a", "Authorization", "Bearer user-1")
	one("/plain", 200, "MISS", "X-Api-Key", "key-a", "Authorization", "Bearer user-2")
	one("/plain", 200, "MISS", "X-Api-Key", "key-b", "Authorization", "Bearer key-b", "Api-Key", "key-a")
}

func TestOnlyAnswersOfSuccessAreKeptOfAnAI(t *testing.T) {
	u := serveProvider(t)
	p := startAI(t, u, "")
	for _, status := range []int{301, 308, 404, 500} {
		u.set(func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
			return true
		})
		r := &rig{proc: p}
		for range 2 {
			if got := r.do(t, send("POST", "/chat", fmt.Sprint(status), "Authorization: Bearer k", "Content-Type: application/json")); got.StatusCode != status || got.xCache() != "MISS" {
				t.Errorf("%d: status %d, %s", status, got.StatusCode, got.status())
			}
		}
	}
	u.set(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Ratelimit-Remaining-Requests", "0")
		w.Header().Set("Set-Cookie", "__cf_bm=1")
		fmt.Fprint(w, recording(t, "chat-text.json"))
		return true
	})
	for _, xCache := range []string{"MISS", "HIT"} {
		resp, _ := ask(t, "POST", p.URL+"/chat", "{}", "Authorization", "Bearer k", "Content-Type", "application/json")
		want(t, resp, xCache)
		if got := resp.Header.Get("X-Ratelimit-Remaining-Requests"); (got == "0") != (xCache == "MISS") || resp.Header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %v", xCache, resp.Header)
		}
	}
}
