package config

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Validate says what is wrong with a tree that was built in Go; Load has
// checked the trees that it returns. The error is a Problems.
func (c *Config) Validate() error {
	ps := c.problems()
	for i := range ps {
		ps[i].Source = "configuration"
	}
	if len(ps) == 0 {
		return nil
	}
	return ps.sorted()
}

// checker collects what is wrong with the parts of a tree.
type checker struct{ problems Problems }

func (ck *checker) fail(key, what, fix string) {
	ck.problems = append(ck.problems, Problem{Key: key, What: what, Fix: fix})
}

// problems checks the whole tree. It looks at nothing outside of it: whether
// files exist and servers answer shows when they are used.
func (c *Config) problems() Problems {
	var ck checker
	ck.listeners(c)
	for _, name := range slices.Sorted(maps.Keys(c.Upstreams)) {
		ck.upstream(join("upstreams", name), name, c.Upstreams[name])
	}
	if _, ok := c.Upstreams[c.DefaultUpstream]; !ok && c.DefaultUpstream != "" {
		ck.fail("default_upstream", "there is no upstream "+strconv.Quote(c.DefaultUpstream), didYouMeanUpstream(c))
	}
	ck.clients(c.Clients)
	ck.cache(c)
	ck.routes(c)
	ck.presets(c)
	ck.prices(c)
	ck.atLeast("spool.memory", int64(c.Spool.Memory), 0)
	ck.atLeast("spool.max_bytes", int64(c.Spool.MaxBytes), 0)
	ck.limits(c.Limits)
	ck.notNegative("shutdown_timeout", c.ShutdownTimeout)
	ck.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	ck.oneOf("log.format", c.Log.Format, "text", "json")
	if c.Telemetry.OTLPEndpoint != "" {
		ck.url("telemetry.otlp_endpoint", string(c.Telemetry.OTLPEndpoint), "http", "https")
	}
	return ck.problems
}

func (ck *checker) limits(l Limits) {
	ck.atLeast("limits.max_header_bytes", int64(l.MaxHeaderBytes), int64(KiB))
	if l.MaxHeaderBytes > 16*MiB {
		ck.fail("limits.max_header_bytes", "more than 16MiB", "every connection may take that much memory; lower it")
	}
	ck.positive("limits.header_timeout", l.HeaderTimeout)
	ck.positive("limits.body_timeout", l.BodyTimeout)
	ck.positive("limits.idle_timeout", l.IdleTimeout)
	ck.positive("limits.write_timeout", l.WriteTimeout)
	ck.atLeast("limits.max_connections", int64(l.MaxConnections), 1)
}

func (ck *checker) listeners(c *Config) {
	host, port, ok := ck.hostPort("listen", c.Listen)
	if c.Admin.Listen == "" {
		return
	}
	adminHost, adminPort, adminOK := ck.hostPort("admin.listen", c.Admin.Listen)
	if !adminOK {
		return
	}
	if c.Admin.Token == "" && !loopback(adminHost) {
		ck.fail("admin.listen", "reachable from other machines, and admin.token is empty",
			"set admin.token, or listen on 127.0.0.1")
	}
	same := host == adminHost || wildcard(host) || wildcard(adminHost)
	if ok && port == adminPort && port != "0" && same {
		ck.fail("admin.listen", "the same address as listen", "give it a port of its own")
	}
}

// hostPort checks an address to listen on and gives it in comparable form.
func (ck *checker) hostPort(key, address string) (host, port string, ok bool) {
	host, port, err := net.SplitHostPort(address)
	n, portErr := strconv.ParseUint(port, 10, 16)
	if err != nil || portErr != nil || strings.ContainsAny(host, "/@ ") {
		ck.fail(key, "not an address to listen on: "+strconv.Quote(address), "write HOST:PORT, such as 127.0.0.1:8080 or :8080")
		return "", "", false
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String()
	}
	return strings.ToLower(host), strconv.FormatUint(n, 10), true
}

func wildcard(host string) bool { return host == "" || host == "0.0.0.0" || host == "::" }

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && ip.IsLoopback())
}

func (ck *checker) upstream(key, name string, u Upstream) {
	ck.name(key, name)
	ck.upstreamURL(key+".url", u.URL)
	if u.Preset != "" {
		ck.oneOf(key+".preset", u.Preset, Presets()...)
	} else if len(u.Hosts) > 0 {
		ck.fail(key+".hosts", "without a preset there are no routes that could answer on them", "set preset, or write hosts into match of routes")
	}
	ck.hosts(key+".hosts", u.Hosts)
	ck.positive(key+".connect_timeout", u.ConnectTimeout)
	ck.positive(key+".first_byte_timeout", u.FirstByteTimeout)
	ck.positive(key+".idle_timeout", u.IdleTimeout)
	ck.positive(key+".total_timeout", u.TotalTimeout)
	if u.TotalTimeout > 0 && max(u.ConnectTimeout, u.FirstByteTimeout) > u.TotalTimeout {
		ck.fail(key+".total_timeout", "shorter than connect_timeout or first_byte_timeout, which it includes", "raise it, or lower those")
	}
	seen := map[string]string{}
	for _, h := range slices.Sorted(maps.Keys(u.Headers)) {
		at := join(key+".headers", h)
		ck.headerName(at, h)
		if first, ok := seen[strings.ToLower(h)]; ok {
			ck.fail(at, "the same header as "+first, "keep one of them")
		}
		seen[strings.ToLower(h)] = h
		if !httpguts.ValidHeaderFieldValue(string(u.Headers[h])) {
			ck.fail(at, "not a valid header value", "")
		}
		if slices.Contains([]string{"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect"}, strings.ToLower(h)) {
			ck.fail(at, "belongs to the connection and cannot be set", "leave it out")
		}
	}
}

func (ck *checker) upstreamURL(key, raw string) {
	u := ck.url(key, raw, "http", "https")
	if u == nil {
		return
	}
	if u.User != nil {
		ck.fail(key, "holds credentials", "put them into headers, such as {Authorization: ...}")
	}
	if u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(raw, "#") {
		ck.fail(key, "has a query or a fragment", "end it with the path")
	}
}

// url checks a URL and gives it parsed, or nil. What is wrong never quotes it:
// it may hold a password.
func (ck *checker) url(key, raw string, schemes ...string) *url.URL {
	example := schemes[0] + "://host:port"
	if raw == "" {
		ck.fail(key, "no URL", "write "+example)
		return nil
	}
	u, err := url.Parse(raw)
	if err != nil || !slices.Contains(schemes, u.Scheme) || u.Hostname() == "" || u.Opaque != "" {
		ck.fail(key, "not a URL that begins with "+strings.Join(schemes, ":// or ")+":// and a host", "write "+example)
		return nil
	}
	if port := u.Port(); port != "" || strings.HasSuffix(u.Host, ":") {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			ck.fail(key, "the port is not a number from 1 to 65535", "write "+example)
			return nil
		}
	}
	return u
}

// name checks a name that stands in metrics, logs and variables.
func (ck *checker) name(key, name string) {
	ok := name != "" && len(name) <= 64
	for i, c := range []byte(name) {
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		ok = ok && (alnum || (i > 0 && (c == '_' || c == '-' || c == '.')))
	}
	if !ok {
		ck.fail(key, strconv.Quote(name)+" is not a name", "use letters, digits, _, - and ., 64 at most, a letter or digit first")
	}
}

func (ck *checker) headerName(key, name string) {
	if !httpguts.ValidHeaderFieldName(name) {
		ck.fail(key, strconv.Quote(name)+" is not a header name", "")
	}
}

func (ck *checker) oneOf(key, value string, allowed ...string) bool {
	if slices.Contains(allowed, value) {
		return true
	}
	ck.fail(key, strconv.Quote(value)+" is none of "+strings.Join(allowed, ", "), "")
	return false
}

func (ck *checker) atLeast(key string, n, least int64) {
	if n < least {
		ck.fail(key, fmt.Sprintf("%d is less than %d", n, least), "")
	}
}

func (ck *checker) positive(key string, d Duration) {
	if d <= 0 {
		ck.fail(key, d.String()+" is not above 0", "write how long to wait at most")
	}
}

func (ck *checker) notNegative(key string, d Duration) {
	if d < 0 {
		ck.fail(key, d.String()+" is negative", "")
	}
}
