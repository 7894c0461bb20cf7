package policy

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// Conditional gives the fields by which a stored answer is validated (RFC
// 9111, section 4.3.1); nil when it has no validator.
func Conditional(stored http.Header) http.Header {
	h := http.Header{}
	if etag := stored.Get("ETag"); validETag(etag) {
		h.Set("If-None-Match", etag)
	}
	modified := stored.Get("Last-Modified")
	if _, ok := parseDate(modified, time.Time{}); ok {
		h.Set("If-Modified-Since", modified)
	}
	if len(h) == 0 {
		return nil
	}
	return h
}

// Confirms says whether a 304 speaks of this stored answer (RFC 9111, section
// 4.3.4). The request must have had the condition that Conditional gives for
// it, and no other: then a 304 that names no validator confirms it too. A
// strong tag must be the same; other validators must fit where both have them,
// and one at least must be common.
func Confirms(stored, notModified http.Header) bool {
	tag, modified := notModified.Get("ETag"), notModified.Get("Last-Modified")
	own, ownModified := stored.Get("ETag"), stored.Get("Last-Modified")
	if strings.HasPrefix(tag, `"`) {
		return tag == own
	}
	if tag != "" && own != "" && strings.TrimPrefix(tag, "W/") != strings.TrimPrefix(own, "W/") {
		return false
	}
	if modified != "" && ownModified != "" && modified != ownModified {
		return false
	}
	return tag == "" && modified == "" || tag != "" && own != "" || modified != "" && ownModified != ""
}

// Freshen gives the head of a stored answer after an answer that updates it
// (RFC 9111, section 3.2). Fields of the update take the place of the stored
// ones, but for those that belong to a connection, to the stored body or to
// one caller. None is lost, but for Age, which spoke of the old answer. The
// arguments stay as they are. What the result says of storing and freshness is
// for Decide to judge anew.
func Freshen(stored, update http.Header) http.Header {
	h := stored.Clone()
	if h == nil {
		h = http.Header{}
	}
	h.Del("Age")
	listed := update.Values("Connection")
	for name, lines := range update {
		if !fixed(name) && !hasToken(listed, name) {
			h[name] = slices.Clone(lines)
		}
	}
	return h
}

// hasToken says whether a comma-separated field contains the token, whatever
// its case.
func hasToken(lines []string, token string) bool {
	for _, line := range lines {
		for member := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.Trim(member, " \t"), token) {
				return true
			}
		}
	}
	return false
}

// fixed are the fields that an update never changes.
func fixed(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
		"Proxy-Authenticate", "Proxy-Authentication-Info", "Proxy-Authorization": // section 3.1
		return true
	case "Content-Length", "Content-Encoding", "Content-Range", "Content-Md5", "Content-Digest", "Repr-Digest", "Digest",
		"Etag": // they describe the stored body
		return true
	case "Set-Cookie": // for one caller
		return true
	}
	return false
}

// HeadUpdate gives the head of a stored answer to GET after a 200 to HEAD (RFC
// 9111, section 4.3.5); length is that of the stored body in bytes, as the
// upstream sent it. With ok false the two are not of the same representation
// and the stored answer must be invalidated.
func HeadUpdate(stored, head http.Header, length int64) (updated http.Header, ok bool) {
	for _, name := range [...]string{"Etag", "Last-Modified"} {
		if head[name] != nil && head.Get(name) != stored.Get(name) {
			return nil, false
		}
	}
	if !holds(head, length) {
		return nil, false
	}
	return Freshen(stored, head), true
}

// Combinable says whether two parts, or a part and a whole, are of the same
// representation (RFC 9111, section 3.4): both have the same strong validator.
func Combinable(stored, part http.Header) bool {
	v := strongValidator(stored, time.Time{})
	return v != "" && v == strongValidator(part, time.Time{})
}

// holds says whether the body has this length in bytes, as far as its head
// tells.
func holds(h http.Header, length int64) bool {
	for _, line := range h.Values("Content-Length") {
		if n, ok := parsePosition(line); !ok || n != length {
			return false
		}
	}
	return true
}
