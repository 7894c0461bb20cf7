package memory_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"jaegis-proxy/store"
	"jaegis-proxy/store/memory"
	"jaegis-proxy/store/storetest"
)

func open(t testing.TB, maxBytes int64, now func() time.Time) *memory.Store {
	t.Helper()
	s, err := memory.New(memory.Options{MaxBytes: maxBytes, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestSuite(t *testing.T) {
	storetest.Run(t, func(t *testing.T, now func() time.Time) store.Store {
		return open(t, 64<<20, now)
	})
}

func TestGetReturnsTheSamePointerWithoutAllocating(t *testing.T) {
	s := open(t, 1<<20, nil)
	key := storetest.Key("same")
	given := storetest.Entry(time.Now(), []byte("body"))
	given.Source = memory.Source
	if err := s.Put(t.Context(), key, given); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	allocs := testing.AllocsPerRun(1000, func() {
		if e, err := s.Get(ctx, key); err != nil || e != given {
			t.Fatalf("Get: %p, %v; want %p", e, err, given)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations a Get", allocs)
	}
}

func TestAnEntryOverAnEighthOfTheBoundIsTooLarge(t *testing.T) {
	f := func(max int64, body int, want error) {
		t.Helper()
		s := open(t, max, nil)
		key := storetest.Key("large")
		err := s.Put(t.Context(), key, storetest.Entry(time.Now(), make([]byte, body)))
		if !errors.Is(err, want) {
			t.Errorf("Put of %d bytes into %d: %v; want %v", body, max, err, want)
		}
		if _, err := s.Get(t.Context(), key); errors.Is(err, store.ErrNotFound) != (want != nil) {
			t.Errorf("Get after it: %v", err)
		}
	}
	f(64<<10, 7<<10, nil)
	f(64<<10, 8<<10, store.ErrTooLarge)
	f(64<<10, 1<<20, store.ErrTooLarge)
}

func TestTheBoundHolds(t *testing.T) {
	const max = 1 << 20
	s := open(t, max, nil)
	for i := range 2000 {
		if err := s.Put(t.Context(), storetest.Key(fmt.Sprint(i)), storetest.Entry(time.Now(), make([]byte, 4<<10))); err != nil {
			t.Fatal(err)
		}
	}
	storetest.Eventually(t, 5*time.Second, "bytes within the bound", func() bool { return s.Stats().Bytes <= max })
	if stats := s.Stats(); stats.Evictions < 1000 || stats.Entries == 0 {
		t.Errorf("%+v; want more than a thousand evicted, and some left", stats)
	}
}

func TestABoundIsNeeded(t *testing.T) {
	if _, err := memory.New(memory.Options{}); err == nil {
		t.Error("New without a bound succeeded")
	}
}

func BenchmarkGet(b *testing.B) {
	s := open(b, 64<<20, nil)
	key := storetest.Key("bench")
	if err := s.Put(b.Context(), key, storetest.Entry(time.Now(), make([]byte, 1<<10))); err != nil {
		b.Fatal(err)
	}
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Get(ctx, key); err != nil {
			b.Fatal(err)
		}
	}
}
