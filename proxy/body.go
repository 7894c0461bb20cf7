package proxy

import (
	"errors"
	"io"
	"math/bits"
	"net"
	"sync"
	"time"

	"jaegis-proxy/internal/spool"
)

// readBody takes in the whole request body: into pooled memory when it is
// small and its length is known, else into a spool. Nothing of it stays in
// fasthttp's hands.
func (c *call) readBody() error {
	err := c.receive()
	if k, ok := c.ctx.Conn().(*conn); ok && err == nil {
		k.ready()
	}
	return err
}

func (c *call) receive() error {
	flags := c.head.flags
	c.body.Declared = flags.has(hasContentLength) || flags.has(hasTransferEncoding)
	stream := c.ctx.RequestBodyStream()
	if !c.body.Declared || stream == nil {
		return nil
	}
	if flags.has(hasTransferEncoding) {
		return c.spoolBody(newChunkReader(c.patient(stream)), -1)
	}
	length := int64(c.ctx.Request.Header.ContentLength())
	switch {
	case length > c.route.MaxRequestBytes:
		return errTooLarge
	case length == 0:
		return nil
	case length > c.p.spools.Memory:
		return c.spoolBody(c.patient(stream), length)
	}
	c.pooled = getBuffer(int(length))
	c.body.Size, c.body.bytes = length, *c.pooled
	if _, err := io.ReadFull(c.patient(stream), c.body.bytes); err != nil {
		return bodyError(err)
	}
	return nil
}

// spoolBody reads a body that is large or of unknown length. fasthttp may show
// a cut body as a clean end, so a known length is checked here.
func (c *call) spoolBody(r io.Reader, length int64) error {
	s := c.p.spools.New(length)
	c.body.spool = s
	buf := getBuffer(32 << 10)
	defer putBuffer(buf)
	for {
		n, err := r.Read(*buf)
		if c.body.Size += int64(n); c.body.Size > c.route.MaxRequestBytes {
			return errTooLarge
		}
		if _, werr := s.Write((*buf)[:n]); werr != nil {
			return errSpoolFull
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return bodyError(err)
		}
	}
	if length >= 0 && c.body.Size != length {
		return errBodyCut
	}
	if c.body.Size <= c.p.spools.Memory {
		return c.unspool(s)
	}
	return nil
}

// unspool takes a body that turned out to be small out of its spool.
func (c *call) unspool(s *spool.Spool) error {
	b, err := s.Bytes()
	if err != nil {
		return err
	}
	c.body.bytes, c.body.spool = b, nil
	return s.Close()
}

func bodyError(err error) error {
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return errBodyTimeout
	case errors.Is(err, errChunk):
		return malformed(err.Error())
	}
	return errBodyCut
}

// freeBody gives the body's memory back, unless a Request has taken it over.
func (c *call) freeBody() {
	if c.pooled != nil {
		putBuffer(c.pooled)
	}
	c.body.close()
	c.pooled, c.body = nil, Body{}
}

// takeBody hands the body over to an upstream request.
func (c *call) takeBody() Body {
	b := c.body
	c.pooled, c.body = nil, Body{}
	return b
}

// patient gives a reader of the client's bytes that fails when nothing comes
// for the body timeout. What fasthttp has read ahead already costs nothing.
func (c *call) patient(stream io.Reader) io.Reader {
	c.reader = patientReader{r: stream, conn: c.ctx.Conn(), timeout: c.p.o.BodyTimeout}
	return &c.reader
}

type patientReader struct {
	r       io.Reader
	conn    net.Conn
	timeout time.Duration
	n       int
}

func (p *patientReader) Read(b []byte) (int, error) {
	if p.n > 0 && p.timeout > 0 { // the first read is under the head's deadline
		if err := p.conn.SetReadDeadline(time.Now().Add(p.timeout)); err != nil {
			return 0, err
		}
	}
	n, err := p.r.Read(b)
	p.n += n
	return n, err
}

// Buffers are pooled by size, in powers of two from 1 KiB.
const smallestBuffer = 10

var buffers [16]sync.Pool

func getBuffer(n int) *[]byte {
	class := max(0, bits.Len(uint(n-1))-smallestBuffer)
	if class >= len(buffers) {
		b := make([]byte, n)
		return &b
	}
	if b, ok := buffers[class].Get().(*[]byte); ok {
		*b = (*b)[:n]
		return b
	}
	b := make([]byte, n, 1<<(class+smallestBuffer))
	return &b
}

func putBuffer(b *[]byte) {
	class := bits.Len(uint(cap(*b)-1)) - smallestBuffer
	if class >= 0 && class < len(buffers) && cap(*b) == 1<<(class+smallestBuffer) {
		buffers[class].Put(b)
	}
}
