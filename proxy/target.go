package proxy

import "bytes"

// target is the request target, cut into parts but not changed: the key is
// made from the same bytes that are forwarded.
type target struct {
	path, query []byte
	hasQuery    bool
	host        []byte // the effective host (RFC 9112, section 3.3)
}

// parseTarget takes the origin-form and the absolute-form. An absolute-form's
// authority is the host, whatever the Host field says (section 3.2.2).
func parseTarget(uri, host []byte) (target, *refusal) {
	t := target{host: host}
	if len(uri) == 0 || uri[0] != '/' {
		rest, ok := cutScheme(uri)
		if !ok {
			return t, malformed("the request target must begin with \"/\" or be an absolute http URL")
		}
		end := bytes.IndexAny(rest, "/?#")
		if end < 0 {
			end = len(rest)
		}
		t.host, uri = rest[:end], rest[end:]
		if len(uri) == 0 || uri[0] != '/' {
			return t, malformed("the request target has no path")
		}
	}
	if !validHost(t.host) || !validHost(host) {
		return t, malformed("Host must be a name or an address with an optional port")
	}
	for _, c := range uri {
		if c <= ' ' || c == 0x7f || c == '#' {
			return t, malformed("the request target holds a character that is not allowed there")
		}
	}
	t.path, t.query, t.hasQuery = bytes.Cut(uri, []byte("?"))
	return t, nil
}

// keyPath is the path for the key: with the "?" of a query that is empty, as
// some upstreams tell that from none.
func (t *target) keyPath() []byte {
	if t.hasQuery && len(t.query) == 0 {
		return t.path[:len(t.path)+1]
	}
	return t.path
}

func cutScheme(uri []byte) ([]byte, bool) {
	for _, scheme := range []string{"http://", "https://"} {
		if len(uri) > len(scheme) && bytes.EqualFold(uri[:len(scheme)], []byte(scheme)) {
			return uri[len(scheme):], true
		}
	}
	return nil, false
}

// validHost takes letters, digits and what else a name, an address or a port
// is made of; never user information. An empty host is for HTTP/1.0.
func validHost(h []byte) bool {
	for _, c := range h {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '.' || c == '-' || c == '_' || c == ':' || c == '[' || c == ']' || c == '%' || c == '~':
		default:
			return false
		}
	}
	return true
}
