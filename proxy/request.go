package proxy

import (
	"bytes"
	"io"
	"net/http"
	"sync/atomic"

	"jaegis-proxy/internal/spool"
)

// Request is a request for an upstream. It is independent of the client's
// connection: nothing in it dies with the handler.
type Request struct {
	Method   string
	Path     string // as the client sent it, percent-encoding and all
	Query    string // likewise, without "?"
	HasQuery bool   // there was a "?", even if nothing followed
	Host     string // the effective host that the client asked for
	Header   http.Header
	Body     Body

	// Interim is called for each interim (1xx) answer, 100 excepted, before Do
	// returns and never after: on another goroutine, one call at a time. It must
	// not wait for anything. The header is its own. It may be nil.
	Interim func(status int, h http.Header)
}

// target is the path and query.
func (r *Request) target() string {
	if r.HasQuery {
		return r.Path + "?" + r.Query
	}
	return r.Path
}

// Body is a request body. In memory or spooled to disk it can be read many
// times; one that is still coming is read once.
type Body struct {
	Declared bool  // the client framed a body, if only an empty one
	Size     int64 // -1 when it is not known, as may be of one that is still coming
	bytes    []byte
	spool    *spool.Spool  // owned by whoever owns the Body; nil when in memory
	holders  *atomic.Int32 // those who have it, where they may be several
	relay    *relay        // nil unless the body is still coming; spool has what came before
}

// open gives the body from its beginning.
func (b *Body) open() (io.ReadCloser, error) {
	switch {
	case b.relay != nil:
		return b.relay.open()
	case b.spool != nil:
		return io.NopCloser(io.NewSectionReader(b.spool, 0, b.Size)), nil
	}
	return io.NopCloser(bytes.NewReader(b.bytes)), nil
}

// close gives up what is on disk, once nobody has it any more, and what is still
// coming.
func (b *Body) close() {
	if b.relay != nil {
		b.relay.over()
	}
	if b.spool != nil && (b.holders == nil || b.holders.Add(-1) == 0) {
		_ = b.spool.Close() // an unlinked file: nothing to lose
	}
}
