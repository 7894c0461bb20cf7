package proxy

import (
	"errors"
	"io"
	"net"
	"time"

	"jaegis-proxy/internal/spool"
)

// source gives a body piece by piece. A piece is good until the next call; at
// the end comes io.EOF, and any other error means that the body was cut.
type source interface {
	Next() ([]byte, error)
	Close()
}

// pieces is a body in memory.
type pieces struct{ rest []byte }

func (p *pieces) Next() ([]byte, error) {
	if len(p.rest) == 0 {
		return nil, io.EOF
	}
	b := p.rest[:min(len(p.rest), piece)]
	p.rest = p.rest[len(b):]
	return b, nil
}

func (p *pieces) Close() {}

// decoded is a body whose coding is undone on the way.
type decoded struct {
	r     io.Reader
	close func()
	err   error
	buf   []byte
}

func (d *decoded) Next() ([]byte, error) {
	if d.err != nil {
		return nil, d.err
	}
	if d.buf == nil {
		d.buf = make([]byte, 32<<10)
	}
	n, err := d.r.Read(d.buf)
	d.err = err
	if n > 0 {
		err = nil
	}
	return d.buf[:n], err
}

func (d *decoded) Close() {
	if d.close != nil {
		d.close()
	}
}

// spooled is a body in a spool that is its own.
type spooled struct {
	spool   *spool.Spool
	off     int64
	scratch []byte
}

func (s *spooled) Next() ([]byte, error) {
	b, err := s.spool.Next(&s.scratch, s.off)
	if s.off += int64(len(b)); err == nil && len(b) == 0 {
		err = io.EOF
	}
	return b, err
}

func (s *spooled) Close() { _ = s.spool.Close() } // an unlinked file: nothing to lose

// stream is a body on its way to one client. fasthttp reads it chunk by chunk
// when the length is unknown; with a known length it lets the stream write to
// the connection itself, so that nothing waits in a buffer for more to come.
// An error cuts the connection: a client never takes half a body for a whole.
type stream struct {
	c      *call
	src    source
	conn   net.Conn
	length int64 // -1 when unknown
	rest   []byte
	cut    error
}

// stream sends a body from src, which it closes; the call ends with it.
func (c *call) stream(src source, length int64) (streaming bool, err error) {
	c.freeBody()
	s := &stream{c: c, src: src, conn: c.ctx.Conn(), length: length}
	c.ctx.Response.ImmediateHeaderFlush = true
	c.ctx.Response.SetBodyStream(s, int(length))
	return true, nil
}

// extend gives the client time for one more write.
func (s *stream) extend() {
	if t := s.c.p.o.WriteTimeout; t > 0 {
		_ = s.conn.SetWriteDeadline(time.Now().Add(t)) // a closed connection fails at the write
	}
}

// Read implements io.Reader, for bodies of unknown length.
func (s *stream) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		b, err := s.src.Next()
		if err != nil {
			s.note(err)
			return 0, err
		}
		s.rest = b
	}
	s.extend()
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// SupportsBodyWriteTo tells fasthttp which way to take.
func (s *stream) SupportsBodyWriteTo() bool { return s.length >= 0 }

// WriteTo writes a body of known length straight to the connection, behind the
// head that has been flushed. The writer that it is given is left alone.
func (s *stream) WriteTo(io.Writer) (n int64, err error) {
	for n < s.length {
		b, err := s.src.Next()
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err == nil && int64(len(b)) > s.length-n {
			err = errTooMuch
		}
		if err != nil {
			s.note(err)
			return n, err
		}
		s.extend()
		k, err := s.conn.Write(b)
		if n += int64(k); err != nil {
			s.note(err)
			return n, err
		}
	}
	return n, nil
}

var errTooMuch = errors.New("the body is longer than announced")

func (s *stream) note(err error) {
	if !errors.Is(err, io.EOF) && s.cut == nil {
		s.cut = err
	}
}

// CloseWithError ends the call. fasthttp calls it once, however the writing
// went.
func (s *stream) CloseWithError(err error) error {
	if err != nil {
		s.note(err)
	}
	s.src.Close()
	s.c.end(s.cut)
	return nil
}
