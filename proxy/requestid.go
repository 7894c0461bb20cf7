package proxy

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"sync/atomic"
)

// requestID names a request in answers and in the log.
type requestID struct {
	prefix uint64
	n      uint64
}

// requestIDs makes ids that are unique to a process by a random prefix, and
// within it by counting.
type requestIDs struct {
	prefix uint64
	n      atomic.Uint64
}

func newRequestIDs() *requestIDs {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return &requestIDs{prefix: binary.BigEndian.Uint64(b[:])}
}

func (g *requestIDs) next() requestID { return requestID{g.prefix, g.n.Add(1)} }

func (id requestID) append(b []byte) []byte {
	var raw [12]byte
	binary.BigEndian.PutUint64(raw[:8], id.prefix)
	binary.BigEndian.PutUint32(raw[8:], uint32(id.n))
	return hex.AppendEncode(b, raw[:])
}

func (id requestID) String() string { return string(id.append(nil)) }
