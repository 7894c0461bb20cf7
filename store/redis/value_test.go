package redis

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/store"
)

var testName = cachekey.Key{Namespace: "documents", Provider: "openai", Digest: [32]byte{1, 2, 3}}

// take reads a value as the store does that has found it under a name: an entry,
// or an error that is a miss.
func take(s *sealer, name cachekey.Key, value []byte, chunks [][]byte) (*store.Entry, error) {
	value = bytes.Clone(value)
	v, err := s.openValue(value, name)
	if err != nil {
		return nil, err
	}
	if v.kind != kindManifest && v.kind != kindSealedManifest {
		e, _, err := s.decode(value, v)
		return e, err
	}
	m, open, err := s.openManifest(value)
	if err != nil {
		return nil, err
	}
	b := make([]byte, m.size())
	for n := range m.chunks() {
		at, end := m.slot(n)
		if n >= len(chunks) || len(chunks[n]) != end-at {
			return nil, errGone
		}
		copy(b[at:end], chunks[n])
	}
	if open == nil {
		return decodeEntry(b, name)
	}
	if err := open.openAll(b, m, 0, m.chunks()); err != nil {
		return nil, err
	}
	return store.Decode(b[:m.length])
}

// wantMiss wants an error that the store makes a miss of.
func wantMiss(t *testing.T, what string, e *store.Entry, err error) {
	t.Helper()
	if e != nil || !errors.Is(err, store.ErrCorrupt) && !isUnknownKey(err) && !errors.Is(err, errNotSealed) {
		t.Errorf("%s: %v, %v; want a miss", what, e, err)
	}
}

// seal is encode, with the chunks apart; those of a large one are of size bytes.
func seal(t *testing.T, s *sealer, name cachekey.Key, e *store.Entry, size int) (value []byte, chunks [][]byte) {
	t.Helper()
	if size == 0 {
		v := s.encode(&buffer{}, name, e)
		return v.value, nil
	}
	plaintext := store.Encode(nil, e)
	m := newManifest(len(plaintext), tagSize)
	m.chunk = size
	c := s.sealedManifest(name, m)
	all := c.sealAll(plaintext, m)
	return c.finish(), slices.Collect(slices.Chunk(all, size+tagSize))
}

func TestEveryBitOfASealedValueCounts(t *testing.T) {
	s, e := mustSealer(t, testKey(1)), sampleEntry(50)
	value, _ := seal(t, s, testName, e, 0)
	if got, err := take(s, testName, value, nil); err != nil || !bytes.Equal(got.Body, e.Body) {
		t.Fatalf("unchanged: %v", err)
	}
	for bit := range 8 * len(value) {
		bad := bytes.Clone(value)
		bad[bit/8] ^= 1 << (bit % 8)
		got, err := take(s, testName, bad, nil)
		wantMiss(t, fmt.Sprintf("bit %d", bit), got, err)
	}
	for n := range value {
		got, err := take(s, testName, value[:n], nil)
		wantMiss(t, fmt.Sprintf("%d bytes", n), got, err)
	}
}

func TestEveryBitOfASealedValueInChunksCounts(t *testing.T) {
	s, e := mustSealer(t, testKey(1)), sampleEntry(2500)
	value, chunks := seal(t, s, testName, e, 1<<10)
	if len(chunks) != 3 {
		t.Fatalf("%d chunks", len(chunks))
	}
	if got, err := take(s, testName, value, chunks); err != nil || !bytes.Equal(got.Body, e.Body) {
		t.Fatalf("unchanged: %v", err)
	}
	for i, part := range append([][]byte{value}, chunks...) {
		for bit := range 8 * len(part) {
			part[bit/8] ^= 1 << (bit % 8)
			got, err := take(s, testName, value, chunks)
			wantMiss(t, fmt.Sprintf("part %d, bit %d", i, bit), got, err)
			part[bit/8] ^= 1 << (bit % 8)
		}
	}
}

func TestSealedValuesDoNotOpenUnderAnotherName(t *testing.T) {
	s, e := mustSealer(t, testKey(1)), sampleEntry(2500)
	other := testName
	other.Digest[31]++
	for _, size := range []int{0, 1 << 10} {
		value, chunks := seal(t, s, testName, e, size)
		got, err := take(s, other, value, chunks)
		wantMiss(t, "moved", got, err)
		// And with the other name written into it.
		at := bytes.Index(value, testName.Digest[:])
		copy(value[at:], other.Digest[:])
		got, err = take(s, other, value, chunks)
		wantMiss(t, "moved, with its name changed", got, err)
	}
}

func TestChunksBelongToOneValueAndOnePlace(t *testing.T) {
	s, e := mustSealer(t, testKey(1)), sampleEntry(3<<10)
	value, chunks := seal(t, s, testName, e, 1<<10)
	again, others := seal(t, s, testName, e, 1<<10) // the same once more: another fill
	if len(chunks) != 4 {
		t.Fatalf("%d chunks", len(chunks))
	}
	f := func(what string, value []byte, chunks ...[]byte) {
		t.Helper()
		got, err := take(s, testName, value, chunks)
		wantMiss(t, what, got, err)
	}
	c := chunks
	f("two changed places", value, c[1], c[0], c[2], c[3])
	f("one comes twice", value, c[0], c[0], c[2], c[3])
	for n := range c {
		mixed := slices.Clone(c)
		mixed[n] = others[n]
		f(fmt.Sprintf("chunk %d of another fill", n), value, mixed...)
	}
	f("the chunks of another fill", value, others...)
	f("the manifest of another fill", again, c...)

	// A manifest that claims to be of less, sealed as those who have no key can:
	// not at all.
	short := bytes.Clone(value)
	binary.BigEndian.PutUint64(short[len(short)-tagSize-12:], 2<<10)
	f("a manifest of less", short, c[0], c[1])
}

// TestALastChunkIsNoOther takes the place of somebody whose manifests are
// believed: the chunks alone must tell that there are some missing.
func TestALastChunkIsNoOther(t *testing.T) {
	s := mustSealer(t, testKey(1))
	m := manifest{length: 3 << 10, chunk: 1 << 10, seal: tagSize}
	c := s.sealedManifest(testName, m)
	all := c.sealAll(make([]byte, m.length), m)
	if err := c.openAll(bytes.Clone(all), m, 0, 3); err != nil {
		t.Fatal(err)
	}
	m.length = 2 << 10
	if err := c.openAll(bytes.Clone(all), m, 0, 2); err == nil {
		t.Error("two chunks of three pass for all")
	}
	m.length = 4 << 10
	if err := c.openAll(append(bytes.Clone(all), make([]byte, 1<<10+tagSize)...), m, 0, 3); err == nil {
		t.Error("the last of three passes for the third of four")
	}
}

func TestWhatIsNotSealedIsNotBelieved(t *testing.T) {
	on, off := mustSealer(t, testKey(1)), mustSealer(t)
	for _, size := range []int{100, maxString + 100} {
		plain, sealed := off.encode(&buffer{}, testName, sampleEntry(size)), on.encode(&buffer{}, testName, sampleEntry(size))
		e, err := take(on, testName, plain.value, [][]byte{plain.chunks})
		wantMiss(t, "plain", e, err)
		if !errors.Is(err, errNotSealed) || errors.Is(err, store.ErrCorrupt) {
			t.Errorf("plain: %v", err)
		}
		e, err = take(off, testName, sealed.value, [][]byte{sealed.chunks})
		wantMiss(t, "sealed", e, err)
		if !isUnknownKey(err) || errors.Is(err, store.ErrCorrupt) {
			t.Errorf("sealed: %v", err)
		}
		// The kind alone does not make a value another.
		for _, v := range []encoded{plain, sealed} {
			for _, kind := range []byte{'E', 'M', 'S', 'T', 'X'} {
				bad := bytes.Clone(v.value)
				if bad[4] == kind {
					continue
				}
				bad[4] = kind
				for _, s := range []*sealer{on, off} {
					e, err := take(s, testName, bad, nil)
					wantMiss(t, string(kind), e, err)
				}
			}
		}
	}
}

// FuzzSealedValue has what may be in Redis read with keys: nothing that was not
// sealed with one of them comes out of it, and nothing breaks.
func FuzzSealedValue(f *testing.F) {
	s, e := mustSealer(f, testKey(1), testKey(2)), sampleEntry(50)
	value := s.encode(&buffer{}, testName, e).value
	f.Add(value, []byte(nil))
	f.Add(mustSealer(f, testKey(3)).encode(&buffer{}, testName, e).value, []byte(nil))
	f.Add(mustSealer(f).encode(&buffer{}, testName, e).value, []byte(nil))
	m := newManifest(len(store.Encode(nil, e)), tagSize)
	c := s.sealedManifest(testName, m)
	f.Add(c.finish(), c.sealAll(store.Encode(nil, e), m))
	f.Add(encodeManifest(testName, newManifest(1<<10, 0)), make([]byte, 1<<10))
	f.Fuzz(func(t *testing.T, value, chunk []byte) {
		got, err := take(s, testName, value, [][]byte{chunk})
		if err != nil {
			wantMiss(t, "a value", got, err)
			return
		}
		// Each process has sealed the same entry only.
		if got.Status != e.Status || !bytes.Equal(got.Body, e.Body) || !slices.Equal(got.Header, e.Header) || !slices.Equal(got.Tags, e.Tags) || got.Lifetime != e.Lifetime {
			t.Errorf("an entry that nobody has sealed: %+v", got)
		}
	})
}
