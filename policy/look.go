package policy

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Look says what is looked for in the answers of a route beyond what Decide
// reads: whether they may be stored, how long what they name can be used, and
// the tags by which they can be purged. Prepare makes it ready; from then on it
// is read-only and safe for concurrent use.
type Look struct {
	When    []Condition // all of them must hold for an answer to be stored
	Pending bool        // a JSON answer that says of itself that the work is not done is not stored; see pendingPlaces
	Expiry  Expiry
	Tags    []TagSource // values of the body that are tags

	root   place
	places []*place // by id
}

// place is a place in JSON texts that a pointer names, or one on the way there.
type place struct {
	id       int
	members  map[string]*place
	elements map[int]*place

	wanted  bool // its value is looked at
	pending bool
	expires bool
	tags    []string // what is put before its value, for each tag that it makes
}

// Prepare checks the pointers. It is called once, before all else.
func (l *Look) Prepare() error {
	l.root, l.places = place{}, nil
	for i := range l.When {
		c := &l.When[i]
		if c.JSON == "" {
			continue
		}
		p, err := l.at(c.JSON)
		if err != nil {
			return err
		}
		p.wanted, c.at = true, p.id
	}
	if l.Pending {
		for _, pointer := range pendingPlaces() {
			p, err := l.at(pointer)
			if err != nil {
				return err
			}
			p.wanted, p.pending = true, true
		}
	}
	for _, pointer := range l.Expiry.JSON {
		p, err := l.at(pointer)
		if err != nil {
			return err
		}
		p.wanted, p.expires = true, true
	}
	for _, t := range l.Tags {
		p, err := l.at(t.Pointer)
		if err != nil {
			return err
		}
		p.wanted, p.tags = true, append(p.tags, t.Prefix)
	}
	return nil
}

// at gives the place that a JSON pointer (RFC 6901) names, making it where it
// is missing. A number names an element of an array and a member of an object
// alike.
func (l *Look) at(pointer string) (*place, error) {
	if !strings.HasPrefix(pointer, "/") {
		return nil, fmt.Errorf("JSON pointer %q: must begin with /", pointer)
	}
	p := &l.root
	for part := range strings.SplitSeq(pointer[1:], "/") {
		if strings.Contains(strings.NewReplacer("~0", "", "~1", "").Replace(part), "~") {
			return nil, fmt.Errorf("JSON pointer %q: ~ must be written ~0", pointer)
		}
		token := strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		next := p.members[token]
		if next == nil {
			next = &place{id: len(l.places)}
			l.places = append(l.places, next)
			if p.members == nil {
				p.members, p.elements = map[string]*place{}, map[int]*place{}
			}
			p.members[token] = next
			if i, err := strconv.Atoi(token); err == nil && i >= 0 && strconv.Itoa(i) == token {
				p.elements[i] = next
			}
		}
		p = next
	}
	return p, nil
}

// Head judges what stands in the head of an answer.
func (l *Look) Head(status int, header http.Header) Reason {
	for i := range l.When {
		c := &l.When[i]
		switch {
		case len(c.Status) > 0 && !slices.Contains(c.Status, status):
			return ReasonWhenStatus
		case c.Header != "":
			lines := header.Values(c.Header)
			if !c.holds(subject{present: len(lines) > 0, scalar: true, text: strings.Join(lines, ", ")}) {
				return ReasonWhenHeader
			}
		}
	}
	return ""
}

// asks says whether a condition asks for something in the body.
func (l *Look) asks() bool {
	return slices.ContainsFunc(l.When, func(c Condition) bool { return c.JSON != "" })
}

// Strict says whether an answer whose body is looked into is not stored unless
// that can be read.
func (l *Look) Strict() bool { return len(l.Tags) > 0 || l.asks() }

// Reads says whether the body of an answer with this Content-Type is looked
// into: always where a condition asks for something there, else if it is JSON.
func (l *Look) Reads(contentType string) bool {
	return l.asks() || (l.Pending || len(l.Tags) > 0 || l.Expiry.reads()) && isJSON(contentType)
}

// isJSON says whether a Content-Type is that of one JSON text.
func isJSON(contentType string) bool {
	essence, _, err := mime.ParseMediaType(contentType)
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return false
	}
	return essence == "application/json" || essence == "text/json" || strings.HasSuffix(essence, "+json")
}

// The reasons why what was found, or was not, keeps an answer from being stored.
const (
	ReasonWhenStatus Reason = "store-when-status"
	ReasonWhenHeader Reason = "store-when-header"
	ReasonWhenJSON   Reason = "store-when-json"
	ReasonNotJSON    Reason = "not-json"   // and it would have to be, to be judged
	ReasonUnreadable Reason = "unreadable" // its Content-Encoding cannot be undone, or gives too much
	ReasonPending    Reason = "pending"    // it says itself that the work is not done
	ReasonExpired    Reason = "expires"    // what it names cannot be used any more, or hardly
	ReasonTags       Reason = "too-many-tags"
	ReasonTag        Reason = "bad-tag" // one that is too long, or no single value
)

// Found is what there is in an answer's body.
type Found struct {
	Reason  Reason    // why the answer must not be stored; empty when it may
	Expires time.Time // when the first of what it names ends; zero when nothing does
	Tags    []string
}

// ofOneRequest are the reasons that speak of what an answer says: it is not
// given to others either, who may be told something else by now.
func (r Reason) ofOneRequest() bool {
	switch r {
	case ReasonWhenStatus, ReasonWhenHeader, ReasonWhenJSON, ReasonNotJSON, ReasonUnreadable, ReasonPending:
		return true
	}
	return false
}

// Shareable says whether an answer that is not stored for this reason, which
// a Look gave, may still be given to those who wait for the same.
func (r Reason) Shareable() bool { return !r.ofOneRequest() }

// Unfinished says that the answer is no final one: what was stored before is
// not the last word any more.
func (r Reason) Unfinished() bool { return r.ofOneRequest() }
