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

// take reads a value as the store does that has found it under a name, and its
// chunks as a reader does: an entry, or an error that is a miss.
func take(s *sealer, name cachekey.Key, value []byte, chunks [][]byte) (*store.Entry, error) {
	value = bytes.Clone(value)
	v, err := s.openValue(value, name)
	if err != nil {
		return nil, err
	}
	if v.kind != kindLarge && v.kind != kindSealedLarge {
		e, _, err := s.decode(value, v)
		return e, err
	}
	e, p, err := s.decodeLarge(value, v)
	if err != nil {
		return nil, err
	}
	for n := range p.m.chunks() {
		if n >= len(chunks) {
			return nil, errNoChunk
		}
		b, err := p.check(bytes.Clone(chunks[n]), n)
		if err != nil {
			return nil, err
		}
		e.Body = append(e.Body, b...)
	}
	return e, nil
}

// wantMiss wants an error that the store makes a miss of.
func wantMiss(t *testing.T, what string, e *store.Entry, err error) {
	t.Helper()
	if e != nil || !errors.Is(err, store.ErrCorrupt) && !errors.Is(err, store.ErrGone) && !isUnknownKey(err) && !errors.Is(err, errNotSealed) {
		t.Errorf("%s: %v, %v; want a miss", what, e, err)
	}
}

// seal gives a value as it is written; that of a size has chunks of it.
func seal(t testing.TB, s *sealer, name cachekey.Key, e *store.Entry, size int) (value []byte, chunks [][]byte) {
	t.Helper()
	if size == 0 {
		return s.encode(&buffer{}, name, e), nil
	}
	p := proverOfSize(t, s, len(e.Body), size)
	for n, b := range slices.Collect(slices.Chunk(e.Body, size)) {
		chunks = append(chunks, p.prove(append(make([]byte, 0, size+tagSize), b...), n))
	}
	return s.encodeLarge(name, e, p), chunks
}

func proverOfSize(t testing.TB, s *sealer, length, size int) *prover {
	t.Helper()
	p := s.newProver(length)
	p.m.chunk = size
	p, err := s.proverOf(p.m.appendPlace(p.place[:len(p.place)-placeSize]), p.m)
	if err != nil {
		t.Fatal(err)
	}
	return p
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

func TestEveryBitOfAValueInChunksCounts(t *testing.T) {
	for _, s := range []*sealer{mustSealer(t, testKey(1)), mustSealer(t)} {
		e := sampleEntry(2500)
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
	for _, s := range []*sealer{mustSealer(t, testKey(1)), mustSealer(t)} {
		e := sampleEntry(4 << 10)
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

		// A manifest that claims to be of less.
		placed, _ := placeOf(value)
		short := bytes.Clone(value)
		binary.BigEndian.PutUint64(short[placed.fillAt+fillSize:], 2<<10)
		f("a manifest of less", short, c[0], c[1])
	}
}

// TestALastChunkIsNoOther takes the place of somebody whose manifests are
// believed: the chunks alone must tell that there are some missing.
func TestALastChunkIsNoOther(t *testing.T) {
	s := mustSealer(t, testKey(1))
	p := proverOfSize(t, s, 3<<10, 1<<10)
	chunk := func(n int) []byte { return p.prove(make([]byte, 1<<10, 1<<10+tagSize), n) }
	second, third := chunk(1), chunk(2)
	if _, err := p.check(bytes.Clone(third), 2); err != nil {
		t.Fatal(err)
	}
	p.m.length = 2 << 10
	if _, err := p.check(bytes.Clone(second), 1); err == nil {
		t.Error("two chunks of three pass for all")
	}
	p.m.length = 4 << 10
	if _, err := p.check(bytes.Clone(third), 2); err == nil {
		t.Error("the last of three passes for the third of four")
	}
}

func TestAllNamesOfAnEntryHaveOneSlot(t *testing.T) {
	for i := range byte(50) {
		key := cachekey.Key{Namespace: "documents", Provider: "openai", Digest: [32]byte{i}}
		name := key.String()
		all := append(newManifest(3<<20, tagSize).names(name), leaseName(name))
		if len(all) != 7 {
			t.Fatalf("%v", all)
		}
		for _, other := range all {
			if slotOf(other) != slotOf(name) {
				t.Errorf("%s has slot %d, %s %d", name, slotOf(name), other, slotOf(other))
			}
		}
	}
}

// TestAHeadIsWrittenAnewForTheSameChunks has one manifest take another's place.
func TestAHeadIsWrittenAnewForTheSameChunks(t *testing.T) {
	old := mustSealer(t, testKey(1))
	value, chunks := seal(t, old, testName, sampleEntry(2500), 1<<10)
	for what, s := range map[string]*sealer{"in plain": mustSealer(t), "sealed": old, "sealed, with a newer key": mustSealer(t, testKey(2), testKey(1))} {
		value, chunks := value, chunks
		if !s.on() {
			value, chunks = seal(t, s, testName, sampleEntry(2500), 1<<10)
		}
		v, err := s.openValue(value, testName)
		if err != nil {
			t.Fatal(what, err)
		}
		e, p, err := s.decodeLarge(bytes.Clone(value), v)
		if err != nil {
			t.Fatal(what, err)
		}
		e.Tags = []string{"another"}
		again := s.encodeLarge(testName, e, p)
		got, err := take(s, testName, again, chunks)
		if err != nil || !slices.Equal(got.Tags, e.Tags) || !bytes.Equal(got.Body, sampleEntry(2500).Body) {
			t.Errorf("%s: %v", what, err)
		}
		if s.on() && bytes.Equal(again[len(again)-tagSize:], value[len(value)-tagSize:]) {
			t.Errorf("%s: sealed as before", what)
		}
	}
}

func TestWhatIsNotSealedIsNotBelieved(t *testing.T) {
	on, off := mustSealer(t, testKey(1)), mustSealer(t)
	for _, size := range []int{0, 1 << 10} {
		plain, plainChunks := seal(t, off, testName, sampleEntry(2500), size)
		sealed, sealedChunks := seal(t, on, testName, sampleEntry(2500), size)
		e, err := take(on, testName, plain, plainChunks)
		wantMiss(t, "plain", e, err)
		if !errors.Is(err, errNotSealed) || errors.Is(err, store.ErrCorrupt) {
			t.Errorf("plain: %v", err)
		}
		e, err = take(off, testName, sealed, sealedChunks)
		wantMiss(t, "sealed", e, err)
		if !isUnknownKey(err) || errors.Is(err, store.ErrCorrupt) {
			t.Errorf("sealed: %v", err)
		}
		// The kind alone does not make a value another.
		for _, v := range [][]byte{plain, sealed} {
			for _, kind := range []byte{'E', 'L', 'M', 'S', 'T', 'V', 'X'} {
				bad := bytes.Clone(v)
				if bad[4] == kind {
					continue
				}
				bad[4] = kind
				for _, s := range []*sealer{on, off} {
					e, err := take(s, testName, bad, plainChunks)
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
	f.Add(s.encode(&buffer{}, testName, e), []byte(nil))
	f.Add(mustSealer(f, testKey(3)).encode(&buffer{}, testName, e), []byte(nil))
	f.Add(mustSealer(f).encode(&buffer{}, testName, e), []byte(nil))
	for _, s := range []*sealer{s, mustSealer(f)} {
		value, chunks := seal(f, s, testName, e, 1<<10)
		f.Add(value, chunks[0])
	}
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
