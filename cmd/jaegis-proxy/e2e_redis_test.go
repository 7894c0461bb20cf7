package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jaegis-proxy/internal/origintest"
	"jaegis-proxy/store/storetest"
)

// tiers are the two ways to use Redis.
var tiers = []struct{ name, memory string }{
	{"memory tier and Redis", "memory: {max_bytes: 64MiB}"},
	{"Redis alone", "memory: {max_bytes: 0}"},
}

// redisRoute gives a configuration that caches below /c/ in Redis, and as large
// as it comes.
func redisRoute(url, memory string) string {
	return fmt.Sprintf(`
upstreams: {origin: {url: ORIGIN}}
cache:
  redis: {url: %q, socket_timeout: 1s}
  compression: {enabled: false}
  %s
routes:
  - {name: cached, match: {path: /c/*}, ttl: 1h}
`, url, memory)
}

// readiness is what /readyz says.
type readiness struct {
	Status   string `json:"status"`
	Degraded []struct {
		Component string `json:"component"`
		Error     string `json:"error"`
	} `json:"degraded"`
}

func (p *proc) readyz(t *testing.T) readiness {
	t.Helper()
	var r readiness
	if err := json.Unmarshal([]byte(p.adminGet(t, "/readyz")), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// awaitReadyz waits for a status of /readyz, and says how long that took.
func (p *proc) awaitReadyz(t *testing.T, status string, limit time.Duration) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		got := p.readyz(t)
		if got.Status == status {
			if status == "degraded" && (len(got.Degraded) != 1 || got.Degraded[0].Component != "redis" || got.Degraded[0].Error == "") {
				t.Errorf("degraded by %+v, want redis and why", got.Degraded)
			}
			return time.Since(began)
		}
		if time.Since(began) > limit {
			t.Fatalf("/readyz says %+v for %v, want %s", got, limit, status)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// backAfter is how soon a Redis that is there again must be in use.
const backAfter = 2 * time.Second

// load asks without pause until its end. Every answer must be whole and belong
// to its own request and tenant.
type load struct {
	r      *rig
	cancel context.CancelFunc
	wg     sync.WaitGroup
	asked  atomic.Int64
	hits   atomic.Int64

	mu    sync.Mutex
	wrong []string
}

// begin starts n callers, whose requests come again soon, but for a third.
func (r *rig) begin(t *testing.T, n int) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{r: r, cancel: cancel}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: n}, Timeout: patience}
	for worker := range n {
		l.wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				name := fmt.Sprintf("again-%d", i%12)
				if i%3 == 0 { // not in any tier
					name = fmt.Sprintf("new-%d-%d", worker, i)
				}
				l.ask(client, fmt.Sprintf("/c/%s?pad=%d", name, 500*(i%4)), fmt.Sprintf("tenant-%d", i%2))
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		l.wg.Wait()
		client.CloseIdleConnections()
	})
	return l
}

func (l *load) ask(client *http.Client, target, tenant string) {
	err := func() error {
		req, err := http.NewRequest(http.MethodPost, l.r.URL+target, strings.NewReader("hello"))
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", tenant)
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d: %.200s", resp.StatusCode, body)
		}
		if resp.Header.Get("X-Cache") == "HIT" {
			l.hits.Add(1)
		}
		_, err = origintest.VerifyProof(http.MethodPost, target, tenant, []byte("hello"), body)
		return err
	}()
	l.asked.Add(1)
	if err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.wrong = append(l.wrong, target+": "+err.Error())
	}
}

// pass waits until n more requests have been asked: the load really ran.
func (l *load) pass(t *testing.T, n int64) {
	t.Helper()
	storetest.Eventually(t, patience, fmt.Sprintf("%d requests", n), func() func() bool {
		from := l.asked.Load()
		return func() bool { return l.asked.Load() >= from+n }
	}())
}

// end stops the load and fails the test for every answer that was not right.
func (l *load) end(t *testing.T) {
	t.Helper()
	l.cancel()
	l.wg.Wait()
	if len(l.wrong) > 0 {
		t.Errorf("%d of %d requests failed, the first: %s", len(l.wrong), l.asked.Load(), l.wrong[0])
	}
	if l.hits.Load() == 0 {
		t.Errorf("none of %d requests was a hit", l.asked.Load())
	}
	t.Logf("%d requests, %d hits", l.asked.Load(), l.hits.Load())
}

// fromRedis asks for a path until the answer comes out of Redis.
func (r *rig) fromRedis(t *testing.T, path string) {
	t.Helper()
	r.until(t, send("POST", path, "hello"), "a hit", func(got *reply) bool {
		return got.xCache() == "HIT" && strings.Contains(got.status(), "detail=redis")
	})
}

func TestAnAnswerInRedisOutlivesTheProxy(t *testing.T) {
	for _, tier := range tiers {
		t.Run(tier.name, func(t *testing.T) {
			redis := storetest.StartRedis(t)
			first := e2e(t, redisRoute(redis.URL, tier.memory))
			for _, path := range []string{"/c/small", "/c/large?pad=3000000"} {
				raw := send("POST", path, "hello")
				first.whole(t, raw).proof(t, "POST", path, "", "hello")
			}
			first.Stop() // writes what is queued
			second := &rig{origin: first.origin, proc: start(t, strings.ReplaceAll(redisRoute(redis.URL, tier.memory), "ORIGIN", first.origin.URL))}
			for _, path := range []string{"/c/small", "/c/large?pad=3000000"} {
				got := second.whole(t, send("POST", path, "hello"))
				got.proof(t, "POST", path, "", "hello")
				if got.xCache() != "HIT" || !strings.Contains(got.status(), "detail=redis") {
					t.Errorf("%s: %s", path, got.status())
				}
			}
			if n := first.origin.Calls(); n != 2 {
				t.Errorf("%d upstream calls, want 2", n)
			}
		})
	}
}

func TestAFaultOfRedisCostsNoRequest(t *testing.T) {
	faults := []struct {
		name         string
		break_, mend func(*storetest.RedisServer)
	}{
		{"stopped", (*storetest.RedisServer).Stop, (*storetest.RedisServer).Cont},
		{"killed", (*storetest.RedisServer).Kill, (*storetest.RedisServer).Restart},
	}
	for _, tier := range tiers {
		for _, fault := range faults {
			t.Run(fault.name+", "+tier.name, func(t *testing.T) {
				redis := storetest.StartRedis(t)
				r := e2e(t, redisRoute(redis.URL, tier.memory))
				l := r.begin(t, 4)
				l.pass(t, 200)
				for range 2 {
					fault.break_(redis)
					r.awaitReadyz(t, "degraded", patience)
					l.pass(t, 200)
					fault.mend(redis)
					r.awaitReadyz(t, "ok", backAfter)
					l.pass(t, 200)
				}
				if tier.name == "Redis alone" {
					r.fromRedis(t, "/c/again") // it is written and read
				}
				l.end(t)
			})
		}
	}
}

func TestStartingWithoutRedisAndFindingItLater(t *testing.T) {
	for _, tier := range tiers {
		t.Run(tier.name, func(t *testing.T) {
			redis := storetest.StartRedis(t)
			redis.Kill()
			r := e2e(t, redisRoute(redis.URL, tier.memory))
			r.awaitReadyz(t, "degraded", patience)
			l := r.begin(t, 4)
			l.pass(t, 200)
			redis.Restart()
			r.awaitReadyz(t, "ok", backAfter)
			if tier.name == "Redis alone" {
				r.fromRedis(t, "/c/again")
			}
			l.pass(t, 200)
			l.end(t)
		})
	}
}

func TestARedisThatIsFullCostsNoRequest(t *testing.T) {
	for _, tier := range tiers {
		t.Run(tier.name, func(t *testing.T) {
			redis := storetest.StartRedis(t, "--maxmemory", "3mb", "--maxmemory-policy", "noeviction")
			r := e2e(t, redisRoute(redis.URL, tier.memory))
			r.until(t, send("POST", "/c/first", "hello"), "a hit", func(got *reply) bool { return got.xCache() == "HIT" })
			l := r.begin(t, 4)
			failed := func() float64 {
				return r.metric(t, `jaegis_store_operations_total\{op="put",result="error",store="redis"\}`)
			}
			for i := 0; failed() == 0; i++ {
				if i == 200 {
					t.Fatal("Redis took 20 MB with maxmemory 3mb")
				}
				path := fmt.Sprintf("/c/%d?pad=100000", i)
				r.whole(t, send("POST", path, "hello")).proof(t, "POST", path, "", "hello")
			}
			l.pass(t, 200)
			l.end(t)
		})
	}
}

// A client has its answer long before a store that stands still does, and
// whoever asks in between is given what is about to be stored.
func TestAnAnswerThatIsNotStoredYetIsNotFetchedAgain(t *testing.T) {
	redis := storetest.StartRedis(t)
	r := e2e(t, redisRoute(redis.URL, "memory: {max_bytes: 0}"))
	gate := make(chan struct{})
	r.origin.On("/c/a", origintest.Reply{Pieces: []string{"hello"}, HeadGate: gate}.Serve, origintest.Hangup)
	raw := send("POST", "/c/a", "x")
	first := (&crowd{t: t, addr: r.Addr, raw: raw}).add(1)
	r.awaitCalls(t, "/c/a", 1)
	redis.Stop()
	close(gate)
	each(t, first, "head", (*client).head)
	each(t, first, "the answer, while Redis stands still", func(c *client) error { return c.rest("hello") })
	for range 3 {
		if got := r.whole(t, raw); string(got.Body) != "hello" {
			t.Errorf("%q", got.Body)
		}
	}
	r.expectCalls(t, "/c/a", 1)
	redis.Cont()
	r.awaitReadyz(t, "ok", patience)
}
