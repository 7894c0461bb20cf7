package store_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"jaegis-proxy/policy"
	"jaegis-proxy/store"
	"jaegis-proxy/store/storetest"
)

func fullEntry() *store.Entry {
	return &store.Entry{
		Status: 206,
		Header: []store.Field{{Name: "Set-Cookie", Value: "b"}, {Name: "set-cookie", Value: "a\xff"}, {Name: "X-Empty"}},
		Lifetime: policy.Lifetime{
			StoredAt:             time.Unix(1754000000, 123456789),
			TTL:                  time.Hour,
			StaleWhileRevalidate: time.Minute,
			StaleIfError:         -1,
		},
		Asked:        time.Unix(1700000000, 5),
		Stamp:        store.Stamp{Epoch: 1<<64 - 1, Seq: store.Seq{Time: 1754000000123, N: 300}},
		Vary:         []string{"Accept-Language", ""},
		Coding:       "zstd",
		Body:         []byte("a body of some length"),
		Length:       400,
		Tags:         []string{"t1", "t2"},
		UpstreamTime: 15 * time.Second,
		Usage:        store.Usage{Model: "m-1", In: 1000, Out: 20, Cached: 300},
		Events:       []store.Event{{Size: 10, After: time.Millisecond}, {Size: 11}},
		Source:       "memory",
	}
}

func TestDecodeGivesWhatEncodeWasGiven(t *testing.T) {
	f := func(e *store.Entry) {
		t.Helper()
		prefix := []byte("what was there before")
		b := store.Encode(bytes.Clone(prefix), e)
		if !bytes.HasPrefix(b, prefix) {
			t.Fatal("Encode changed what it appends to")
		}
		got, err := store.Decode(b[len(prefix):])
		if err != nil {
			t.Fatal(err)
		}
		if d := storetest.Diff(got, e); d != "" {
			t.Errorf("%s differs:\n%+v\n%+v", d, got, e)
		}
		if got.Source != "" {
			t.Errorf("Source %q was stored", got.Source)
		}
	}
	f(&store.Entry{})
	f(fullEntry())
	f(&store.Entry{Status: math.MaxInt, Length: math.MinInt64, Body: make([]byte, 1<<20)})
	f(&store.Entry{Lifetime: policy.Lifetime{StoredAt: time.Unix(0, 0), TTL: math.MinInt64}})
	f(&store.Entry{Lifetime: policy.Lifetime{StoredAt: time.Unix(0, math.MinInt64)}})
}

func TestDecodedBodyIsPartOfTheBytesAndCannotGrowIntoThem(t *testing.T) {
	b := store.Encode(nil, fullEntry())
	e, err := store.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if &e.Body[0] != &b[len(b)-8-len(e.Body)] {
		t.Error("Body is a copy")
	}
	if cap(e.Body) != len(e.Body) {
		t.Error("appending to Body would write over what follows it")
	}
}

func TestEveryFlippedByteIsDetected(t *testing.T) {
	b := store.Encode(nil, fullEntry())
	for at := range b {
		for x := 1; x < 256; x++ {
			b[at] ^= byte(x)
			if e, err := store.Decode(b); !errors.Is(err, store.ErrCorrupt) || e != nil {
				t.Fatalf("byte %d xor %#x: %v, %v", at, x, e, err)
			}
			b[at] ^= byte(x)
		}
	}
}

func TestBytesCutShortRunOnOrSwappedAreDetected(t *testing.T) {
	b := store.Encode(nil, fullEntry())
	f := func(what string, b []byte) {
		t.Helper()
		if _, err := store.Decode(b); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%s: %v; want ErrCorrupt", what, err)
		}
	}
	for n := range b {
		f("cut short", b[:n])
		f("without its beginning", b[len(b)-n:])
	}
	f("run on", append(bytes.Clone(b), 0))
	f("twice", append(bytes.Clone(b), b...))
	for at := range len(b) - 16 {
		s := bytes.Clone(b)
		copy(s[at:], b[at+8:at+16])
		copy(s[at+8:], b[at:at+8])
		if !bytes.Equal(s, b) {
			f("swapped", s)
		}
	}
	next := bytes.Clone(b)
	next[3]++
	f("of the next version, checksum and all", reseal(next))
}

// reseal gives bytes the checksum that they would have been written with.
func reseal(b []byte) []byte {
	binary.BigEndian.PutUint64(b[len(b)-8:], xxhash.Sum64(b[:len(b)-8]))
	return b
}

// frame puts a head and a body into a frame that is as it should be.
func frame(head, body []byte) []byte {
	b := append([]byte("JGE\x01"), make([]byte, 12)...)
	binary.BigEndian.PutUint32(b[4:], uint32(len(head)))
	binary.BigEndian.PutUint64(b[8:], uint64(len(body)))
	b = append(append(append(b, head...), body...), make([]byte, 8)...)
	return reseal(b)
}

func TestLyingLengthsAllocateLittle(t *testing.T) {
	huge := binary.AppendUvarint(nil, math.MaxUint64)
	zeros := make([]byte, 8) // status, no time, and five numbers; then the coding's length
	f := func(what string, b []byte) {
		t.Helper()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := store.Decode(b)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%s: %v; want ErrCorrupt", what, err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
			t.Errorf("%s: %d bytes allocated for %d", what, n, len(b))
		}
	}
	f("coding", frame(append(bytes.Clone(zeros[:7]), huge...), nil))
	f("header count", frame(append(bytes.Clone(zeros), huge...), nil))
	f("header name", frame(append(append(bytes.Clone(zeros), 1), huge...), make([]byte, 100)))
	f("vary count", frame(append(append(bytes.Clone(zeros), 0), huge...), nil))
	f("tags count", frame(append(append(bytes.Clone(zeros), 0, 0), huge...), nil))
	b := frame(nil, nil)
	copy(b[4:], "\xff\xff\xff\xff")
	f("head length", reseal(b))
	b = frame(nil, nil)
	copy(b[8:], "\xff\xff\xff\xff\xff\xff\xff\xff")
	f("body length", reseal(b))
}

// FuzzDecode feeds the decoder any bytes, and heads of any bytes in a frame
// whose checksum is right, which mutation alone would never hit upon.
func FuzzDecode(f *testing.F) {
	b := store.Encode(nil, fullEntry())
	headLen := binary.BigEndian.Uint32(b[4:])
	f.Add(b, []byte("body"))
	f.Add(b[16:16+headLen], []byte("body"))
	f.Add(make([]byte, 11), []byte{})
	f.Fuzz(func(t *testing.T, b, body []byte) {
		for _, b := range [][]byte{bytes.Clone(b), frame(b, body)} {
			e, err := store.Decode(b)
			if err != nil {
				if !errors.Is(err, store.ErrCorrupt) || e != nil {
					t.Fatalf("%v, %v", e, err)
				}
				continue
			}
			again, err := store.Decode(store.Encode(nil, e))
			if err != nil {
				t.Fatal(err)
			}
			if d := storetest.Diff(e, again); d != "" {
				t.Fatalf("%s differs:\n%+v\n%+v", d, e, again)
			}
		}
	})
}

// FuzzEncode makes an entry of what it is given, and flips a byte of its stored
// form.
func FuzzEncode(f *testing.F) {
	f.Add(200, "Content-Type", "text/plain", []byte("body"), int64(1), int64(2), uint(20), byte(1))
	f.Fuzz(func(t *testing.T, status int, name, value string, body []byte, ttl, storedAt int64, at uint, x byte) {
		e := &store.Entry{
			Status:   status,
			Header:   []store.Field{{Name: name, Value: value}, {Name: value, Value: name}},
			Lifetime: policy.Lifetime{StoredAt: time.Unix(0, storedAt), TTL: time.Duration(ttl)},
			Body:     body,
			Tags:     []string{name},
			Vary:     []string{value, name},
		}
		b := store.Encode(nil, e)
		got, err := store.Decode(bytes.Clone(b))
		if err != nil {
			t.Fatal(err)
		}
		if d := storetest.Diff(got, e); d != "" {
			t.Fatalf("%s differs:\n%+v\n%+v", d, got, e)
		}
		if x == 0 {
			return
		}
		b[at%uint(len(b))] ^= x
		if _, err := store.Decode(b); !errors.Is(err, store.ErrCorrupt) {
			t.Fatalf("a flipped byte was not noticed: %v", err)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	e := fullEntry()
	e.Body = make([]byte, 16<<10)
	stored := store.Encode(nil, e)
	b.SetBytes(int64(len(stored)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := store.Decode(stored); err != nil {
			b.Fatal(err)
		}
	}
}
