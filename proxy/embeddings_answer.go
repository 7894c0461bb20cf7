package proxy

import (
	"net/http"

	"jaegis-proxy/policy"
)

// complete gets what is missing and answers. What is stale is fetched anew
// together with it.
func (b *batch) complete(generation uint64) (streaming bool, err error) {
	c, p := b.c, b.c.p
	if p.full() {
		if b.isComplete(policy.StaleOnError) {
			c.detail = "over-capacity"
			return b.deliver()
		}
		return false, errOverCapacity
	}
	if c.route.CancelAbandoned && c.watch == nil {
		c.watch = watch(p.ctx, c.ctx.Conn())
	}
	asksAnew := c.cc.NoCache || c.asksAnew()
	if asksAnew {
		c.forward = "request"
	}
	for round := 0; ; round++ {
		wanted := b.wanted(policy.Fresh)
		if len(wanted) == 0 {
			return b.deliver()
		}
		alone := asksAnew || round == rounds // then all of it comes, or the client has its answer
		own, others := b.claim(wanted, alone)
		if !alone {
			own = b.recheck(own, generation)
		}
		if len(own) > 0 {
			if streaming, err, done := b.collect(b.begin(own, fetchShared), own, others); done {
				return streaming, err
			}
		}
		if err := b.await(others); err != nil {
			return false, err
		}
		if !alone {
			generation, c.asked = p.flights.Generation(), p.now()
			b.find(b.wanted(policy.Fresh)) // a flight may have been called off because of what is stored
			b.agree()
		}
	}
}

// rounds is how often a request waits for what others fetch.
const rounds = 2

// collect takes what the fetch has brought. It is done when the client has its
// answer: what the upstream says to all that the client asked for, or what it
// says when it does not do as it should.
func (b *batch) collect(x *itemFetch, own, others []*item) (streaming bool, err error, done bool) {
	c, f := b.c, x.l.f
	head, err := f.Head(c.waiting())
	if (err != nil || c.failed(&head)) && b.canBeStale(own, others) {
		f.Leave()
		return b.deliverStale()
	}
	if err != nil || x.whole || head.status/100 != 2 {
		streaming, err = c.p.follow(c, f, Miss)
		return streaming, err, true
	}
	body, err := drain(c.waiting(), f, !head.decision.Store)
	switch {
	case err != nil && b.canBeStale(own, others):
		return b.deliverStale()
	case err != nil:
		return false, err, true
	}
	<-f.Settled() // the leader only computes between the end and the verdict
	entries := x.entries
	if !head.decision.Store && head.status == http.StatusOK && x.l.gate() == "" {
		entries = x.entriesOf(&head, body) // for this client alone
	}
	if entries == nil && x.l.isErrorAlone() { // asking again would bring no other
		cs := cacheStatus{outcome: Miss, forward: c.forward, status: head.status, detail: string(policy.ReasonAnswerError)}
		c.reply(head.status, head.fields, &representation{}, cs, -1)
		c.ctx.Response.SetBody(body)
		return false, nil, true
	}
	for i, it := range own {
		if entries == nil || !b.read(it, entries[i]) {
			streaming, err = b.passWhole("items")
			return streaming, err, true
		}
		it.state, it.from = policy.Fresh, fromUpstream
	}
	b.brought, b.stored = head.fields, x.shared
	return false, nil, false
}

// canBeStale says whether there is an entry for every item, stale or not, now
// that the fetch of its own has failed. It waits for the others if it may
// depend on them.
func (b *batch) canBeStale(own, others []*item) bool {
	for _, it := range own {
		if it.state > policy.StaleOnError {
			return false
		}
	}
	return b.await(others) == nil && b.isComplete(policy.StaleOnError)
}

// deliverStale answers, for a fetch that has failed, with what there is.
func (b *batch) deliverStale() (streaming bool, err error, done bool) {
	b.c.detail, b.c.asked = failedUpstream, b.c.p.now()
	streaming, err = b.deliver()
	return streaming, err, true
}

// passWhole sends the client's own request upstream, for it alone.
func (b *batch) passWhole(reason string) (streaming bool, err error) {
	c := b.c
	c.watch.stop() // pass has a watch of its own
	c.watch = nil
	b.leave()
	return c.p.pass(c, reason)
}

// isComplete says whether there is an entry in this state or better for every
// item.
func (b *batch) isComplete(state policy.State) bool { return len(b.wanted(state)) == 0 }

// deliver answers with the items' vectors.
func (b *batch) deliver() (streaming bool, err error) {
	c := b.c
	e := b.join()
	if e == nil { // vectors of different models, or in different forms, are no one answer
		return b.passWhole("mixed")
	}
	switch {
	case !b.isComplete(policy.Fresh):
		return c.deliver(e, Stale)
	case b.count(fromStore) == len(b.at):
		return c.deliver(e, Hit)
	}
	cs := cacheStatus{outcome: Joined, forward: c.forward, detail: b.detail()}
	fields := e.Header
	if mine := b.count(fromUpstream); mine > 0 {
		cs.outcome, cs.status, cs.stored = Miss, http.StatusOK, b.stored
		if mine == len(b.at) {
			fields = ofJoined(b.brought)
		}
	}
	c.reply(http.StatusOK, fields, &representation{}, cs, -1)
	switch saved, _ := b.economics(); {
	case cs.outcome == Joined:
		c.p.savings.saved(c.route.Name, c.tenant(), saved, e.UpstreamTime)
	case saved.In > 0:
		c.p.savings.saved(c.route.Name, c.tenant(), saved, 0) // it had to wait all the same
	}
	return c.sendStored(e, "")
}
