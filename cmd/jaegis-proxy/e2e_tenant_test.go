package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func copyTo(w io.Writer, resp *http.Response) (int64, error) { return io.Copy(w, resp.Body) }

// keyed makes the provider accept these keys alone, and say whose answer it is.
func (p *provider) keyed(keys map[string]bool, mu *sync.Mutex) {
	p.set(func(w http.ResponseWriter, r *http.Request) bool {
		key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		mu.Lock()
		ok := keys[key]
		mu.Unlock()
		if !ok {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"error":{"type":"invalid_api_key"}}`)
			return true
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"model":"m","choices":[{"index":0,"message":{"content":"for %s"},"finish_reason":"stop"}]}`, key)
		return true
	})
}

// Scope shared: who shows a credential that the upstream itself accepts shares
// its answers; who shows another gets what the upstream says.
func TestASharedAnswerIsForAcceptedCallersAlone(t *testing.T) {
	u := serveProvider(t)
	var mu sync.Mutex
	keys := map[string]bool{"alice": true, "bob": true}
	u.keyed(keys, &mu)
	p := startAI(t, u, "scope: shared, proof_ttl: 1h")
	one := func(who, body string, status int, says, xCache string) {
		t.Helper()
		resp, got := ask(t, "POST", p.URL+"/chat", body, "Content-Type", "application/json", "Authorization", "Bearer "+who)
		if resp.StatusCode != status || !strings.Contains(got, says) || resp.Header.Get("X-Cache") != xCache {
			t.Errorf("%s: status %d, %s, %s", who, resp.StatusCode, got, resp.Header.Get("Cache-Status"))
		}
	}
	one("alice", "{}", 200, "for alice", "MISS")
	one("alice", "{}", 200, "for alice", "HIT")
	one("bob", "{}", 200, "for bob", "MISS") // it is not proven yet
	one("bob", "{}", 200, "for", "HIT")
	one("alice", "{}", 200, "for", "HIT")
	one("mallory", "{}", 401, "invalid_api_key", "MISS")
	one("mallory", "{}", 401, "invalid_api_key", "MISS")
	one("", "{}", 401, "invalid_api_key", "MISS")
	calls := u.calls.Load()
	one("bob", `{"n":2}`, 200, "for bob", "MISS")
	one("alice", `{"n":2}`, 200, "for bob", "HIT")
	if n := u.calls.Load() - calls; n != 1 {
		t.Errorf("%d calls for one answer", n)
	}
	mu.Lock()
	keys["bob"] = false
	mu.Unlock()
	one("bob", "{}", 200, "for", "HIT") // nobody has asked the upstream since
	one("bob", `{"n":3}`, 401, "invalid_api_key", "MISS")
	one("bob", "{}", 401, "invalid_api_key", "MISS") // revoked at once
	one("alice", "{}", 200, "for", "HIT")
}

// What a proof is of: the account that the request names, too; and a refusal
// counts on whatever route of the upstream it comes.
func TestAProofIsOfTheAccountAndEndsByARefusalAnywhere(t *testing.T) {
	u := serveProvider(t)
	u.set(func(w http.ResponseWriter, r *http.Request) bool {
		who := r.URL.Query().Get("key") + strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		org := r.Header.Get("OpenAI-Organization")
		if who == "alice" && org == "bobs" || r.URL.Path == "/files" {
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("OpenAI-Organization", "of "+who)
		fmt.Fprintf(w, `{"model":"m","choices":[{"index":0,"message":{"content":"for %s in %s"},"finish_reason":"stop"}]}`, who, org)
		return true
	})
	p := start(t, fmt.Sprintf(`
upstreams: {u: {url: %q}}
routes:
  - {name: chat, match: {path: /chat}, protocol: openai-chat, ttl: 1h, scope: shared, proof_ttl: 1h, key: {credentials: [Authorization, "?key"]}}
  - {name: own, match: {path: /own}, protocol: openai-chat, ttl: 1h}
  - {name: files, match: {path: /files}, cache: false}
`, u.URL))
	one := func(path string, status int, says, xCache string, fields ...string) {
		t.Helper()
		resp, got := ask(t, "POST", p.URL+path, "{}", append(fields, "Content-Type", "application/json")...)
		if resp.StatusCode != status || !strings.Contains(got, says) || resp.Header.Get("X-Cache") != xCache {
			t.Errorf("%s %v: status %d, %s, %s", path, fields, resp.StatusCode, got, resp.Header.Get("Cache-Status"))
		}
	}
	alice, bob, org := []string{"Authorization", "Bearer alice"}, []string{"Authorization", "Bearer bob"}, []string{"OpenAI-Organization", "bobs"}
	one("/chat", 200, "for alice in ", "MISS", alice...)
	one("/chat", 200, "for alice in ", "HIT", alice...)
	one("/chat", 200, "for bob in bobs", "MISS", append(bob, org...)...)
	one("/chat", 401, "", "MISS", append(alice, org...)...)
	one("/chat", 200, "for alice", "MISS", alice...) // that was a refusal

	one("/chat?key=k", 200, "for k", "MISS")
	one("/chat?key=k", 200, "for", "HIT")
	one("/files?key=k", 401, "", "PASS")
	one("/chat?key=k", 200, "for", "MISS")

	one("/own", 200, "for bob", "MISS", bob...)
	one("/own", 200, "for bob", "HIT", bob...)
	one("/files", 401, "", "PASS", bob...)
	one("/own", 200, "for bob", "MISS", bob...) // a refused credential is given nothing, until it is accepted
	one("/own", 200, "for bob", "HIT", bob...)
	one("/own", 200, "for carol", "MISS", "Authorization", "Bearer carol")
	one("/own", 200, "for carol", "HIT", "Authorization", "Bearer carol")
}

// Many first calls of one credential prove it once.
func TestFirstCallsAtTheSameTimeProveOnce(t *testing.T) {
	u := serveProvider(t)
	gate := make(chan struct{})
	u.set(func(w http.ResponseWriter, _ *http.Request) bool {
		<-gate
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, recording(t, "chat-text.json"))
		return true
	})
	p := startAI(t, u, "scope: shared")
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if resp, _ := ask(t, "POST", p.URL+"/chat", "{}", "Content-Type", "application/json", "Authorization", "Bearer a"); resp.StatusCode != 200 {
				t.Errorf("status %d", resp.StatusCode)
			}
		})
	}
	for deadline := time.Now().Add(patience); u.calls.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody calls")
		}
	}
	close(gate)
	wg.Wait()
	if n := u.calls.Load(); n != 1 {
		t.Errorf("%d calls", n)
	}
}

// Clients that the proxy knows get the provider's credential, and never see it;
// a tenant's clients share, tenants do not, and nobody else gets in.
func TestKnownClientsGetTheProvidersCredential(t *testing.T) {
	u := serveProvider(t)
	sum := func(key string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(key))) }
	p := start(t, fmt.Sprintf(`
upstreams: {u: {url: %q, headers: {Authorization: "Bearer provider-key"}}}
clients:
  - {name: red-1, tenant: red, keys: [%q]}
  - {name: red-2, tenant: red, keys: [%q], deny_controls: [mode]}
  - {name: blue, keys: [%q]}
prices: {"gpt-*": {input: 1000000, output: 2000000}, "m": {input: 1, output: 1}}
routes:
  - {name: chat, match: {path: "/chat*"}, upstream: u, namespace: ai_responses, protocol: openai-chat, override_no_store: true, key: {headers: [Recording]}}
`, u.URL, sum("k-red-1"), sum("k-red-2"), sum("k-blue")))
	one := func(status int, xCache string, fields ...string) {
		t.Helper()
		fields = append(fields, "Content-Type", "application/json", "Recording", "chat-text.json")
		resp, body := ask(t, "POST", p.URL+"/chat", "{}", fields...)
		if resp.StatusCode != status || resp.Header.Get("X-Cache") != xCache {
			t.Errorf("%v: status %d, %s, %.100s", fields, resp.StatusCode, resp.Header.Get("Cache-Status"), body)
		}
	}
	one(200, "MISS", "Authorization", "Bearer k-red-1")
	if h := u.last(); h.Get("Authorization") != "Bearer provider-key" {
		t.Errorf("the upstream got %v", h)
	}
	one(200, "HIT", "Authorization", "Bearer k-red-2")
	one(200, "HIT", "X-Api-Key", "k-red-2")
	one(200, "MISS", "X-Api-Key", "k-blue")
	if h := u.last(); h.Get("X-Api-Key") != "" {
		t.Errorf("the upstream got the client's key: %v", h)
	}
	one(200, "HIT", "Authorization", "bearer k-blue")
	one(401, "MISS", "Authorization", "Bearer provider-key")
	one(401, "MISS", "Authorization", "Bearer ")
	one(401, "MISS")
	one(403, "MISS", "Authorization", "Bearer k-red-2", "Jaegis-Cache-Mode", "bypass")
	one(200, "BYPASS", "Authorization", "Bearer k-red-1", "Jaegis-Cache-Mode", "bypass")
	if u.calls.Load() != 3 {
		t.Errorf("%d calls", u.calls.Load())
	}
	var stats struct {
		Savings []struct {
			Model, Tenant string
			Saved         struct {
				Requests int64
				TokensIn int64 `json:"tokens_in"`
				Money    float64
			}
		}
	}
	if err := json.Unmarshal([]byte(p.adminGet(t, "/api/v1/stats")), &stats); err != nil {
		t.Fatal(err)
	}
	saved := map[string]int64{}
	for _, s := range stats.Savings {
		saved[s.Tenant] += s.Saved.Requests
		if s.Saved.TokensIn == 0 || s.Saved.Money == 0 {
			t.Errorf("%+v: no tokens or money saved", s)
		}
	}
	if saved["red"] != 2 || saved["blue"] != 1 {
		t.Errorf("saved requests by tenant: %v", saved)
	}
	if log := p.log.String(); strings.Contains(log, "k-red") || strings.Contains(log, "provider-key") {
		t.Errorf("a credential is in the log: %s", log)
	}
}

func TestWhatClientsMaySayOfOneRequest(t *testing.T) {
	u := serveProvider(t)
	var n atomic.Int64
	u.set(func(w http.ResponseWriter, r *http.Request) bool {
		for name := range r.Header {
			if strings.HasPrefix(name, "Jaegis-") {
				t.Errorf("%s reached the upstream", name)
			}
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"model":"m","choices":[{"index":0,"message":{"content":"%d"},"finish_reason":"stop"}]}`, n.Add(1))
		return true
	})
	p := startAI(t, u, "")
	one := func(body, says, xCache string, fields ...string) {
		t.Helper()
		resp, got := ask(t, "POST", p.URL+"/chat", body, append(fields, "Content-Type", "application/json")...)
		if !strings.Contains(got, `"content":"`+says+`"`) || resp.Header.Get("X-Cache") != xCache {
			t.Errorf("%s %v: %s, %s; want %s, %s", body, fields, got, resp.Header.Get("Cache-Status"), says, xCache)
		}
	}
	one(`1`, "1", "MISS")
	one(`1`, "2", "MISS", "Jaegis-Cache-Namespace", "team.a")
	one(`1`, "2", "HIT", "jaegis-cache-namespace", "team.a")
	one(`1`, "1", "HIT")
	one(`1`, "3", "BYPASS", "Jaegis-Cache-Mode", "bypass")
	one(`1`, "4", "MISS", "Jaegis-Cache-Mode", "refresh")
	(&rig{proc: p}).until(t, send("POST", "/chat", "1", "Content-Type: application/json"), "the refreshed one", func(r *reply) bool { return strings.Contains(string(r.Body), `"4"`) })
	one(`2`, "5", "MISS", "Jaegis-Cache-Mode", "read-only")
	one(`2`, "6", "MISS", "Jaegis-Cache-TTL", "0")
	one(`2`, "7", "MISS", "Jaegis-Cache-TTL", "1s", "Jaegis-Cache-Tags", "a, b")
	one(`2`, "7", "HIT")
	(&rig{proc: p}).until(t, send("POST", "/chat", "2", "Content-Type: application/json"), "expired", func(r *reply) bool { return strings.Contains(string(r.Body), `"8"`) })
	all := [][2]string{{"Jaegis-Cache-TTL", "60"}, {"Jaegis-Cache-Mode", "read-write"}, {"Jaegis-Cache-Namespace", "pairs"}, {"Jaegis-Cache-Tags", "a, b"}}
	for _, x := range all {
		for _, y := range all {
			if x == y {
				continue
			}
			if resp, body := ask(t, "POST", p.URL+"/chat", "3", x[0], x[1], y[0], y[1], "Content-Type", "application/json"); resp.StatusCode != http.StatusOK {
				t.Errorf("%v and %v: status %d, %s", x, y, resp.StatusCode, body)
			}
		}
	}
	for _, bad := range [][2]string{
		{"Jaegis-Cache-Foo", "x"}, {"Jaegis-Cache-Mod", "refresh"}, {"Jaegis-Cache-Mode", "sometimes"}, {"Jaegis-Cache-TTL", "soon"}, {"Jaegis-Cache-TTL", "-1"}, {"Jaegis-Cache-TTL", "9999999999"},
		{"Jaegis-Cache-Namespace", "a b"}, {"Jaegis-Cache-Namespace", ""}, {"Jaegis-Cache-Tags", "a,,b"},
	} {
		if resp, body := ask(t, "POST", p.URL+"/chat", "9", bad[0], bad[1]); resp.StatusCode != http.StatusBadRequest || !strings.Contains(body, bad[0]) {
			t.Errorf("%v: status %d, %s", bad, resp.StatusCode, body)
		}
	}
}

// Two tenants in any order: no answer crosses, and no credential is seen.
func TestAnOverrunProviderIsAnsweredForFromStale(t *testing.T) {
	u := serveProvider(t)
	p := startAI(t, u, "ttl: 1s")
	get := func() (*http.Response, string) {
		return ask(t, "POST", p.URL+"/chat", "{}", "Authorization", "Bearer k", "Content-Type", "application/json", "Recording", "chat-text.json")
	}
	get()
	u.set(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		resp, body := get()
		if resp.StatusCode != 200 || body != recording(t, "chat-text.json") {
			t.Fatalf("status %d, %s", resp.StatusCode, resp.Header.Get("Cache-Status"))
		}
		if resp.Header.Get("X-Cache") == "STALE" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("never stale")
		}
	}
	resp, _ := ask(t, "POST", p.URL+"/chat", `{"other":1}`, "Authorization", "Bearer k", "Content-Type", "application/json", "Recording", "chat-text.json")
	if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") != "7" {
		t.Errorf("with nothing stored: status %d, %v", resp.StatusCode, resp.Header)
	}
}
