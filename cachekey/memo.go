package cachekey

import (
	"bytes"
	"hash/maphash"
	"math/bits"
	"sync/atomic"

	"github.com/maypok86/otter/v2"
)

// Memo remembers what bodies came to, so that a body seen before byte for byte
// is neither brought into its canonical form nor hashed again. A fast seeded
// hash finds a candidate and the bytes themselves are compared, so that it is
// exact. Bodies are copied in when they are seen for the second time: those
// that come once cost no memory. A nil Memo remembers nothing. It is safe for
// concurrent use.
type Memo struct {
	seed    maphash.Seed
	largest int // bytes; no larger body is kept
	cache   *otter.Cache[uint64, *remembered]

	// seen has the hashes of bodies seen of late, each in the place that its
	// low bits say. One that is overwritten has to be seen once more.
	seen []atomic.Uint64
}

// remembered is one body and what it came to. It is never changed.
type remembered struct {
	body    []byte
	reading []byte // what else the content depends on
	content content
}

// entryOverhead is what an entry takes besides its bytes, near enough.
const entryOverhead = 256

// NewMemo makes a Memo that keeps about maxBytes bytes at most, and no body of
// more than an eighth of that. It returns nil where maxBytes is not positive.
func NewMemo(maxBytes int64) *Memo {
	if maxBytes <= 0 {
		return nil
	}
	places := 1 << bits.Len64(uint64(min(max(maxBytes/4096, 1024), 65536)-1))
	return &Memo{
		seed:    maphash.MakeSeed(),
		largest: int(min(maxBytes/8, 1<<30)),
		seen:    make([]atomic.Uint64, places),
		cache: otter.Must(&otter.Options[uint64, *remembered]{
			MaximumWeight: uint64(maxBytes),
			Weigher: func(_ uint64, r *remembered) uint32 {
				return uint32(len(r.body) + len(r.reading) + entryOverhead)
			},
		}),
	}
}

// takes tells whether a body of n bytes may be remembered.
func (m *Memo) takes(n int) bool {
	return m != nil && n <= m.largest
}

// find gives what body came to when it was read in this way before. The id is
// for offer.
func (m *Memo) find(body, reading []byte) (c content, id uint64, ok bool) {
	id = maphash.Bytes(m.seed, body) ^ bits.RotateLeft64(maphash.Bytes(m.seed, reading), 1)
	r, ok := m.cache.GetIfPresent(id)
	if !ok || !bytes.Equal(r.body, body) || !bytes.Equal(r.reading, reading) {
		return content{}, id, false
	}
	return r.content, id, true
}

// offer hands in what a body that was not found came to. It is kept if the
// body was offered before.
func (m *Memo) offer(id uint64, body, reading []byte, c content) {
	place := &m.seen[id&uint64(len(m.seen)-1)]
	if place.Swap(id) != id {
		return
	}
	m.cache.Set(id, &remembered{body: bytes.Clone(body), reading: bytes.Clone(reading), content: c})
}
