package policy

import (
	"bytes"
	"slices"
	"time"
)

// Reading looks into the JSON body of one answer as it comes. What it keeps is
// bounded, whatever comes. It is for one goroutine.
type Reading struct {
	look  *Look
	base  time.Time // from which relative times count
	scan  jsonScanner
	stack []opened

	at    *place // of the value that is read; nil for one that nobody named
	timed timing // whether the value is a time by its member's name
	tagOf *place // the place in whose array it is, which makes tags
	kind  byte
	keeps bool   // the text is wanted
	kept  []byte // what there is of it
	long  bool   // there was more

	seen   []seen // by id of places
	links  links
	ends   time.Time
	tags   []string
	tagBad bool
}

// opened is an object or array that has begun and not ended.
type opened struct {
	at     *place // nil: nothing in it was named
	tagOf  *place
	array  bool
	n      int    // elements so far
	next   *place // of the member whose name came last
	timing timing
}

// seen is what came at a place.
type seen struct {
	subject
	times int // more than once, readers could see either
	ended bool
}

type timing uint8

const (
	noTime timing = iota
	moment
	seconds
)

// maxKept bounds what is kept of one text, in bytes: more than anything that is
// compared, a time or a tag.
const maxKept = 512

// Reader gives a Reading for an answer that came at the time of base, see Base.
func (l *Look) Reader(base time.Time) *Reading {
	r := &Reading{look: l, base: base, seen: make([]seen, len(l.places))}
	r.scan.to = r
	r.links.found = func(link string) { r.ends = earlier(r.ends, linkEnd(link, base)) }
	return r
}

// Write takes more of the body. It does not fail.
func (r *Reading) Write(p []byte) (int, error) {
	r.scan.write(p)
	return len(p), nil
}

// Refused gives the reason for which the answer is not stored whatever comes
// yet; empty while there is none.
func (r *Reading) Refused() Reason {
	if r.scan.bad && r.look.Strict() {
		return ReasonNotJSON
	}
	for i := range r.look.When {
		c := &r.look.When[i]
		if c.JSON == "" {
			continue
		}
		if s := &r.seen[c.at]; s.ended && !c.holds(s.subject) {
			return ReasonWhenJSON
		}
	}
	if r.look.Pending && !r.scan.bad && slices.ContainsFunc(r.look.places, r.isPending) {
		return ReasonPending
	}
	return ""
}

func (r *Reading) isPending(p *place) bool {
	s := &r.seen[p.id]
	return p.pending && s.ended && s.scalar && isPending(s.text)
}

// Found gives what there is in the whole body.
func (r *Reading) Found() Found {
	whole := r.scan.whole()
	f := Found{Expires: r.ends, Tags: r.tags}
	for _, s := range r.seen {
		whole = whole && s.times <= 1
	}
	switch {
	case !whole && (r.look.asks() || r.look.Strict() && r.scan.begun()):
		f.Reason = ReasonNotJSON
	case r.Refused() != "":
		f.Reason = r.Refused()
	case r.tagBad:
		f.Reason = ReasonTag
	case len(r.tags) > MaxTags:
		f.Reason = ReasonTags
	}
	for i := range r.look.When { // what has not come
		c := &r.look.When[i]
		if c.JSON != "" && f.Reason == "" && !c.holds(r.seen[c.at].subject) {
			f.Reason = ReasonWhenJSON
		}
	}
	return f
}

func (r *Reading) top() *opened {
	if len(r.stack) == 0 {
		return nil
	}
	return &r.stack[len(r.stack)-1]
}

// begin implements jsonEvents.
func (r *Reading) begin(kind byte) {
	r.at, r.timed, r.tagOf, r.kind = &r.look.root, noTime, nil, kind
	if in := r.top(); in != nil {
		r.at, r.timed = in.next, in.timing
		if in.array {
			r.at, r.tagOf = nil, in.tagOf
			if in.at != nil {
				r.at = in.at.elements[in.n]
			}
			in.n++
		}
	}
	if r.at != nil && r.at != &r.look.root {
		s := &r.seen[r.at.id]
		s.times++
		s.subject = subject{present: true}
	}
	if kind == '{' || kind == '[' {
		r.stack = append(r.stack, opened{at: r.at, array: kind == '[', tagOf: r.arrayOfTags()})
		if r.tagOf != nil || kind == '{' && r.at != nil && len(r.at.tags) > 0 {
			r.tagBad = true // no single value
		}
		return
	}
	r.keeps = r.timed != noTime || r.tagOf != nil || r.at != nil && r.at.wanted
	r.kept, r.long = r.kept[:0], false
	if kind == '"' && r.look.Expiry.SignedLinks {
		r.links.begin()
	}
}

// arrayOfTags is the place of an array whose elements are tags.
func (r *Reading) arrayOfTags() *place {
	if r.kind == '[' && r.at != nil && len(r.at.tags) > 0 {
		return r.at
	}
	return nil
}

// name implements jsonEvents.
func (r *Reading) name() {
	r.kind, r.keeps, r.long, r.kept = 0, true, false, r.kept[:0]
}

// named implements jsonEvents.
func (r *Reading) named() {
	in := r.top()
	in.next, in.timing = nil, noTime
	if r.long {
		return
	}
	if in.at != nil {
		in.next = in.at.members[string(r.kept)]
	}
	if r.look.Expiry.Members {
		in.timing = timingOf(string(r.kept))
	}
}

func timingOf(name string) timing {
	switch name {
	case "expires_at", "expiresAt":
		return moment
	case "expires_in", "expiresIn":
		return seconds
	}
	return noTime
}

// text implements jsonEvents.
func (r *Reading) text(p []byte) {
	if r.keeps {
		n := min(len(p), maxKept-len(r.kept))
		r.kept = append(r.kept, p[:n]...)
		r.long = r.long || n < len(p)
	}
	if r.kind == '"' && r.look.Expiry.SignedLinks {
		r.links.write(p)
	}
}

// end implements jsonEvents.
func (r *Reading) end(kind byte) {
	if kind == '{' || kind == '[' {
		if at := r.top().at; at != nil && at != &r.look.root {
			r.seen[at.id].ended = true
		}
		r.stack = r.stack[:len(r.stack)-1]
		return
	}
	if kind == '"' && r.look.Expiry.SignedLinks {
		r.links.end()
	}
	if word := literal(kind); word != "" {
		r.kept = append(r.kept[:0], word...)
	}
	if r.at != nil && r.at != &r.look.root {
		s := &r.seen[r.at.id]
		s.ended = true
		if r.keeps && !r.long {
			s.subject = subject{present: true, scalar: true, text: string(r.kept)}
		}
	}
	r.note(kind)
}

func literal(kind byte) string {
	switch kind {
	case 't':
		return "true"
	case 'f':
		return "false"
	case 'n':
		return "null"
	}
	return ""
}

// note takes down what a value that is no object or array says of times and
// tags.
func (r *Reading) note(kind byte) {
	if kind == '"' || kind == '0' {
		if r.timed != noTime && !r.long {
			r.ends = earlier(r.ends, momentAt(string(r.kept), r.timed == seconds, r.base))
		}
		if r.at != nil && r.at.expires && !r.long {
			r.ends = earlier(r.ends, momentAt(string(r.kept), false, r.base))
		}
	}
	if r.at != nil {
		r.tag(kind, r.at.tags)
	}
	if r.tagOf != nil {
		r.tag(kind, r.tagOf.tags)
	}
}

// tag makes tags of a value. null and what is empty are no tags.
func (r *Reading) tag(kind byte, prefixes []string) {
	if kind == 'n' || kind == '"' && len(r.kept) == 0 {
		return
	}
	for _, prefix := range prefixes {
		tag := prefix + string(r.kept)
		switch {
		case r.long || !validTag(tag):
			r.tagBad = true
		case len(r.tags) <= MaxTags && !slices.Contains(r.tags, tag): // one too many tells
			r.tags = append(r.tags, tag)
		}
	}
}

// links finds links in a string that comes in pieces: what begins with http://
// or https://, and a string that begins with "/".
type links struct {
	found   func(string)
	link    []byte
	matched int  // of "https://", its s being optional
	inside  bool // link is one
	first   bool // nothing of the string has come yet
}

func (l *links) begin() { l.link, l.matched, l.inside, l.first = l.link[:0], 0, false, true }

func (l *links) write(p []byte) {
	if len(p) > 0 && l.first {
		l.first, l.inside = false, p[0] == '/'
	}
	for i := 0; i < len(p); i++ {
		if !l.inside && l.matched == 0 { // pass over what begins nothing: files in base64, say
			next := bytes.IndexByte(p[i:], 'h')
			if next < 0 {
				return
			}
			i += next
		}
		switch c := p[i]; {
		case !l.inside:
			l.match(c)
		case endsLink(c):
			l.end()
		case len(l.link) < maxLink:
			l.link = append(l.link, c)
		}
	}
}

// match looks for the beginning of a link.
func (l *links) match(c byte) {
	const scheme = "http://"
	switch {
	case c == 's' && l.matched == 4: // https
	case c == scheme[l.matched]:
		l.matched++
	case c == 'h':
		l.matched = 1
	default:
		l.matched = 0
	}
	if l.matched == len(scheme) {
		l.matched, l.inside = 0, true
	}
}

// end ends a link, and a string.
func (l *links) end() {
	if l.inside && len(l.link) > 0 {
		l.found(string(l.link))
	}
	l.link, l.inside, l.matched = l.link[:0], false, 0
}

// endsLink says whether a link cannot have the character.
func endsLink(c byte) bool {
	switch c {
	case '"', '<', '>', '\\', '^', '`', '{', '|', '}', ')', ']', '\'':
		return true
	}
	return c <= ' ' || c >= 0x7f
}
