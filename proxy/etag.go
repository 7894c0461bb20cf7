package proxy

import (
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"

	"jaegis-proxy/policy"
	"jaegis-proxy/store"
)

// Entity tags of our own. An answer without one cannot be validated by clients,
// nor can what is left of a broken download be asked for. Where the route says
// how long answers hold, and not the origin, one is made of the digest of the
// body: clients validate with us then, and the origin is never shown it. Where
// the origin says (freshness: origin), validators are its own matter: a client
// would send ours with an If-Match that the origin has to fail.
//
// The tag is strong, and the same wherever the same bytes are stored. As any
// other it becomes weak for those who get the body in another coding.

// tagged gives e with a tag, if it is to have one.
func (l *leader) tagged(e *store.Entry) *store.Entry {
	if l.about.Method != http.MethodGet || e.Status != http.StatusOK || l.route.Rule.Freshness != policy.FreshnessRoute ||
		l.route.readsAnswers() || e.Coding != "" || e.Tagged || field(e.Header, "Etag") != "" {
		return e
	}
	body := &asReader{source: e.Open(l.p.ctx, 0, e.BodySize())}
	defer body.Close()
	h := sha256.New()
	if _, err := io.Copy(h, body); err != nil {
		return e
	}
	of := *e
	of.Tagged = true
	of.Header = withTag(e.Header, `"`+base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:18])+`"`)
	return &of
}

func withTag(fields []store.Field, tag string) []store.Field {
	return append(fields[:len(fields):len(fields)], store.Field{Name: "Etag", Value: tag})
}

// originHeader is the head of a stored answer as the origin knows it.
func originHeader(e *store.Entry) http.Header {
	h := toHeader(e.Header)
	if e.Tagged {
		h.Del("Etag")
	}
	return h
}

// refielded gives a stored answer e other fields, which its origin has said: a tag
// of ours stays, unless there is one of its own now.
func refielded(e *store.Entry, fields []store.Field) {
	tag := field(e.Header, "Etag")
	e.Header = fields
	if e.Tagged = e.Tagged && field(fields, "Etag") == ""; e.Tagged {
		e.Header = withTag(fields, tag)
	}
}
