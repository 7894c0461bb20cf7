package policy

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Safe says whether requests with this method change nothing (RFC 9110,
// section 9.2.1). A method that is not known is not safe.
func Safe(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "TRACE", "QUERY":
		return true
	}
	return false
}

// Invalidates gives what an answer makes invalid (RFC 9111, section 4.4), each
// as path and query, without repetition: nothing, or the target of the request
// and what Location and Content-Location name on the same origin. target is
// the effective URI of the request, absolute, as url.Parse gives it.
func Invalidates(method string, status int, target *url.URL, h http.Header) []string {
	if Safe(method) || status < 200 || status >= 400 || target == nil {
		return nil
	}
	out := []string{pathAndQuery(target)}
	for _, name := range [...]string{"Location", "Content-Location"} {
		u := resolve(target, h.Get(name))
		if u == nil || !sameOrigin(u, target) {
			continue
		}
		if p := pathAndQuery(u); !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// resolve reads a reference relative to base; nil when there is none.
func resolve(base *url.URL, ref string) *url.URL {
	if ref == "" || base == nil {
		return nil
	}
	u, err := base.Parse(ref)
	if err != nil {
		return nil
	}
	return u
}

func pathAndQuery(u *url.URL) string {
	p := u.EscapedPath()
	if p == "" {
		p = "/"
	}
	if u.RawQuery != "" || u.ForceQuery {
		p += "?" + u.RawQuery
	}
	return p
}

// sameOrigin compares scheme, host and port (RFC 9110, section 4.3.1).
func sameOrigin(a, b *url.URL) bool {
	return strings.EqualFold(a.Scheme, b.Scheme) && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	switch strings.ToLower(u.Scheme) {
	case "http":
		return "80"
	case "https":
		return "443"
	}
	return ""
}
