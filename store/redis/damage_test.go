package redis_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/store"
	"jaegis-proxy/store/redis"
	"jaegis-proxy/store/storetest"
)

// rawClient is a client of the test's own, for looking and meddling, with one
// connection.
func rawClient(t testing.TB, server *storetest.RedisServer) *goredis.Client {
	t.Helper()
	c := goredis.NewClient(&goredis.Options{Addr: server.Addr, PoolSize: 1, PipelinePoolSize: -1, Protocol: 2})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// callsOf counts how often Redis has carried out some commands.
func callsOf(t testing.TB, raw *goredis.Client, commands ...string) (n int) {
	t.Helper()
	stats, err := raw.Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(stats) {
		name, rest, _ := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		if calls, _, ok := strings.Cut(rest, ","); ok && slices.Contains(commands, name) {
			k, err := strconv.Atoi(calls)
			if err != nil {
				t.Fatal(err)
			}
			n += k
		}
	}
	return n
}

func keysOf(t testing.TB, raw *goredis.Client, pattern string) []string {
	t.Helper()
	keys, err := raw.Keys(t.Context(), pattern).Result()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// kept leaves out of names those of chunks that are only left to their readers.
func kept(t testing.TB, raw *goredis.Client, names []string) []string {
	t.Helper()
	return slices.DeleteFunc(names, func(name string) bool {
		left, err := raw.PTTL(t.Context(), name).Result()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(name, "{") && left < 10*time.Minute
	})
}

// chunkOf gives the name of chunk n of the value that is named name now.
func chunkOf(t testing.TB, raw *goredis.Client, name, n string) string {
	t.Helper()
	names := kept(t, raw, keysOf(t, raw, name+":*:"+n))
	if len(names) != 1 {
		t.Fatalf("chunks %s of %s: %v", n, name, names)
	}
	return names[0]
}

func get(t *testing.T, raw *goredis.Client, name string) string {
	t.Helper()
	v, err := raw.Get(t.Context(), name).Result()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestDamagedValueIsAMissAndRemoved damages values of each form in Redis, and
// checks that they are not handed out, are counted and go away, and that the
// key can be used again.
func TestDamagedValueIsAMissAndRemoved(t *testing.T) {
	server := storetest.StartRedis(t)
	raw := rawClient(t, server)
	ctx := t.Context()
	set := func(name, value string) error { return raw.Set(ctx, name, value, goredis.KeepTTL).Err() }
	flip := func(name string, at int) error {
		b := []byte(get(t, raw, name))
		if at < 0 {
			at += len(b)
		}
		b[at] ^= 0x10
		return set(name, string(b))
	}
	chunk := func(name string, n string) string { return chunkOf(t, raw, name, n) }

	f := func(rule string, size int, damage func(name string) error) {
		t.Run(rule, func(t *testing.T) { testDamage(t, server, raw, redis.Options{}, size, damage) })
	}
	for _, at := range []int{0, 3, 4, 8, 12, 20, 60, 100, 500, -1} {
		f("a flipped bit in a string", 2000, func(name string) error { return flip(name, at) })
		f("a flipped bit in a long string", 600<<10, func(name string) error { return flip(name, at) })
	}
	for _, at := range []int{0, 4, 12, 20, 70, -1, -9, -13, -20, -35} {
		f("a flipped bit in a manifest", 3<<20, func(name string) error { return flip(name, at) })
	}
	f("a flipped bit in a chunk", 3<<20, func(name string) error { return flip(chunk(name, "3"), 1000) })
	f("a chunk that is gone", 3<<20, func(name string) error { return raw.Del(ctx, chunk(name, "2")).Err() })
	f("a chunk cut short", 3<<20, func(name string) error { return set(chunk(name, "1"), "short") })
	f("a chunk that is too long", 3<<20, func(name string) error { return raw.Append(ctx, chunk(name, "1"), "and more").Err() })
	f("a chunk of another type", 3<<20, func(name string) error {
		c := chunk(name, "1")
		return errors.Join(raw.Del(ctx, c).Err(), raw.LPush(ctx, c, "x").Err())
	})
	f("two chunks swapped", 3<<20, func(name string) error {
		a, b := get(t, raw, chunk(name, "0")), get(t, raw, chunk(name, "1"))
		return errors.Join(set(chunk(name, "0"), b), set(chunk(name, "1"), a))
	})
	f("a value cut short", 2000, func(name string) error { return set(name, get(t, raw, name)[:1000]) })
	f("a long value cut short", 600<<10, func(name string) error { return set(name, get(t, raw, name)[:300<<10]) })
	f("a value with more behind it", 2000, func(name string) error { return raw.Append(ctx, name, "x").Err() })
	f("something else", 2000, func(name string) error { return set(name, "not ours") })
	f("something else, and long", 2000, func(name string) error { return set(name, strings.Repeat("not ours", 1<<19)) })
	f("the value of another key", 2000, func(name string) error { return moveFrom(ctx, t, server, name, 2000) })
	f("the long value of another key", 600<<10, func(name string) error { return moveFrom(ctx, t, server, name, 600<<10) })
}

func testDamage(t *testing.T, server *storetest.RedisServer, raw *goredis.Client, opts redis.Options, size int, damage func(name string) error) {
	opts.URL, opts.Budget = server.URL, patient
	s := open(t, opts)
	key := storetest.Key(t.Name())
	putBody(t, s, t.Name(), size)
	if err := damage(key.String()); err != nil {
		t.Fatal(err)
	}
	if e, err := storetest.Get(t.Context(), s, key); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("Get: %v, %v; want a miss", e, err)
	}
	if left := keysOf(t, raw, key.String()); len(left) != 0 {
		t.Errorf("still there: %v", left)
	}
	if stats := s.Stats(); stats.Corrupt != 1 || stats.GetErrors != 0 {
		t.Errorf("%+v; want one corrupt value and no errors", stats)
	}
	putBody(t, s, t.Name(), size)
}

// moveFrom sets name to the value of another key, as a reply that belongs to
// another request would look.
func moveFrom(ctx context.Context, t *testing.T, server *storetest.RedisServer, name string, size int) error {
	t.Helper()
	s := open(t, redis.Options{URL: server.URL, Budget: patient})
	other := "other than " + name
	putBody(t, s, other, size)
	return rawClient(t, server).Rename(ctx, storetest.Key(other).String(), name).Err()
}

func TestValueOfAnotherTypeIsAMissAndNoOutage(t *testing.T) {
	server := storetest.StartRedis(t)
	raw := rawClient(t, server)
	s := open(t, redis.Options{URL: server.URL, Budget: patient})
	key := storetest.Key("list")
	if err := raw.LPush(t.Context(), key.String(), "x").Err(); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if _, err := s.Get(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("Get: %v; want a miss", err)
		}
	}
	if state := s.State(); state.Open || state.LastError != "" {
		t.Errorf("%+v; want no outage", state)
	}
	putBody(t, s, "list", 100)
}

func TestChunksAreLeftToTheirReadersAndThenGo(t *testing.T) {
	server := storetest.StartRedis(t)
	raw := rawClient(t, server)
	s := open(t, redis.Options{URL: server.URL, Budget: patient})
	key := storetest.Key("large")
	want := func(when string, named, left int) {
		t.Helper()
		all := keysOf(t, raw, key.String()+":*")
		if n := len(kept(t, raw, slices.Clone(all))); n != named || len(all)-n != left {
			t.Errorf("%s: %d chunks that are named, %d that are not, want %d and %d", when, n, len(all)-n, named, left)
		}
	}
	putBody(t, s, "large", 3<<20)
	want("after Put", 6, 0)
	putBody(t, s, "large", 3<<20)
	want("after another Put", 6, 6)
	putBody(t, s, "large", 100)
	want("after a Put of a small one", 0, 12)
	putBody(t, s, "large", 2<<20)
	if err := s.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	want("after Delete", 0, 16)
	if left := keysOf(t, raw, key.String()); len(left) != 0 {
		t.Errorf("after Delete: %v", left)
	}
}

func TestChunksOutliveTheirManifest(t *testing.T) {
	server := storetest.StartRedis(t)
	raw := rawClient(t, server)
	s := open(t, redis.Options{URL: server.URL, Budget: patient})
	key := storetest.Key("large")
	putBody(t, s, "large", 3<<20)
	ttl := func(name string) time.Duration {
		d, err := raw.PTTL(t.Context(), name).Result()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	chunks := keysOf(t, raw, key.String()+":*")
	if len(chunks) != 6 {
		t.Fatalf("chunks: %v", chunks)
	}
	for _, name := range chunks {
		if c, m := ttl(name), ttl(key.String()); m <= 0 || m > time.Hour || c < m+5*time.Minute {
			t.Errorf("%s has %v to live, its manifest %v", name, c, m)
		}
	}
}

func TestAllNamesBeginWithTheKeysOwn(t *testing.T) {
	server := storetest.StartRedis(t)
	raw := rawClient(t, server)
	s := open(t, redis.Options{URL: server.URL, Budget: patient})
	key := cachekey.Key{Namespace: "documents", Provider: "openai"}
	if err := s.Put(t.Context(), key, storetest.Entry(time.Now(), make([]byte, 2<<20))); err != nil {
		t.Fatal(err)
	}
	all, ours := keysOf(t, raw, "*"), keysOf(t, raw, key.String()+"*")
	if len(ours) != 5 || len(all) != len(ours) {
		t.Errorf("%v", all)
	}
}
