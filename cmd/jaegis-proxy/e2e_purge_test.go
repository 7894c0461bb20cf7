package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"jaegis-proxy/store/storetest"
)

// purge asks the admin listener for a purge, which must succeed.
func (p *proc) purge(t *testing.T, what string) {
	t.Helper()
	if status, answer := p.tryPurge(t, what); status != http.StatusOK {
		t.Fatalf("purge %s: %d %s", what, status, answer)
	}
}

func (p *proc) tryPurge(t *testing.T, what string) (status int, answer string) {
	t.Helper()
	resp, err := http.Post("http://"+p.Admin+"/api/v1/purge", "application/json", strings.NewReader(what))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// counted is an upstream whose answers are numbered.
func counted(t *testing.T) (p *provider, calls *atomic.Int64) {
	p = serveProvider(t)
	calls = &atomic.Int64{}
	p.set(func(w http.ResponseWriter, r *http.Request) bool {
		n := calls.Add(1)
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/http" {
			w.Header().Set("Cache-Control", "public, max-age=600")
			w.Header().Set("Vary", "Accept-Language")
		}
		fmt.Fprintf(w, `{"model":"m-2026","choices":[{"index":0,"message":{"content":"answer %d"},"finish_reason":"stop"}]}`, n)
		return true
	})
	return p, calls
}

// purgeable has a route of each kind; REDIS stands for what is said of Redis.
const purgeable = `
upstreams: {u: {url: "%s"}}
default_upstream: u
clients: [{name: team, keys: ["sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"]}]
cache: {%s}
routes:
  - {name: chat, match: {path: /chat}, namespace: ai_responses, protocol: openai-chat, ttl: 1h, stale_while_revalidate: 1h}
  - {name: docs, match: {path: /docs}, namespace: documents, ttl: 1h}
`

// secret is the key of the client "team".
const secret = "secret"

// asking sends the request that there is one of on each route, and says whether
// it was answered from the store.
func (p *proc) asking(t *testing.T, path string, fields ...string) (body, xCache string) {
	t.Helper()
	method, asked, fields := "POST", `{"model":"m"}`, append(fields, "Content-Type", "application/json")
	if path == "/http" {
		method, asked, fields = "GET", "", fields[:len(fields)-2]
	}
	resp, body := ask(t, method, p.URL+path, asked, fields...)
	if resp.StatusCode != 200 {
		t.Fatalf("%s: %d %s", path, resp.StatusCode, body)
	}
	return body, resp.Header.Get("X-Cache")
}

func TestPurge(t *testing.T) {
	for _, tier := range []string{"memory: {max_bytes: 64MiB}", "memory: {max_bytes: 64MiB}, redis: {url: REDIS}", "memory: {max_bytes: 0}, redis: {url: REDIS}"} {
		t.Run(tier, func(t *testing.T) {
			testPurge(t, tier)
		})
	}
}

func testPurge(t *testing.T, tier string) {
	if strings.Contains(tier, "REDIS") {
		tier = strings.ReplaceAll(tier, "REDIS", storetest.StartRedis(t).URL)
	}
	u, _ := counted(t)
	p := start(t, fmt.Sprintf(purgeable, u.URL, tier))
	kinds := []struct {
		name, path string
		fields     []string
	}{
		{"chat", "/chat", []string{"Jaegis-Cache-Tags", "one, two"}},
		{"tenant", "/chat", []string{"Authorization", "Bearer " + secret}},
		{"docs", "/docs", nil},
		{"http", "/http", []string{"Accept-Language", "de"}},
	}
	fill := func() {
		for _, k := range kinds {
			p.asking(t, k.path, k.fields...)
			for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
				if _, x := p.asking(t, k.path, k.fields...); x == "HIT" {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("%s is never a hit", k.name)
				}
			}
		}
	}
	f := func(what string, gone ...string) {
		t.Helper()
		fill()
		p.purge(t, what)
		for _, k := range kinds {
			want := "HIT"
			for _, name := range gone {
				if name == k.name {
					want = "MISS"
				}
			}
			if body, x := p.asking(t, k.path, k.fields...); x != want {
				t.Errorf("%s: %s is a %s (%s), want %s", what, k.name, x, body, want)
			}
		}
	}
	f(`{"namespace":"documents"}`, "docs")
	f(`{"namespace":"ai_responses"}`, "chat", "tenant")
	f(`{"namespace":"default"}`, "http")
	f(`{"route":"chat"}`, "chat", "tenant")
	f(`{"route":"docs"}`, "docs")
	f(`{"tag":"two"}`, "chat")
	f(`{"tag":"three"}`)
	f(`{"tenant":"team"}`, "tenant")
	f(`{"tenant":"teams"}`)
	f(`{"model":"m"}`, "chat", "tenant")
	f(`{"model":"m-2026"}`, "chat", "tenant")
	f(`{"all":true}`, "chat", "tenant", "docs", "http")
	f(`{"key":"`+p.keyOf(t, "/docs", "-d", `{"model":"m"}`, "-H", "Content-Type: application/json")+`"}`, "docs")
	f(`{"key":"`+p.keyOf(t, "/chat", "-d", `{"model":"m"}`, "-H", "Content-Type: application/json", "-H", "Authorization: Bearer "+secret)+`"}`, "tenant")
	f(`{"key":"`+p.keyOf(t, "/http", "-H", "Accept-Language: de")+`"}`, "http")

	fill()
	p.purge(t, `{"route":"chat","soft":true}`)
	if body, x := p.asking(t, "/chat", kinds[0].fields...); x != "STALE" {
		t.Errorf("after a soft purge: %s (%s)", x, body)
	}
}

// keyOf asks the key command for the key of a request.
func (p *proc) keyOf(t *testing.T, args ...string) string {
	t.Helper()
	binary, err := buildBinary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, append([]string{"key", "--config", p.Config}, args...)...)
	cmd.Env = cleanEnv()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("key: %v", err)
	}
	for word := range strings.FieldsSeq(string(out)) {
		if strings.HasPrefix(word, "jaegis:") {
			return word
		}
	}
	t.Fatalf("no key in %s", out)
	return ""
}

// What began before a purge is given to nobody who comes after it, and not
// stored.
func TestAPurgeIsHeededByWhatIsOnItsWay(t *testing.T) {
	u, calls := counted(t)
	p := start(t, fmt.Sprintf(purgeable, u.URL, "memory: {max_bytes: 64MiB}"))
	arrived, gate := make(chan struct{}, 10), make(chan struct{})
	u.set(func(w http.ResponseWriter, _ *http.Request) bool {
		n := calls.Add(1)
		if n == 1 {
			arrived <- struct{}{}
			<-gate
		}
		fmt.Fprintf(w, "answer %d", n)
		return true
	})
	first := make(chan string, 1)
	go func() {
		_, body := ask(t, "POST", p.URL+"/docs", "x")
		first <- body
	}()
	<-arrived
	p.purge(t, `{"route":"docs"}`)
	second := make(chan string, 1)
	go func() {
		_, body := ask(t, "POST", p.URL+"/docs", "x")
		second <- body
	}()
	if got := <-second; got != "answer 2" { // it has not waited for the other
		t.Errorf("asked after the purge: %s", got)
	}
	close(gate)
	if got := <-first; got != "answer 1" {
		t.Errorf("asked before the purge: %s", got)
	}
	for range 20 {
		if _, body := ask(t, "POST", p.URL+"/docs", "x"); body != "answer 2" {
			t.Fatalf("later: %s", body)
		}
	}
}

// What one process purges or changes is gone in the others, out of their memory
// too.
func TestPurgesAndChangesReachAllProcesses(t *testing.T) {
	redis := storetest.StartRedis(t)
	o := serveVersions(t)
	yaml := fmt.Sprintf("cache: {redis: {url: %q}}\nupstreams: {u: {url: %q}}\nroutes:\n  - {name: docs, match: {path: /docs}, ttl: 1h}\n  - {name: rest, freshness: origin}\n", redis.URL, o.URL)
	a, b := start(t, yaml), start(t, yaml)
	hit := func(p *proc, path, want string) {
		t.Helper()
		for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
			resp, body := ask(t, "GET", p.URL+path, "")
			if body != want {
				t.Fatalf("%s: %s, want %s", path, body, want)
			}
			if resp.Header.Get("X-Cache") == "HIT" {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s is never a hit", path)
			}
		}
	}
	becomes := func(p *proc, path, want string) {
		t.Helper()
		for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
			if _, body := ask(t, "GET", p.URL+path, ""); body == want {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s never becomes %s", path, want)
			}
		}
	}
	hit(a, "/docs", "v1")
	hit(b, "/docs", "v1")
	hit(a, "/x", "v1")
	hit(b, "/x", "v1")
	if resp, _ := ask(t, "PUT", a.URL+"/x", "new"); resp.StatusCode != 200 {
		t.Fatal(resp.Status)
	}
	becomes(a, "/x", "v2")
	becomes(b, "/x", "v2")
	hit(b, "/docs", "v1")
	b.purge(t, `{"route":"docs"}`)
	becomes(a, "/docs", "v2")
	hit(b, "/docs", "v2")
}

// A purge that other processes will not hear of is not acknowledged.
func TestAPurgeNeedsTheLedger(t *testing.T) {
	redis := storetest.StartRedis(t)
	u, _ := counted(t)
	p := start(t, fmt.Sprintf(purgeable, u.URL, fmt.Sprintf("redis: {url: %q, socket_timeout: 1s}", redis.URL)))
	p.purge(t, `{"all":true}`)
	redis.Kill()
	if status, answer := p.tryPurge(t, `{"all":true}`); status != 503 || !strings.Contains(answer, "jaegis_not_purged") {
		t.Errorf("%d %s", status, answer)
	}
	redis.Restart()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if status, _ := p.tryPurge(t, `{"all":true}`); status == 200 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("never again")
		}
	}
}

func TestThePurgeCommand(t *testing.T) {
	u, _ := counted(t)
	p := start(t, fmt.Sprintf(purgeable, u.URL, "memory: {max_bytes: 64MiB}"))
	binary, err := buildBinary()
	if err != nil {
		t.Fatal(err)
	}
	f := func(code int, says string, args ...string) {
		t.Helper()
		cmd := exec.Command(binary, append([]string{"purge", "--admin", "http://" + p.Admin}, args...)...)
		cmd.Env = cleanEnv()
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		_ = cmd.Run() // its exit code is looked at
		if cmd.ProcessState.ExitCode() != code || !strings.Contains(out.String(), says) {
			t.Errorf("%q: %d %s", args, cmd.ProcessState.ExitCode(), &out)
		}
	}
	p.asking(t, "/docs")
	f(0, "purged namespace:documents", "--namespace", "documents")
	if _, x := p.asking(t, "/docs"); x != "MISS" {
		t.Error("it is there still")
	}
	f(2, "exactly one of")
	f(2, "exactly one of", "--all", "--tag", "x")
	f(2, "not a key", "--key", "x")
	f(2, "unknown flag", "--everything")
	f(0, "purged tag:x", "--tag", "x", "--soft")
}
