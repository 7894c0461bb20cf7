package proxy

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"time"

	"github.com/valyala/fasthttp"

	"jaegis-proxy/internal/encoding"
	"jaegis-proxy/store"
)

const (
	wholeBody = 256 << 10 // larger bodies are written piece by piece, so that a slow client is given time for each
	piece     = 64 << 10
)

// deliver answers from a stored entry. If that turns out to have no body, the
// call is answered as if there were none.
func (c *call) deliver(e *store.Entry, o Outcome) (streaming bool, err error) {
	if streaming, err = c.give(e, o); errors.Is(err, errLost) {
		return c.p.instead(c)
	}
	return streaming, err
}

// give answers from a stored entry, if it has its body: that is errLost if not,
// and nothing was sent.
func (c *call) give(e *store.Entry, o Outcome) (streaming bool, err error) {
	rep := c.represent(e.Header, e.Coding)
	isPaced := c.route.Pace != (Pace{}) && c.method != "HEAD" && isStream(field(e.Header, "Content-Type")) && field(e.Header, "Content-Encoding") == ""
	if isPaced && rep.ours != "" {
		rep = representation{decode: rep.ours, varies: true}
	}
	age := e.Lifetime.Age(c.asked)
	status := c.failure
	if o == Revalidated {
		status = fasthttp.StatusNotModified
	}
	cs := cacheStatus{outcome: o, forward: c.forward, status: status, failed: c.detail == failedUpstream, waited: o == Revalidated && c.waited, stored: o == Revalidated && c.stores, hasTTL: true, ttl: e.Lifetime.TTL - age.Truncate(time.Second), detail: cmp.Or(c.detail, e.Source)}
	if c.notModified(e.Status, e.Header, &rep, cs, age) {
		c.saved(e, o)
		return false, nil
	}
	if done, streaming, err := c.partial(e, &rep, cs, age); done {
		if err == nil {
			c.saved(e, o)
		}
		return streaming, err
	}
	var large source // of the body that is not in memory
	if e.Content != nil && c.method != "HEAD" && !isPaced {
		if large, err = c.open(e, 0, e.BodySize()); err != nil {
			return false, err
		}
	}
	var paced []byte
	if isPaced {
		if paced, err = c.p.identity(e); err != nil {
			return false, errLost
		}
	}
	c.saved(e, o)
	c.reply(e.Status, e.Header, &rep, cs, age)
	switch {
	case isPaced:
		return c.sendPaced(e, paced)
	case e.Content != nil:
		return c.sendLarge(e, large, rep.decode)
	}
	return c.sendStored(e, rep.decode)
}

// saved counts what the hit was worth.
func (c *call) saved(e *store.Entry, o Outcome) {
	if o != Revalidated {
		c.p.savings.saved(c.route.Name, c.tenant(), e.Usage, e.UpstreamTime)
	}
}

// sendLarge sends a body that is not in memory; src is nil for HEAD.
func (c *call) sendLarge(e *store.Entry, src source, decode string) (streaming bool, err error) {
	length := e.BodySize()
	if decode != "" {
		length = -1
		if decode == e.Coding {
			length = e.Length
		}
	}
	switch {
	case src == nil:
		c.promise(length)
		return false, nil
	case decode == "":
		return c.stream(src, length)
	}
	coded := &asReader{source: src}
	r, err := encoding.NewReader(decode, coded)
	if err != nil {
		coded.Close()
		return false, err
	}
	return c.send(&decoded{r: r, close: func() { _ = r.Close(); coded.Close() }}, length) // it lets go of what it reads
}

// sendPaced sends a stored stream event by event.
func (c *call) sendPaced(e *store.Entry, body []byte) (streaming bool, err error) {
	if c.watch == nil {
		c.watch = watch(c.p.ctx, c.ctx.Conn())
	}
	return c.send(&paced{
		ctx: c.waiting(), contentType: field(e.Header, "Content-Type"), rest: body, pace: c.route.Pace, events: e.Events,
	}, -1)
}

// sendStored sends an entry's body.
func (c *call) sendStored(e *store.Entry, decode string) (streaming bool, err error) {
	body := e.Body
	if decode != "" {
		if body = c.p.plain.get(e, decode); body == nil {
			return c.sendDecoded(e, decode)
		}
	}
	if len(body) <= wholeBody || c.method == "HEAD" {
		c.ctx.Response.SetBodyRaw(body)
		return false, nil
	}
	return c.stream(&pieces{body}, int64(len(body)))
}

// sendDecoded undoes a coding on the way out.
func (c *call) sendDecoded(e *store.Entry, coding string) (streaming bool, err error) {
	length := int64(-1)
	if coding == e.Coding {
		length = e.Length
	}
	if c.method == "HEAD" {
		c.promise(length)
		return false, nil
	}
	r, err := encoding.NewReader(coding, bytes.NewReader(e.Body))
	if err != nil {
		return false, err
	}
	return c.send(&decoded{r: r, close: func() { _ = r.Close() }}, length) // a memory reader: nothing to lose
}

// send sends a body from src, which it closes. An HTTP/1.0 client can tell a
// whole body from a cut one by its length alone: where that is not known, it
// waits for the end.
func (c *call) send(src source, length int64) (streaming bool, err error) {
	if length < 0 && !c.http11() {
		if src, length, err = c.gather(src); err != nil {
			return false, err
		}
	}
	return c.stream(src, length)
}

// gather takes in the whole of src, which it closes, and gives it anew.
func (c *call) gather(src source) (source, int64, error) {
	defer src.Close()
	s := c.p.spools.New(-1)
	for {
		b, err := src.Next()
		if errors.Is(err, io.EOF) {
			return &spooled{spool: s}, s.Size(), nil
		}
		if err == nil {
			_, err = s.Write(b)
		}
		if err != nil {
			return nil, 0, errors.Join(err, s.Close())
		}
	}
}

// promise sends the length of a body that does not come.
func (c *call) promise(length int64) {
	c.ctx.Response.SkipBody = true
	if length >= 0 {
		c.ctx.Response.Header.SetContentLength(int(length))
	}
}
