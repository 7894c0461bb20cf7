package redis

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
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
//	kind 'L': place; the entry without its body; xxhash64 of all before (8)
//	kind 'S': the entry, sealed
//	kind 'V': id of a key (8), salt (32); place; the entry without its body, sealed
//
//	place:    fill (16 bytes), length of the body (8), length of a chunk (4)
//
// Kinds 'L' and 'V' are manifests: the body is in chunks, each of which ends
// with what proves it by itself (see prover). What is sealed of a manifest has a
// salt of its own, so that the entry can be written anew for the chunks that are
// there. Place stays readable, so that nodes without the key can at least see to
// chunks that nobody will need any more. Kinds 'M' and 'T' were manifests of
// earlier versions, and are nothing here.
//
// That the key is inside its value makes a reply to another request, should
// there ever be one, a corrupt value and not a wrong answer. Seals cover all
// that stands before them, the key included: under another key's name, or as
// another kind, a value does not open.
const (
	valueMagic      = "JGR\x01"
	kindEntry       = 'E'
	kindLarge       = 'L'
	kindSealed      = 'S'
	kindSealedLarge = 'V'
	lengthAt        = len(valueMagic) + 1
	prologueSize    = lengthAt + 8
	fillSize        = 16
	placeSize       = fillSize + 8 + 4 // of fill, length and chunk
	sumSize         = 8

	// maxString is the longest string that is written. Of what would be longer,
	// the body is cut into chunks of chunkSize.
	maxString = store.LargeBody
	chunkSize = 512 << 10

	// placeWithin is how far from the beginning of a manifest its place ends at
	// most: the key in it has two names of no more than some dozen characters.
	placeWithin = 1 << 10

	// MaxBody is the longest body that is stored, in bytes, and bounds with that
	// what a manifest can make anybody ask for.
	MaxBody = 1 << 30

	// smallestChunk bounds it too.
	smallestChunk = 1 << 10
)

var errForeign = fmt.Errorf("%w: not a value of this key", store.ErrCorrupt)

// value is a value taken apart.
type value struct {
	kind    byte
	length  int    // of the whole value, by its own word
	payload []byte // what there is of it
	head    int    // length of what is before it
}

// manifest says where a large body is.
type manifest struct {
	fill   [fillSize]byte
	length int // of the body
	chunk  int // how much of it is in each chunk but the last
	proof  int // length of what each chunk has besides
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

// encode makes a value in one piece of an entry, in the memory of buf.
func (s *sealer) encode(buf *buffer, key cachekey.Key, e *store.Entry) []byte {
	if !s.on() {
		buf.b = store.Encode(appendValue(buf.b, kindEntry, key), e)
		setLength(buf.b, len(buf.b))
		return buf.b
	}
	b := appendValue(buf.b, kindSealed, key)
	at := len(b)
	b = slices.Grow(b, int(e.Size())+sealHead+tagSize) // nothing moves
	b = store.Encode(append(b, make([]byte, sealHead)...), e)
	setLength(b, len(b)+tagSize)
	buf.b = s.seal(b[:at], b[at+sealHead:], b[:at])
	return buf.b
}

// encodeLarge makes the manifest of an entry whose body p proves.
func (s *sealer) encodeLarge(key cachekey.Key, e *store.Entry, p *prover) []byte {
	kind, end := byte(kindLarge), sumSize
	if s.on() {
		kind, end = kindSealedLarge, sealHead+tagSize
	}
	without := *e
	without.Body = nil
	head := store.Encode(nil, &without)
	b := append(appendValue(nil, kind, key), p.place...)
	setLength(b, len(b)+len(head)+end)
	if s.on() {
		return s.seal(b, head, b)
	}
	b = append(b, head...)
	return binary.BigEndian.AppendUint64(b, xxhash.Sum64(b))
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
	case kindEntry, kindLarge:
		if s.on() {
			return value{}, errNotSealed
		}
	case kindSealed, kindSealedLarge:
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
	if length < uint64(len(b)) || length > maxString {
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

// decodeLarge makes an entry of a whole manifest, with what proves its chunks.
// Its body is for the store to give.
func (s *sealer) decodeLarge(b []byte, v value) (*store.Entry, *prover, error) {
	if v.length != len(b) {
		return nil, nil, errForeign
	}
	placed, ok := placeOf(b)
	if !ok {
		return nil, nil, errForeign
	}
	p, err := s.proverOf(b[v.head:placed.end], placed.m)
	if err != nil {
		return nil, nil, err
	}
	head := b[placed.end:]
	if v.kind == kindSealedLarge {
		if head, err = s.open(head, b[:placed.end]); err != nil {
			return nil, nil, err
		}
	} else if sumAt := len(b) - sumSize; sumAt < placed.end || xxhash.Sum64(b[:sumAt]) != binary.BigEndian.Uint64(b[sumAt:]) {
		return nil, nil, fmt.Errorf("%w: checksum of the manifest differs", store.ErrCorrupt)
	} else {
		head = b[placed.end:sumAt]
	}
	e, err := store.Decode(head)
	if err == nil && len(e.Body) > 0 {
		err = errForeign
	}
	if err != nil {
		return nil, nil, err
	}
	e.Body = nil
	return e, p, nil
}

// placed is what can be read of a manifest without any key.
type placed struct {
	m      manifest
	fillAt int // where its fill is
	end    int // where place ends
}

// placeOf reads the place in a manifest, or in the beginning of one, whatever
// key it is of. It says nothing of the rest.
func placeOf(b []byte) (p placed, ok bool) {
	if len(b) < prologueSize || string(b[:len(valueMagic)]) != valueMagic {
		return p, false
	}
	at := prologueSize
	for range 2 { // the names in the key
		n, size := binary.Uvarint(b[at:])
		if size <= 0 || n > placeWithin {
			return p, false
		}
		if at += size + int(n); at > len(b) {
			return p, false
		}
	}
	at += len(cachekey.Key{}.Digest)
	switch b[lengthAt-1] {
	case kindLarge:
		p.m.proof = sumSize
	case kindSealedLarge:
		p.m.proof, at = tagSize, at+sealHead
	default:
		return p, false
	}
	if p.fillAt, p.end = at, at+placeSize; p.end > len(b) {
		return p, false
	}
	copy(p.m.fill[:], b[at:])
	length := binary.BigEndian.Uint64(b[at+fillSize:])
	p.m.length, p.m.chunk = int(length), int(binary.BigEndian.Uint32(b[at+fillSize+8:]))
	return p, length > 0 && length <= MaxBody && p.m.chunk >= smallestChunk && p.m.chunk < maxString
}

// newManifest draws a fill for so many bytes.
func newManifest(length, proof int) manifest {
	m := manifest{length: length, chunk: chunkSize, proof: proof}
	_, _ = rand.Read(m.fill[:]) // never fails
	return m
}

func (m manifest) appendPlace(b []byte) []byte {
	b = append(b, m.fill[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(m.length))
	return binary.BigEndian.AppendUint32(b, uint32(m.chunk))
}

// chunks is the number of chunks.
func (m manifest) chunks() int { return (m.length + m.chunk - 1) / m.chunk }

// size is how much of the body is in chunk n.
func (m manifest) size(n int) int { return min(m.chunk, m.length-n*m.chunk) }

// name is the name of chunk n of the value named name. In a cluster it lies
// where that does, by the tag in braces.
func (m manifest) name(name string, n int) string {
	return name + ":{" + name + "}:" + hex.EncodeToString(m.fill[:]) + ":" + strconv.Itoa(n)
}

// names are the names of all chunks.
func (m manifest) names(name string) []string {
	all := make([]string, m.chunks())
	for n := range all {
		all[n] = m.name(name, n)
	}
	return all
}
