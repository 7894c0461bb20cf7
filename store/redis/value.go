package redis

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"github.com/cespare/xxhash/v2"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/store"
)

// A value, all integers big-endian:
//
//	"JGR", format version (1 byte), kind ('E' or 'M'), length of the whole value (8 bytes)
//	the key: namespace and provider, each length-prefixed, and the digest
//	kind 'E': the entry, as store.Encode writes it
//	kind 'M': fill (16 bytes), length of the value in chunks (8), length of a chunk (4),
//	          xxhash64 of all before (8)
//
// The chunks of a fill, put together, are a value of kind 'E'. That the key is
// inside its value makes a reply to another request, should there ever be one,
// a corrupt value and not a wrong answer.
const (
	valueMagic   = "JGR\x01"
	kindEntry    = 'E'
	kindManifest = 'M'
	lengthAt     = len(valueMagic) + 1
	prologueSize = lengthAt + 8
	manifestSize = fillSize + 8 + 4 + 8
	fillSize     = 16

	// maxString is the longest value that is one string; longer ones are cut
	// into chunks of chunkSize.
	maxString = 1 << 20
	chunkSize = 512 << 10

	// maxEntry bounds what is stored at all, and with it what a manifest can
	// make a reader allocate.
	maxEntry = 1 << 30
)

var errForeign = fmt.Errorf("%w: not a value of this key", store.ErrCorrupt)

// value is a value taken apart.
type value struct {
	kind    byte
	length  int    // of the whole value, by its own word
	payload []byte // what there is of it
}

// manifest says where a large value is.
type manifest struct {
	fill   [fillSize]byte
	length int // of the value in chunks
	chunk  int // length of each chunk but the last
}

// appendValue begins a value of that kind and key; finish sets its length.
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

func finish(value []byte) []byte {
	binary.BigEndian.PutUint64(value[lengthAt:], uint64(len(value)))
	return value
}

func encodeEntry(dst []byte, key cachekey.Key, e *store.Entry) []byte {
	return finish(store.Encode(appendValue(dst, kindEntry, key), e))
}

// openValue takes a value apart, or the beginning of one. It is an error that
// it is of another key.
func openValue(b []byte, key cachekey.Key) (value, error) {
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
	return v, nil
}

// decodeEntry reads a whole value of kind 'E'. The entry's body is a part of b.
func decodeEntry(b []byte, key cachekey.Key) (*store.Entry, error) {
	v, err := openValue(b, key)
	if err != nil {
		return nil, err
	}
	if v.kind != kindEntry || v.length != len(b) {
		return nil, errForeign
	}
	return store.Decode(v.payload)
}

// newManifest draws a fill for a value of that length.
func newManifest(length int) manifest {
	m := manifest{length: length, chunk: chunkSize}
	_, _ = rand.Read(m.fill[:]) // never fails
	return m
}

func encodeManifest(key cachekey.Key, m manifest) []byte {
	b := appendValue(nil, kindManifest, key)
	b = append(b, m.fill[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(m.length))
	b = binary.BigEndian.AppendUint32(b, uint32(m.chunk))
	binary.BigEndian.PutUint64(b[lengthAt:], uint64(len(b)+8))
	return binary.BigEndian.AppendUint64(b, xxhash.Sum64(b))
}

// decodeManifest reads a whole value of kind 'M', whatever key it is of.
func decodeManifest(b []byte) (manifest, error) {
	if len(b) < prologueSize+manifestSize || string(b[:lengthAt]) != valueMagic+string(kindManifest) ||
		binary.BigEndian.Uint64(b[lengthAt:]) != uint64(len(b)) {
		return manifest{}, errForeign
	}
	sumAt := len(b) - 8
	if xxhash.Sum64(b[:sumAt]) != binary.BigEndian.Uint64(b[sumAt:]) {
		return manifest{}, fmt.Errorf("%w: checksum of the manifest differs", store.ErrCorrupt)
	}
	p := b[len(b)-manifestSize:]
	m := manifest{chunk: int(binary.BigEndian.Uint32(p[fillSize+8:]))}
	copy(m.fill[:], p)
	length := binary.BigEndian.Uint64(p[fillSize:])
	if length == 0 || length > maxEntry+maxString || m.chunk < 1<<10 || m.chunk > maxString {
		return manifest{}, errors.Join(store.ErrCorrupt, errors.New("manifest out of bounds"))
	}
	m.length = int(length)
	return m, nil
}

// chunks is the number of chunks.
func (m manifest) chunks() int { return (m.length + m.chunk - 1) / m.chunk }

// name is the name of chunk n of the value named name.
func (m manifest) name(name string, n int) string {
	return name + ":" + hex.EncodeToString(m.fill[:]) + ":" + strconv.Itoa(n)
}
