package proxy

import (
	"strings"

	"jaegis-proxy/internal/encoding"
	"jaegis-proxy/store"
)

// representation says in which content coding an answer is sent to one client,
// and what that changes in its fields.
type representation struct {
	decode string // the coding to undo on the way out; empty for none
	ours   string // the coding that is ours and is sent; empty for none
	theirs bool   // the upstream's Content-Encoding is undone
	varies bool   // other clients get it in another coding
}

// represent chooses for this client. ours is the coding that the body has by
// our own doing.
func (c *call) represent(fields []store.Field, ours string) representation {
	if ours != "" {
		if c.accepts(ours) {
			return representation{ours: ours, varies: true}
		}
		return representation{decode: ours, varies: true}
	}
	theirs := strings.ToLower(field(fields, "Content-Encoding"))
	switch {
	case theirs == "" || theirs == "identity":
		return representation{}
	case c.accepts(theirs), noTransform(fields):
		return representation{varies: true}
	case encoding.Decodable(theirs):
		return representation{decode: theirs, theirs: true, varies: true}
	}
	// The upstream was asked for nothing but what can be undone here and chose
	// this all the same: it would send it to this client too.
	return representation{varies: true}
}

// mustNotDecode says whether an answer is no use to this client, because it
// cannot decode it and nobody may for it (RFC 9111, section 5.2.2.6).
func (c *call) mustNotDecode(fields []store.Field) bool {
	theirs := strings.ToLower(field(fields, "Content-Encoding"))
	return theirs != "" && theirs != "identity" && !c.accepts(theirs) && noTransform(fields)
}

// changed says whether the bytes are not those that the upstream's ETag is of.
func (r *representation) changed() bool { return r.ours != "" || r.theirs }

// etag is the entity tag to send: a strong one becomes weak when the bytes are
// others than the upstream's (RFC 9110, section 8.8.3).
func (r *representation) etag(tag string) string {
	if r.changed() && strings.HasPrefix(tag, `"`) {
		return "W/" + tag
	}
	return tag
}
