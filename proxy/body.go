package proxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"

	"github.com/valyala/fasthttp"

	"jaegis-proxy/internal/spool"
)

// readBody takes in the whole request body: into pooled memory when it is
// small and its length is known, else into a spool. Nothing of it stays in
// fasthttp's hands, but for a body that is passed on as it comes (see upload).
func (c *call) readBody() error {
	k, known := c.ctx.Conn().(*conn)
	if known {
		k.body()
	}
	err := c.receive()
	if known && err == nil && c.upload == nil {
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
	why, err := c.plan(length)
	switch {
	case err != nil:
		return err
	case length == 0:
		return nil
	case why != "":
		c.upload = &upload{r: stream, length: length, why: why}
		return nil
	case length > c.p.spools.Memory:
		return c.spoolBody(stream, length)
	}
	c.body.Size = length
	return c.fillBody(stream, int(length))
}

// plan says what is to become of a body of the length that is announced: it is
// refused, or passed on as it comes for the reason given, or taken in.
func (c *call) plan(length int64) (why string, err error) {
	memory := c.p.spools.Memory
	switch {
	case length > c.route.MaxRequestBytes:
		return "", errTooLarge
	case c.route.MaxCachedRequest > 0 && length > c.route.MaxCachedRequest:
		return passTooLarge, nil
	case length <= memory || length-memory <= c.p.spools.Room():
		return "", nil
	case c.route.BypassSpoolFull:
		return passSpoolFull, nil
	}
	return "", errSpoolFull
}

// expect answers a client that waits for leave to send its body, before
// anything of that is read: 100 when it may, else the refusal that it would get
// afterwards. It is fasthttp's ExpectHandler, which sends no more than the
// status by itself; what else the answer has is put there.
func (p *Proxy) expect(ctx *fasthttp.RequestCtx) int {
	c := p.begin(ctx)
	_, err := p.guarded(c, func(c *call) (bool, error) {
		if err := c.admit(); err != nil || !c.head.flags.has(hasContentLength) {
			return false, err
		}
		_, err := c.plan(int64(ctx.Request.Header.ContentLength()))
		return false, err
	})
	if err == nil {
		c.drop()
		return fasthttp.StatusContinue
	}
	c.refuse(err)
	c.end(err)
	return ctx.Response.StatusCode()
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

// spoolBody reads a body that is large or of unknown length, and digests it on
// the way when it turns out to be too large for memory. fasthttp may show a cut
// body as a clean end, so a known length is checked here.
func (c *call) spoolBody(r io.Reader, length int64) error {
	s := c.p.spools.New(length)
	c.body.spool = s
	buf := getBuffer(32 << 10)
	defer putBuffer(buf)
	for {
		n, err := r.Read(*buf)
		piece := (*buf)[:n]
		k, werr := s.Write(piece)
		if c.body.Size += int64(n); c.body.Size > c.route.MaxRequestBytes {
			return errTooLarge
		}
		switch {
		case werr != nil && !c.route.BypassSpoolFull:
			return errSpoolFull
		case err != nil && err != io.EOF:
			return bodyError(err)
		case werr != nil:
			c.passOn(r, piece[k:], err, length, passSpoolFull)
			return nil
		case c.route.MaxCachedRequest > 0 && c.body.Size > c.route.MaxCachedRequest:
			c.passOn(r, nil, err, length, passTooLarge)
			return nil
		}
		if derr := c.digestBody(piece, length); derr != nil {
			return derr
		}
		if err == io.EOF {
			break
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

// passOn has a body passed on as it comes of which a part has come already:
// what the spool took and, behind that, rest. ended is io.EOF when that is all.
func (c *call) passOn(r io.Reader, rest []byte, ended error, length int64, why string) {
	c.digest = nil
	if errors.Is(ended, io.EOF) {
		r = strings.NewReader("")
	}
	c.upload = &upload{
		r: io.MultiReader(bytes.NewReader(bytes.Clone(rest)), r), length: length, came: c.body.spool.Size(), why: why,
	}
}

// digestBody digests a piece of a body that is too large for memory, and what
// came before it when the body has just grown too large.
func (c *call) digestBody(piece []byte, length int64) (err error) {
	switch {
	case c.digest != nil:
		_, err = c.digest.Write(piece)
	case c.body.Size <= c.p.spools.Memory || !c.isKeyed():
	default:
		if c.digest, err = c.table.deriver.Digest(c.route.Key, c.keyHeaders(), length); err == nil {
			_, err = io.Copy(c.digest, io.NewSectionReader(c.body.spool, 0, c.body.Size))
		}
	}
	return err
}

// isKeyed says whether the request will need a key, as far as its head tells.
func (c *call) isKeyed() bool {
	return c.controls.mode != bypass && c.route.bypassReason(c.method, &c.cc, c.head.flags) == ""
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
	c.pooled, c.body, c.digest = nil, Body{}, nil
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
