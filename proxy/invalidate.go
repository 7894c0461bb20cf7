package proxy

import (
	"net/url"
	"strings"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/policy"
)

// invalidate takes out what an answer to an unsafe request makes untrue: the
// answers stored for its target, and for what it names as Location and
// Content-Location (RFC 9111, section 4.4). It is done before the client sees
// the answer, so that whoever asks after that gets nothing older. Variants and
// other callers' answers go with the signpost that leads to them.
func (l *leader) invalidate(resp *Response) {
	if policy.Safe(l.about.Method) {
		return
	}
	target, err := url.Parse(l.uri())
	if err != nil {
		return
	}
	for _, uri := range policy.Invalidates(l.about.Method, resp.Status, target, resp.Header) {
		l.invalidateURI([]byte(uri))
	}
}

// uri is the effective URI of the request, with a host that stands for itself
// where the upstream does not care.
func (l *leader) uri() string {
	u := "http://" + l.req.Host + l.req.Path
	if l.req.HasQuery {
		u += "?" + l.req.Query
	}
	return u
}

func (l *leader) invalidateURI(uri []byte) {
	t, refused := parseTarget(uri, []byte(l.req.Host))
	if refused != nil {
		return
	}
	route := l.table.find([]byte("GET"), t.host, t.path)
	if route == nil || !route.cacheable("GET") {
		return
	}
	rule := route.forAll
	if rule == nil {
		rule = route.Key
	}
	key, err := l.table.deriver.Derive(rule, &cachekey.Request{
		Method: []byte("GET"), Upstream: route.Upstream.identity, Host: route.upstreamHost(&t),
		Path: t.keyPath(), Query: t.query, Headers: ofTarget{l.keys.headers},
	})
	if err != nil {
		return
	}
	l.p.invalidated.Set(key, l.p.now())
	l.p.forget(key, route)
}

// ofTarget shows the headers of a request but for those that describe its own
// body, which a GET for the same URI would not have.
type ofTarget struct{ cachekey.Headers }

// Values implements cachekey.Headers.
func (o ofTarget) Values(name string) [][]byte {
	if len(name) > len("content-") && strings.EqualFold(name[:len("content-")], "content-") {
		return nil
	}
	return o.Headers.Values(name)
}

// outdated says whether what the leader has looked up or fetched was made
// untrue meanwhile.
func (l *leader) outdated() bool {
	at, ok := l.p.invalidated.GetIfPresent(l.keys.base)
	return ok && !at.Before(l.asked)
}
