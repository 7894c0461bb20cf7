package proxy

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/policy"
	"jaegis-proxy/store"
)

// ask asks the upstream: for an answer or, when one is stored that it can
// confirm, whether that is still good (RFC 9111, section 4.3). A confirmation
// that speaks of another answer is no use, and the whole is asked for.
func (l *leader) ask() (*Response, error) {
	if remainder := l.remainder(); remainder != nil {
		return l.askFor(remainder, func(resp *Response) bool {
			if l.completes(resp) {
				l.complete(resp)
				return true
			}
			return resp.Status != http.StatusPartialContent && resp.Status != http.StatusRequestedRangeNotSatisfiable
		})
	}
	condition := l.condition()
	if condition == nil {
		return l.do(l.f.Context())
	}
	return l.askFor(condition, func(resp *Response) bool {
		l.confirmed = resp.Status == http.StatusNotModified && policy.Confirms(originHeader(l.stored), resp.Header)
		return l.confirmed || resp.Status != http.StatusNotModified
	})
}

// askFor asks for less than the whole, by more fields than the request has. An
// answer that is of no use is dropped, and the whole is asked for.
func (l *leader) askFor(fields http.Header, useful func(*Response) bool) (*Response, error) {
	plain := l.req.Header
	l.req.Header = plain.Clone()
	for name, values := range fields {
		l.req.Header[name] = values
	}
	resp, err := l.do(l.f.Context())
	l.req.Header = plain
	if err != nil || useful(resp) {
		return resp, err
	}
	_ = resp.Body.Close() // nobody wants it
	return l.do(l.f.Context())
}

// condition gives the fields by which the stored answer is validated; nil when
// the upstream cannot be asked to.
func (l *leader) condition() http.Header {
	if l.stored == nil || l.why == fetchPass || l.about.Method != http.MethodGet {
		return nil
	}
	return policy.Conditional(originHeader(l.stored))
}

// confirm makes the head of a stored answer that the upstream has confirmed:
// its fields are those of the confirmation where that has any (section 4.3.4).
func (l *leader) confirm(resp *Response) *answerHead {
	now := l.p.now()
	var cookies []store.Field
	for _, v := range resp.Header["Set-Cookie"] {
		cookies = append(cookies, store.Field{Name: "Set-Cookie", Value: v})
	}
	resp.Header.Del("Set-Cookie") // of this confirmation, not of what is stored
	merged := policy.Freshen(originHeader(l.stored), resp.Header)
	d := policy.Decide(&l.route.Rule, &l.about, &policy.Response{Status: l.stored.Status, Header: merged, Framed: true}, now)
	l.lookAgain(l.stored, merged, &d)
	e := *l.stored
	e.Lifetime, e.Asked, e.Stamp, e.Source = policy.Lifetime{StoredAt: now}, l.asked, l.stamp, "upstream"
	refielded(&e, endToEnd(merged))
	if e.Tags = l.retag(l.stored, e.Header); d.Store && overTagged(e.Tags) {
		refuse(&d, policy.ReasonTags)
	}
	if d.Store {
		e.Lifetime = d.Lifetime
	} else {
		l.p.forget(l.keys.base, l.route) // before the client sees the answer
	}
	l.remember(&d)
	at := l.place(&d)
	at.alias, _ = l.keys.inLanguage(at, e.Header)
	return &answerHead{status: e.Status, fields: e.Header, decision: d, at: at, asked: l.asked, stamp: l.stamp, tags: e.Tags, came: now, cookies: cookies, confirmed: &e}
}

// updateByHead brings a stored answer up to date with what HEAD says of it, or
// takes it out when it is another (section 4.3.5). It is done before the client sees the answer; the store gets it later.
func (l *leader) updateByHead(head *answerHead) {
	if l.stored == nil || head.status != http.StatusOK || l.stored.Status != http.StatusOK {
		return
	}
	header := toHeader(head.fields)
	if coding := "Content-Encoding"; head.length >= 0 && header.Get(coding) == field(l.stored.Header, coding) {
		header.Set("Content-Length", strconv.FormatInt(head.length, 10))
	}
	merged, ok := policy.HeadUpdate(originHeader(l.stored), header, l.stored.Length)
	if !ok {
		l.p.forget(l.keys.base, l.route)
		return
	}
	about := l.about
	about.Method = http.MethodGet
	d := policy.Decide(&l.route.Rule, &about, &policy.Response{Status: http.StatusOK, Header: merged, Framed: true}, l.p.now())
	l.lookAgain(l.stored, merged, &d)
	e := *l.stored
	e.Lifetime, e.Asked, e.Source = d.Lifetime, l.asked, ""
	refielded(&e, endToEnd(merged))
	if e.Tags = l.retag(l.stored, e.Header); !d.Store || overTagged(e.Tags) {
		l.p.forget(l.keys.base, l.route)
		return
	}
	where := l.place(&d)
	where.alias, _ = l.keys.inLanguage(where, e.Header)
	at := &answerHead{decision: d, at: where, came: l.asked} // its body was found then, and is no newer
	l.p.fills.begin(l.keys.base)
	if !l.p.o.Writes.Submit(e.Size(), func(ctx context.Context) {
		defer l.p.fills.end(l.keys.base)
		l.p.write(ctx, l, at, &e)
	}) {
		l.p.fills.end(l.keys.base)
		l.p.metrics.notStored(l.route, "queue-full")
	}
}

// forgetTime bounds how long an answer waits for the store to forget another.
const forgetTime = 50 * time.Millisecond

// forget takes out what lies under a base key, all variants of it. What was
// asked for before that is not stored and given to nobody who asks later; nor
// is what was asked for meanwhile, which may have found the old signpost.
func (p *Proxy) forget(base cachekey.Key, route *Route) {
	p.invalidated.note(base, p.now())
	defer func() {
		p.fills.forget(base)
		p.invalidated.note(base, p.now())
	}()
	if err := p.remove(base); err != nil {
		p.owed.add(base)
		p.log.Warn("an answer that is no longer true could not be taken out of the store; this process does not use it", "route", route.Name, "error", err)
	}
}

func (p *Proxy) remove(base cachekey.Key) error {
	ctx, cancel := context.WithTimeout(p.ctx, forgetTime)
	defer cancel()
	return p.store.Delete(ctx, base)
}

// toHeader gives stored fields as a header.
func toHeader(fields []store.Field) http.Header {
	h := make(http.Header, len(fields))
	for _, f := range fields {
		h[f.Name] = append(h[f.Name], f.Value)
	}
	return h
}
