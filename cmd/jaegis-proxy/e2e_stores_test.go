package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"jaegis-proxy/store/storetest"
)

// asAnyone gives a client of a server without users.
func asAnyone(t *testing.T, server *storetest.RedisServer) *goredis.Client {
	t.Helper()
	c := goredis.NewClient(&goredis.Options{Addr: server.Addr, Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Each of several Redis is on its own: when one ends, the others go on, the
// health says which one it is, and so do the figures. No request fails.
func TestNamedStoresFailEachByItself(t *testing.T) {
	t.Parallel() // it waits, mostly
	servers := map[string]*storetest.RedisServer{"default": storetest.StartRedis(t), "templates": storetest.StartRedis(t), "sessions": storetest.StartRedis(t)}
	r := e2e(t, fmt.Sprintf(`
upstreams: {origin: {url: ORIGIN}}
cache:
  redis: {url: %q, socket_timeout: 1s}
  stores:
    templates: {url: %q, socket_timeout: 1s, max_connections: 12}
    sessions: {url: %q, socket_timeout: 1s, budget: 30ms}
  compression: {enabled: false}
  memory: {max_bytes: 0}
  ttl: {default: 1h, sessions: 1h}
routes:
  - {name: templates, match: {path: /templates/*}, namespace: templates}
  - {name: sessions, match: {path: /sessions/*}, namespace: sessions}
  - {name: other, match: {path: /default/*}}
`, servers["default"].URL, servers["templates"].URL, servers["sessions"].URL))
	metric := map[string]string{"default": "redis", "templates": "redis-templates", "sessions": "redis-sessions"}
	open := func(name string) bool {
		return r.metric(t, fmt.Sprintf(`jaegis_breaker_open\{store="%s"\}`, metric[name])) == 1
	}
	hit := func(name string) {
		t.Helper()
		r.fromRedis(t, "/"+name+"/a")
	}
	for name, server := range servers {
		hit(name)
		names, err := asAnyone(t, server).Keys(t.Context(), "*").Result()
		names = slices.DeleteFunc(names, func(n string) bool { return strings.HasPrefix(n, "jaegis:fill:") }) // these go by themselves
		if err != nil || len(names) != 2 {                                                                    // the answer, and the ledger
			t.Errorf("%s has %q, %v", name, names, err)
		}
	}
	for down, server := range servers {
		server.Kill()
		storetest.Eventually(t, patience, "the health says so", func() bool {
			r.whole(t, send("POST", "/"+down+"/a", "hello"))
			return len(r.readyz(t).Degraded) > 0
		})
		got := r.readyz(t)
		if got.Status != "degraded" || len(got.Degraded) != 1 || got.Degraded[0].Component != metric[down] {
			t.Errorf("%s is down: %+v", down, got)
		}
		for name := range servers {
			if name != down {
				hit(name)
			}
			if open(name) != (name == down) {
				t.Errorf("%s is down: the breaker of %s is open: %v", down, name, open(name))
			}
			// A purge needs those alone that may have such answers.
			status, answer := r.tryPurge(t, fmt.Sprintf(`{"namespace":%q}`, name))
			if want := map[bool]int{true: http.StatusServiceUnavailable, false: http.StatusOK}[name == down]; status != want {
				t.Errorf("%s is down: purge of %s: %d %s", down, name, status, answer)
			}
		}
		if status, answer := r.tryPurge(t, `{"all":true}`); status != http.StatusServiceUnavailable || !strings.Contains(answer, "jaegis_not_purged") {
			t.Errorf("%s is down: purge of all: %d %s", down, status, answer)
		}
		server.Restart()
		r.awaitReadyz(t, "ok", patience)
		hit(down)
	}
}

// A store may have the name that the main one goes by: the health still tells
// the ledger of the one from that of the other.
func TestAStoreNamedRedisHidesNoLedger(t *testing.T) {
	t.Parallel() // it waits, mostly
	main, named := storetest.StartRedis(t), storetest.StartRedis(t)
	deny := func(server *storetest.RedisServer, rule string) {
		t.Helper()
		if err := asAnyone(t, server).Do(t.Context(), "acl", "setuser", "default", rule).Err(); err != nil {
			t.Fatal(err)
		}
	}
	r := e2e(t, fmt.Sprintf(`
upstreams: {origin: {url: ORIGIN}}
cache:
  max_disconnected: 2s
  redis: {url: %q}
  stores:
    redis: {url: %q}
`, main.URL, named.URL))
	f := func(server *storetest.RedisServer, component string) {
		t.Helper()
		r.awaitReadyz(t, "ok", patience)
		deny(server, "-xread")
		storetest.Eventually(t, patience, "degraded", func() bool { return r.readyz(t).Status == "degraded" })
		if got := r.readyz(t); len(got.Degraded) != 1 || got.Degraded[0].Component != component {
			t.Errorf("%+v; want %s", got, component)
		}
		deny(server, "+xread")
	}
	f(main, "redis-ledger")
	f(named, "redis-redis-ledger")
}
