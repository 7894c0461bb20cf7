package proxy

import (
	"context"
	"errors"
	"io"

	"jaegis-proxy/internal/encoding"
	"jaegis-proxy/internal/spool"
	"jaegis-proxy/store"
)

// spooledBody is a body in a spool, as a store.Content: that of an answer that is
// on its way to the store.
type spooledBody struct {
	hold func() *spool.Hold
	size int64
}

// Size implements store.Content.
func (b *spooledBody) Size() int64 { return b.size }

// Open implements store.Content.
func (b *spooledBody) Open(ctx context.Context, off, n int64) store.Reader {
	return &heldReader{ctx: ctx, hold: b.hold(), off: off, end: off + n}
}

// heldReader reads a part of a spool.
type heldReader struct {
	ctx      context.Context
	hold     *spool.Hold // nil when it is gone
	off, end int64
	scratch  []byte
}

func (r *heldReader) Next() ([]byte, error) {
	switch {
	case r.hold == nil:
		return nil, store.ErrGone
	case r.off == r.end:
		return nil, io.EOF
	case r.ctx.Err() != nil:
		return nil, context.Cause(r.ctx)
	}
	b, err := r.hold.Next(&r.scratch, r.off)
	if err != nil {
		return nil, err
	}
	if len(b) == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	b = b[:min(int64(len(b)), r.end-r.off, piece)]
	r.off += int64(len(b))
	return b, nil
}

func (r *heldReader) Close() {
	if r.hold != nil {
		r.hold.Close()
	}
}

// errLost says that a stored answer is of no use: its body is not to be had. It
// is known before anything of it was sent.
var errLost = errors.New("the stored answer has no body")

// opened is a source of which the first piece has come.
type opened struct {
	source
	first []byte
	err   error // that came in the place of it
	begun bool
}

// open opens n bytes of a stored body. The first of them have come when it
// returns: without them the error is errLost, and the call has nothing to give.
func (c *call) open(e *store.Entry, off, n int64) (source, error) {
	r := &opened{source: e.Open(c.p.ctx, off, n)}
	r.first, r.err = r.source.Next()
	if r.err == nil || errors.Is(r.err, io.EOF) && n == 0 {
		return r, nil
	}
	c.outage = c.outage || !errors.Is(r.err, store.ErrGone)
	r.Close()
	return nil, errLost
}

func (r *opened) Next() ([]byte, error) {
	if r.begun {
		return r.source.Next()
	}
	r.begun = true
	return r.first, r.err
}

// instead answers where a stored answer turned out to have no body: as if
// nothing were stored.
func (p *Proxy) instead(c *call) (streaming bool, err error) {
	if c.blind { // what has no body is no stored answer, but one on its way there
		return p.alone(c)
	}
	c.blind = true
	return p.lookup(c)
}

// asReader makes an io.Reader of a source. Closing it closes that.
type asReader struct {
	source
	rest   []byte
	failed bool // the source has
}

func (r *asReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		b, err := r.source.Next()
		if err != nil {
			r.failed = r.failed || !errors.Is(err, io.EOF)
			return 0, err
		}
		r.rest = b
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// plainReader reads an entry's body without the coding that is ours.
type plainReader struct {
	io.Reader
	coded  *asReader
	undone io.Closer // nil where there is none
}

func (p *Proxy) plainReader(e *store.Entry) (*plainReader, error) {
	coded := &asReader{source: e.Open(p.ctx, 0, e.BodySize())}
	if e.Coding == "" {
		return &plainReader{coded, coded, nil}, nil
	}
	undone, err := encoding.NewReader(e.Coding, coded)
	if err != nil {
		coded.Close()
		return nil, err
	}
	return &plainReader{undone, coded, undone}, nil
}

func (r *plainReader) Close() {
	if r.undone != nil {
		_ = r.undone.Close() // it lets go of what it reads
	}
	r.coded.Close()
}

// identity gives an entry's body without the coding that is ours, all of it in
// memory.
func (p *Proxy) identity(e *store.Entry) ([]byte, error) {
	if e.Coding == "" && e.Content == nil {
		return e.Body, nil
	}
	r, err := p.plainReader(e)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	body := make([]byte, e.Length)
	_, err = io.ReadFull(r, body)
	return body, err
}

// body is the whole of what has come to the leader's flight, in memory only if
// it is small.
func (l *leader) body(e *store.Entry) error {
	size := l.f.Size()
	e.Length = size
	if size > store.LargeBody && l.ai == nil {
		e.Content = &spooledBody{l.f.Hold, size}
		return nil
	}
	var err error
	e.Body, err = l.f.Body()
	return err
}

// compressLarge gives an entry in the coding in which it is kept, by way of a
// spool, which lives until done.
func (p *Proxy) compressLarge(e *store.Entry) (small *store.Entry, done func()) {
	s := p.spools.New(-1)
	done = func() { _ = s.Close() } // an unlinked file: nothing to lose
	src := &asReader{source: e.Open(p.ctx, 0, e.BodySize())}
	defer src.Close()
	err := encoding.CompressTo(&limited{s, e.BodySize() * 9 / 10}, p.o.Compression.Coding, p.o.Compression.Level, src)
	if err != nil {
		done()
		return e, func() {}
	}
	of := *e
	of.Coding, of.Content = p.o.Compression.Coding, &spooledBody{s.Hold, s.Size()}
	return &of, done
}

// limited writes no more than so much.
type limited struct {
	w    io.Writer
	left int64
}

var errNoGain = errors.New("it gets hardly any smaller")

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= int64(len(p)); l.left < 0 {
		return 0, errNoGain
	}
	return l.w.Write(p)
}
