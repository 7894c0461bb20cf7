package cachekey

import (
	"crypto/sha256"
	"net/http"
	"net/textproto"
	"strings"
)

// Variant gives the key of that answer to a request which the request headers
// named in vary have selected (RFC 9111, section 4.1). Names count once, in any
// case and order; values count as they came, line by line, and an absent
// header differs from an empty one. "*" in vary is a matter for the caller: it
// selects nothing.
func Variant(key Key, vary []string, h Headers) Key {
	names := make([]string, 0, len(vary))
	for _, name := range vary {
		names = append(names, strings.ToLower(strings.Trim(name, " \t")))
	}
	b := appendField(nil, tagFormat, "jaegis-variant-1")
	b = appendField(b, tagBase, key.Digest[:])
	for _, name := range sortedSet(names) {
		b = appendField(b, tagHeader, name)
		for _, v := range values(h, textproto.CanonicalMIMEHeaderKey(name)) {
			b = appendField(b, tagHeaderValue, v)
		}
	}
	key.Digest = sha256.Sum256(b)
	return key
}

// HTTPHeaders are the headers of net/http as Headers. Names must be canonical,
// as http.Header's own methods make them. It copies values at each call, so it
// is not for the request path.
type HTTPHeaders http.Header

// Values implements Headers.
func (h HTTPHeaders) Values(name string) [][]byte {
	var out [][]byte
	for _, v := range http.Header(h).Values(name) {
		out = append(out, []byte(v))
	}
	return out
}
