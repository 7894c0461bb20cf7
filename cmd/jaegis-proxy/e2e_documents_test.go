package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"jaegis-proxy/store/storetest"
)

// documentService is an upstream as the preset of documents expects one: its
// templates have validators, its answers a number.
type documentService struct {
	*provider
	version   atomic.Int64 // of the templates
	confirmed atomic.Int64 // how often one was asked for that has not changed
	fails     atomic.Bool
}

func serveDocuments(t *testing.T) *documentService {
	t.Helper()
	d := &documentService{provider: serveProvider(t)}
	d.version.Store(1)
	d.set(func(w http.ResponseWriter, r *http.Request) bool {
		if d.fails.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		w.Header().Set("Content-Type", "application/json")
		id := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		if strings.HasPrefix(r.URL.Path, "/templates") || strings.HasPrefix(r.URL.Path, "/builds") {
			etag := fmt.Sprintf(`"v%d"`, d.version.Load())
			w.Header().Set("Etag", etag)
			if r.Header.Get("If-None-Match") == etag {
				d.confirmed.Add(1)
				w.WriteHeader(http.StatusNotModified)
				return true
			}
			fmt.Fprintf(w, `{"version":%d}`, d.version.Load())
			return true
		}
		fmt.Fprintf(w, `{"id":%q,"call":%d,"who":%q}`, id, d.calls.Load(), r.Header.Get("Authorization"))
		return true
	})
	return d
}

// documentsYAML has the preset, and a Redis of its own for each of two namespaces.
func documentsYAML(d *documentService, main, templates, sessions *storetest.RedisServer) string {
	return fmt.Sprintf(`
upstreams: {docs: {url: %q, preset: documents}}
cache:
  memory: {max_bytes: 0}
  redis: {url: %q}
  stores:
    templates: {url: %q}
    sessions: {url: %q}
`, d.URL, main.URL, templates.URL, sessions.URL)
}

// keysIn counts what a Redis holds of a namespace.
func keysIn(t *testing.T, s *storetest.RedisServer, namespace string) int {
	t.Helper()
	o, err := redis.ParseURL(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(o)
	defer func() { _ = c.Close() }()
	keys, err := c.Keys(context.Background(), "jaegis:"+namespace+":*").Result()
	if err != nil {
		t.Fatal(err)
	}
	return len(keys)
}

// asksAs asks, and gives the answer and what became of it.
func (p *proc) asksAs(t *testing.T, who, method, path, body string, fields ...string) (answer, xCache, status string) {
	t.Helper()
	resp, answer := ask(t, method, p.URL+path, body, append(fields, "Authorization", who)...)
	return answer, resp.Header.Get("X-Cache"), resp.Header.Get("Cache-Status")
}

func (p *proc) untilHitAs(t *testing.T, who, method, path, body string) string {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		answer, x, status := p.asksAs(t, who, method, path, body)
		if x == "HIT" {
			return answer
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s %s is never a hit: %s", method, path, status)
		}
	}
}

// Each namespace is in its own Redis, and one that is away takes nothing with it.
func TestTemplatesAndSessionsHaveStoresOfTheirOwn(t *testing.T) {
	main, templates, sessions := storetest.StartRedis(t), storetest.StartRedis(t), storetest.StartRedis(t)
	d := serveDocuments(t)
	p := start(t, documentsYAML(d, main, templates, sessions))
	p.untilHitAs(t, "a", "POST", "/convert/pdf", "file")
	p.untilHitAs(t, "a", "GET", "/templates/invoice", "")
	p.untilHitAs(t, "a", "GET", "/builds/1", "")
	p.untilHitAs(t, "a", "GET", "/sessions/s1", "")
	for _, f := range []struct {
		in        *storetest.RedisServer
		namespace string
		want      bool
	}{
		{main, "documents", true}, {main, "builds", true}, {templates, "templates", true}, {sessions, "sessions", true},
		{main, "templates", false}, {main, "sessions", false}, {templates, "documents", false}, {sessions, "templates", false},
	} {
		if got := keysIn(t, f.in, f.namespace) > 0; got != f.want {
			t.Errorf("%s in %s: %v", f.namespace, f.in.URL, got)
		}
	}
	templates.Kill()
	calls := d.calls.Load()
	for range 20 {
		if _, x, status := p.asksAs(t, "a", "POST", "/convert/pdf", "file"); x != "HIT" {
			t.Fatalf("documents without the Redis of templates: %s", status)
		}
		if _, x, status := p.asksAs(t, "a", "GET", "/sessions/s1", ""); x != "HIT" {
			t.Fatalf("sessions without the Redis of templates: %s", status)
		}
	}
	if d.calls.Load() != calls {
		t.Error("the upstream was asked for what is stored")
	}
	if answer, x, status := p.asksAs(t, "a", "GET", "/templates/invoice", ""); x != "MISS" || !strings.Contains(answer, `"version":1`) {
		t.Errorf("templates without their Redis: %s %s", status, answer)
	}
	templates.Restart()
	p.untilHitAs(t, "a", "GET", "/templates/invoice", "")
}

// Templates are validated with the service once they are old, and given meanwhile.
func TestTemplatesAreRevalidated(t *testing.T) {
	d := serveDocuments(t)
	p := start(t, fmt.Sprintf("upstreams: {docs: {url: %q, preset: documents}}\ncache: {ttl: {templates: 1s, builds: 1s}}\n", d.URL))
	for _, path := range []string{"/templates/invoice", "/builds/7"} {
		p.untilHitAs(t, "a", "GET", path, "")
		confirmed := d.confirmed.Load()
		for deadline := time.Now().Add(patience); d.confirmed.Load() == confirmed; time.Sleep(10 * time.Millisecond) {
			answer, x, status := p.asksAs(t, "a", "GET", path, "")
			if x != "HIT" && x != "STALE" || !strings.Contains(answer, `"version"`) {
				t.Fatalf("%s: %s", path, status)
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s is never validated", path)
			}
		}
		p.untilHitAs(t, "a", "GET", path, "") // fresh anew
		d.version.Add(1)
		want := fmt.Sprintf(`"version":%d`, d.version.Load())
		for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
			answer, x, status := p.asksAs(t, "a", "GET", path, "")
			if strings.Contains(answer, want) {
				break
			}
			if x == "MISS" || time.Now().After(deadline) {
				t.Fatalf("%s has another version, which is not given: %s", path, status)
			}
		}
	}
	d.fails.Store(true)
	p.untilStale(t, "/templates/invoice")
}

// untilStale asks until the answer is a stale one.
func (p *proc) untilStale(t *testing.T, path string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		answer, x, status := p.asksAs(t, "a", "GET", path, "")
		if x == "STALE" && strings.Contains(answer, "version") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is never stale: %s", path, status)
		}
	}
}

// A session's answers are its caller's alone, and are gone when it ends.
func TestSessionsAreACallersOwnAndEnd(t *testing.T) {
	d := serveDocuments(t)
	p := start(t, fmt.Sprintf("upstreams: {docs: {url: %q, preset: documents}}\n", d.URL))
	for _, who := range []string{"alice", "bob"} {
		if answer := p.untilHitAs(t, who, "GET", "/sessions/s1", ""); !strings.Contains(answer, `"who":"`+who) {
			t.Errorf("%s is given %s", who, answer)
		}
	}
	if _, _, status := p.asksAs(t, "alice", "DELETE", "/sessions/s1", ""); !strings.Contains(status, "fwd=") {
		t.Error(status)
	}
	if _, x, status := p.asksAs(t, "alice", "GET", "/sessions/s1", ""); x != "MISS" {
		t.Errorf("after its end: %s", status)
	}
	p.untilHitAs(t, "alice", "GET", "/sessions/s1", "")
	p.untilHitAs(t, "alice", "GET", "/sessions/s2", "")
	p.purge(t, `{"tag":"session:s1"}`)
	for who, want := range map[string]string{"alice": "MISS", "bob": "MISS"} {
		if _, x, status := p.asksAs(t, who, "GET", "/sessions/s1", ""); x != want {
			t.Errorf("%s after a purge of the session: %s", who, status)
		}
	}
	if _, x, status := p.asksAs(t, "alice", "GET", "/sessions/s2", ""); x != "HIT" {
		t.Errorf("another session: %s", status)
	}
}
