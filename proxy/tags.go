package proxy

import (
	"io"
	"net/http"
	"strings"

	"jaegis-proxy/internal/encoding"
	"jaegis-proxy/policy"
	"jaegis-proxy/store"
)

// Tags says by what the answers of a route can be purged beside the tags in the
// header fields Cache-Tag, Surrogate-Key and Jaegis-Cache-Tags, and those in
// answers' bodies (see policy.Look).
type Tags struct {
	Headers []string     // fields of answers whose values are tags, with commas between
	Asked   []TagSource  // values of the JSON body of requests
	look    *policy.Look // for Asked
}

// TagSource is policy's.
type TagSource = policy.TagSource

func (r *Route) prepareLook() error {
	if r.Look != nil {
		if err := r.Look.Prepare(); err != nil {
			return err
		}
	}
	if len(r.Tags.Asked) == 0 {
		return nil
	}
	r.Tags.look = &policy.Look{Tags: r.Tags.Asked}
	return r.Tags.look.Prepare()
}

// readAskedTags reads the tags that the request's body has.
func (l *leader) readAskedTags() {
	rule := l.route.Tags.look
	if rule == nil || l.why == fetchPass || !rule.Reads(l.req.Header.Get("Content-Type")) {
		return
	}
	reading := rule.Reader(l.asked)
	body, err := l.req.Body.open()
	switch coding := l.req.Header.Get("Content-Encoding"); {
	case err != nil:
	case coding == "" && l.req.Body.spool == nil:
		_, err = reading.Write(l.req.Body.bytes)
	case encoding.Decodable(coding):
		err = l.readCoded(reading, coding, body)
	case coding == "":
		_, err = io.Copy(reading, body)
	default:
		err = encoding.ErrUnknown
	}
	found := reading.Found()
	if l.askedTags, l.tagFault = found.Tags, found.Reason; err != nil {
		l.tagFault = policy.ReasonUnreadable
	}
}

// headerTags are the tags that the head of an answer names.
func (l *leader) headerTags(header http.Header) []string {
	return policy.HeaderTags(header.Values, l.route.Tags.Headers)
}

// checkTags says why an answer with this head must not be stored: an answer that
// could not be purged by all of its tags would stay when it should go.
func (l *leader) checkTags(header http.Header) policy.Reason {
	if l.tagFault != "" {
		return l.tagFault
	}
	tags := l.headerTags(header)
	if reason := policy.CheckTags(tags); reason != "" {
		return reason
	}
	if len(tags)+len(l.bodyTags)+len(l.askedTags)+len(l.controls.tags) > policy.MaxTags {
		return policy.ReasonTags
	}
	return ""
}

// overTagged says whether these labels have more tags than an answer may have.
func overTagged(labels []string) bool {
	n := 0
	for _, label := range labels {
		if strings.HasPrefix(label, store.LabelTag) {
			n++
		}
	}
	return n > policy.MaxTags
}
