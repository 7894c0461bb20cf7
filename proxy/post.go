package proxy

import (
	"net/http"
	"net/url"
	"strings"

	"jaegis-proxy/policy"
)

// answersGET says whether the answer to a request that is passed on may be kept
// as that of a later GET (RFC 9110, section 9.3.3), should it say so itself. It
// must be one POST to a target whose GETs are answered from the cache by the
// same route, without any field by which its answer could be another than the
// GET's; then the call goes on with the GET's keys.
func (c *call) answersGET() bool {
	if c.method != http.MethodPost || c.route.Rule.Freshness != policy.FreshnessOrigin || c.cc.NoStore ||
		c.head.flags.has(hasOverride|hasListedFields|hasCondition|hasStrictCondition) {
		return false
	}
	for name := range c.ctx.Request.Header.All() {
		canonical := http.CanonicalHeaderKey(string(name))
		if forwarding(canonical) || conditional(canonical) || canonical == "Cookie" || strings.Contains(canonical, "_") {
			return false
		}
	}
	route, keys, err := c.table.keysOfGET(&c.target, c.keyHeaders(), c.tenant())
	if route != c.route || err != nil {
		return false
	}
	c.keys, c.key = keys, keys.own
	return true
}

// targetURI is the effective URI of the request, absolute; nil when it cannot
// be read.
func (l *leader) targetURI() *url.URL {
	target, err := url.Parse("http://" + l.req.Host + l.req.target())
	if err != nil {
		return nil
	}
	return target
}
