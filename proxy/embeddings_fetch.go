package proxy

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/internal/protocol"
	"jaegis-proxy/policy"
	"jaegis-proxy/store"
)

// itemFetch is one request to the upstream for some items of a batch. It has a
// goroutine and a flight as any fetch has. Each item has a flight besides,
// under its own key, by which other requests wait for it; it ends when the
// answer has been taken apart, and lands when the store has the item.
//
// When the client leaves, the fetch goes on: it is paid for. On routes that
// cancel abandoned fetches it ends, also when others wait for an item: they
// then ask for themselves.
type itemFetch struct {
	l     *leader
	split *protocol.Batch
	items []ownItem
	whole bool // all that the client asked for, in its own bytes

	// Once the leader's flight is settled:
	entries []*store.Entry // of the items; nil when they could not be had
	shared  bool           // they are stored, and given to others
}

// ownItem is what a fetch needs to know of an item.
type ownItem struct {
	index, size   int
	base, joinKey cachekey.Key
	f             *inFlight
}

const (
	reasonItems policy.Reason = "items" // the answer does not give each item its vector
	reasonVary  policy.Reason = "vary"  // what selects the answer is not in the items' keys
)

// begin sets a fetch of the items going. The caller has a seat in its leader's
// flight. What the request was made of may outlive the call from now on.
func (b *batch) begin(own []*item, why purpose) *itemFetch {
	c, p := b.c, b.c.p
	c.pooled = nil // the batch reads from the body
	x := &itemFetch{split: b.split, whole: len(own) == b.split.Len()}
	for _, it := range own {
		x.items = append(x.items, ownItem{it.index, it.size, it.keys.base, it.joinKey, it.flight})
		p.fills.begin(it.keys.base)
		it.flight.Leave() // the seat is in the leader's
		it.flight = nil
	}
	body := c.body
	if !x.whole {
		body = Body{Declared: true, bytes: b.split.Request(x.indices())}
		body.Size = int64(len(body.bytes))
	}
	x.l = b.lead(body, why)
	for i := range x.items {
		x.items[i].f.Until(x.l.untrue(x.items[i].base))
	}
	if !x.whole {
		// The key names the client's request, which this is not.
		x.l.req.Header.Del("Idempotency-Key")
		x.l.req.Header.Del("X-Idempotency-Key")
	}
	p.leaders.Add(1)
	p.fetching.Add(1)
	go x.run()
	return x
}

// lead makes a leader for a request with this body.
func (b *batch) lead(body Body, why purpose) *leader {
	c, p := b.c, b.c.p
	if err := c.deriveKey(); err != nil {
		panic("BUG: " + err.Error()) // those of its items could be derived
	}
	l := p.newLeader(c, p.newFlight(c, c.route.CancelAbandoned && why != fetchRefresh), why, body)
	l.fallback = b.isComplete(policy.StaleOnError)
	l.req.Header["Accept-Encoding"] = []string{"identity"} // it is taken apart
	return l
}

// indices are the positions of the items.
func (x *itemFetch) indices() []int {
	out := make([]int, len(x.items))
	for i := range x.items {
		out[i] = x.items[i].index
	}
	return out
}

// run fetches, takes the answer apart, and gives the items to those who wait
// for them and to the store.
func (x *itemFetch) run() {
	l := x.l
	defer l.p.leaders.Done()
	defer l.p.fetching.Add(-1)
	l.started = l.p.now()
	head, err := l.fetch()
	if err == nil && l.ai != nil {
		l.decide(head)
	}
	l.f.Close(err)
	if err == nil {
		l.account(head.status/100 != 2)
	}
	l.endSpan(err)
	if err == nil {
		err = x.takeApart(head)
	}
	if err != nil {
		l.failed(err)
	}
	l.f.Settle(nil)
	for i := range x.items {
		x.settle(i, head)
	}
	l.land()
}

// takeApart makes the items' entries out of a whole answer that may be stored;
// none where it may not.
func (x *itemFetch) takeApart(head *answerHead) (err error) {
	l, d := x.l, &head.decision
	defer func() {
		if r := recover(); r != nil {
			l.p.log.Error("panic in taking an answer apart", "panic", r, "stack", string(debug.Stack()))
			x.entries, x.shared, err = nil, false, fmt.Errorf("%w: internal error", errBroken)
		}
	}()
	switch {
	case head.status != http.StatusOK || !d.Store && d.Share:
		return nil
	case !d.Store || l.f.Sealed():
		x.mark()
		return nil
	}
	body, err := l.f.Body()
	if err != nil {
		return err
	}
	x.entries = x.entriesOf(head, body)
	var why policy.Reason
	switch {
	case x.entries == nil:
		why = reasonItems
	case !l.route.keysAll(d.Vary):
		why = reasonVary
	default:
		x.shared = true
		return nil
	}
	l.p.metrics.notStored(l.route, why)
	x.mark()
	return nil
}

// keysAll says whether the request headers of these names are in the key.
func (r *Route) keysAll(names []string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(r.keyed, strings.ToLower(name)) })
}

// mark remembers for a while that the items are better treated as parts of a
// whole.
func (x *itemFetch) mark() {
	for i := range x.items {
		x.l.p.uncacheable.Set(x.items[i].joinKey, struct{}{})
	}
}

// entriesOf gives each item its part of an answer; nil when that does not have
// one vector for each.
func (x *itemFetch) entriesOf(head *answerHead, body []byte) []*store.Entry {
	l := x.l
	vectors, err := x.split.Take(x.indices(), body)
	if err != nil {
		l.p.log.Debug("answer does not come apart", "request_id", l.id, "route", l.route.Name, "error", err)
		return nil
	}
	weights := make([]int, len(x.items))
	for i := range x.items {
		weights[i] = x.items[i].size
	}
	usage := protocol.TakeUsage(body)
	shares, rest := apportion(usage.Input, weights), apportion(usage.Output, weights)
	took := l.p.now().Sub(l.started)
	fields := itemFields(head.fields)
	alone, ok := protocol.SplitBatch(l.route.Protocol, x.split.Item(0)) // puts answers to one item together, whichever
	if !ok {
		return nil
	}
	tags := l.tags(head.fields, l.keys.base)
	entries := make([]*store.Entry, len(vectors))
	for i := range vectors {
		body := alone.Join(vectors[i:i+1], protocol.Usage{Known: usage.Known, Input: shares[i], Output: rest[i]})
		if body == nil {
			return nil
		}
		entries[i] = &store.Entry{
			Status: http.StatusOK, Header: fields, Tags: tags, Lifetime: head.decision.Lifetime,
			Asked: l.asked, Stamp: l.stamp, Body: body, Length: int64(len(body)), UpstreamTime: took, Source: "flight",
		}
		if usage.Known {
			entries[i].Usage = store.Usage{Model: vectors[i].Model, In: shares[i], Out: rest[i]}
		}
	}
	return entries
}

// itemFields are what is kept of an answer's fields with each of its items:
// what the item is, when it came, and who may read it in a browser.
func itemFields(fields []store.Field) []store.Field {
	out := []store.Field{{Name: "Content-Type", Value: "application/json"}}
	for _, f := range fields {
		if f.Name == "Date" || f.Name == "Cache-Groups" || strings.HasPrefix(f.Name, "Access-Control-") {
			out = append(out, f)
		}
	}
	return out
}

// settle ends an item's flight: with its entry, which is then stored, or so
// that those who wait look for themselves.
func (x *itemFetch) settle(i int, head *answerHead) {
	of, o := x.l, &x.items[i]
	l := &leader{
		p: of.p, f: o.f, route: of.route, why: of.why, id: of.id, asked: of.asked, stamp: of.stamp, origin: of.origin,
		joinKey: o.joinKey, keys: selection{base: o.base, all: o.base, own: o.base}, filling: true,
	}
	if !x.shared {
		l.f.Close(errLookAgain)
		l.f.Settle(nil)
		l.rest()
		l.land()
		return
	}
	e := x.entries[i]
	at := &answerHead{
		status: e.Status, fields: e.Header, length: e.Length, decision: head.decision,
		at: place{key: o.base}, asked: head.asked, stamp: head.stamp, tags: e.Tags, came: head.came,
	}
	l.f.Start(*at, e.Length, false)
	l.f.Close(l.f.Write(e.Body, true))
	l.f.Settle(e)
	of.p.uncacheable.Invalidate(o.joinKey)
	of.p.keepItem(l, at, e)
}

// keepItem stores an item as it is: vectors hardly get smaller, and a batch
// would have to pay for decoding each of them.
func (p *Proxy) keepItem(l *leader, head *answerHead, e *store.Entry) {
	if !p.o.Writes.Submit(e.Size(), func(ctx context.Context) {
		defer l.land()
		p.write(ctx, l, head, e)
	}) {
		p.metrics.notStored(l.route, "queue-full")
		l.land()
	}
}
