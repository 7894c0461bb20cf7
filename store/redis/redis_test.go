package redis_test

import (
	"testing"
	"time"

	"jaegis-proxy/store"
	"jaegis-proxy/store/memory"
	"jaegis-proxy/store/redis"
	"jaegis-proxy/store/storetest"
)

// patient is a budget for tests of what is stored, not of how long it takes.
const patient = 5 * time.Second

func open(t testing.TB, opts redis.Options) *redis.Store {
	t.Helper()
	s, err := redis.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestSuite(t *testing.T) {
	server := storetest.StartRedis(t)
	storetest.Run(t, func(t *testing.T, now func() time.Time) store.Store {
		return open(t, redis.Options{URL: server.URL, Budget: patient, Now: now})
	})
}

func TestSuiteTiered(t *testing.T) {
	server := storetest.StartRedis(t)
	storetest.Run(t, func(t *testing.T, now func() time.Time) store.Store {
		near, err := memory.New(memory.Options{MaxBytes: 8 << 20, Now: now}) // holds 1 MiB, not 5
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = near.Close() })
		far := open(t, redis.Options{URL: server.URL, Budget: patient, Now: now})
		return &store.Tiered{Near: near, Far: far, Now: now, MaxPromoted: 1<<20 + 1}
	})
}
