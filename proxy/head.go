package proxy

import (
	"bytes"
	"net/http"
	"net/textproto"
	"strings"
)

// head is what the strict reading of a request's head found, beyond what
// fasthttp parsed.
type head struct {
	flags        headFlags
	names        nameSet
	contentLen   []byte
	transferCode []byte
	connection   [][]byte // values of Connection fields
}

// headFlags say which fields are there, so that the hot path asks fasthttp
// only for those.
type headFlags uint32

const (
	hasHost headFlags = 1 << iota
	hasContentLength
	hasTransferEncoding
	hasConnection
	hasListedFields // Connection lists more than what is about the connection
	hasContentType
	hasAuthorization
	hasExpect
	hasCacheControl
	hasPragma
	hasCondition
	hasStrictCondition
	hasAcceptEncoding
	hasRequestID
	hasTrace
	hasOverride
	hasControlTTL // fields of ours, see controls.go
	hasControlMode
	hasControlNamespace
	hasControlTags
	hasControlOther // there is none of that name

	hasControls = hasControlTTL | hasControlMode | hasControlNamespace | hasControlTags | hasControlOther
)

// has says whether one of them is there.
func (h headFlags) has(f headFlags) bool { return h&f != 0 }

// watched gives the flag of a field that has one, by lower-case name, and
// whether the field may come only once: two copies are two meanings.
func watched(lower []byte) (flag headFlags, single bool) {
	switch string(lower) {
	case "host":
		return hasHost, true
	case "content-length":
		return hasContentLength, true
	case "transfer-encoding":
		return hasTransferEncoding, true
	case "connection":
		return hasConnection, false
	case "content-type":
		return hasContentType, true
	case "authorization":
		return hasAuthorization, true
	case "expect":
		return hasExpect, true
	case "cache-control":
		return hasCacheControl, false
	case "pragma":
		return hasPragma, false
	case "range", "if-range", "if-none-match", "if-modified-since":
		return hasCondition, false
	case "if-match", "if-unmodified-since":
		return hasStrictCondition, false
	case "accept-encoding":
		return hasAcceptEncoding, false
	case "x-request-id":
		return hasRequestID, true
	case "traceparent":
		return hasTrace, true
	case "x-http-method", "x-method-override", "x-http-method-override":
		return hasOverride, false
	case "jaegis-cache-ttl":
		return hasControlTTL, true
	case "jaegis-cache-mode":
		return hasControlMode, true
	case "jaegis-cache-namespace":
		return hasControlNamespace, true
	case "jaegis-cache-tags":
		return hasControlTags, false
	}
	if bytes.HasPrefix(lower, []byte("jaegis-cache-")) {
		return hasControlOther, false
	}
	return 0, false
}

// maxWatched is the length of the longest name that watched knows.
const maxWatched = len("x-http-method-override")

// nameSet is a set of field names that may claim to hold one that it does not:
// each name is one of 64 bits, by its length and its ends.
type nameSet uint64

func nameBit[S string | []byte](name S) nameSet {
	n := len(name)
	if n == 0 {
		return 0
	}
	return 1 << ((uint(n) + 7*uint(tokenTable[name[0]]) + 3*uint(tokenTable[name[n-1]])) & 63)
}

// scanHead reads the field lines as they came over the wire and refuses
// whatever two parsers could read in two ways (RFC 9112, sections 2.2, 5.1,
// 5.2, 6.1 and 6.3): fasthttp has parsed the same bytes leniently.
func scanHead(raw []byte, h *head) *refusal {
	for len(raw) > 0 {
		end := bytes.IndexByte(raw, '\n')
		if end < 1 || raw[end-1] != '\r' {
			return malformed("a header line does not end in CRLF")
		}
		line := raw[:end-1]
		raw = raw[end+1:]
		if len(line) == 0 {
			break
		}
		if r := scanField(line, h); r != nil {
			return r
		}
	}
	return nil
}

func scanField(line []byte, h *head) *refusal {
	if line[0] == ' ' || line[0] == '\t' {
		return malformed("a header line is folded")
	}
	colon := bytes.IndexByte(line, ':')
	if colon < 1 {
		return malformed("a header line has no name")
	}
	name, value := line[:colon], line[colon+1:]
	var buf [maxWatched]byte
	underscore := false
	for i, c := range name {
		lower := tokenTable[c]
		if lower == 0 {
			return malformed("a header name holds a character that is not allowed there")
		}
		underscore = underscore || c == '_'
		if i < maxWatched {
			buf[i] = lower
		}
	}
	for _, c := range value {
		if c < ' ' && c != '\t' || c == 0x7f {
			return malformed("a header value holds a control character")
		}
	}
	h.names |= nameBit(name)
	if underscore {
		return scanUnderscore(name)
	}
	if len(name) > maxWatched {
		return nil
	}
	return h.note(buf[:len(name)], value)
}

// scanUnderscore refuses names that a CGI-like upstream would take for a
// framing field or for the caller's identity.
func scanUnderscore(name []byte) *refusal {
	switch strings.ReplaceAll(strings.ToLower(string(name)), "_", "-") {
	case "transfer-encoding", "content-length", "content-type", "host", "connection", "authorization", "cookie",
		"proxy-authorization", "x-api-key", "api-key", "x-goog-api-key", "expect", "upgrade", "te", "trailer":
		return malformed("a header name is that of a field with a fixed meaning, but for \"_\" in place of \"-\"")
	}
	return nil
}

// note records a field that gets a flag.
func (h *head) note(lower, value []byte) *refusal {
	flag, single := watched(lower)
	if flag == 0 {
		return nil
	}
	if single && h.flags.has(flag) {
		return malformed("the header field " + textproto.CanonicalMIMEHeaderKey(string(lower)) + " may come only once")
	}
	h.flags |= flag
	switch flag {
	case hasContentLength:
		h.contentLen = trimOWS(value)
	case hasTransferEncoding:
		h.transferCode = trimOWS(value)
	case hasConnection:
		h.connection = append(h.connection, value)
		if listsFields(value) {
			h.flags |= hasListedFields
		}
	}
	return nil
}

// listsFields says whether a Connection value names fields that would not be
// left out anyway.
func listsFields(value []byte) bool {
	for name := range bytes.SplitSeq(value, []byte(",")) {
		name = trimOWS(name)
		if len(name) > 0 && !bytes.EqualFold(name, []byte("close")) && !hopByHop(http.CanonicalHeaderKey(string(name))) {
			return true
		}
	}
	return false
}

// framing checks how the body is framed.
func (h *head) framing(http11 bool) *refusal {
	switch {
	case h.flags.has(hasTransferEncoding) && h.flags.has(hasContentLength):
		return malformed("Content-Length and Transfer-Encoding exclude each other")
	case h.flags.has(hasTransferEncoding) && !http11:
		return malformed("HTTP/1.0 has no Transfer-Encoding")
	case h.flags.has(hasTransferEncoding) && !bytes.EqualFold(h.transferCode, []byte("chunked")):
		return malformed("the only Transfer-Encoding understood is \"chunked\"")
	case h.flags.has(hasContentLength) && !validLength(h.contentLen):
		return malformed("Content-Length must be a plain decimal number")
	}
	return nil
}

// validLength takes digits only, without leading zeros, up to 18 of them.
func validLength(b []byte) bool {
	if len(b) == 0 || len(b) > 18 || b[0] == '0' && len(b) > 1 {
		return false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

func trimOWS(b []byte) []byte { return bytes.Trim(b, " \t") }

// tokenTable maps a character of a token to its lower case, all others to 0
// (RFC 9110, section 5.6.2).
var tokenTable = func() (t [256]byte) {
	const others = "!#$%&'*+-.^_`|~"
	for c := range t {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c < 0x80 && strings.IndexByte(others, byte(c)) >= 0:
			t[c] = byte(c)
		case c >= 'A' && c <= 'Z':
			t[c] = byte(c) + 'a' - 'A'
		}
	}
	return t
}()
