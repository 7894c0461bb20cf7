package proxy

import (
	"errors"
	"io"
	"sync"
	"time"
)

// relay hands a request body that is still coming to the transport, through a
// buffer of bounded size. One goroutine writes, one at a time reads.
//
// It keeps the beginning of the body: where a kept connection turns out to be
// closed before anything was written to it, the transport reads the body anew
// for another one.
type relay struct {
	before io.ReaderAt // what had come of the body before the relay
	size   int64       // of that

	mu    sync.Mutex
	moved sync.Cond
	buf   []byte // written and not read
	kept  []byte // what was read; all of it unless there was too much
	much  bool
	end   error // what the reader gets behind the last byte; nil while there may be more
	halt  error // what the writer gets; nil while more is wanted
	quiet bool  // the writer may wait as long as it takes
}

const (
	relayBuffer = 64 << 10
	relayKept   = 128 << 10 // more than the transport reads ahead of its first write
)

func newRelay(before io.ReaderAt, size int64) *relay {
	r := &relay{before: before, size: size, buf: make([]byte, 0, relayBuffer)}
	r.moved.L = &r.mu
	return r
}

// write waits until p is in the buffer and says for how long. It fails once no
// more is wanted, and when nothing of the body was taken within idle, unless
// that is 0 or the answer has begun.
func (r *relay) write(p []byte, idle time.Duration) (waited time.Duration, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(p) > 0 && r.halt == nil {
		if n := min(len(p), cap(r.buf)-len(r.buf)); n > 0 {
			r.buf = append(r.buf, p[:n]...)
			p = p[n:]
			r.moved.Broadcast()
			continue
		}
		waited += r.waitLocked(idle)
	}
	return waited, r.halt
}

// waitLocked waits for the reader, and gives up after idle.
func (r *relay) waitLocked(idle time.Duration) time.Duration {
	began := time.Now()
	if idle > 0 {
		defer time.AfterFunc(idle, func() { r.lag(began, idle) }).Stop()
	}
	for len(r.buf) == cap(r.buf) && r.halt == nil {
		r.moved.Wait()
	}
	return time.Since(began)
}

// lag gives up on an upstream that takes nothing.
func (r *relay) lag(since time.Time, idle time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.buf) == cap(r.buf) && !r.quiet && r.halt == nil && time.Since(since) >= idle {
		r.halt = errStalled
		r.moved.Broadcast()
	}
}

// answered says that the upstream has begun to answer: it may do so without
// taking the rest of the body.
func (r *relay) answered() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.quiet = true
}

// finish says that the body is whole.
func (r *relay) finish() { r.close(io.EOF, nil) }

// fail says that the body is not whole and never will be. It gives err.
func (r *relay) fail(err error) error {
	r.close(err, nil)
	return err
}

// stop has write fail. The reader does not get to know: it may wait for more
// until it is told that it is over.
func (r *relay) stop(err error) { r.close(nil, err) }

// over ends both sides.
func (r *relay) over() { r.close(io.ErrClosedPipe, errEnough) }

func (r *relay) close(end, halt error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.end == nil {
		r.end = end
	}
	if r.halt == nil {
		r.halt = halt
	}
	r.moved.Broadcast()
}

var errNoRewind = errors.New("the request body cannot be read again")

// open gives the body from its beginning, if that is still there. Only the
// latest reader may be used.
func (r *relay) open() (io.ReadCloser, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.much {
		return nil, errNoRewind
	}
	return &relayReader{relay: r}, nil
}

// relayReader is one reading of the body.
type relayReader struct {
	relay *relay
	off   int64
}

// Read implements io.Reader.
func (b *relayReader) Read(p []byte) (n int, err error) {
	r := b.relay
	if b.off < r.size {
		n, err = r.before.ReadAt(p[:min(int64(len(p)), r.size-b.off)], b.off)
		if n > 0 {
			err = nil
		}
	} else {
		n, err = r.read(p, b.off-r.size)
	}
	b.off += int64(n)
	return n, err
}

// read gives what was kept from off on, and then what comes.
func (r *relay) read(p []byte, off int64) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.much && off < int64(len(r.kept)) {
		return copy(p, r.kept[off:]), nil
	}
	for len(r.buf) == 0 && r.end == nil {
		r.moved.Wait()
	}
	if len(r.buf) == 0 {
		return 0, r.end
	}
	n := copy(p, r.buf)
	switch {
	case r.much:
	case len(r.kept)+n > relayKept:
		r.kept, r.much = nil, true
	default:
		r.kept = append(r.kept, p[:n]...)
	}
	r.buf = r.buf[:copy(r.buf, r.buf[n:])]
	r.moved.Broadcast()
	return n, nil
}

// Close implements io.Closer. The body may be read anew, so that this ends
// nothing: the end of the fetch does.
func (b *relayReader) Close() error { return nil }
