package proxy

import (
	"errors"
	"io"
	"math/bits"
	"net"
	"sync"
	"sync/atomic"

	"jaegis-proxy/internal/spool"
)

// readBody takes in the whole request body: into pooled memory when it is
// small and its length is known, else into a spool. Nothing of it stays in
// fasthttp's hands.
func (c *call) readBody() error {
	k, known := c.ctx.Conn().(*conn)
	if known {
		k.body()
	}
	err := c.receive()
	if known && err == nil {
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
		return c.spoolBody(newChunkReader(stream), -1)
	}
	length := int64(c.ctx.Request.Header.ContentLength())
	switch {
	case length > c.route.MaxRequestBytes:
		return errTooLarge
	case length == 0:
		return nil
	case length > c.p.spools.Memory:
		return c.spoolBody(stream, length)
	}
	c.body.Size = length
	return c.fillBody(stream, int(length))
}

// believed is how much memory is given for a length that is only claimed.
const believed = 64 << 10

// fillBody reads a body of known length into pooled memory. A large one gets
// all of its memory when a first part of it has come.
func (c *call) fillBody(r io.Reader, length int) error {
	c.pooled = getBuffer(min(length, believed))
	if _, err := io.ReadFull(r, *c.pooled); err != nil {
		return bodyError(err)
	}
	if length > believed {
		first := c.pooled
		c.pooled = getBuffer(length)
		n := copy(*c.pooled, *first)
		putBuffer(first)
		if _, err := io.ReadFull(r, (*c.pooled)[n:]); err != nil {
			return bodyError(err)
		}
	}
	c.body.bytes = *c.pooled
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

// lendBody hands the body over to an upstream request and keeps it, in case that
// it is needed for another.
func (c *call) lendBody() Body {
	c.pooled = nil // the request may outlive the call
	if c.body.spool != nil {
		if c.body.holders == nil {
			c.body.holders = new(atomic.Int32)
			c.body.holders.Store(1)
		}
		c.body.holders.Add(1)
	}
	return c.body
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
