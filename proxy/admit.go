package proxy

import (
	"bytes"
	"strings"

	"jaegis-proxy/policy"
)

// admit reads the head of the request strictly and finds its route. What it
// refuses reaches no upstream and no store.
func (c *call) admit() error {
	h := &c.ctx.Request.Header
	protocol := h.Protocol()
	http11 := string(protocol) == "HTTP/1.1"
	if !http11 && string(protocol) != "HTTP/1.0" {
		return errVersion
	}
	if k, ok := c.ctx.Conn().(*conn); ok && k.bare {
		return malformed(errBareLF.Error())
	}
	if r := scanHead(h.RawHeaders(), &c.head); r != nil {
		return r
	}
	if c.head.flags.has(hasRequestID) {
		if id := h.Peek("X-Request-Id"); validRequestID(id) {
			c.id.given = string(id)
		}
	}
	if r := c.head.framing(http11); r != nil {
		return r
	}
	if http11 && !c.head.flags.has(hasHost) {
		return malformed("Host is missing")
	}
	if r := c.admitMethod(h.Method()); r != nil {
		return r
	}
	if c.head.flags.has(hasExpect) && http11 && !bytes.EqualFold(h.Peek("Expect"), []byte("100-continue")) {
		return errExpect
	}
	var r *refusal
	if c.target, r = parseTarget(h.RequestURI(), h.Host()); r != nil {
		return r
	}
	if c.method == "QUERY" && !c.head.flags.has(hasContentType) {
		return errQuery
	}
	if c.route = c.table.find(h.Method(), c.target.host, c.target.path); c.route == nil {
		return errNoRoute
	}
	if c.head.names&nameBit("Upgrade") != 0 && strings.EqualFold(strings.TrimSpace(c.header("Upgrade")), "websocket") {
		return errWebSocket
	}
	if r := c.identify(); r != nil {
		return r
	}
	if r := c.readControls(); r != nil {
		return r
	}
	if c.head.names&nameBit("Via") != 0 && strings.Contains(c.header("Via"), c.p.pseudonym) {
		return errLoop
	}
	return nil
}

// admitMethod refuses methods that are not for a reverse proxy, and those in
// lower case, which are not the methods they look like.
func (c *call) admitMethod(method []byte) *refusal {
	c.method = methodName(method)
	switch c.method {
	case "CONNECT", "TRACE":
		return errMethod
	}
	for _, b := range method {
		if b >= 'a' && b <= 'z' {
			return errMethod
		}
	}
	return nil
}

// methodName spares an allocation for the usual methods.
func methodName(b []byte) string {
	switch string(b) {
	case "GET":
		return "GET"
	case "HEAD":
		return "HEAD"
	case "POST":
		return "POST"
	}
	return string(b)
}

// readDirectives reads what the client asks of caches.
func (c *call) readDirectives() {
	if h := &c.ctx.Request.Header; c.head.flags.has(hasCacheControl | hasPragma) {
		c.cc = policy.RequestDirectives(toStrings(h.PeekAll("Cache-Control")), toStrings(h.PeekAll("Pragma")))
	}
}

// bypassReason says why a request is not looked up at all; empty when it is.
// One with an overriding method is, to some upstreams, of another method than
// it says. A condition on what the upstream has is for the upstream to judge,
// but for those by which a GET asks whether its copy will do. And fields that
// Connection lists do not reach the upstream, so its answer is to another
// request than the one that is looked up.
func (r *Route) bypassReason(method string, cc *policy.Directives, flags headFlags) string {
	switch {
	case !r.Cache:
		return "uncached-route"
	case !r.cacheable(method):
		return "method"
	case cc.NoStore:
		return "request-no-store"
	case flags.has(hasOverride):
		return "method-override"
	case flags.has(hasListedFields):
		return "connection-listed"
	case flags.has(hasStrictCondition), flags.has(hasCondition) && method != "GET" && method != "HEAD":
		return "conditional"
	}
	return ""
}
