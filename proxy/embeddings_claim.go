package proxy

import (
	"context"
	"errors"
	"io"
	"slices"

	"jaegis-proxy/policy"
)

// claim tells the items that are to be fetched for this request from those
// that others fetch already. Alone, it fetches all of them, and nobody waits
// for them; so it is with those that it has waited for in vain.
func (b *batch) claim(items []*item, alone bool) (own, others []*item) {
	for _, it := range items {
		if b.sit(it, alone || it.failed) {
			own = append(own, it)
		} else {
			others = append(others, it)
		}
	}
	return own, others
}

// sit takes a seat in the item's flight, and says whether that is this
// request's own to fetch.
func (b *batch) sit(it *item, alone bool) (isOwn bool) {
	p, stores := b.c.p, b.c.controls.stores()
	open := func() *inFlight { return p.newFlight(b.c, false) }
	if !alone && it.joinKey != it.keys.own { // perhaps it comes by the fetch that has just proven the caller
		it.flight = p.flights.Find(it.keys.own)
	}
	if !alone && !stores && it.flight == nil { // others are not to wait for what is not stored
		it.flight = p.flights.Find(it.joinKey)
	}
	switch {
	case it.flight != nil:
		return false
	case alone || !stores:
		it.flight, isOwn = open(), true
	default:
		it.flight, isOwn = p.flights.Join(it.joinKey, open)
	}
	return isOwn
}

// recheck looks the claimed items up again where flights have landed since the
// last look-up, and calls off what is not needed (see fetch).
func (b *batch) recheck(own []*item, generation uint64) []*item {
	p := b.c.p
	if p.flights.Generation() == generation {
		return own
	}
	b.find(own)
	return slices.DeleteFunc(own, func(it *item) bool {
		if it.state != policy.Fresh {
			return false
		}
		p.callOff(it.joinKey, it.flight)
		it.flight = nil
		return true
	})
}

// await takes what others have fetched. Items that it cannot be given stay as
// they are. The error says that the client has left, or the proxy ends.
func (b *batch) await(others []*item) error {
	c := b.c
	for _, it := range others {
		f := it.flight
		it.flight, it.failed = nil, true
		_, err := drain(c.waiting(), f, false)
		if gone := context.Cause(c.waiting()); gone != nil {
			return gone
		}
		if err != nil {
			continue
		}
		<-f.Settled()
		e := f.Value()
		head, err := f.Head(c.waiting())
		c.keys = it.keys
		if e == nil || err != nil || !c.mayShare(&head) {
			continue
		}
		state := policy.Usable(e.Lifetime, &c.cc, c.p.now())
		if state > policy.StaleOnError || !b.read(it, e) {
			continue
		}
		if it.state = state; state != policy.Fresh { // better than nothing, should the upstream fail
			continue
		}
		it.from, it.failed = fromOthers, false
		if !head.came.After(c.start) { // it was there already, if not in the store
			it.from = fromStore
		}
	}
	return nil
}

// leave gives back the seats that are left.
func (b *batch) leave() {
	for _, it := range b.items {
		if it.flight != nil {
			it.flight.Leave()
			it.flight = nil
		}
	}
}

// drain reads a flight to its end, and gives the body when it is wanted. The
// seat in it is given back.
func drain(ctx context.Context, f *inFlight, wanted bool) (body []byte, err error) {
	r := f.Reader(ctx)
	defer r.Close()
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return body, nil
		}
		if err != nil {
			return nil, err
		}
		if wanted {
			body = append(body, b...)
		}
	}
}

// refresh fetches stale items anew, in the background, that are about to be
// handed out (see Proxy.refresh).
func (b *batch) refresh(generation uint64) {
	p := b.c.p
	var stale []*item
	for _, it := range b.wanted(policy.Fresh) {
		if _, rests := p.resting.GetIfPresent(it.joinKey); !rests {
			stale = append(stale, it)
		}
	}
	if len(stale) == 0 || p.full() || !b.c.controls.stores() {
		return
	}
	own, _ := b.claim(stale, false)
	if own = b.recheck(own, generation); len(own) > 0 {
		b.begin(own, fetchRefresh).l.f.Leave()
	}
	b.leave()
}
