package flight

import (
	"context"
	"io"
)

// Head waits for the head. The error is the leader's, when it failed before
// there was one, or the context's.
func (f *Flight[H, V]) Head(ctx context.Context) (H, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.head == nil {
		err := f.err
		switch {
		case !f.ended:
			err = f.waitLocked(ctx, &f.came)
		case err == nil:
			err = errNoHead
		}
		if err != nil {
			var none H
			return none, err
		}
	}
	return *f.head, nil
}

// Known gives the head if there is one by now.
func (f *Flight[H, V]) Known() (head H, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.head == nil {
		return head, false
	}
	return *f.head, true
}

// Reader reads the body from its first byte. It is for one goroutine, but for
// Again.
type Reader[H, V any] struct {
	f       *Flight[H, V]
	ctx     context.Context
	scratch []byte

	// Guarded by f.mu:
	off   int64
	cut   error // why this reader gets no more
	rests bool  // it does not set the leader's pace
	keeps bool  // bytes from kept on, for Again
	kept  int64
}

// Reader turns a seat into a reader, whose Close gives the seat back. Reads
// end early when ctx does.
func (f *Flight[H, V]) Reader(ctx context.Context) *Reader[H, V] {
	r := &Reader[H, V]{f: f, ctx: ctx}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.readers) >= f.seats {
		panic("BUG: a reader without a seat")
	}
	f.readers[r] = struct{}{}
	return r
}

// await waits for bytes and gives the offset of the first one. At the end the
// error is io.EOF, or the one with which the body was cut.
func (r *Reader[H, V]) await() (off int64, err error) {
	f := r.f
	f.mu.Lock()
	defer f.mu.Unlock()
	for r.ctx.Err() == nil {
		switch {
		case r.cut != nil:
			return 0, r.cut
		case r.off < f.size:
			return r.off, nil
		case f.ended && f.err == nil:
			return 0, io.EOF
		case f.ended:
			return 0, f.err
		}
		_ = f.waitLocked(r.ctx, &f.came) // the loop looks at ctx itself
	}
	return 0, context.Cause(r.ctx)
}

// advance records how far the reader has come and, when the leader may be
// waiting for that, says so.
func (r *Reader[H, V]) advance(n int) {
	f := r.f
	f.mu.Lock()
	defer f.mu.Unlock()
	r.off += int64(n)
	if !r.rests {
		f.front = max(f.front, r.off)
	}
	if f.sealed {
		f.passed.broadcast()
	}
}

// Next waits for bytes and gives those that are there, as a slice that stays
// good until the following call and must not be written to. At the end it
// gives io.EOF, or the error with which the body was cut: for all, or with
// ErrLagging for this reader.
func (r *Reader[H, V]) Next() ([]byte, error) {
	off, err := r.await()
	if err != nil {
		return nil, err
	}
	b, err := r.f.body.Next(&r.scratch, off) // nobody releases what is not passed yet
	r.advance(len(b))
	return b, err
}

// Read implements io.Reader, with the errors of Next.
func (r *Reader[H, V]) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	off, err := r.await()
	if err != nil {
		return 0, err
	}
	b, err := r.f.body.Next(&p, off)
	n := copy(p, b)
	r.advance(n)
	return n, err
}

// Rest is for a reader whose seat rests, or does so no longer (see Flight.Rest):
// it does not set the leader's pace.
func (r *Reader[H, V]) Rest(rests bool) {
	f := r.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.rests = rests; !rests {
		f.front = max(f.front, r.off)
		f.passed.broadcast()
	}
}

// Keep has the flight keep what Again is to read: bytes from off on, of those
// that it has kept for this reader until now. Where there is no room, such bytes
// go before anybody is cut off for want of it.
func (r *Reader[H, V]) Keep(off int64) {
	f := r.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.off == 0 {
		r.keeps = true
	}
	if r.kept = max(r.kept, off); f.sealed {
		f.passed.broadcast()
	}
}

// Again fills p with bytes from off on that the reader has passed and keeps. It
// fails with ErrLagging when they are not kept any more. It is safe to be called
// while the reader reads on.
func (r *Reader[H, V]) Again(p []byte, off int64) error {
	_, err := r.f.body.ReadAt(p, off)
	f := r.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, sits := f.readers[r]; !sits || !r.keeps || off < r.kept { // it may have been given up in the midst of reading
		return ErrLagging
	}
	return err
}

// lowLocked is the offset below which the reader will read no more.
func (r *Reader[H, V]) lowLocked() int64 {
	if r.keeps {
		return min(r.kept, r.off)
	}
	return r.off
}

// Close gives the reader's seat back. It may be called more than once.
func (r *Reader[H, V]) Close() {
	f := r.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.readers[r]; ok {
		delete(f.readers, r)
		f.leaveLocked()
	}
}
