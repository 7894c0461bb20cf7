package proxy

import (
	"net/url"
	"slices"
	"strings"
	"time"

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
	l.invalidateGroups(resp)
	if resp.Status >= 400 {
		return
	}
	uris := []string{l.req.target()} // as it is, whatever a parser makes of it
	for _, at := range l.targets() {
		for _, uri := range policy.Invalidates(l.about.Method, resp.Status, at.target, resp.Header) {
			if uri, ok := strings.CutPrefix(uri, at.base); ok && !slices.Contains(uris, uri) {
				uris = append(uris, uri)
			}
		}
	}
	for _, uri := range uris {
		l.invalidateURI([]byte(uri))
	}
}

// addressed is a URI by which the target of a request goes, and the path that
// stands before that of the proxy in it.
type addressed struct {
	target *url.URL
	base   string
}

// targets are the URIs by which the upstream may name itself: the one that it
// was addressed by, and the one that the client used, of which the proxy does
// not know whether TLS was ended before it.
func (l *leader) targets() []addressed {
	var out []addressed
	up := l.route.Upstream.base
	for _, a := range []struct{ origin, base string }{
		{up.Scheme + "://" + up.Host, up.Path}, {"http://" + l.req.Host, ""}, {"https://" + l.req.Host, ""},
	} {
		if u, err := url.Parse(a.origin + a.base + l.req.target()); err == nil {
			out = append(out, addressed{u, a.base})
		}
	}
	return out
}

func (l *leader) invalidateURI(uri []byte) {
	t, refused := parseTarget(uri, []byte(l.req.Host))
	if refused != nil {
		return
	}
	route, keys, err := l.table.keysOfGET(&t, l.keys.headers, l.tenant)
	if route == nil || err != nil {
		return
	}
	l.p.forget(keys.base, route)
}

// keysOfGET gives the keys of a GET for the target, with these headers. The
// route is nil when such an answer is not stored.
func (t *Table) keysOfGET(at *target, headers cachekey.Headers, tenant string) (*Route, selection, error) {
	route := t.find([]byte("GET"), at.host, at.path)
	if route == nil || !route.cacheable("GET") {
		return nil, selection{}, nil
	}
	keys, err := t.keys(route, &cachekey.Request{
		Method: []byte("GET"), Upstream: route.Upstream.identity, Host: route.upstreamHost(at),
		Path: at.keyPath(), Query: at.query, Headers: ofTarget{headers}, Tenant: tenant,
	})
	return route, keys, err
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

// Deleted takes note that another process has deleted what lies under the base
// key: what was asked for before is not stored by this one, and given to nobody.
// It says whether this process has written there a moment ago: then its write
// may have come after the deletion, and must go too.
func (p *Proxy) Deleted(base cachekey.Key) (written bool) {
	p.invalidated.note(base, p.now())
	p.fills.forget(base)
	_, written = p.written.GetIfPresent(base)
	return written
}

// Missed takes note that deletions may have been missed: whatever was asked for
// before may be untrue.
func (p *Proxy) Missed() { p.invalidated.noteAll(p.now()) }

// outdated says whether what the leader has looked up or fetched was made
// untrue meanwhile.
func (l *leader) outdated() bool { return l.p.untrue(l.keys.base, l.asked) }

// untrue says whether what lies under the key was made untrue at that time or
// later.
func (p *Proxy) untrue(key cachekey.Key, since time.Time) bool {
	return p.invalidated.since(key, since)
}
