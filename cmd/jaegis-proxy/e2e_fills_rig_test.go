package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"jaegis-proxy/internal/origintest"
	"jaegis-proxy/store/storetest"
)

// nodes are several proxies with one Redis and one origin.
type nodes struct {
	*rig  // the first of them
	all   []*rig
	redis *storetest.RedisServer
}

// inMemoryToo and inRedisAlone are cache sections, for startNodes. The budget is
// more than a busy machine needs; what is tested is not how fast Redis is.
const (
	inMemoryToo  = "redis: {url: REDIS, budget: 2s}\n  memory: {max_bytes: 64MiB}"
	inRedisAlone = "redis: {url: REDIS, budget: 2s}\n  memory: {max_bytes: 0}"
	atOnce       = "redis: {url: REDIS, socket_timeout: 1s}\n  memory: {max_bytes: 64MiB}" // Redis has the usual time
)

// startNodes starts n proxies that have that in the cache section, and cache
// what lies below /c/ for an hour.
func startNodes(t *testing.T, n int, cache string) *nodes {
	t.Helper()
	return startNodesWith(t, n, cache, "  - {name: cached, match: {path: /c/*}, ttl: 1h, max_object_bytes: 8MiB}\n")
}

func startNodesWith(t *testing.T, n int, cache, routes string) *nodes {
	t.Helper()
	return startNodesAs(t, n, fmt.Sprintf("upstreams: {origin: {url: ORIGIN}}\ncache:\n  %s\n  compression: {enabled: false}\nroutes:\n%s", cache, routes))
}

// startNodesAs starts n proxies with that configuration, which share what they
// fetch unless it says otherwise.
func startNodesAs(t *testing.T, n int, yaml string) *nodes {
	t.Helper()
	o, redis := origintest.New(t), storetest.StartRedis(t)
	yaml = strings.NewReplacer("ORIGIN", o.URL, "REDIS", redis.URL).Replace(yaml)
	if !strings.Contains(yaml, "shared_fills:") {
		yaml = strings.Replace(yaml, "cache:\n", "cache:\n  shared_fills: {enabled: true}\n", 1)
	}
	c := &nodes{redis: redis}
	for range n {
		c.all = append(c.all, &rig{origin: o, proc: start(t, yaml)})
	}
	c.rig = c.all[0]
	return c
}

// crowds has a number of clients ask each node for the same.
func (n *nodes) crowds(t *testing.T, each int, raw string) []*client {
	t.Helper()
	var all []*client
	for _, r := range n.all {
		all = append(all, r.clients(t, each, raw)...)
	}
	return all
}

// clients has a number of clients ask this node for the same.
func (r *rig) clients(t *testing.T, n int, raw string) []*client {
	t.Helper()
	return (&crowd{t: t, addr: r.Addr, raw: raw}).add(n)
}

// claims counts what became of this node's claims.
func (p *proc) claims(t *testing.T, result string) int {
	t.Helper()
	return int(p.metric(t, `jaegis_shared_fills_total\{result="`+result+`",store="redis"\}`))
}

// awaitClaims waits until there were n with that result.
func (p *proc) awaitClaims(t *testing.T, result string, n int) {
	t.Helper()
	storetest.Eventually(t, patience, fmt.Sprintf("%d claims that %s", n, result), func() bool { return p.claims(t, result) >= n })
}

// crash ends the process as kill -9 does.
func (p *proc) crash() { p.stop.Do(p.kill) }

// signal sends a signal to the process.
func (p *proc) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// awaitNothingLeft waits until nothing is left in Redis but answers.
func (n *nodes) awaitNothingLeft(t *testing.T) {
	t.Helper()
	raw := goredis.NewClient(&goredis.Options{Addr: n.redis.Addr})
	defer func() { _ = raw.Close() }()
	storetest.Eventually(t, patience, "no lease, mark or stream is left", func() bool {
		keys, err := raw.Keys(t.Context(), "jaegis:fill:*").Result()
		return err == nil && len(keys) == 0
	})
}
