// Package storetest is what the tests of stores have in common: one suite that
// every store.Store must pass, entries that prove themselves, and real Redis
// servers.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/policy"
	"jaegis-proxy/store"
)

// Run runs the suite on the stores that open makes, a new one for each test,
// each going by the clock given. What one of them holds another may see. They
// must hold entries of 5 MiB, and be patient enough not to fail on a machine
// that is busy.
//
// The rules of ownership that it checks: an entry given to Put belongs to the
// store, and nobody changes it from then on, the store included; an entry
// returned by Get stays as it is, whatever becomes of the key.
func Run(t *testing.T, open func(t *testing.T, now func() time.Time) store.Store) {
	for _, c := range []struct {
		rule string
		test func(*testing.T, *suite)
	}{
		{"a key never put is a miss", testMiss},
		{"every field comes back as it was put", testFields},
		{"a signpost comes back as it was put", testSignpost},
		{"a put replaces what is there", testReplace},
		{"a deleted entry is gone", testDelete},
		{"an entry is there until its expiry and not from then on", testExpiry},
		{"an entry that is over is not stored", testOver},
		{"bodies of all sizes come back whole", testSizes},
		{"a body that comes in pieces is stored as any other", testPieces},
		{"a range of a body is that of the whole", testRanges},
		{"keys that differ in one part are apart", testKeysApart},
		{"entries are not changed by the store", testUnchanged},
		{"a cancelled call is not a miss", testCancelled},
		{"bodies are never mixed under concurrent use", testConcurrent},
	} {
		t.Run(c.rule, func(t *testing.T) {
			clock := NewClock()
			c.test(t, &suite{Store: open(t, clock.Now), clock: clock, name: t.Name()})
		})
	}
}

type suite struct {
	store.Store
	clock *Clock
	name  string
}

// key makes a key of this test's own.
func (s *suite) key(name string) cachekey.Key { return Key(s.name + "/" + name) }

func (s *suite) put(t *testing.T, key cachekey.Key, e *store.Entry) {
	t.Helper()
	if err := s.Put(t.Context(), key, e); err != nil {
		t.Fatalf("Put: %v", err)
	}
}

func (s *suite) wantMiss(t *testing.T, key cachekey.Key, when string) {
	t.Helper()
	if e, err := s.Get(t.Context(), key); !errors.Is(err, store.ErrNotFound) || e != nil {
		t.Fatalf("Get %s: %v, %v; want ErrNotFound", when, e, err)
	}
}

func (s *suite) wantEntry(t *testing.T, key cachekey.Key, want *store.Entry, when string) *store.Entry {
	t.Helper()
	e, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatalf("Get %s: %v", when, err)
	}
	if d := Diff(e, want); d != "" {
		t.Fatalf("Get %s: %s differs", when, d)
	}
	if e.Source == "" {
		t.Fatalf("Get %s: no Source", when)
	}
	return e
}

func testMiss(t *testing.T, s *suite) {
	s.wantMiss(t, s.key("nothing"), "of nothing")
}

func testFields(t *testing.T, s *suite) {
	key := s.key("full")
	e := &store.Entry{
		Status: 203,
		Header: []store.Field{
			{Name: "Set-Cookie", Value: "b=2"},
			{Name: "content-type", Value: "text/event-stream; charset=utf-8"},
			{Name: "Set-Cookie", Value: "a=1"},
			{Name: "X-Empty", Value: ""},
			{Name: "Set-Cookie", Value: "b=2"},
			{Name: "X-Bytes", Value: "\xff\x80\t\u00e9"},
		},
		Tagged: true,
		Lifetime: policy.Lifetime{
			StoredAt:             s.clock.Now().Add(-3*time.Second - 17*time.Nanosecond),
			TTL:                  time.Hour + time.Nanosecond,
			StaleWhileRevalidate: 10 * time.Minute,
			StaleIfError:         -time.Second,
			Keep:                 time.Minute,
			AllowStale:           true,
		},
		Asked:        s.clock.Now().Add(-time.Second),
		Stamp:        store.Stamp{Epoch: 7, Seq: store.Seq{Time: 1754000000123, N: 1}},
		Coding:       "gzip",
		Body:         Body(key, 1, 100),
		Length:       345,
		Tags:         []string{"route:convert", "", "tenant:ü"},
		UpstreamTime: 15*time.Second + time.Nanosecond,
		Usage:        store.Usage{Model: "m-1", In: 1000, Out: 20, Cached: 300},
		Events:       []store.Event{{Size: 100, After: time.Millisecond}, {Size: 1}},
		Source:       "elsewhere",
	}
	s.put(t, key, e)
	s.wantEntry(t, key, e, "after Put")

	least := &store.Entry{Lifetime: policy.Lifetime{StoredAt: s.clock.Now(), TTL: time.Minute}}
	s.put(t, s.key("least"), least)
	s.wantEntry(t, s.key("least"), least, "of an entry of zeros")
}

func testSignpost(t *testing.T, s *suite) {
	key := s.key("signpost")
	e := Entry(s.clock.Now(), nil)
	e.Vary = []string{"accept-language", "Origin"}
	e.Epoch = 1<<64 - 1
	s.put(t, key, e)
	s.wantEntry(t, key, e, "of a signpost")
}

func testReplace(t *testing.T, s *suite) {
	key := s.key("replaced")
	sizes := []int{100, 3 << 20, 50, 1 << 20, 2 << 20, 2<<20 + 1, 0, 70}
	for version, size := range sizes {
		e := Entry(s.clock.Now(), Body(key, uint64(version), size))
		s.put(t, key, e)
		s.wantEntry(t, key, e, fmt.Sprintf("of version %d", version))
	}
}

func testDelete(t *testing.T, s *suite) {
	for _, size := range []int{10, 1 << 20, 3 << 20} {
		key, other := s.key(fmt.Sprint(size)), s.key(fmt.Sprint("other", size))
		e := Entry(s.clock.Now(), Body(other, 1, size))
		s.put(t, key, Entry(s.clock.Now(), Body(key, 1, size)))
		s.put(t, other, e)
		for range 2 { // the second deletes nothing
			if err := s.Delete(t.Context(), key); err != nil {
				t.Fatalf("Delete: %v", err)
			}
			s.wantMiss(t, key, "after Delete")
		}
		s.wantEntry(t, other, e, "of another key after Delete")
	}
}

func testExpiry(t *testing.T, s *suite) {
	for _, size := range []int{10, 3 << 20} {
		key := s.key(fmt.Sprint(size))
		e := Entry(s.clock.Now(), Body(key, 1, size))
		e.Lifetime.TTL, e.Lifetime.StaleWhileRevalidate, e.Lifetime.StaleIfError = time.Hour, time.Minute, 2*time.Hour
		s.put(t, key, e)
		s.clock.Advance(3*time.Hour - time.Nanosecond)
		s.wantEntry(t, key, e, "just before the expiry")
		s.clock.Advance(time.Nanosecond)
		s.wantMiss(t, key, "at the expiry")
	}
}

func testOver(t *testing.T, s *suite) {
	key := s.key("over")
	e := Entry(s.clock.Now().Add(-time.Hour), Body(key, 1, 20))
	s.put(t, key, e)
	s.wantMiss(t, key, "of an entry that was over when it was put")
}

func testSizes(t *testing.T, s *suite) {
	for _, size := range []int{0, 1, 1 << 10, 64 << 10, 128<<10 - 300, 128 << 10, 512 << 10, 1<<20 - 1, 1 << 20, 1<<20 + 1, 5 << 20} {
		key := s.key(fmt.Sprint(size))
		e := Entry(s.clock.Now(), Body(key, 7, size))
		s.put(t, key, e)
		s.wantEntry(t, key, e, fmt.Sprintf("of %d bytes", size))
	}
}

func testPieces(t *testing.T, s *suite) {
	for _, size := range []int{0, 100, 1 << 20, 1<<20 + 1, 3<<20 - 7, 5 << 20} {
		for _, piece := range []int{1 << 10, 777_777} {
			key := s.key(fmt.Sprint(size, piece))
			e := Entry(s.clock.Now(), Body(key, 3, size))
			pieces := *e
			pieces.Body, pieces.Content = nil, &Pieces{Bytes: e.Body, Piece: piece}
			s.put(t, key, &pieces)
			got := s.wantEntry(t, key, e, fmt.Sprintf("of %d bytes in pieces", size))
			if got.BodySize() != int64(size) {
				t.Errorf("of %d bytes: BodySize %d", size, got.BodySize())
			}
			again := *got
			again.Tags = []string{"later"}
			s.put(t, key, &again) // what Get returned may be put again
			e.Tags = again.Tags
			s.wantEntry(t, key, e, "after it was put again")
		}
	}
}

func testRanges(t *testing.T, s *suite) {
	for _, size := range []int{10, 900 << 10, 3<<20 + 5} {
		key := s.key(fmt.Sprint(size))
		body := Body(key, 1, size)
		s.put(t, key, Entry(s.clock.Now(), body))
		e, err := s.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range [][2]int{{0, size}, {0, 1}, {size - 1, 1}, {size, 0}, {0, 0}, {size / 3, size / 2}, {size / 2, 3}} {
			from := e.Open(t.Context(), int64(r[0]), int64(r[1]))
			var got []byte
			for {
				b, err := from.Next()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, b...)
			}
			from.Close()
			if !bytes.Equal(got, body[r[0]:r[0]+r[1]]) {
				t.Errorf("of %d bytes: %d from %d on: %d others", size, r[1], r[0], len(got))
			}
		}
	}
}

func testKeysApart(t *testing.T, s *suite) {
	base := s.key("base")
	keys := []cachekey.Key{base, base, base, base, base}
	keys[1].Namespace = "storetest2"
	keys[2].Provider = "openai"
	keys[3].Namespace, keys[3].Provider = "storetest2", "openai"
	keys[4].Digest[31] ^= 1
	entries := make([]*store.Entry, len(keys))
	for i, key := range keys {
		s.wantMiss(t, key, "of a key that only its neighbours were put under")
		entries[i] = Entry(s.clock.Now(), Body(key, uint64(i), 64))
		s.put(t, key, entries[i])
	}
	for i, key := range keys {
		s.wantEntry(t, key, entries[i], key.String())
	}
}

func testUnchanged(t *testing.T, s *suite) {
	key := s.key("unchanged")
	make1 := func() *store.Entry {
		e := Entry(s.clock.Now(), Body(key, 1, 3000))
		e.Source = "elsewhere"
		return e
	}
	given := make1()
	s.put(t, key, given)
	first := s.wantEntry(t, key, make1(), "of version 1")
	s.put(t, key, Entry(s.clock.Now(), Body(key, 2, 3000)))
	if err := s.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if d := Diff(given, make1()); d != "" || given.Source != "elsewhere" {
		t.Errorf("the entry given to Put changed: %s, Source %q", d, given.Source)
	}
	if d := Diff(first, make1()); d != "" {
		t.Errorf("the entry that Get returned changed: %s", d)
	}
}

func testCancelled(t *testing.T, s *suite) {
	key := s.key("cancelled")
	e := Entry(s.clock.Now(), Body(key, 1, 20))
	s.put(t, key, e)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Get(ctx, key); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Get: %v; want the entry or context.Canceled", err)
	}
	if err := s.Put(ctx, s.key("never put"), e); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Put: %v; want nil or context.Canceled", err)
	}
	s.wantEntry(t, key, e, "after calls that were cancelled")
}

// testConcurrent writes versions of a few keys, small and large by turns, while
// others read and delete them.
func testConcurrent(t *testing.T, s *suite) {
	const writers, readers, rounds = 4, 6, 40
	keys := []cachekey.Key{s.key("a"), s.key("b"), s.key("c")}
	sizes := []int{16, 900, 1<<20 + 5, 40 << 10, 200 << 10}
	var version, hits atomic.Uint64
	var work sync.WaitGroup
	for w := range writers {
		work.Go(func() {
			for i := range rounds {
				v := version.Add(1)
				key := keys[(w+i)%len(keys)]
				err := s.Put(t.Context(), key, Entry(s.clock.Now(), Body(key, v, sizes[v%uint64(len(sizes))])))
				if err == nil && v%20 == 0 {
					err = s.Delete(t.Context(), key)
				}
				if err != nil {
					t.Errorf("write: %v", err)
				}
			}
		})
	}
	for r := range readers {
		work.Go(func() {
			for i := range 2 * rounds {
				key := keys[(r+i)%len(keys)]
				e, err := Get(t.Context(), s, key)
				if errors.Is(err, store.ErrNotFound) {
					continue
				}
				if err != nil {
					t.Errorf("Get: %v", err)
					continue
				}
				if _, err := Prove(key, e.Body); err != nil {
					t.Errorf("Get: %v", err)
				}
				hits.Add(1)
			}
		})
	}
	work.Wait()
	if hits.Load() == 0 {
		t.Error("no read found anything: nothing was tested")
	}
}
