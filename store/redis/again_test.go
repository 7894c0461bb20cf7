package redis

import (
	"context"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"jaegis-proxy/store"
	"jaegis-proxy/store/storetest"
)

func newStore(t *testing.T, opts Options) (*Store, *goredis.Client) {
	t.Helper()
	server := storetest.StartRedis(t)
	opts.URL = server.URL
	s, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	raw := goredis.NewClient(&goredis.Options{Addr: server.Addr})
	t.Cleanup(func() { _ = raw.Close() })
	return s, raw
}

// A write of which the reply was lost is sent again, and finds its own manifest,
// or that of another who wrote in between and left these chunks: they are kept
// for as long as it all the same.
func TestAWriteThatIsSentAgainKeepsItsChunks(t *testing.T) {
	s, raw := newStore(t, Options{Budget: time.Second})
	key := storetest.Key("b")
	name := key.String()
	write := func(version uint64) (p *prover, manifest func()) {
		e := storetest.Entry(time.Now(), storetest.Body(key, version, 2<<20))
		p = s.sealer.newProver(int(e.BodySize()))
		value := s.sealer.encodeLarge(key, e, p)
		if err := s.writeChunks(t.Context(), name, p, e); err != nil {
			t.Fatal(err)
		}
		return p, func() {
			if err := s.replace(t.Context(), name, value, e, p.m.names(name)...); err != nil {
				t.Fatal(err)
			}
		}
	}
	p, mine := write(1)
	_, other := write(2)
	for _, writes := range [][]func(){{mine, mine}, {mine, other, mine}} {
		for _, manifest := range writes {
			manifest()
		}
		kept := raw.PTTL(t.Context(), name).Val()
		for _, chunk := range p.m.names(name) {
			if ttl := raw.PTTL(t.Context(), chunk).Val(); ttl < kept {
				t.Errorf("a chunk is kept for %v, its manifest for %v", ttl, kept)
			}
		}
	}
}

// A request that finds a damaged value does not wait for a Redis that takes no
// writes: what is there is taken out by the next one, or expires.
func TestWhatIsDamagedHoldsUpNobodyWhereWritesStand(t *testing.T) {
	s, raw := newStore(t, Options{RetryOnTimeout: true, SocketTimeout: 10 * time.Second, Budget: 500 * time.Millisecond})
	key := storetest.Key("b")
	name := key.String()
	f := func(what string, damage func(), use func(*store.Entry)) {
		t.Helper()
		storetest.Eventually(t, 5*time.Second, "a put that succeeds", func() bool {
			return s.Put(t.Context(), key, storetest.Entry(time.Now(), storetest.Body(key, 1, 5<<20))) == nil
		})
		e, err := s.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		damage()
		if err := raw.Do(t.Context(), "client", "pause", 60_000, "write").Err(); err != nil {
			t.Fatal(err)
		}
		defer raw.Do(context.Background(), "client", "unpause")
		began := time.Now()
		use(e)
		if took := time.Since(began); took > 8*time.Second {
			t.Errorf("%s: it took %v", what, took)
		}
	}
	f("a manifest", func() {
		raw.SetRange(t.Context(), name, raw.StrLen(t.Context(), name).Val()-1, "x")
	}, func(*store.Entry) {
		if _, err := s.Get(t.Context(), key); err == nil {
			t.Error("it was given")
		}
	})
	f("a chunk", func() {
		placed, _ := placeOf([]byte(raw.Get(t.Context(), name).Val()))
		raw.Del(t.Context(), placed.m.name(name, 0))
	}, func(e *store.Entry) {
		r := e.Open(t.Context(), 0, 5<<20)
		defer r.Close()
		if _, err := r.Next(); err == nil {
			t.Error("it was given")
		}
	})
}
