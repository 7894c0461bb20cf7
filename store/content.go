package store

import (
	"context"
	"errors"
	"io"
)

// LargeBody is from where on, in bytes, a body is not taken into memory as a
// whole: where it comes from, where it lies and where it goes to, it is read in
// pieces. It is the most that one string in Redis has, too.
const LargeBody = 1 << 20

// pieceSize is the most that is handed out at a time of a body in memory.
const pieceSize = 64 << 10

// ErrGone says that what is left of a body is not there any more, or not as it
// was stored. Any other error of a Reader's is an outage.
var ErrGone = errors.New("the stored body is gone")

// Content is a body that is not in memory. It is safe for concurrent use.
type Content interface {
	// Size is its length in bytes.
	Size() int64

	// Open reads n bytes of it from off on, which it must have. What is wrong
	// shows at the first Next. Reads end early when ctx does.
	Open(ctx context.Context, off, n int64) Reader
}

// Reader reads a body piece by piece. It is for one goroutine.
type Reader interface {
	// Next gives some bytes, good until the following call and not to be
	// written to. At the end comes io.EOF; any other error means that the rest
	// is not to be had.
	Next() ([]byte, error)

	// Close gives back what the reader holds. It is to be called once.
	Close()
}

// Open reads n bytes of the stored body from off on, wherever it is.
func (e *Entry) Open(ctx context.Context, off, n int64) Reader {
	if e.Content != nil {
		return e.Content.Open(ctx, off, n)
	}
	return &inMemory{e.Body[off : off+n]}
}

// Load gives the entry with its body in memory: itself if it is there already.
func (e *Entry) Load(ctx context.Context) (*Entry, error) {
	if e.Content == nil {
		return e, nil
	}
	r := e.Open(ctx, 0, e.BodySize())
	defer r.Close()
	loaded := *e
	loaded.Content, loaded.Body = nil, make([]byte, e.BodySize())
	for n := 0; n < len(loaded.Body); {
		b, err := r.Next()
		if err != nil {
			return nil, err
		}
		n += copy(loaded.Body[n:], b)
	}
	return &loaded, nil
}

// inMemory reads what is in memory.
type inMemory struct{ rest []byte }

func (r *inMemory) Next() ([]byte, error) {
	if len(r.rest) == 0 {
		return nil, io.EOF
	}
	b := r.rest[:min(len(r.rest), pieceSize)]
	r.rest = r.rest[len(b):]
	return b, nil
}

func (r *inMemory) Close() {}
