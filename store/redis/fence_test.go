package redis_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/store"
	"jaegis-proxy/store/memory"
	"jaegis-proxy/store/redis"
	"jaegis-proxy/store/storetest"
)

// under are the keys under which something is written with a lease: its own,
// and another, as when a request's headers select.
var under = []struct {
	name string
	key  func(lease cachekey.Key) cachekey.Key
}{
	{"its own key", func(k cachekey.Key) cachekey.Key { return k }},
	{"another key", func(k cachekey.Key) cachekey.Key {
		k.Digest[0]++
		return k
	}},
}

var fenceSizes = []int{100, 200 << 10, 3 << 20}

func putVersion(ctx context.Context, s store.Store, key cachekey.Key, version uint64, size int) error {
	return s.Put(ctx, key, storetest.Entry(time.Now(), storetest.Body(key, version, size)))
}

func wantVersion(t *testing.T, s store.Store, key cachekey.Key, want uint64) {
	t.Helper()
	var got uint64
	e, err := storetest.Get(t.Context(), s, key)
	if err == nil {
		got, err = storetest.Prove(key, e.Body)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) || got != want {
		t.Errorf("version %d, %v; want %d", got, err, want)
	}
}

func TestAHolderThatHasLostItsLeaseCannotWrite(t *testing.T) {
	server := storetest.StartRedis(t)
	raw := rawClient(t, server)
	for _, at := range under {
		for _, size := range fenceSizes {
			name := at.name + " " + time.Duration(size).String()
			t.Run(name, func(t *testing.T) {
				n, lease := nodesOf(t, server, 2), storetest.Key(name)
				key := at.key(lease)
				old := n[0].leads(t, lease, newAnswer())
				if err := putVersion(old.Fence(t.Context()), n[0].store, key, 1, size); err != nil {
					t.Fatalf("Put with the lease: %v", err)
				}
				wantVersion(t, n[1].store, key, 1)
				_ = n[0].Close() // it is stopped: nobody keeps the lease up
				next := n[1].leads(t, lease, newAnswer())
				// and goes on before the next one has written,
				if err := putVersion(old.Fence(t.Context()), n[0].store, key, 2, size); !errors.Is(err, store.ErrFenced) {
					t.Errorf("Put without the lease: %v", err)
				}
				wantVersion(t, n[1].store, key, 1)
				if err := putVersion(next.Fence(t.Context()), n[1].store, key, 3, size); err != nil {
					t.Errorf("Put with the lease: %v", err)
				}
				// and after that, and after its release.
				for range 2 {
					if err := putVersion(old.Fence(t.Context()), n[0].store, key, 4, size); !errors.Is(err, store.ErrFenced) {
						t.Errorf("Put without the lease: %v", err)
					}
					wantVersion(t, n[1].store, key, 3)
					next.Release(true)
				}
				if st := n[0].store.Stats(); st.PutErrors != 0 || n[0].store.State().Open {
					t.Errorf("%+v: that is no fault of Redis", st)
				}
				if err := n[1].store.Delete(t.Context(), key); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wantNothingLeft(t, raw) // no chunks of what was refused
}

// The holder is stopped at the last moment: what it sends when it goes on is
// the write itself.
func TestAWriteThatIsHeldUpUntilTheLeaseHasPassedOnIsRefused(t *testing.T) {
	server := storetest.StartRedis(t)
	for _, at := range under {
		t.Run(at.name, func(t *testing.T) {
			var once sync.Once
			sent, goOn := make(chan struct{}), make(chan struct{})
			proxy := startLateProxy(t, server.Addr, func(b []byte) {
				if bytes.Contains(b, []byte("redis.call('GETRANGE', KEYS[1], 0, ARGV[4])")) {
					once.Do(func() {
						close(sent)
						<-goOn
					})
				}
			})
			stopped := openNode(t, redis.Options{URL: "redis://" + proxy.addr, SocketTimeout: time.Minute}, redis.FillOptions{})
			next, lease := nodesOf(t, server, 1)[0], storetest.Key(at.name)
			key := at.key(lease)
			old := stopped.leads(t, lease, newAnswer())
			wrote := make(chan error)
			go func() { wrote <- putVersion(old.Fence(t.Context()), stopped.store, key, 1, 100) }()
			<-sent
			_ = stopped.Fills.Close()
			its := next.leads(t, lease, newAnswer())
			if err := putVersion(its.Fence(t.Context()), next.store, key, 2, 100); err != nil {
				t.Errorf("Put with the lease: %v", err)
			}
			close(goOn)
			if err := <-wrote; !errors.Is(err, store.ErrFenced) {
				t.Errorf("the write that was held up: %v", err)
			}
			wantVersion(t, next.store, key, 2)
		})
	}
}

// A holder that is about to write is disturbed by one that has lost the lease
// and does not know it yet: it writes all the same.
func TestWhoHasLostTheLeaseDoesNotKeepTheHolderFromWriting(t *testing.T) {
	server := storetest.StartRedis(t)
	raw := rawClient(t, server)
	lease := storetest.Key("k")
	key := under[1].key(lease)
	var once sync.Once
	proxy := startLateProxy(t, server.Addr, func(b []byte) {
		if bytes.Contains(b, []byte("redis.call('GETRANGE', KEYS[1], 0, ARGV[4])")) {
			once.Do(func() {
				for _, name := range keysOf(t, raw, "*:by:*") {
					if err := raw.Set(t.Context(), name, "another", time.Minute).Err(); err != nil {
						t.Error(err)
					}
				}
			})
		}
	})
	n := openNode(t, redis.Options{URL: "redis://" + proxy.addr}, redis.FillOptions{})
	its := n.leads(t, lease, newAnswer())
	if err := putVersion(its.Fence(t.Context()), n.store, key, 1, 100); err != nil {
		t.Errorf("Put with the lease: %v", err)
	}
	wantVersion(t, n.store, key, 1)
}

func TestWhatIsRefusedForALostLeaseIsInNoTier(t *testing.T) {
	server := storetest.StartRedis(t)
	near, err := memory.New(memory.Options{MaxBytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	n, key := nodesOf(t, server, 2), storetest.Key("k")
	tiered := &store.Tiered{Near: near, Far: n[0].store}
	old := n[0].leads(t, key, newAnswer())
	_ = n[0].Close()
	n[1].leads(t, key, newAnswer())
	if err := putVersion(old.Fence(t.Context()), tiered, key, 1, 100); !errors.Is(err, store.ErrFenced) {
		t.Errorf("Put: %v", err)
	}
	wantVersion(t, near, key, 0)
	wantVersion(t, tiered, key, 0)
}

// TestFillsNeedNoMoreThanTheirTypeSays goes through everything that sends a
// command.
func TestFillsNeedNoMoreThanTheirTypeSays(t *testing.T) {
	server := storetest.StartRedis(t)
	raw := rawClient(t, server)
	f := func(rules ...any) {
		t.Helper()
		if err := raw.Do(t.Context(), append([]any{"acl", "setuser", "app", "reset", "on", ">secret", "~jaegis:*"}, rules...)...).Err(); err != nil {
			t.Fatal(err)
		}
		o := redis.Options{URL: server.URL, Username: "app", Password: "secret"}
		a, b := openNode(t, o, redis.FillOptions{MaxBytes: 1 << 20}), openNode(t, o, redis.FillOptions{})
		lease := storetest.Key("k")
		its, what := a.leads(t, lease, newAnswer()), newAnswer()
		time.Sleep(time.Second) // some heartbeats
		for _, at := range under {
			for _, size := range fenceSizes {
				if err := putVersion(its.Fence(t.Context()), a.store, at.key(lease), 1, size); err != nil {
					t.Errorf("Put: %v", err)
				}
			}
		}
		its.Release(true)
		other := storetest.Key("other")
		its = a.leads(t, other, what)
		p := b.follows(t, other)
		what.give(head("h"), body(strings.Repeat("x", 3<<20)))
		wantPiece(t, p, head("h"))
		what.give(end(""))
		if _, _, err := rest(p); err != nil && !strings.Contains(err.Error(), "more has come") { // it may be too slow for what is kept
			t.Error(err)
		}
		its.Release(false)
		if a.Stats().Lost != 0 || a.Stats().Failed != 0 || b.Stats().Failed != 0 {
			t.Errorf("%+v, %+v", a.Stats(), b.Stats())
		}
		log, err := raw.Do(t.Context(), "acl", "log").Slice()
		if err != nil || len(log) != 0 {
			t.Errorf("%v: denied: %v, %v", rules, log, err)
		}
		storetest.Eventually(t, 20*time.Second, "no lease and no mark", func() bool { return len(keysOf(t, raw, "jaegis:fill:*")) == 0 })
	}
	f("-@all", "+get", "+getrange", "+set", "+unlink", // what the store needs
		"+del", "+exists", "+pexpire", "+time", "+hset", "+hdel", "+hgetall", "+rpush", "+blpop", "+xadd", "+xread", "+xrevrange", "+xtrim", "+eval", "+evalsha")
	f("+@all", "-@dangerous")
}
