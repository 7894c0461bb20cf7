package proxy

import (
	"errors"
	"net/http"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/policy"
	"jaegis-proxy/store"
)

// lookup answers from the store if it can, and fetches otherwise.
func (p *Proxy) lookup(c *call) (streaming bool, err error) {
	generation := p.flights.Generation()
	c.ranged, c.asked, c.stamp = false, p.now(), c.ledger().Stamp()
	c.stored, c.fallback = nil, nil
	e, state := p.find(c)
	switch {
	case c.route.Shadow:
		return p.shadow(c, e, state)
	case c.controls.mode == writeOnly || c.controls.mode == refresh:
		return p.alone(c)
	case state == policy.Fresh:
		return c.deliver(e, Hit)
	case state == policy.Revalidate:
		if c.stored = e; !c.cc.OnlyIfCached && c.method != "HEAD" {
			p.refresh(c, generation)
		}
		return c.deliver(e, Stale)
	case c.cc.OnlyIfCached:
		if e := p.another(c, policy.Fresh); e != nil {
			return c.deliver(e, Hit)
		}
		return false, errOnlyIfCached
	case state == policy.StaleOnError:
		c.fallback = e
	}
	if c.stored = e; c.regrouped && c.method == "HEAD" {
		c.stored = nil // HEAD does not validate its body
	}
	return p.fetch(c, generation)
}

// find looks in the store. A store that fails counts as a miss. Where it finds
// a signpost it goes on to the variant that this request selects; where it
// finds nothing at all, the call's key is the caller's own.
func (p *Proxy) find(c *call) (*store.Entry, policy.State) {
	c.key, c.signpost, c.part, c.forward = c.keys.own, nil, nil, ""
	if c.blind || !c.mayUseShared() {
		return nil, policy.Expired
	}
	if c.route.ProofTTL > 0 {
		c.key = c.keys.base
	}
	e := p.getBase(c)
	if e != nil && len(e.Vary) > 0 {
		c.signpost = e
		if e = p.getVariant(c); e == nil && varies(c.signpost.Vary) {
			c.forward = "vary-miss"
		}
	}
	if e == nil || len(e.Vary) > 0 || e.Status < 200 || e.Status > 599 || c.route.forAll != nil && p.untrue(c.keys.base, e.Asked) {
		return nil, policy.Expired
	}
	c.regrouped = p.regrouped(c, e)
	state := c.usable(e, c.regrouped)
	if e.Status == http.StatusPartialContent {
		if e, state = c.usePart(e, state, c.key); c.part != nil {
			c.forward = "partial"
		}
		return e, state
	}
	if c.mustNotDecode(e.Header) {
		return nil, policy.Expired
	}
	if c.forward = "stale"; !c.regrouped && e.Lifetime.At(c.asked) == policy.Fresh {
		c.forward = "request"
	}
	return e, state
}

// usable says in which state an entry is for this request, given whether one of
// its groups was invalidated.
func (c *call) usable(e *store.Entry, regrouped bool) policy.State {
	if regrouped {
		return policy.Usable(e.Lifetime, &policy.Directives{NoCache: true}, c.asked)
	}
	return policy.Usable(e.Lifetime, &c.cc, c.asked)
}

// getBase gives what lies under the call's base key: a signpost, or an answer
// to it.
func (p *Proxy) getBase(c *call) *store.Entry {
	if c.route.forAll != nil && p.owed.has(c.keys.base) {
		return nil
	}
	e := p.get(c, c.keys.base)
	if e == nil || c.route.forAll != nil && p.untrue(c.keys.base, e.Asked) || len(e.Vary) == 0 && !c.keys.plain() {
		return nil
	}
	c.key = c.keys.base
	return e
}

// getVariant follows the call's signpost. What is not there for the request as
// it is may be there for the language that it prefers.
func (p *Proxy) getVariant(c *call) *store.Entry {
	names, epoch := c.signpost.Vary, c.signpost.Epoch
	c.key = c.keys.variant(names, epoch)
	e := p.get(c, c.key)
	if e != nil {
		return e
	}
	if key, ok := c.keys.preferred(names, epoch); ok {
		e = p.get(c, key)
	}
	if e == nil && c.wantsPart() {
		e = p.get(c, c.keys.part(c.key))
	}
	if e == nil || policy.Usable(e.Lifetime, &c.cc, c.asked) != policy.Fresh {
		return nil
	}
	return e
}

func (p *Proxy) get(c *call, key cachekey.Key) *store.Entry {
	e, err := p.store.Get(p.ctx, key)
	if err != nil {
		c.outage = c.outage || !errors.Is(err, store.ErrNotFound)
		return nil
	}
	return e
}

// fetch gets the answer from the upstream: by the flight that others wait for
// already, by a new one that they can join, or alone.
func (p *Proxy) fetch(c *call, generation uint64) (streaming bool, err error) {
	if p.full() && c.fallback == nil && c.route.Variants > 1 {
		c.fallback = p.another(c, policy.StaleOnError)
	}
	if p.full() && c.fallback != nil {
		c.detail = "over-capacity"
		return c.deliver(c.fallback, Stale)
	}
	if p.full() {
		return false, errOverCapacity
	}
	if c.route.CancelAbandoned && c.watch == nil {
		c.watch = watch(p.ctx, c.ctx.Conn())
	}
	// What the look-up found, or did not, is compared with what has landed since
	// then (see below); from here on nothing is forgotten of what is on its way.
	p.fills.begin(c.keys.base)
	defer p.fills.end(c.keys.base)
	if e, key := p.arrived(c); e != nil && !c.blind {
		if e, state := c.usePart(e, policy.Usable(e.Lifetime, &c.cc, c.asked), key); state == policy.Fresh {
			return c.deliver(e, Hit)
		}
	}
	if c.route.ProofTTL > 0 && c.key != c.keys.own {
		if f := p.flights.Find(c.keys.own); f != nil { // the one that has just proven this caller
			return p.follow(c, f, Joined)
		}
	}
	if f := p.findForAll(c); f != nil {
		return p.follow(c, f, Joined)
	}
	if c.wantsPart() {
		if f := p.flights.Find(c.key); f != nil { // the whole is coming, or about to be stored
			return p.follow(c, f, Joined)
		}
		c.ranged, c.wholeKey, c.key = true, c.key, c.keys.part(c.key)
	}
	if !c.controls.stores() { // others are not to wait for what is not stored
		if f := p.flights.Find(c.key); f != nil {
			return p.follow(c, f, Joined)
		}
		return p.alone(c)
	}
	if _, marked := p.uncacheable.GetIfPresent(c.key); marked || c.cc.NoCache || c.method == "HEAD" {
		p.findLanding(c, generation)
		return p.alone(c)
	}
	return p.join(c, generation)
}

// join waits for the fetch that others wait for already, or begins it.
func (p *Proxy) join(c *call, generation uint64) (streaming bool, err error) {
	f, leader := p.flights.Join(c.key, func() *inFlight { return p.newFlight(c, c.route.CancelAbandoned) })
	if !leader {
		return p.follow(c, f, Joined)
	}
	// Between our look-up and our joining, a flight may have landed: then the
	// answer is in the store, and whoever joined us meanwhile finds it there.
	if joined := c.key; p.flights.Generation() != generation {
		if e, state := p.find(c); state == policy.Fresh {
			p.callOff(joined, f)
			return c.deliver(e, Hit)
		}
		c.key = joined
	}
	p.startShared(c, f, fetchShared)
	return p.follow(c, f, Miss)
}

// findForAll takes a seat in a flight for another caller whose answer is for
// everybody, as far as is known of it by now; nil when there is none.
func (p *Proxy) findForAll(c *call) *inFlight {
	if c.key != c.keys.own || c.keys.all == c.keys.own || c.route.ProofTTL > 0 || c.cc.NoCache || c.asksAnew() || c.method != http.MethodGet {
		return nil
	}
	f := p.flights.Find(c.keys.all)
	if f == nil {
		return nil
	}
	head, ok := f.Known()
	if ok = ok && c.mayShare(&head); ok && f.Ended() {
		<-f.Settled() // the leader only computes between the end and the verdict
		ok = f.Value() != nil
	}
	if !ok {
		f.Leave()
		return nil
	}
	return f
}

// findLanding finds what is about to be stored, or has been since the look-up,
// for a request that validates it or brings it up to date.
func (p *Proxy) findLanding(c *call, generation uint64) {
	if c.stored != nil {
		return
	}
	key := c.key
	if f := p.flights.Find(key); f != nil {
		defer f.Leave()
		if f.Ended() {
			c.validate(f)
		}
	} else if p.flights.Generation() != generation {
		c.stored, _ = p.find(c)
		c.key = key
	}
}

// validate has the call validate what a flight has brought, if that is the
// answer that its request selects.
func (c *call) validate(f *inFlight) {
	<-f.Settled() // the leader only computes between the end and the verdict
	e := f.Value()
	head, err := f.Head(c.waiting())
	if e != nil && e.Content != nil {
		return // it goes with the flight
	}
	if err != nil || e == nil || e.Status == http.StatusPartialContent || !c.selects(&head) {
		return
	}
	if c.stored, c.forward = e, "request"; e.Lifetime.At(c.asked) != policy.Fresh {
		c.forward = "stale"
	}
}

// callOff ends a flight that is not needed, in which the caller has a seat.
// Whoever joined it looks again.
func (p *Proxy) callOff(joined cachekey.Key, f *inFlight) {
	p.flights.Forget(joined, f)
	f.Close(errLookAgain)
	f.Settle(nil)
	f.Leave()
	f.Done()
}

// errLookAgain tells those who joined a flight that it was not needed.
var errLookAgain = errors.New("the answer is in the store by now")

// alone fetches for one caller. What comes may still be stored.
func (p *Proxy) alone(c *call) (streaming bool, err error) {
	f := p.newFlight(c, c.route.CancelAbandoned)
	p.start(c, f, fetchShared)
	return p.follow(c, f, Miss)
}

// pass forwards a request that the cache has nothing to do with. It ends with
// its client.
func (p *Proxy) pass(c *call, reason string) (streaming bool, err error) {
	c.detail, c.keyed, c.forward = reason, false, "bypass"
	if reason == "method" {
		c.forward = reason
	}
	if c.cc.OnlyIfCached {
		return false, errOnlyIfCached
	}
	if p.full() {
		return false, errOverCapacity
	}
	c.watch = watch(p.ctx, c.ctx.Conn())
	why := fetchPass
	if reason == "method" && c.answersGET() {
		why = fetchPost
	}
	f := p.newFlight(c, true)
	p.start(c, f, why)
	if reason == "uncached-route" || reason == "method" {
		return p.follow(c, f, Pass)
	}
	return p.follow(c, f, Bypass)
}
