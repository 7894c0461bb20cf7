package redis_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/policy"
	"jaegis-proxy/store"
	"jaegis-proxy/store/redis"
	"jaegis-proxy/store/storetest"
)

// keys makes encryption keys of numbers.
func keys(numbers ...byte) []redis.EncryptionKey {
	var keys []redis.EncryptionKey
	for _, n := range numbers {
		keys = append(keys, sha256.Sum256([]byte{n}))
	}
	return keys
}

// sizes are those of a value in one string, of one whose end is read by itself,
// and of one in chunks.
var sizes = []int{2000, 600 << 10, 3 << 20}

func TestSuiteEncrypted(t *testing.T) {
	server := storetest.StartRedis(t)
	storetest.Run(t, func(t *testing.T, now func() time.Time) store.Store {
		return open(t, redis.Options{URL: server.URL, Budget: patient, Now: now, EncryptionKeys: keys(1, 2)})
	})
}

// mustMiss is a Get that must find nothing, without an outage.
func mustMiss(t *testing.T, s *redis.Store, name, who string) {
	t.Helper()
	if e, err := s.Get(t.Context(), storetest.Key(name)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%s: %v, %v; want a miss", who, e, err)
	}
}

// TestKeysChangeNodeByNode goes the way of an operator: nodes with the old key,
// with both, and with the new one alone share a Redis.
func TestKeysChangeNodeByNode(t *testing.T) {
	for _, size := range sizes {
		t.Run(fmt.Sprint(size), func(t *testing.T) { testRotation(t, size) })
	}
}

func testRotation(t *testing.T, size int) {
	server := storetest.StartRedis(t)
	raw := rawClient(t, server)
	node := func(numbers ...byte) *redis.Store {
		return open(t, redis.Options{URL: server.URL, Budget: patient, EncryptionKeys: keys(numbers...)})
	}
	plain, oldOnly, both, newOnly := node(), node(1), node(2, 1), node(2)

	putBody(t, oldOnly, "a", size)
	if !hits(t, both, "a") {
		t.Error("a node with both keys does not read what the old one wrote")
	}
	mustMiss(t, newOnly, "a", "the node with the new key alone")
	mustMiss(t, plain, "a", "the node without keys")

	putBody(t, both, "b", size)
	if !hits(t, newOnly, "b") {
		t.Error("the first key did not encrypt")
	}
	mustMiss(t, oldOnly, "b", "the node with the old key alone")

	putBody(t, plain, "c", size)
	mustMiss(t, both, "c", "a node with keys, of a value in plain")

	// Nothing was deleted by those who could not read it.
	for name, s := range map[string]*redis.Store{"a": both, "b": newOnly, "c": plain} {
		if !hits(t, s, name) {
			t.Errorf("%s is gone", name)
		}
	}
	for s, want := range map[*redis.Store][2]int64{plain: {1, 0}, oldOnly: {1, 0}, both: {0, 1}, newOnly: {1, 0}} {
		if got := s.Stats(); got.UnknownKey != want[0] || got.NotSealed != want[1] || got.Corrupt != 0 || got.GetErrors != 0 {
			t.Errorf("%+v; want %v of an unknown key and in plain", got, want)
		}
	}

	// Who cannot read a value can replace and delete it, its chunks included.
	putBody(t, newOnly, "a", 100)
	if err := oldOnly.Delete(t.Context(), storetest.Key("b")); err != nil {
		t.Error(err)
	}
	putBody(t, both, "c", 100)
	if left := kept(t, raw, keysOf(t, raw, "jaegis:storetest:*")); len(left) != 2 {
		t.Errorf("left in Redis: %v; want the two small values", left)
	}
}

func TestDamagedSealedValueIsAMissAndRemoved(t *testing.T) {
	server := storetest.StartRedis(t)
	raw := rawClient(t, server)
	ctx := t.Context()
	set := func(name, value string) error { return raw.Set(ctx, name, value, goredis.KeepTTL).Err() }
	change := func(name string, at int, how func(b *byte)) error {
		b := []byte(get(t, raw, name))
		if at < 0 {
			at += len(b)
		}
		how(&b[at])
		return set(name, string(b))
	}
	flip := func(name string, at int) error { return change(name, at, func(b *byte) { *b ^= 0x10 }) }
	chunk := func(name string, n string) string { return chunkOf(t, raw, name, n) }
	f := func(rule string, size int, damage func(name string) error) {
		t.Run(rule, func(t *testing.T) {
			testDamage(t, server, raw, redis.Options{EncryptionKeys: keys(1)}, size, damage)
		})
	}
	for _, at := range []int{0, 12, 20, 40, 70, 100, 110, 500, -17, -1} { // the key's id has none
		f("a flipped bit in a string", 2000, func(name string) error { return flip(name, at) })
		f("a flipped bit in a long string", 600<<10, func(name string) error { return flip(name, at) })
	}
	for _, at := range []int{0, 12, 40, 70, 100, -1, -16, -17, -20, -24, -40} {
		f("a flipped bit in a manifest", 3<<20, func(name string) error { return flip(name, at) })
	}
	for _, at := range []int{0, 1000, 512 << 10, -1} {
		f("a flipped bit in a chunk", 3<<20, func(name string) error { return flip(chunk(name, "3"), at) })
	}
	f("a flipped bit in the last chunk", 3<<20, func(name string) error { return flip(chunk(name, "5"), 0) })
	f("a chunk that is gone", 3<<20, func(name string) error { return raw.Del(ctx, chunk(name, "2")).Err() })
	f("a chunk cut short", 3<<20, func(name string) error { return set(chunk(name, "1"), "short") })
	f("a chunk that is too long", 3<<20, func(name string) error { return raw.Append(ctx, chunk(name, "1"), "and more").Err() })
	f("two chunks swapped", 3<<20, func(name string) error {
		a, b := get(t, raw, chunk(name, "0")), get(t, raw, chunk(name, "1"))
		return errors.Join(set(chunk(name, "0"), b), set(chunk(name, "1"), a))
	})
	f("a value cut short", 2000, func(name string) error { return set(name, get(t, raw, name)[:1000]) })
	f("a value cut within its seal's head", 2000, func(name string) error { return set(name, get(t, raw, name)[:60]) })
	f("a value with more behind it", 2000, func(name string) error { return raw.Append(ctx, name, "x").Err() })
	f("a value with an eighth byte of length", 2000, func(name string) error { return change(name, 5, func(b *byte) { *b = 1 }) })

	// What somebody can do who writes to Redis and has no key.
	from := func(name, what string, size int, move func(from, to string) error) error {
		other := "other than " + name + what
		putBody(t, open(t, redis.Options{URL: server.URL, Budget: patient, EncryptionKeys: keys(1)}), other, size)
		return move(storetest.Key(other).String(), name)
	}
	for _, size := range []int{2000, 600 << 10} {
		f("the value of another key", size, func(name string) error {
			return from(name, "", size, func(from, to string) error { return raw.Rename(ctx, from, to).Err() })
		})
	}
	f("the value of another key with this one's name in it", 2000, func(name string) error {
		mine := get(t, raw, name)
		return from(name, "", 2000, func(from, to string) error {
			return set(to, mine[:prologueOf(mine)]+get(t, raw, from)[prologueOf(mine):])
		})
	})
	f("all chunks of another key", 3<<20, func(name string) error {
		return from(name, "", 3<<20, func(from, to string) error {
			for _, n := range []string{"0", "1", "2", "3", "4", "5"} {
				if err := set(chunk(to, n), get(t, raw, chunk(from, n))); err != nil {
					return err
				}
			}
			return nil
		})
	})
	f("a chunk of an earlier fill of the same value", 3<<20, func(name string) error {
		old := get(t, raw, chunk(name, "2"))
		putBody(t, open(t, redis.Options{URL: server.URL, Budget: patient, EncryptionKeys: keys(1)}), t.Name()+"/"+"a_chunk_of_an_earlier_fill_of_the_same_value", 3<<20)
		return set(chunk(name, "2"), old)
	})
}

// prologueOf gives the length of what is before the seal.
func prologueOf(value string) int {
	return len("JGR") + 1 + 1 + 8 + 1 + len("storetest") + 1 + 32
}

// TestEveryBitOfASealedValueInRedisCounts flips each bit of a value in Redis.
func TestEveryBitOfASealedValueInRedisCounts(t *testing.T) {
	server := storetest.StartRedis(t)
	raw := rawClient(t, server)
	s := open(t, redis.Options{URL: server.URL, Budget: patient, EncryptionKeys: keys(1)})
	key := storetest.Key("k")
	putBody(t, s, "k", 40)
	good := []byte(get(t, raw, key.String()))
	misses := s.Stats().Misses
	for bit := range 8 * len(good) {
		bad := bytes.Clone(good)
		bad[bit/8] ^= 1 << (bit % 8)
		if err := raw.Set(t.Context(), key.String(), bad, time.Hour).Err(); err != nil {
			t.Fatal(err)
		}
		mustMiss(t, s, "k", fmt.Sprintf("bit %d", bit))
	}
	stats := s.Stats()
	if n := stats.Misses - misses; n != int64(8*len(good)) || stats.UnknownKey != 64 || stats.Corrupt+stats.UnknownKey+stats.NotSealed != n || stats.GetErrors != 0 {
		t.Errorf("%d bits: %+v", 8*len(good), stats)
	}
	if err := raw.Set(t.Context(), key.String(), good, time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	if !hits(t, s, "k") {
		t.Error("unchanged it is no hit: nothing was tested")
	}
}

// TestEncryptedNothingInRedisCanBeRead looks for what is in entries in all that
// Redis has, in memory and on disk, and finds it there without keys alone.
func TestEncryptedNothingInRedisCanBeRead(t *testing.T) {
	secrets := []string{"the-body-of-it", "X-Secret-Name", "the-value-of-a-header", "tenant:the-tenant", "the-model", "the-varying-name"}
	found := func(t *testing.T, keys []redis.EncryptionKey) (seen []string) {
		server := storetest.StartRedis(t, "--rdbcompression", "no")
		s := open(t, redis.Options{URL: server.URL, Budget: patient, EncryptionKeys: keys})
		for _, size := range sizes {
			e := &store.Entry{
				Status: 200, Header: []store.Field{{Name: "X-Secret-Name", Value: "the-value-of-a-header"}},
				Lifetime: policy.Lifetime{StoredAt: time.Now(), TTL: time.Hour},
				Body:     bytes.Repeat([]byte("the-body-of-it "), size/15), Length: int64(size),
				Tags: []string{"tenant:the-tenant"}, Usage: store.Usage{Model: "the-model"}, Vary: []string{"the-varying-name"},
			}
			key := cachekey.Key{Namespace: "documents", Digest: [32]byte{byte(size)}}
			if err := s.Put(t.Context(), key, e); err != nil {
				t.Fatal(err)
			}
			if got, err := s.Get(t.Context(), key); err != nil || storetest.Diff(got, e) != "" {
				t.Fatalf("Get: %v", err)
			}
		}
		all := dump(t, server)
		for _, secret := range secrets {
			if bytes.Contains(all, []byte(secret)) {
				seen = append(seen, secret)
			}
		}
		if !bytes.Contains(all, []byte("jaegis:documents:")) {
			t.Fatal("not even the names are found")
		}
		return seen
	}
	if seen := found(t, nil); !slices.Equal(seen, secrets) {
		t.Errorf("without keys there are %q, want all of %q: nothing is tested", seen, secrets)
	}
	if seen := found(t, keys(1)); len(seen) > 0 {
		t.Errorf("in plain: %q", seen)
	}
}

// dump gives all that a Redis has: names, values, and the file it saves.
func dump(t *testing.T, server *storetest.RedisServer) []byte {
	t.Helper()
	raw, ctx := rawClient(t, server), t.Context()
	var all bytes.Buffer
	for _, name := range keysOf(t, raw, "*") {
		dumped, err := raw.Dump(ctx, name).Result()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&all, name, get(t, raw, name), dumped)
	}
	if err := raw.Save(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	dir, err := raw.ConfigGet(ctx, "dir").Result()
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(filepath.Join(dir["dir"], "dump.rdb"))
	if err != nil {
		t.Fatal(err)
	}
	all.Write(file)
	return all.Bytes()
}

func TestTheLogTellsOnceOfValuesThatDoNotOpen(t *testing.T) {
	server := storetest.StartRedis(t)
	var log syncBuffer
	putBody(t, open(t, redis.Options{URL: server.URL, Budget: patient, EncryptionKeys: keys(2)}), "k", 100)
	s := open(t, redis.Options{URL: server.URL, Budget: patient, EncryptionKeys: keys(1, 3), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for range 100 {
		mustMiss(t, s, "k", "a node without its key")
	}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "values are encrypted") || !strings.Contains(lines[1], "unknown_key=1 ") {
		t.Errorf("%s", log.String())
	}
	if got := s.Stats().UnknownKey; got != 100 {
		t.Errorf("%d counted", got)
	}
	for _, key := range keys(1, 2, 3) {
		for _, text := range []string{fmt.Sprintf("%x", key[:]), string(key[:])} {
			if strings.Contains(log.String(), text[:6]) {
				t.Errorf("a key is in the log: %s", log.String())
			}
		}
	}
}
