package redis_test

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"jaegis-proxy/store"
	"jaegis-proxy/store/memory"
	"jaegis-proxy/store/redis"
	"jaegis-proxy/store/storetest"
)

// relay passes bytes between clients and a server, and counts the round trips:
// how often a client goes on after the server has answered it.
type relay struct {
	addr  string
	trips atomic.Int64
}

func startRelay(t *testing.T, to string) *relay {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{addr: ln.Addr().String()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", to)
			if err != nil {
				_ = c.Close()
				continue
			}
			var answered atomic.Bool
			answered.Store(true)
			wg.Go(func() { r.pipe(s, c, func() { r.trips.Add(boolInt(answered.Swap(false))) }) })
			wg.Go(func() { r.pipe(c, s, func() { answered.Store(true) }) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		wg.Wait()
	})
	return r
}

func boolInt(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func (r *relay) pipe(to, from net.Conn, each func()) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			each()
			if _, werr := to.Write(buf[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// A hit of a small value takes one round trip, of a larger one two: the first
// byte of it where it is in chunks, of which there is one more for each. A hit in
// memory takes none.
func TestRoundTripsOfAHit(t *testing.T) {
	server := storetest.StartRedis(t)
	r := startRelay(t, server.Addr)
	direct := open(t, redis.Options{URL: server.URL, Budget: patient})
	f := func(size int, want int64, keys ...redis.EncryptionKey) {
		t.Helper()
		through := open(t, redis.Options{URL: "redis://" + r.addr, Budget: patient, EncryptionKeys: keys})
		write := direct
		if len(keys) > 0 {
			write = open(t, redis.Options{URL: server.URL, Budget: patient, EncryptionKeys: keys})
		}
		putBody(t, write, "k", size)
		for range 3 { // make the connections, and learn how fast they are
			if !hits(t, through, "k") {
				t.Fatal("no hit")
			}
		}
		fewest := int64(1 << 30) // others, such as probes, may come between
		for range 5 {
			before := r.trips.Load()
			e, err := through.Get(t.Context(), storetest.Key("k"))
			if err != nil {
				t.Fatal(err)
			}
			body := e.Open(t.Context(), e.BodySize()-100, 100) // in the last chunk: none is read ahead
			if _, err := body.Next(); err != nil {
				t.Fatal(err)
			}
			body.Close()
			fewest = min(fewest, r.trips.Load()-before)
		}
		if fewest != want {
			t.Errorf("%d bytes: %d round trips, want %d", size, fewest, want)
		}
	}
	for _, keys := range [][]redis.EncryptionKey{nil, {{1}}} {
		f(1000, 1, keys...)
		f(100<<10, 1, keys...)
		f(900<<10, 2, keys...)
		f(3<<20, 2, keys...)
	}

	near, err := memory.New(memory.Options{MaxBytes: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = near.Close() })
	tiers := &store.Tiered{Near: near, Far: open(t, redis.Options{URL: "redis://" + r.addr, Budget: patient})}
	putBody(t, direct, "k", 1000)
	if _, err := tiers.Get(t.Context(), storetest.Key("k")); err != nil {
		t.Fatal(err)
	}
	fewest := int64(1 << 30)
	for range 5 {
		before := r.trips.Load()
		if _, err := tiers.Get(t.Context(), storetest.Key("k")); err != nil {
			t.Fatal(err)
		}
		fewest = min(fewest, r.trips.Load()-before)
	}
	if fewest != 0 {
		t.Errorf("a hit in memory: %d round trips", fewest)
	}
}
