package proxy

import (
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/policy"
	"jaegis-proxy/store"
)

// Parts of representations (RFC 9110, section 14, and RFC 9111, section 3.3 and
// 3.4): where nothing whole is stored, a part that is asked for is fetched by
// itself. A part that is known to fit with others lies where the whole would,
// grows with the parts that come to it, and becomes the whole when a request
// for that fetches the rest. Any other part lies under a key of its own.

// wantsPart says whether the upstream is to be asked for the part that the
// client wants: with HTTP's own freshness, where nothing whole is stored that
// it could confirm.
func (c *call) wantsPart() bool {
	if c.head.names&nameBit("Range") == 0 || c.method != http.MethodGet || c.stored != nil ||
		c.route.Rule.Freshness != policy.FreshnessOrigin {
		return false
	}
	_, _, ok := policy.ParseRange(c.header("Range"), math.MaxInt64)
	return ok
}

// landing is a part on its way to the store.
type landing struct{ f *inFlight }

// arriving makes the part known that the leader brings, until it has landed.
func (l *leader) arriving() {
	l.landing = &landing{l.f}
	l.p.landings.Store(l.keys.own, l.landing)
}

// arrived gives the part whose last byte was sent, while it is not in the store
// yet, so that who asks for parts one after another finds the last one; nil
// when there is none, or none for this call. Beside it is the key under which it
// will lie.
func (p *Proxy) arrived(c *call) (*store.Entry, cachekey.Key) {
	v, ok := p.landings.Load(c.keys.own)
	if !ok || !v.(*landing).f.Ended() {
		return nil, cachekey.Key{}
	}
	f := v.(*landing).f
	<-f.Settled() // the leader only computes between the end and the verdict
	head, err := f.Head(c.waiting())
	at := head.at
	at.alone = false // the key of an answer to another Range is another
	if e := f.Value(); err == nil && e != nil && !head.decision.Alone && head.decision.Share &&
		at.key == c.keys.at(&at) && !c.outdated(&head) {
		return e, at.key
	}
	return nil, cachekey.Key{}
}

// usePart says what a stored part in this state is for this request. A part
// that is not fresh is of no use; one that does not answer the request may
// still be a beginning of what does, which lies under the key then.
func (c *call) usePart(e *store.Entry, state policy.State, key cachekey.Key) (*store.Entry, policy.State) {
	if state != policy.Fresh {
		return nil, policy.Expired
	}
	part, fits := partOf(e)
	if e.Status == http.StatusOK || !fits || c.within(e, part) { // what fits with nothing was found as the answer to this very Range
		return e, policy.Fresh
	}
	c.part, c.partKey = e, key
	return nil, policy.Expired
}

// within says whether the client wants nothing but what the part holds.
func (c *call) within(e *store.Entry, part policy.ContentRange) bool {
	if c.head.names&nameBit("Range") == 0 || c.method != http.MethodGet || !c.sameRepresentation(e, &representation{}) {
		return false
	}
	ranges, satisfiable, ok := policy.ParseRange(c.header("Range"), part.Size)
	w := window{e: e, first: part.First, size: part.Size}
	return ok && satisfiable && w.holds(ranges)
}

// partOf says which part of its representation an entry holds.
func partOf(e *store.Entry) (policy.ContentRange, bool) {
	if e.Status != http.StatusPartialContent {
		return policy.ContentRange{}, false
	}
	part, ok := policy.Part(toHeader(e.Header), e.Lifetime.StoredAt)
	return part, ok && part.Len() == e.BodySize()
}

// remainder gives the fields by which the upstream is asked for what a stored part
// lacks of the whole; nil when nothing stored is its beginning.
func (l *leader) remainder() http.Header {
	if l.part == nil || l.about.Range || l.about.Method != http.MethodGet || !l.takePart() {
		return nil
	}
	part, ok := partOf(l.part)
	if !ok || part.First != 0 || part.Last == part.Size-1 {
		return nil
	}
	validator := field(l.part.Header, "Etag")
	if validator == "" {
		validator = field(l.part.Header, "Last-Modified")
	}
	return http.Header{"Range": {"bytes=" + strconv.FormatInt(part.Last+1, 10) + "-"}, "If-Range": {validator}}
}

// completes says whether the answer is what the stored part lacks, and makes a
// whole with it that lies where the part did: one caller's part must not become
// the beginning of what another is given.
func (l *leader) completes(resp *Response) bool {
	if resp.Status != http.StatusPartialContent {
		return false
	}
	stored := toHeader(l.part.Header)
	have, _ := partOf(l.part)
	rest, ok := policy.Part(resp.Header, l.p.now())
	if !ok || !policy.Combinable(stored, resp.Header) || resp.Header.Get("Content-Encoding") != "" ||
		rest != (policy.ContentRange{First: have.Last + 1, Last: have.Size - 1, Size: have.Size}) {
		return false
	}
	d := policy.Decide(&l.route.Rule, &l.about, &policy.Response{
		Status: http.StatusOK, Header: l.completed(resp), Framed: resp.Framed,
	}, l.p.now())
	at := l.place(&d)
	return at.key == l.partKey
}

// completed is the head of the whole that the answer makes with the stored part.
func (l *leader) completed(resp *Response) http.Header {
	h := policy.Freshen(toHeader(l.part.Header), resp.Header)
	ofThePart(h)
	h.Del("Content-Range")
	return h
}

// complete makes the answer the whole: the stored part comes first.
func (l *leader) complete(resp *Response) {
	have, _ := partOf(l.part)
	resp.Header = l.completed(resp)
	resp.Status, resp.Length = http.StatusOK, have.Size
	l.prefix, l.completing = l.part.Body, true
}

// errPart is an answer that has not the length that its head tells.
var errPart = errors.New("the upstream's answer has another length than its head tells")

// combine joins a part with the one that was stored, where they touch and lie in
// the same place: one caller's part is not another's, nor one variant's. What has
// become the whole is stored as such.
func (l *leader) combine(head *answerHead, e *store.Entry) (*store.Entry, error) {
	part, ok := partOf(e)
	if !ok {
		return nil, errPart
	}
	if l.part == nil || head.at.key != l.partKey {
		return asWhole(e, part), nil
	}
	old, ok := partOf(l.part)
	stored, fields := toHeader(l.part.Header), toHeader(e.Header)
	if !ok || old.Size != part.Size || !policy.Combinable(stored, fields) {
		return asWhole(e, part), nil
	}
	if part.First > old.Last+1 || old.First > part.Last+1 { // apart: the larger one stays
		if part.Len() < old.Len() {
			return nil, nil
		}
		return asWhole(e, part), nil
	}
	joined := policy.ContentRange{First: min(old.First, part.First), Last: max(old.Last, part.Last), Size: part.Size}
	if joined.Len() > l.route.MaxObjectBytes {
		return asWhole(e, part), nil
	}
	if joined.Len() > joinedInMemory || !l.takePart() { // likewise
		if part.Len() < old.Len() {
			return nil, nil
		}
		return asWhole(e, part), nil
	}
	e, err := e.Load(l.p.ctx)
	if err != nil {
		return nil, err
	}
	if joined.Len() > joinable && joined.Len() < joined.Size && part.Len() < joined.Len()/8 {
		return nil, nil // what is there is worth more
	}
	body := make([]byte, joined.Len())
	copy(body[old.First-joined.First:], l.part.Body)
	copy(body[part.First-joined.First:], e.Body)
	merged := policy.Freshen(stored, fields)
	ofThePart(merged)
	merged.Set("Content-Range", joined.String())
	e.Header, e.Body, e.Length = endToEnd(merged), body, joined.Len()
	if e.Tags = l.retag(l.part, e.Header); overTagged(e.Tags) {
		l.p.metrics.notStored(l.route, policy.ReasonTags)
		return nil, nil
	}
	return asWhole(e, joined), nil
}

// takePart takes the stored part into memory, which is where parts are joined: if
// it is not too large for that, and there.
func (l *leader) takePart() bool {
	if l.part.BodySize() > joinedInMemory {
		return false
	}
	part, err := l.part.Load(l.p.ctx)
	if err == nil {
		l.part = part
	}
	return err == nil
}

// joinedInMemory bounds, in bytes, what is made of parts that are stored.
const joinedInMemory = 8 << 20

// ofThePart drops what is said of the bytes of one part alone.
func ofThePart(h http.Header) {
	h.Del("Content-Digest")
	h.Del("Content-Md5")
}

// joinable bounds what is written to the store for the parts that come one
// after another: joining is for small wholes, for large parts, and for what
// makes a whole.
const joinable = 1 << 20

// asWhole makes an entry of a part that is all there is one of the whole.
func asWhole(e *store.Entry, part policy.ContentRange) *store.Entry {
	if part.Len() == part.Size {
		e.Status = http.StatusOK
		e.Header = slices.DeleteFunc(slices.Clone(e.Header), func(f store.Field) bool { return f.Name == "Content-Range" })
	}
	return e
}
