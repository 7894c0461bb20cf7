package proxy

import (
	"bytes"
	"net/http"
	"slices"
	"strings"

	"jaegis-proxy/internal/encoding"
	"jaegis-proxy/store"
)

// hopByHop are the fields that end at each hop (RFC 9110, section 7.6.1), with
// those that are made anew for the next one. Names are canonical.
func hopByHop(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Content-Length", "Host", "Expect", "Http2-Settings":
		return true
	}
	return false
}

// forwarding are fields in which earlier hops say who the client is and what
// it asked for. An upstream that believes them would answer for them, and they
// are not in the key.
func forwarding(name string) bool {
	switch name {
	case "Forwarded", "X-Real-Ip", "X-Original-Url", "X-Rewrite-Url", "X-Original-Host", "X-Host":
		return true
	}
	return strings.HasPrefix(name, "X-Forwarded-")
}

// conditional are fields that ask for less than the whole answer.
func conditional(name string) bool {
	switch name {
	case "Range", "If-Range", "If-None-Match", "If-Modified-Since", "If-Match", "If-Unmodified-Since":
		return true
	}
	return false
}

// snapshot copies the client's header.
func (c *call) snapshot() http.Header {
	out := make(http.Header, c.ctx.Request.Header.Len())
	for k, v := range c.ctx.Request.Header.All() {
		name := http.CanonicalHeaderKey(string(k))
		out[name] = append(out[name], string(v))
	}
	return out
}

// upstreamHeader is what of the client's header goes upstream: the end-to-end
// fields. For an answer that others may be given (shared), fields that could
// change it without being in the key are left out, and the whole of it is
// asked for. (A name with "_" in it may be read as one with "-".)
func (c *call) upstreamHeader(client http.Header, shared bool) http.Header {
	listed := connectionListed(c.head.connection)
	out := make(http.Header, len(client)+2)
	for name, values := range client {
		switch {
		case hopByHop(name), slices.Contains(listed, strings.ToLower(name)) && !c.survives(name):
		case c.client != nil && slices.ContainsFunc(values, c.table.isClientKey), strings.HasPrefix(name, controlPrefix):
		case c.ranged && (name == "Range" || name == "If-Range"):
			out[name] = values
		case shared && (conditional(name) || name == "Accept-Encoding"):
		case shared && !c.inKey(name) && (forwarding(name) || name == "Cookie" || strings.Contains(name, "_")):
		default:
			out[name] = values
		}
	}
	if shared || c.route.readsAnswers() {
		out["Accept-Encoding"] = []string{c.upstreamCoding()}
	}
	if out["X-Request-Id"] == nil {
		out["X-Request-Id"] = []string{c.id.String()}
	}
	out["Via"] = append(slices.Clone(out["Via"]), c.via())
	return out
}

// via is what this process adds to Via: a name of its own, by which it knows a
// request that comes back to it.
func (c *call) via() string {
	if !c.http11() {
		return "1.0 " + c.p.pseudonym
	}
	return "1.1 " + c.p.pseudonym
}

// upstreamCoding asks for what this client and the proxy can both decode.
func (c *call) upstreamCoding() string {
	if c.ranged || c.part != nil || c.route.readsAnswers() || !c.accepts("gzip") {
		return "identity" // parts of coded answers are of no use to others, and what is read must be readable
	}
	return "gzip"
}

// accepts says whether the client takes the content coding.
func (c *call) accepts(coding string) bool {
	return c.head.flags.has(hasAcceptEncoding) && encoding.Accepts(c.header("Accept-Encoding"), coding)
}

// header is a request header's value, its lines joined.
func (c *call) header(name string) string {
	lines := c.ctx.Request.Header.PeekAll(name)
	if len(lines) == 1 {
		return string(lines[0])
	}
	return string(bytes.Join(lines, []byte(", ")))
}

// inKey says whether a request header is part of the key.
func (c *call) inKey(name string) bool {
	return c.keyed && slices.Contains(c.route.keyed, strings.ToLower(name))
}

// connectionListed are the lower-case names that Connection fields list.
func connectionListed(values [][]byte) []string {
	var names []string
	for _, v := range values {
		for name := range strings.SplitSeq(string(v), ",") {
			names = append(names, strings.ToLower(strings.Trim(name, " \t")))
		}
	}
	return names
}

// survives says whether a field stays though Connection lists it: nobody may
// strip framing, identity or what the key was made from on the way upstream.
func (c *call) survives(name string) bool {
	lower := strings.ToLower(name)
	if flag, _ := watched([]byte(lower)); flag != 0 && flag != hasConnection {
		return true
	}
	return slices.Contains(c.route.keyed, lower) || slices.ContainsFunc(c.route.credentials(), func(h string) bool {
		return strings.EqualFold(h, name)
	})
}

// endToEnd are the fields of an answer that are passed on and stored.
func endToEnd(h http.Header) []store.Field {
	listed := connectionListed(toBytes(h["Connection"]))
	names := make([]string, 0, len(h))
	n := 0
	for name, values := range h {
		if !hopByHop(name) && !slices.Contains(listed, strings.ToLower(name)) && name != "X-Cache" {
			names = append(names, name)
			n += len(values)
		}
	}
	slices.Sort(names)
	fields := make([]store.Field, 0, n)
	for _, name := range names {
		for _, v := range h[name] {
			fields = append(fields, store.Field{Name: name, Value: v})
		}
	}
	return fields
}

func toBytes(values []string) [][]byte {
	out := make([][]byte, len(values))
	for i, v := range values {
		out[i] = []byte(v)
	}
	return out
}

// field is the first value of a field; empty when there is none.
func field(fields []store.Field, name string) string {
	for i := range fields {
		if fields[i].Name == name {
			return fields[i].Value
		}
	}
	return ""
}

// keyHeaders shows a request's headers to package cachekey.
type keyHeaders struct{ c *call }

// Values implements cachekey.Headers.
func (k keyHeaders) Values(name string) [][]byte {
	if k.c.head.names&nameBit(name) == 0 {
		return nil
	}
	return telling(name, k.c.ctx.Request.Header.PeekAll(name))
}

// variantHeaders does the same from a copy.
type variantHeaders http.Header

// Values implements cachekey.Headers.
func (v variantHeaders) Values(name string) [][]byte {
	return telling(name, toBytes(http.Header(v)[http.CanonicalHeaderKey(name)]))
}

// telling drops a field that says no more than its absence would (RFC 9110,
// sections 12.5.1 and 12.5.4).
func telling(name string, values [][]byte) [][]byte {
	if len(values) == 1 && (name == "Accept" && string(values[0]) == "*/*" || name == "Accept-Language" && string(values[0]) == "*") {
		return nil
	}
	return values
}
