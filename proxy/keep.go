package proxy

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/internal/encoding"
	"jaegis-proxy/policy"
	"jaegis-proxy/store"
)

// entry makes what is stored out of a whole answer.
func (l *leader) entry(head *answerHead) (*store.Entry, error) {
	e := &store.Entry{
		Status:       head.status,
		Header:       head.fields,
		Tags:         l.tags(head.fields, head.at.key),
		Lifetime:     head.decision.Lifetime,
		Asked:        l.asked,
		Stamp:        l.stamp,
		UpstreamTime: l.p.now().Sub(l.started),
		Source:       "flight",
	}
	if err := l.body(e); err != nil {
		return nil, err
	}
	switch {
	case head.decision.Partial != nil && !head.decision.Alone:
		return l.combine(head, e)
	case l.completing && e.Length != head.length:
		return nil, errPart
	}
	if l.ai != nil {
		e.Header = ofNobody(e.Header)
		e.Usage = l.usage()
		if len(l.ai.chunks) > 0 {
			e.Events = eventsOf(field(e.Header, "Content-Type"), e.Body, l.ai.chunks)
		}
	}
	return e, nil
}

// keep stores the answer after the clients have their bytes. Until then the
// flight answers: it lands when the store has the entry, or will not have it.
func (p *Proxy) keep(l *leader, head *answerHead, e *store.Entry) {
	cost := e.Size()
	if e.Content != nil {
		cost += store.LargeBody // about what goes through memory at a time
	}
	if !p.o.Writes.Submit(cost, func(ctx context.Context) {
		defer l.land()
		if !p.wanted(l, head, e) { // it has waited: no more work for it
			return
		}
		compressed, done := p.compress(l.tagged(e))
		defer done()
		l.isStored = p.write(ctx, l, head, compressed)
	}) {
		p.metrics.notStored(l.route, "queue-full")
		l.land()
	}
}

// wanted says whether an answer is still to be stored.
func (p *Proxy) wanted(l *leader, head *answerHead, e *store.Entry) bool {
	switch {
	case l.outdated():
		return false
	case !p.now().Before(e.Lifetime.Expiry()):
		p.metrics.notStored(l.route, "expired")
		return false
	case p.o.Ledger(head.at.key.Namespace).Judge(head.at.key, e) == store.Purged:
		p.metrics.notStored(l.route, "purged")
		return false
	}
	return p.fills.isNewest(l.keys.base, head.at.key, head.came)
}

// write puts the entry where its Vary says, and a signpost there if need be.
// The signpost goes last: it never points to nothing that was not tried. What
// was made untrue meanwhile, or was overtaken by a newer answer, is taken out
// again. With a lease, all of it is refused once that is lost. It says whether
// the answer is there.
func (p *Proxy) write(ctx context.Context, l *leader, head *answerHead, e *store.Entry) bool {
	e, ok := l.group(ctx, e)
	if !ok || !p.wanted(l, head, e) {
		return false
	}
	if l.lease != nil {
		ctx = l.lease.Fence(ctx)
	}
	defer p.written.Set(l.keys.base, struct{}{})
	err := p.store.Put(ctx, head.at.key, e)
	if alias := head.at.alias; alias != (cachekey.Key{}) && err == nil && p.fills.isNewest(l.keys.base, alias, head.came) {
		err = p.store.Put(ctx, alias, e)
	}
	if err == nil && len(head.at.names) > 0 && !l.outdated() {
		err = p.store.Put(ctx, l.keys.base, l.signpost(head, e))
	}
	outdated, overtaken := l.outdated(), !p.fills.isNewest(l.keys.base, head.at.key, head.came)
	switch {
	case outdated:
		p.takeOut(l.keys.base)
	case overtaken:
		p.takeOut(head.at.key)
		if alias := head.at.alias; alias != (cachekey.Key{}) {
			p.takeOut(alias)
		}
	}
	switch {
	case errors.Is(err, store.ErrTooLarge):
		p.metrics.notStored(l.route, reasonTooLarge)
	case errors.Is(err, store.ErrGone):
		p.metrics.notStored(l.route, "body-gone")
	case errors.Is(err, store.ErrFenced):
		p.metrics.notStored(l.route, "lease-lost")
	case err != nil:
		p.metrics.notStored(l.route, "store-error")
		p.log.Debug("answer was not stored", "route", l.route.Name, "error", err)
	}
	return err == nil && !outdated && !overtaken
}

// takeOut takes out what must not stand, now or later.
func (p *Proxy) takeOut(key cachekey.Key) {
	if p.remove(key) != nil {
		p.owed.add(key)
	}
}

// signpost leads to the variants of an answer, for as long as the longest of
// them is kept.
func (l *leader) signpost(head *answerHead, e *store.Entry) *store.Entry {
	s := &store.Entry{Status: e.Status, Lifetime: e.Lifetime, Asked: l.asked, Stamp: l.stamp, Vary: head.at.names, Epoch: head.at.epoch}
	if l.sign != nil && l.sign.Epoch == head.at.epoch && l.sign.Lifetime.Expiry().After(s.Lifetime.Expiry()) {
		s.Lifetime = l.sign.Lifetime
	}
	return s
}

// compress gives the entry in the coding in which it is kept, when that saves
// a tenth at least. What it gives is good until done.
func (p *Proxy) compress(e *store.Entry) (small *store.Entry, done func()) {
	o := p.o.Compression
	if o.Coding == "" || e.Coding != "" || e.Status == http.StatusPartialContent || e.Length < max(o.MinSize, 1) || field(e.Header, "Content-Encoding") != "" ||
		!encoding.Compressible(field(e.Header, "Content-Type")) || noTransform(e.Header) || hasDigest(e.Header) {
		return e, func() {}
	}
	if e.Content != nil {
		if _, isNew := e.Content.(*spooledBody); !isNew {
			return e, func() {} // it was tried when it was
		}
		return p.compressLarge(e)
	}
	body, err := encoding.Compress(o.Coding, o.Level, e.Body)
	if err != nil || len(body) > len(e.Body)*9/10 {
		return e, func() {}
	}
	of := *e
	of.Body, of.Coding = body, o.Coding
	return &of, func() {}
}

// noTransform says whether the answer must be handed on as it is (RFC 9111,
// section 5.2.2.6).
func noTransform(fields []store.Field) bool {
	var lines []string
	for _, f := range fields {
		if f.Name == "Cache-Control" {
			lines = append(lines, f.Value)
		}
	}
	return policy.ParseDirectives(lines).NoTransform
}

// hasDigest says whether a field tells what the very bytes of the body are.
func hasDigest(fields []store.Field) bool {
	return slices.ContainsFunc(fields, func(f store.Field) bool { return digestField(f.Name) })
}

func digestField(name string) bool {
	switch name {
	case "Content-Digest", "Content-Md5", "Digest", "Repr-Digest":
		return true
	}
	return false
}
