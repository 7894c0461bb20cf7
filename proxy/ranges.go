package proxy

import (
	"bytes"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strings"
	"time"

	"jaegis-proxy/policy"
	"jaegis-proxy/store"
)

// partial answers a request for parts of a stored answer (RFC 9110, section
// 14). It is false when the whole is to be sent: that is always allowed, and
// it is done where a part would need decoding.
func (c *call) partial(e *store.Entry, rep *representation, cs cacheStatus, age time.Duration) bool {
	if c.head.names&nameBit("Range") == 0 || c.method != http.MethodGet || e.Status != http.StatusOK {
		return false
	}
	if rep.ours != "" { // a part of what we coded is no use: parts are of what the upstream sent
		rep = &representation{decode: rep.ours, varies: true}
	}
	body := e.Body
	if rep.decode != "" {
		body = c.p.plain.get(e, rep.decode)
	}
	size := int64(len(body))
	ranges, satisfiable, ok := policy.ParseRange(c.header("Range"), size)
	if body == nil || !ok || !c.sameRepresentation(e, rep) {
		return false
	}
	switch {
	case !satisfiable:
		c.reply(http.StatusRequestedRangeNotSatisfiable, withoutContent(e.Header), rep, cs, age)
		c.ctx.Response.Header.Set("Content-Range", fmt.Sprintf("bytes */%d", size))
	case len(ranges) == 1:
		r := ranges[0]
		c.reply(http.StatusPartialContent, e.Header, rep, cs, age)
		c.ctx.Response.Header.Set("Content-Range", contentRange(r, size))
		c.ctx.Response.SetBodyRaw(body[r.First : r.Last+1])
	default:
		c.multipart(e, body, ranges, rep, cs, age)
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
func (c *call) multipart(e *store.Entry, body []byte, ranges []policy.ByteRange, rep *representation, cs cacheStatus, age time.Duration) {
	var out bytes.Buffer
	w := multipart.NewWriter(&out)
	for _, r := range ranges {
		h := textproto.MIMEHeader{"Content-Range": {contentRange(r, int64(len(body)))}}
		if t := field(e.Header, "Content-Type"); t != "" {
			h.Set("Content-Type", t)
		}
		part, err := w.CreatePart(h)
		if err == nil {
			_, err = part.Write(body[r.First : r.Last+1])
		}
		if err != nil {
			panic("BUG: writing to memory: " + err.Error())
		}
	}
	if err := w.Close(); err != nil {
		panic("BUG: writing to memory: " + err.Error())
	}
	c.reply(http.StatusPartialContent, e.Header, rep, cs, age)
	c.ctx.Response.Header.SetContentType("multipart/byteranges; boundary=" + w.Boundary())
	c.ctx.Response.SetBody(out.Bytes())
}

func contentRange(r policy.ByteRange, size int64) string {
	return fmt.Sprintf("bytes %d-%d/%d", r.First, r.Last, size)
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
