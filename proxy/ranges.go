package proxy

import (
	"bytes"
	"fmt"
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
	body        []byte
	first, size int64 // position of body in the whole, and the length of that
}

// holds says whether all the ranges are in the window.
func (w *window) holds(ranges []policy.ByteRange) bool {
	return !slices.ContainsFunc(ranges, func(r policy.ByteRange) bool {
		return r.First < w.first || r.Last >= w.first+int64(len(w.body))
	})
}

func (w *window) bytes(r policy.ByteRange) []byte { return w.body[r.First-w.first : r.Last-w.first+1] }

func (w *window) contentRange(r policy.ByteRange) string {
	return policy.ContentRange{First: r.First, Last: r.Last, Size: w.size}.String()
}

// partial answers a request for parts of a stored answer (RFC 9110, section
// 14). It is false when what is stored is to be sent: that is always allowed,
// and it is done where a part would need decoding.
func (c *call) partial(e *store.Entry, rep *representation, cs cacheStatus, age time.Duration) bool {
	if c.head.names&nameBit("Range") == 0 || c.method != http.MethodGet {
		return false
	}
	if rep.ours != "" { // a part of what we coded is no use: parts are of what the upstream sent
		rep = &representation{decode: rep.ours, varies: true}
	}
	w := window{body: e.Body}
	if rep.decode != "" {
		w.body = c.p.plain.get(e, rep.decode)
	}
	w.size = int64(len(w.body))
	if part, ok := partOf(e); ok {
		w.first, w.size = part.First, part.Size
	} else if e.Status != http.StatusOK || w.body == nil {
		return false
	}
	ranges, satisfiable, ok := policy.ParseRange(c.header("Range"), w.size)
	if !ok || !w.holds(ranges) || !c.sameRepresentation(e, rep) {
		return false
	}
	switch {
	case !satisfiable:
		c.reply(http.StatusRequestedRangeNotSatisfiable, withoutContent(e.Header), rep, cs, age)
		c.ctx.Response.Header.Set("Content-Range", fmt.Sprintf("bytes */%d", w.size))
	case len(ranges) == 1:
		c.reply(http.StatusPartialContent, e.Header, rep, cs, age)
		c.ctx.Response.Header.Set("Content-Range", w.contentRange(ranges[0]))
		c.ctx.Response.SetBodyRaw(w.bytes(ranges[0]))
	default:
		c.multipart(e, &w, ranges, rep, cs, age)
	}
	return true
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
func (c *call) multipart(e *store.Entry, from *window, ranges []policy.ByteRange, rep *representation, cs cacheStatus, age time.Duration) {
	var out bytes.Buffer
	w := multipart.NewWriter(&out)
	for _, r := range ranges {
		h := textproto.MIMEHeader{"Content-Range": {from.contentRange(r)}}
		if t := field(e.Header, "Content-Type"); t != "" {
			h.Set("Content-Type", t)
		}
		part, err := w.CreatePart(h)
		if err == nil {
			_, err = part.Write(from.bytes(r))
		}
		if err != nil {
			panic("BUG: writing to memory: " + err.Error())
		}
	}
	if err := w.Close(); err != nil {
		panic("BUG: writing to memory: " + err.Error())
	}
	c.reply(http.StatusPartialContent, e.Header, rep, cs, age)
	c.ctx.Response.Header.Del("Content-Range")
	c.ctx.Response.Header.SetContentType("multipart/byteranges; boundary=" + w.Boundary())
	c.ctx.Response.SetBody(out.Bytes())
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
