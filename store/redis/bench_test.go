package redis_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"jaegis-proxy/cachekey"
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
