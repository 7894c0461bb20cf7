package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (ck *checker) cache(c *Config) {
	k := c.Cache
	if k.Enabled && k.Memory.MaxBytes == 0 && !k.Redis.InUse() {
		ck.fail("cache.memory.max_bytes", "0 turns the memory store off, and there is no Redis", "set cache.redis.url, or cache.enabled: false")
	}
	ck.redis("cache.redis", k.Redis)
	for _, name := range slices.Sorted(maps.Keys(k.Stores)) {
		key := join("cache.stores", name)
		ck.namespace(key, name)
		if name == "ledger" || strings.HasSuffix(name, "-ledger") {
			ck.fail(key, "in the health that is the name of another store's ledger", "call the namespace otherwise")
		}
		if !k.Stores[name].InUse() {
			ck.fail(key+".url", "no URL", "write redis://host:port")
		}
		ck.redis(key, k.Stores[name])
	}
	for _, name := range slices.Sorted(maps.Keys(k.TTL)) {
		key := join("cache.ttl", name)
		ck.namespace(key, name)
		ck.notNegative(key, k.TTL[name])
	}
	ck.atLeast("cache.memory.max_bytes", int64(k.Memory.MaxBytes), 0)
	ck.compression(k.Compression)
	ck.encryption(k.Encryption)
	ck.notNegative("cache.uncacheable_ttl", k.UncacheableTTL)
	if k.MaxDisconnected < Duration(2*time.Second) {
		ck.fail("cache.max_disconnected", k.MaxDisconnected.String()+" is less than 2s, within which the proxy can tell that it is cut off", "")
	}
	sentinels := k.Redis.Mode == "sentinel"
	for _, r := range k.Stores {
		sentinels = sentinels || r.Mode == "sentinel"
	}
	if sentinels && k.MaxDisconnected >= Duration(2*time.Second) && k.MaxDisconnected < Duration(5*time.Second) {
		ck.fail("cache.max_disconnected", k.MaxDisconnected.String()+" is less than 5s: sentinels say who the primary is some seconds late", "")
	}
	ck.atLeast("cache.queue.max_bytes", int64(k.Queue.MaxBytes), 1)
	ck.atLeast("cache.queue.workers", int64(k.Queue.Workers), 1)
	ck.atLeast("cache.shared_fills.max_bytes", int64(k.SharedFills.MaxBytes), int64(MiB))
	ck.atLeast("cache.shared_fills.max_connections", int64(k.SharedFills.MaxConnections), 16)
}

func (ck *checker) compression(z Compression) {
	ck.atLeast("cache.compression.min_size", int64(z.MinSize), 0)
	if !ck.oneOf("cache.compression.algorithm", z.Algorithm, "gzip", "zstd") {
		return
	}
	highest := 9
	if z.Algorithm == "zstd" {
		highest = 22
	}
	if z.Level < 1 || z.Level > highest {
		ck.fail("cache.compression.level", fmt.Sprintf("%d is not from 1 to %d, the levels of %s", z.Level, highest, z.Algorithm), "")
	}
}

// namespace checks a namespace: it is part of the names of Redis keys.
func (ck *checker) namespace(key, name string) {
	ok := name != "" && len(name) <= 64
	for _, c := range []byte(name) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '-')
	}
	if !ok {
		ck.fail(key, strconv.Quote(name)+" is not a namespace", "use lower-case letters, digits, _ and -, 64 at most")
	}
}

// oddities finds what is allowed, but is probably not what was meant.
func (c *Config) oddities() Problems {
	var ck checker
	if len(c.Upstreams) == 0 && len(c.Routes) == 0 {
		ck.fail("upstreams", "there is none: every request is answered with 404", "set upstreams, or --upstream URL")
	}
	if r := c.Cache.Redis; !r.InUse() && (r.Password != "" || r.Username != "") {
		ck.fail("cache.redis", "has credentials but no url: answers are kept in memory only", "set cache.redis.url or REDIS_URL")
	}
	if k := c.Cache; len(k.Encryption.Keys) > 0 && !k.Redis.InUse() && len(k.Stores) == 0 {
		ck.fail("cache.encryption.keys", "encrypt nothing: there is no Redis, and what is in memory is not encrypted", "set cache.redis.url or REDIS_URL")
	}
	few := func(key string, r Redis) {
		if r.MaxConnections < minRedisConnections {
			ck.fail(key+".max_connections", fmt.Sprintf("%d counts as %d: so many are needed", r.MaxConnections, minRedisConnections), "")
		}
	}
	few("cache.redis", c.Cache.Redis)
	for _, name := range slices.Sorted(maps.Keys(c.Cache.Stores)) {
		few(join("cache.stores", name), c.Cache.Stores[name])
	}
	if len(c.Upstreams) > 1 && c.DefaultUpstream == "" {
		ck.fail("default_upstream", "not set: requests that match no route are answered with 404", "")
	}
	return ck.problems
}
