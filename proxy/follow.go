package proxy

import (
	"errors"
	"net/http"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/internal/encoding"
	"jaegis-proxy/policy"
	"jaegis-proxy/store"
)

// follow answers with what a flight brings, as it comes. The call has a seat
// in it and gives it back, at the latest when its stream ends. o is Joined for
// those who did not start the fetch.
func (p *Proxy) follow(c *call, f *inFlight, o Outcome) (streaming bool, err error) {
	if o == Joined && f.Ended() {
		if e := p.landed(c, f); e != nil {
			defer f.Leave() // not before its body is open
			return c.deliver(e, Hit)
		}
		if f.Value() == nil { // it will not be stored, and is for those who waited
			f.Leave()
			p.flights.Forget(c.key, f)
			return p.lookup(c)
		}
		if head, err := f.Head(c.waiting()); err == nil && !c.ranged && !c.outdated(&head) { // stored, and not for this call: it did not wait for this answer
			c.validate(f)
			f.Leave()
			return p.alone(c)
		}
	}
	head, err := f.Head(c.waiting())
	c.herald.end()
	if errors.Is(err, errLookAgain) {
		f.Leave()
		return p.lookup(c)
	}
	if err == nil && head.relayed && o == Miss { // it was fetched for somebody else after all
		o = Joined
	}
	if err != nil || c.failed(&head) {
		if streaming, failed := c.fallBack(head.status, o); !errors.Is(failed, errLost) {
			f.Leave()
			return streaming, failed
		}
	}
	if err != nil {
		f.Leave()
		return false, err
	}
	if o == Joined && c.outdated(&head) { // nobody is to join it any more
		f.Leave()
		p.flights.Forget(c.key, f)
		return p.lookup(c)
	}
	if o == Joined && !c.mayShare(&head) {
		f.Leave()
		c.heed(&head)
		return p.alone(c)
	}
	if head.confirmed != nil {
		f.Leave()
		if c.stores, c.waited = head.decision.Store, o == Joined; !c.waited {
			c.cookies = head.cookies
		}
		return c.deliver(head.confirmed, Revalidated)
	}
	if o == Joined && head.joined != nil {
		head.joined.add(c.tenant())
	}
	return p.sendLive(c, f, &head, o)
}

// fallBack answers with a stale answer where the upstream has failed, with that
// status. It is errLost if there is none, or no body to it: then the failure is
// all there is.
func (c *call) fallBack(status int, o Outcome) (streaming bool, err error) {
	if c.fallback == nil && c.route.Variants > 1 && o != Bypass && o != Pass {
		c.fallback = c.p.another(c, policy.StaleOnError)
	}
	if c.fallback == nil {
		return false, errLost
	}
	c.detail, c.asked, c.failure = failedUpstream, c.p.now(), status
	if streaming, err = c.give(c.fallback, Stale); errors.Is(err, errLost) {
		c.detail = ""
	}
	return streaming, err
}

// failedUpstream is the detail of a stale answer that was given because the
// upstream failed.
const failedUpstream = "upstream-error"

// landed waits for the verdict on an answer that has come in whole, and gives
// what will be stored: a client that asks again as soon as it has its answer
// gets a hit. It gives nil when there is nothing that this call may be given. The
// call's seat stays its own.
func (p *Proxy) landed(c *call, f *inFlight) *store.Entry {
	<-f.Settled() // the leader only computes between the end and the verdict
	e := f.Value()
	if e == nil {
		return nil
	}
	head, err := f.Head(c.waiting())
	if err != nil || !c.mayShare(&head) || policy.Usable(e.Lifetime, &c.cc, p.now()) != policy.Fresh {
		return nil
	}
	if part, fits := partOf(e); fits && !c.within(e, part) {
		return nil // its own bytes are the answer, what they were joined to is not
	}
	return e
}

// mayShare says whether the call may be given an answer that was fetched for
// another: where the verdict on it says so, and it is the variant that the
// call's request selects.
func (c *call) mayShare(head *answerHead) bool {
	return head.decision.Share && c.selects(head)
}

// selects says whether an answer is, true still, the variant that the call's
// request selects.
func (c *call) selects(head *answerHead) bool {
	if c.mustNotDecode(head.fields) || c.outdated(head) {
		return false
	}
	if head.at.key == c.keys.at(&head.at) {
		return true
	}
	preferred, ok := c.keys.preferred(head.at.names, head.at.epoch)
	return ok && preferred == head.at.alias
}

// outdated says whether an answer that was fetched for another was made untrue
// or purged since that was asked for.
func (c *call) outdated(head *answerHead) bool { return c.p.isOutdated(c.keys.base, c.origin(), head) }

// isOutdated is that of an answer under the base key, of the origin.
func (p *Proxy) isOutdated(base cachekey.Key, of origin, head *answerHead) bool {
	ledger := p.o.Ledger(base.Namespace)
	if head.untagged && ledger.Stamp() != head.stamp { // something was purged since: who knows whether it was this
		return true
	}
	e := store.Entry{Stamp: head.stamp, Asked: head.asked, Tags: head.tags}
	return ledger.Judge(head.at.key, &e) != store.Good || p.untrue(base, head.asked) || p.anyUntrue(of, groupsOf(head.fields), head.asked)
}

// heed takes over what another answer says of what selects among variants: its
// signpost may not be in the store yet, and ours must not take its place.
func (c *call) heed(head *answerHead) {
	if d := &head.decision; d.Store && len(head.at.names) > 0 {
		c.signpost = &store.Entry{Vary: head.at.names, Epoch: head.at.epoch, Lifetime: d.Lifetime}
	}
}

// sendLive streams from the flight.
func (p *Proxy) sendLive(c *call, f *inFlight, head *answerHead, o Outcome) (streaming bool, err error) {
	rep, shared := representation{}, o == Miss || o == Joined
	if shared && head.status != http.StatusPartialContent {
		rep = c.represent(head.fields, "") // what the client cannot decode it gets as it came
	}
	cs := cacheStatus{outcome: o, forward: c.forward, status: head.status, stored: head.decision.Store && !head.undecided && o == Miss && !c.outage, detail: c.missDetail(head)}
	if shared && c.notModified(head.status, head.fields, &rep, cs, -1) {
		f.Leave()
		return false, nil
	}
	fields := head.fields
	if o == Joined && c.route.readsAnswers() { // what speaks of the other caller's account is for that one
		fields = ofNobody(fields)
	}
	c.reply(head.status, fields, &rep, cs, -1)
	if c.method == "HEAD" || head.status == 204 || head.status == 304 {
		if rep.decode != "" {
			head.length = -1
		}
		c.promise(head.length)
		f.Leave()
		return false, nil
	}
	r := f.Reader(c.waiting())
	if rep.decode != "" {
		return c.send(decodeLive(rep.decode, r), -1)
	}
	return c.send(r, head.length)
}

// missDetail says why an answer that was fetched is not stored, or that the
// store was away.
func (c *call) missDetail(head *answerHead) string {
	switch {
	case c.detail != "":
		return c.detail
	case head.decision.Reason != "":
		return string(head.decision.Reason)
	case head.undecided: // all that can be told is how it was the last time
		if was, ok := c.p.refused.GetIfPresent(c.key); ok {
			return "was-" + string(was)
		}
	case c.outage:
		return "store-unavailable"
	}
	return ""
}

// decodeLive undoes a coding while the answer comes in.
func decodeLive(coding string, r *reader) source {
	d, err := encoding.NewReader(coding, r)
	if err != nil {
		r.Close()
		return &decoded{err: err}
	}
	return &decoded{r: d, close: func() { _ = d.Close(); r.Close() }} // the reader's own error came with Next
}
