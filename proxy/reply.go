package proxy

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"jaegis-proxy/policy"
	"jaegis-proxy/store"
)

// The names of the fields that every hit gets.
var (
	nameAge         = []byte("Age")
	nameCacheStatus = []byte("Cache-Status")
	nameXCache      = []byte("X-Cache")
	nameRequestID   = []byte("X-Request-Id")
)

// reply writes the head of an answer: status, end-to-end fields as this client
// gets them, and what we have to say ourselves. age is negative for an answer
// that comes straight from the upstream.
func (c *call) reply(status int, fields []store.Field, rep *representation, cs cacheStatus, age time.Duration) {
	h := &c.ctx.Response.Header
	h.SetStatusCode(status)
	c.status, c.outcome = status, cs.outcome
	if c.head.flags.has(hasTransferEncoding) || c.upload.unread() {
		c.ctx.Response.SetConnectionClose() // see onHeader
	}
	setDate(h, fields, c.start)
	upstreamStatus, hasID, varies := "", false, rep.varies
	for i := range fields {
		f := &fields[i]
		switch f.Name {
		case "Date":
		case "Cache-Status":
			upstreamStatus += f.Value + ", "
		case "Age":
			if age < 0 {
				h.Add(f.Name, f.Value)
			}
		case "Content-Encoding":
			if !rep.theirs {
				h.SetContentEncoding(f.Value)
			}
		case "Etag":
			h.Add("ETag", rep.etag(f.Value))
		case "Content-Digest", "Content-Md5", "Digest", "Repr-Digest":
			if !rep.theirs && (status != fasthttp.StatusPartialContent || age < 0 || f.Name == "Repr-Digest" || f.Name == "Digest") { // those two are of the whole (RFC 3230, RFC 9530)
				h.Add(f.Name, f.Value)
			}
		case "Vary":
			varies = varies && !strings.Contains(strings.ToLower(f.Value), "accept-encoding")
			h.Add(f.Name, f.Value)
		case "X-Request-Id": // of the request that was fetched, which a hit is not
			if age < 0 {
				hasID = true
				h.Add(f.Name, f.Value)
			}
		default:
			h.Add(f.Name, f.Value)
		}
	}
	for _, f := range c.cookies {
		h.Add(f.Name, f.Value)
	}
	if rep.ours != "" {
		h.SetContentEncoding(rep.ours)
	}
	if varies {
		h.Add("Vary", "Accept-Encoding")
	}
	if age >= 0 {
		c.buf = strconv.AppendInt(c.buf[:0], int64(age/time.Second), 10)
		h.SetCanonical(nameAge, c.buf)
	}
	c.sign(cs, upstreamStatus, hasID)
}

// sign adds what every answer carries: Cache-Status, X-Cache and the request's
// id, unless the upstream has given one.
func (c *call) sign(cs cacheStatus, upstreamStatus string, hasID bool) {
	h := &c.ctx.Response.Header
	c.buf = cs.append(append(c.buf[:0], upstreamStatus...))
	h.SetCanonical(nameCacheStatus, c.buf)
	c.buf = append(c.buf[:0], outcomeTable[cs.outcome].xCache...)
	h.SetCanonical(nameXCache, c.buf)
	if !hasID {
		c.buf = c.id.append(c.buf[:0])
		h.SetCanonical(nameRequestID, c.buf)
	}
}

// setDate sends the upstream's Date or, where it gave none, the time at which
// its answer came (RFC 9110, section 6.6.1). fasthttp swallows a Date that it
// is given, so the field goes in under another name, which is then mended in
// place.
func setDate(h *fasthttp.ResponseHeader, fields []store.Field, now time.Time) {
	date := field(fields, "Date")
	if date == "" {
		date = string(fasthttp.AppendHTTPDate(nil, now))
	}
	h.Add("Xate", date)
	for name := range h.All() {
		if string(name) == "Xate" {
			name[0] = 'D'
			return
		}
	}
}

// notModified sends 304 when the client's copy will do (RFC 9110, section
// 15.4.5).
func (c *call) notModified(status int, fields []store.Field, rep *representation, cs cacheStatus, age time.Duration) bool {
	if status/100 != 2 || !c.head.flags.has(hasCondition) || c.method != "GET" && c.method != "HEAD" {
		return false
	}
	pre := policy.Preconditions{IfNoneMatch: c.header("If-None-Match"), IfModifiedSince: c.header("If-Modified-Since")}
	if !pre.NotModified(rep.etag(field(fields, "Etag")), field(fields, "Last-Modified"), field(fields, "Date")) {
		return false
	}
	kept := make([]store.Field, 0, 8)
	for _, f := range fields {
		switch f.Name {
		case "Cache-Control", "Content-Location", "Date", "Etag", "Expires", "Last-Modified", "Vary", "Cache-Status", "X-Request-Id":
			kept = append(kept, f)
		}
	}
	c.reply(fasthttp.StatusNotModified, kept, rep, cs, age)
	c.ctx.Response.Header.SetContentEncoding("") // of a body that does not come
	c.ctx.Response.SkipBody = true
	return true
}

// refuse answers with an error of ours.
func (c *call) refuse(err error) {
	r := errorAnswer(err)
	h := &c.ctx.Response.Header
	c.ctx.Response.Reset()
	c.status = r.status
	c.outcome = Error
	h.SetStatusCode(r.status)
	h.SetContentType("application/json")
	h.Set("Cache-Control", "no-store")
	setDate(h, nil, c.start)
	cs := cacheStatus{outcome: Error, detail: r.kind}
	if strings.HasPrefix(r.kind, ofUpstream) { // what else is refused was not forwarded
		cs.forward = cmp.Or(c.forward, "miss")
	}
	c.sign(cs, "", false)
	c.ctx.Response.SetBody(errorBody(r, c.id.String()))
	if r.close || c.upload.unread() {
		c.ctx.Response.SetConnectionClose()
		if k, ok := c.ctx.Conn().(*conn); ok {
			k.linger = true
		}
	}
}
