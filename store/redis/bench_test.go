package redis_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/store"
	"jaegis-proxy/store/redis"
	"jaegis-proxy/store/storetest"
)

// BenchmarkGet reads entries from a real server on this machine, which takes
// its share of the processors.
func BenchmarkGet(b *testing.B) {
	server := storetest.StartRedis(b)
	s := open(b, redis.Options{URL: server.URL, Budget: time.Second})
	for _, size := range []int{1 << 10, 64 << 10, 512 << 10, 4 << 20} {
		keys := make([]cachekey.Key, 16)
		for i := range keys {
			keys[i] = storetest.Key(fmt.Sprint(size, i))
			if err := s.Put(b.Context(), keys[i], storetest.Entry(time.Now(), make([]byte, size))); err != nil {
				b.Fatal(err)
			}
		}
		for _, callers := range []int{1, 4, 64} {
			b.Run(fmt.Sprintf("%dKiB/%dcallers", size>>10, callers), func(b *testing.B) {
				benchmarkGet(b, s, keys, callers)
			})
		}
	}
}

func benchmarkGet(b *testing.B, s *redis.Store, keys []cachekey.Key, callers int) {
	b.ReportAllocs()
	if callers == 1 {
		for i := 0; b.Loop(); i++ {
			if _, err := s.Get(b.Context(), keys[i%len(keys)]); err != nil {
				b.Fatal(err)
			}
		}
		return
	}
	var failed atomic.Int64
	b.SetParallelism(callers / 2) // times GOMAXPROCS, which is 2 where this is read
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, err := s.Get(b.Context(), keys[i%len(keys)]); err != nil {
				failed.Add(1)
			}
		}
	})
	if n := failed.Load(); n > 0 {
		b.Errorf("%d reads failed", n)
	}
}

// BenchmarkPurge purges a namespace in which little or much is stored.
func BenchmarkPurge(b *testing.B) {
	for _, entries := range []int{10, 1_000_000} {
		b.Run(fmt.Sprint(entries, "entries"), func(b *testing.B) {
			server := storetest.StartRedis(b)
			s, raw := open(b, redis.Options{URL: server.URL, Budget: time.Second}), rawClient(b, server)
			if err := s.Put(b.Context(), storetest.Key("0"), storetest.Entry(time.Now(), make([]byte, 20))); err != nil {
				b.Fatal(err)
			}
			value := raw.Get(b.Context(), storetest.Key("0").String()).Val()
			for done := 1; done < entries; {
				pipe := raw.Pipeline()
				for end := min(entries, done+10_000); done < end; done++ {
					pipe.Set(b.Context(), storetest.Key(fmt.Sprint(done)).String(), value, time.Hour)
				}
				if _, err := pipe.Exec(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			if n := raw.DBSize(b.Context()).Val(); n < int64(entries) {
				b.Fatalf("%d entries", n)
			}
			ledger := store.NewLedger(store.LedgerOptions{Journal: s, MaxDisconnected: time.Hour})
			b.Cleanup(func() { _ = ledger.Close() })
			if err := ledger.Await(b.Context()); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if err := ledger.Purge(b.Context(), store.LabelNamespace+"storetest", false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
