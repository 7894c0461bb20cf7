package proxy

import (
	"bytes"
	"io"

	"github.com/maypok86/otter/v2"

	"jaegis-proxy/internal/encoding"
	"jaegis-proxy/store"
)

// plainCache keeps small stored bodies decoded, for clients that do not take
// the coding in which they are stored: decoding a hit each time would cost
// more than everything else about it. Entries are immutable, so the address of
// one is key enough.
type plainCache struct {
	bodies *otter.Cache[*store.Entry, []byte]
}

const (
	plainBytes   = 32 << 20  // of all decoded bodies
	plainLargest = 128 << 10 // of one
)

func newPlainCache() *plainCache {
	return &plainCache{otter.Must(&otter.Options[*store.Entry, []byte]{
		MaximumWeight: plainBytes,
		Weigher:       func(_ *store.Entry, b []byte) uint32 { return uint32(len(b)) + 256 },
	})}
}

// get gives the decoded body, or nil when it is too large for that.
func (p *plainCache) get(e *store.Entry, coding string) []byte {
	if body, ok := p.bodies.GetIfPresent(e); ok {
		return body
	}
	if e.Length > plainLargest || e.BodySize() > plainLargest || e.Content != nil {
		return nil
	}
	r, err := encoding.NewReader(coding, bytes.NewReader(e.Body))
	if err != nil {
		return nil
	}
	defer func() { _ = r.Close() }() // a memory reader: nothing to lose
	body, err := io.ReadAll(io.LimitReader(r, plainLargest+1))
	if err != nil || len(body) > plainLargest {
		return nil
	}
	p.bodies.Set(e, body)
	return body
}

func (p *plainCache) close() { p.bodies.StopAllGoroutines() }
