package proxy

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"sync/atomic"
)

// requestID names a request in answers and in the log: what the client calls
// it, or a number of our own.
type requestID struct {
	given  string
	prefix uint64
	n      uint64
}

// maxRequestID is the most characters of an id that a client may give.
const maxRequestID = 128

// validRequestID says whether a client's id is fit for logs and answers.
func validRequestID(b []byte) bool {
	for _, c := range b {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.', c == ':', c == '/', c == '+', c == '=':
		default:
			return false
		}
	}
	return len(b) > 0 && len(b) <= maxRequestID
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

func (g *requestIDs) next() requestID { return requestID{prefix: g.prefix, n: g.n.Add(1)} }

func (id requestID) append(b []byte) []byte {
	if id.given != "" {
		return append(b, id.given...)
	}
	var raw [12]byte
	binary.BigEndian.PutUint64(raw[:8], id.prefix)
	binary.BigEndian.PutUint32(raw[8:], uint32(id.n))
	return hex.AppendEncode(b, raw[:])
}

func (id requestID) String() string { return string(id.append(nil)) }
