package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"jaegis-proxy/policy"
	"jaegis-proxy/store"
)

// window is what is at hand of a representation: all of it, or a part.
type window struct {
	e           *store.Entry // of which what is at hand is the body
	first, size int64        // position of that in the whole, and the length of the whole
}

// holds says whether all the ranges are in the window.
func (w *window) holds(ranges []policy.ByteRange) bool {
	return !slices.ContainsFunc(ranges, func(r policy.ByteRange) bool {
		return r.First < w.first || r.Last >= w.first+w.e.BodySize()
	})
}

// open opens a range that the window holds.
func (w *window) open(c *call, r policy.ByteRange) (source, error) {
	return c.open(w.e, r.First-w.first, length(r))
}

func length(r policy.ByteRange) int64 { return r.Last - r.First + 1 }

func (w *window) contentRange(r policy.ByteRange) string {
	return policy.ContentRange{First: r.First, Last: r.Last, Size: w.size}.String()
}

// partial answers a request for parts of a stored answer (RFC 9110, section
// 14), of which it reads no more than those. It is not done when what is stored
// is to be sent: that is always allowed, and happens where a part would need
// decoding.
func (c *call) partial(e *store.Entry, rep *representation, cs cacheStatus, age time.Duration) (done, streaming bool, err error) {
	if c.head.names&nameBit("Range") == 0 || c.method != http.MethodGet {
		return false, false, nil
	}
	if rep.ours != "" { // a part of what we coded is no use: parts are of what the upstream sent
		rep = &representation{decode: rep.ours, varies: true}
	}
	w := window{e: e}
	if rep.decode != "" {
		plain := c.p.plain.get(e, rep.decode)
		if plain == nil {
			return false, false, nil
		}
		w.e = &store.Entry{Body: plain}
	}
	w.size = w.e.BodySize()
	if part, ok := partOf(e); ok {
		w.first, w.size = part.First, part.Size
	} else if e.Status != http.StatusOK {
		return false, false, nil
	}
	ranges, satisfiable, ok := policy.ParseRange(c.header("Range"), w.size)
	switch {
	case !ok || !w.holds(ranges) || !c.sameRepresentation(e, rep):
		return false, false, nil
	case !satisfiable:
		c.reply(http.StatusRequestedRangeNotSatisfiable, withoutContent(e.Header), rep, cs, age)
		c.ctx.Response.Header.Set("Content-Range", fmt.Sprintf("bytes */%d", w.size))
		return true, false, nil
	case len(ranges) > 1:
		streaming, err = c.multipart(e, &w, ranges, rep, cs, age)
		return true, streaming, err
	}
	src, err := w.open(c, ranges[0])
	if err != nil {
		return true, false, err
	}
	small, err := atHand(src, length(ranges[0]))
	if err != nil {
		return true, false, err
	}
	c.reply(http.StatusPartialContent, e.Header, rep, cs, age)
	c.ctx.Response.Header.Set("Content-Range", w.contentRange(ranges[0]))
	streaming, err = c.sendPart(src, small, length(ranges[0]))
	return true, streaming, err
}

// atHand gives all of a body that is small, and closes it; nil for another one. It
// is errLost where that is not to be had: nothing of the answer is written yet.
func atHand(src source, size int64) (body []byte, err error) {
	if size > wholeBody {
		return nil, nil
	}
	defer src.Close()
	body = make([]byte, size)
	if _, err := io.ReadFull(&asReader{source: src}, body); err != nil {
		return nil, errLost
	}
	return body, nil
}

// sendPart sends what is small at once.
func (c *call) sendPart(src source, small []byte, size int64) (streaming bool, err error) {
	if small == nil {
		return c.stream(src, size)
	}
	c.ctx.Response.SetBodyRaw(small)
	return false, nil
}

// sameRepresentation heeds If-Range: the parts that the client has must be of
// the answer that it would get parts of (section 13.1.5).
func (c *call) sameRepresentation(e *store.Entry, rep *representation) bool {
	if c.head.names&nameBit("If-Range") == 0 || len(c.ctx.Request.Header.Peek("If-Range")) == 0 {
		return true
	}
	return policy.IfRange(c.header("If-Range"), rep.etag(field(e.Header, "Etag")), field(e.Header, "Last-Modified"), field(e.Header, "Date"))
}

// multipart sends several parts in one body (section 14.6).
func (c *call) multipart(e *store.Entry, from *window, ranges []policy.ByteRange, rep *representation, cs cacheStatus, age time.Duration) (streaming bool, err error) {
	first, err := from.open(c, ranges[0])
	if err != nil {
		return false, err
	}
	var text bytes.Buffer
	w := multipart.NewWriter(&text)
	parts, size := &parts{c: c, from: from, ranges: ranges, body: first}, int64(0)
	between := func() {
		parts.between = append(parts.between, bytes.Clone(text.Bytes()))
		size += int64(text.Len())
		text.Reset()
	}
	for _, r := range ranges {
		h := textproto.MIMEHeader{"Content-Range": {from.contentRange(r)}}
		if t := field(e.Header, "Content-Type"); t != "" {
			h.Set("Content-Type", t)
		}
		_, _ = w.CreatePart(h) // into memory
		between()
		size += length(r)
	}
	_ = w.Close()
	between()
	small, err := atHand(parts, size)
	if err != nil {
		return false, err
	}
	c.reply(http.StatusPartialContent, e.Header, rep, cs, age)
	c.ctx.Response.Header.Del("Content-Range")
	c.ctx.Response.Header.SetContentType("multipart/byteranges; boundary=" + w.Boundary())
	return c.sendPart(parts, small, size)
}

// parts is a body of several ranges.
type parts struct {
	c       *call
	from    *window
	between [][]byte // what is before each range, and at the end
	ranges  []policy.ByteRange
	at      int    // the range that comes, or comes next
	in      bool   // what is before it was given
	body    source // of that range, or of the one before it; nil for none
	ended   bool   // it is of the one before
}

// Next implements source.
func (p *parts) Next() ([]byte, error) {
	if !p.in {
		if p.at > len(p.ranges) {
			return nil, io.EOF
		}
		text := p.between[p.at]
		if p.in = p.at < len(p.ranges); !p.in {
			p.at++
		}
		return text, nil
	}
	if p.ended || p.body == nil {
		body, err := p.from.open(p.c, p.ranges[p.at])
		if err != nil {
			return nil, err
		}
		p.Close() // not before: what is on its way to the store is kept for who reads it
		p.body, p.ended = body, false
	}
	b, err := p.body.Next()
	if errors.Is(err, io.EOF) {
		p.at, p.in, p.ended = p.at+1, false, true
		return p.Next()
	}
	return b, err
}

// Close implements source.
func (p *parts) Close() {
	if p.body != nil {
		p.body.Close()
		p.body = nil
	}
}

// withoutContent drops the fields that describe a body.
func withoutContent(fields []store.Field) []store.Field {
	kept := make([]store.Field, 0, len(fields))
	for _, f := range fields {
		if !strings.HasPrefix(f.Name, "Content-") {
			kept = append(kept, f)
		}
	}
	return kept
}
