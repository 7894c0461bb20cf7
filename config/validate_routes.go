package config

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

func (ck *checker) routes(c *Config) {
	first := map[string]int{}
	for i, r := range c.Routes {
		key := fmt.Sprintf("routes[%d]", i)
		if r.Name == "" {
			ck.fail(key+".name", "no name", "give each route one: it stands in logs, metrics and variables")
		} else {
			ck.name(key+".name", r.Name)
		}
		// Compared as variables name them: JAEGIS_ROUTES_<NAME> must mean one.
		if at, seen := first[fold(r.Name)]; seen && r.Name != "" {
			ck.fail(key+".name", fmt.Sprintf("%q is the name of routes[%d] too", r.Name, at), "rename one of them")
		} else {
			first[fold(r.Name)] = i
		}
		ck.match(key+".match", r.Match)
		ck.routeUpstream(key+".upstream", c, r)
		ck.lifetime(key, r)
		ck.callers(key, r)
		ck.answers(key, r)
		ck.looks(key, r)
		ck.requests(key+".when", r)
		ck.replies(key, r)
		ck.key(key+".key", r)
		ck.uploads(key, r)
		ck.atLeast(key+".max_request_bytes", int64(r.MaxRequestBytes), 1)
		ck.atLeast(key+".max_object_bytes", int64(r.MaxObjectBytes), 1)
	}
}

func (ck *checker) routeUpstream(key string, c *Config, r Route) {
	if r.Upstream == "" {
		ck.fail(key, "no upstream, and no default_upstream", "name one of upstreams")
	} else if _, ok := c.Upstreams[r.Upstream]; !ok && r.Upstream != c.DefaultUpstream {
		ck.fail(key, "there is no upstream "+strconv.Quote(r.Upstream), didYouMean(r.Upstream, slices.Sorted(maps.Keys(c.Upstreams))))
	}
}

func (ck *checker) match(key string, m Match) {
	ck.hosts(key+".hosts", m.Hosts)
	methods := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"}
	for i, method := range m.Methods {
		if !slices.Contains(methods, method) {
			ck.fail(fmt.Sprintf("%s.methods[%d]", key, i), strconv.Quote(method)+" is none of "+strings.Join(methods, ", "), didYouMean(method, methods))
		}
	}
	ck.path(key+".path", m.Path)
}

func (ck *checker) hosts(key string, hosts []string) {
	for i, host := range hosts {
		if !hostName(host) {
			ck.fail(fmt.Sprintf("%s[%d]", key, i), strconv.Quote(host)+" is not a host", "write a name or an address, without scheme and port")
		}
	}
}

func (ck *checker) path(key, path string) {
	star := strings.IndexByte(path, '*')
	switch {
	case !strings.HasPrefix(path, "/"):
		ck.fail(key, strconv.Quote(path)+" does not begin with /", "write /path or /prefix/*")
	case star >= 0 && star != len(path)-1:
		ck.fail(key, strconv.Quote(path)+" has a * that is not at its end", "write an exact path, or a prefix that ends in *")
	case strings.ContainsAny(path, "?# "):
		ck.fail(key, strconv.Quote(path)+" has a query, a fragment or a space", "write the path alone, escaped as in requests")
	}
}

func (ck *checker) lifetime(key string, r Route) {
	ck.namespace(key+".namespace", r.Namespace)
	switch {
	case !ck.oneOf(key+".freshness", r.Freshness, "route", "origin"):
	case !r.Cache:
	case r.TTL < 0:
		ck.notNegative(key+".ttl", r.TTL)
	case r.TTL == 0 && r.Freshness == "route":
		ck.fail(key+".ttl", "no ttl", "set it, or cache.ttl."+r.Namespace+", or write cache: false")
	case r.OverrideNoStore && r.Freshness == "origin":
		ck.fail(key+".override_no_store", "contradicts freshness: origin, where the upstream's word counts", "leave it out, or write freshness: route")
	case r.ShareAuthorized && r.Freshness == "route":
		ck.fail(key+".share_authorized", "contradicts freshness: route, where scope says whose answers are whose", "leave it out, or write freshness: origin")
	}
	ck.notNegative(key+".stale_while_revalidate", r.StaleWhileRevalidate)
	ck.notNegative(key+".stale_if_error", r.StaleIfError)
}

func (ck *checker) key(key string, r Route) {
	ck.oneOf(key+".body", r.Key.Body, "auto", "json", "multipart", "form", "raw")
	for i, pointer := range r.Key.Ignore {
		ck.pointer(fmt.Sprintf("%s.ignore[%d]", key, i), pointer)
	}
	for i, name := range r.Key.Headers {
		ck.headerName(fmt.Sprintf("%s.headers[%d]", key, i), name)
	}
	ck.credentials(key, r)
	for i, name := range r.Key.Query.Ignore {
		if name == "" {
			ck.fail(fmt.Sprintf("%s.query.ignore[%d]", key, i), "empty", "write the name of a parameter")
		}
	}
}

func (ck *checker) credentials(key string, r Route) {
	for i, name := range r.Key.Credentials {
		at := fmt.Sprintf("%s.credentials[%d]", key, i)
		param, isParam := strings.CutPrefix(name, "?")
		switch {
		case !isParam:
			ck.headerName(at, name)
		case param == "":
			ck.fail(at, "? without a name", "write ? and the name of a query parameter, or the name of a header")
		case slices.Contains(r.Key.Query.Ignore, param):
			ck.fail(at, strconv.Quote(name)+" is in key.query.ignore too", "a parameter that identifies the caller is not to be left out; keep one of them")
		}
	}
	if len(r.Key.Credentials) == 0 && r.Scope != "public" {
		ck.fail(key+".credentials", "empty, so that all callers would share answers", "name the headers that identify a caller, or write scope: public")
	}
}

// pointer checks a JSON pointer by RFC 6901. The empty one, which is the whole
// body, is refused: to ignore it is to give every caller the same answer.
func (ck *checker) pointer(key, p string) {
	switch {
	case p == "":
		ck.fail(key, "the empty pointer means the whole body", "name a member, such as /stream")
	case p[0] != '/':
		ck.fail(key, strconv.Quote(p)+" is not a JSON pointer", "begin it with /, such as /stream")
	case slices.Contains(strings.Split(p, "/"), "-"):
		ck.fail(key, strconv.Quote(p)+" has a -, which names no element that exists", "write the index of the element")
	}
	for i := range p {
		if p[i] == '~' && (i+1 == len(p) || (p[i+1] != '0' && p[i+1] != '1')) {
			ck.fail(key, strconv.Quote(p)+" is not a JSON pointer", "write ~ as ~0, and a / within a name as ~1")
			return
		}
	}
}

// hostName says whether host is a name or an address without a port.
func hostName(host string) bool {
	if ip, ok := strings.CutPrefix(host, "["); ok {
		_, err := netip.ParseAddr(strings.TrimSuffix(ip, "]"))
		return err == nil && strings.HasSuffix(host, "]")
	}
	for _, c := range []byte(host) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte("/:@?#[]*\\%", c) >= 0 {
			return false
		}
	}
	return host != "" && len(host) <= 253
}

func didYouMeanUpstream(c *Config) string {
	return didYouMean(c.DefaultUpstream, slices.Sorted(maps.Keys(c.Upstreams)))
}
