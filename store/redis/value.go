package redis

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/cespare/xxhash/v2"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/store"
)

// A value, all integers big-endian:
//
//	"JGR", format version (1 byte), kind (1), length of the whole value (8 bytes)
//	the key: namespace and provider, each length-prefixed, and the digest
//	kind 'E': the entry, as store.Encode writes it
//	kind 'M': fill (16 bytes), length of the value in chunks (8), length of a chunk (4),
//	          xxhash64 of all before (8)
//	kind 'S': the entry, sealed
//	kind 'T': id of a key (8), salt (32), fill (16), length of what is in chunks (8),
//	          length of a chunk (4), seal of all before (16)
//
// The chunks of a fill of kind 'M', put together, are a value of kind 'E'. Those
// of kind 'T' are sealed one by one, and what is in them, put together, is the
// entry; its manifest stays readable, so that nodes without the key can at
// least drop chunks that nobody will need any more. See sealer.
//
// That the key is inside its value makes a reply to another request, should
// there ever be one, a corrupt value and not a wrong answer. Seals cover all
// that stands before them, the key included: under another key's name, or as
// another kind, a value does not open.
const (
	valueMagic         = "JGR\x01"
	kindEntry          = 'E'
	kindManifest       = 'M'
	kindSealed         = 'S'
	kindSealedManifest = 'T'
	lengthAt           = len(valueMagic) + 1
	prologueSize       = lengthAt + 8
	fillSize           = 16
	placeSize          = fillSize + 8 + 4 // of fill, length and chunk
	sumSize            = 8

	// maxString is the longest value that is one string; longer ones are cut
	// into chunks of chunkSize.
	maxString = 1 << 20
	chunkSize = 512 << 10

	// maxManifest is more than any manifest has.
	maxManifest = 1 << 10

	// maxEntry bounds what is stored at all, and with it what a manifest can
	// make a reader allocate.
	maxEntry = 1 << 30

	// maxChunks bounds what a manifest can make anybody ask for.
	maxChunks = 2 * maxEntry / chunkSize
)

var errForeign = fmt.Errorf("%w: not a value of this key", store.ErrCorrupt)

// value is a value taken apart.
type value struct {
	kind    byte
	length  int    // of the whole value, by its own word
	payload []byte // what there is of it
	head    int    // length of what is before it
}

// manifest says where a large value is.
type manifest struct {
	fill   [fillSize]byte
	length int // of what is in chunks
	chunk  int // length of what is in each chunk but the last
	seal   int // length of the seal that each chunk has, 0 if they are in plain
}

// appendValue begins a value of that kind and key; setLength is to follow.
func appendValue(dst []byte, kind byte, key cachekey.Key) []byte {
	dst = append(dst, valueMagic...)
	dst = append(dst, kind)
	dst = append(dst, make([]byte, 8)...)
	dst = binary.AppendUvarint(dst, uint64(len(key.Namespace)))
	dst = append(dst, key.Namespace...)
	dst = binary.AppendUvarint(dst, uint64(len(key.Provider)))
	dst = append(dst, key.Provider...)
	return append(dst, key.Digest[:]...)
}

func setLength(value []byte, length int) {
	binary.BigEndian.PutUint64(value[lengthAt:], uint64(length))
}

// encoded is what is to be written for an entry.
type encoded struct {
	value    []byte   // under the key's own name
	chunks   []byte   // all chunks, one behind the other; nil if value has everything
	manifest manifest // of the chunks
}

// encode makes it of an entry, in the memory of buf for the most part.
func (s *sealer) encode(buf *buffer, key cachekey.Key, e *store.Entry) encoded {
	if s.on() {
		return s.encodeSealed(buf, key, e)
	}
	b := store.Encode(appendValue(buf.b, kindEntry, key), e)
	setLength(b, len(b))
	buf.b = b
	if len(b) <= maxString {
		return encoded{value: b}
	}
	m := newManifest(len(b), 0)
	return encoded{encodeManifest(key, m), b, m}
}

func (s *sealer) encodeSealed(buf *buffer, key cachekey.Key, e *store.Entry) encoded {
	b := appendValue(buf.b, kindSealed, key)
	at := len(b)
	// The room for all seals is there from the beginning, so that nothing moves.
	size := int(e.Size())
	b = slices.Grow(b, size+sealHead+(3+size/chunkSize)*tagSize)
	b = store.Encode(append(b, make([]byte, sealHead)...), e)
	buf.b = b
	plaintext := b[at+sealHead:]
	if whole := len(b) + tagSize; whole <= maxString {
		setLength(b, whole)
		buf.b = s.seal(b[:at], plaintext, b[:at])
		return encoded{value: buf.b}
	}
	m := newManifest(len(plaintext), tagSize)
	c := s.sealedManifest(key, m)
	return encoded{c.finish(), c.sealAll(plaintext, m), m}
}

// openValue takes a value apart, or the beginning of one. It is an error that
// it is of another key, or of a kind that is not believed here: in plain where
// there are keys, sealed where there is none for it.
func (s *sealer) openValue(b []byte, key cachekey.Key) (value, error) {
	v, err := parseValue(b, key)
	if err != nil {
		return value{}, err
	}
	switch v.kind {
	case kindEntry, kindManifest:
		if s.on() {
			return value{}, errNotSealed
		}
	case kindSealed, kindSealedManifest:
		if _, err := s.keyOf(v.payload); err != nil {
			return value{}, err
		}
	}
	return v, nil
}

func parseValue(b []byte, key cachekey.Key) (value, error) {
	if len(b) < prologueSize || string(b[:len(valueMagic)]) != valueMagic {
		return value{}, errForeign
	}
	v := value{kind: b[lengthAt-1]}
	length := binary.BigEndian.Uint64(b[lengthAt:])
	if length < uint64(len(b)) || length > maxEntry+maxString {
		return value{}, errForeign
	}
	v.length = int(length)
	var room [160]byte
	want := appendValue(room[:0], v.kind, key)[prologueSize:]
	rest := b[prologueSize:]
	if !bytes.HasPrefix(rest, want) {
		return value{}, errForeign
	}
	v.payload = rest[len(want):]
	v.head = len(b) - len(v.payload)
	return v, nil
}

// decodeEntry reads a whole value of kind 'E'. The entry's body is a part of b.
func decodeEntry(b []byte, key cachekey.Key) (*store.Entry, error) {
	v, err := parseValue(b, key)
	if err != nil {
		return nil, err
	}
	if v.kind != kindEntry || v.length != len(b) {
		return nil, errForeign
	}
	return store.Decode(v.payload)
}

// decode makes an entry of v, which is all of b and in one piece. The entry's
// body is a part of b. kept is what of b is still as it came, enough to tell
// this value from all others.
func (s *sealer) decode(b []byte, v value) (e *store.Entry, kept []byte, err error) {
	if v.length != len(b) {
		return nil, b, errForeign
	}
	switch v.kind {
	case kindEntry:
		e, err = store.Decode(v.payload)
		return e, b, err
	case kindSealed:
		kept = b[:v.head+sealHead]
		plaintext, err := s.open(v.payload, b[:v.head])
		if err != nil {
			return nil, kept, err
		}
		e, err = store.Decode(plaintext)
		return e, kept, err
	}
	return nil, b, errForeign
}

// newManifest draws a fill for so many bytes.
func newManifest(length, seal int) manifest {
	m := manifest{length: length, chunk: chunkSize, seal: seal}
	_, _ = rand.Read(m.fill[:]) // never fails
	return m
}

func (m manifest) appendPlace(b []byte) []byte {
	b = append(b, m.fill[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(m.length))
	return binary.BigEndian.AppendUint32(b, uint32(m.chunk))
}

func encodeManifest(key cachekey.Key, m manifest) []byte {
	b := m.appendPlace(appendValue(nil, kindManifest, key))
	setLength(b, len(b)+sumSize)
	return binary.BigEndian.AppendUint64(b, xxhash.Sum64(b))
}

// sealedManifest begins a manifest for sealed chunks; the chunkSealer finishes
// it.
func (s *sealer) sealedManifest(key cachekey.Key, m manifest) *chunkSealer {
	b := appendValue(nil, kindSealedManifest, key)
	at := len(b)
	b = m.appendPlace(s.appendHead(b))
	setLength(b, len(b)+tagSize)
	return s.keys[0].chunks(b, at)
}

// openManifest gives what a whole manifest of either kind says, and for one of
// kind 'T', whose seal must be right, what opens its chunks.
func (s *sealer) openManifest(b []byte) (manifest, *chunkSealer, error) {
	m, err := decodeManifest(b)
	if err != nil || m.seal == 0 {
		return m, nil, err
	}
	sealAt := len(b) - tagSize
	headAt := sealAt - placeSize - sealHead
	k, err := s.keyOf(b[headAt:])
	if err != nil {
		return m, nil, err
	}
	c := k.chunks(b[:sealAt], headAt)
	return m, c, c.verify(b[sealAt:])
}

// decodeManifest reads a whole value of kind 'M' or 'T', whatever key it is of.
// It does not look at a seal: who wants to believe it uses openManifest.
func decodeManifest(b []byte) (manifest, error) {
	if len(b) < prologueSize || string(b[:len(valueMagic)]) != valueMagic || binary.BigEndian.Uint64(b[lengthAt:]) != uint64(len(b)) {
		return manifest{}, errForeign
	}
	var m manifest
	end := sumSize
	switch b[lengthAt-1] {
	case kindManifest:
	case kindSealedManifest:
		end, m.seal = tagSize, tagSize
	default:
		return manifest{}, errForeign
	}
	at := len(b) - end - placeSize
	if m.seal > 0 && at < prologueSize+sealHead || at < prologueSize {
		return manifest{}, errForeign
	}
	if sumAt := len(b) - sumSize; m.seal == 0 && xxhash.Sum64(b[:sumAt]) != binary.BigEndian.Uint64(b[sumAt:]) {
		return manifest{}, fmt.Errorf("%w: checksum of the manifest differs", store.ErrCorrupt)
	}
	p := b[at:]
	copy(m.fill[:], p)
	length := binary.BigEndian.Uint64(p[fillSize:])
	m.chunk = int(binary.BigEndian.Uint32(p[fillSize+8:]))
	if length == 0 || length > maxEntry+maxString || m.chunk < 1<<10 || m.chunk > maxString {
		return manifest{}, errors.Join(store.ErrCorrupt, errors.New("manifest out of bounds"))
	}
	m.length = int(length)
	if m.chunks() > maxChunks {
		return manifest{}, errors.Join(store.ErrCorrupt, errors.New("manifest of too many chunks"))
	}
	return m, nil
}

// chunks is the number of chunks.
func (m manifest) chunks() int { return (m.length + m.chunk - 1) / m.chunk }

// size is the length of all chunks together, with their seals.
func (m manifest) size() int { return m.length + m.chunks()*m.seal }

// slot says where chunk n is among all, put one behind the other.
func (m manifest) slot(n int) (from, to int) {
	from = n * (m.chunk + m.seal)
	return from, min(from+m.chunk+m.seal, m.size())
}

// name is the name of chunk n of the value named name.
func (m manifest) name(name string, n int) string {
	return name + ":" + hex.EncodeToString(m.fill[:]) + ":" + strconv.Itoa(n)
}
