package proxy

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/internal/protocol"
	"jaegis-proxy/policy"
	"jaegis-proxy/store"
)

// A request for embeddings is a batch of items, each of which is looked up and
// stored by itself, as the answer that a request for it alone would get: under
// the same key and in the same form, so that a batch and a single request find
// each other's vectors. Only what is missing goes upstream, in one request.
//
//	find     each item in the store
//	claim    what is missing: an item that is being fetched for another request
//	         is waited for, the rest is this request's own to fetch
//	begin    one fetch of all that is its own
//	collect  what it brought, or pass on what the upstream said instead
//	await    what others fetch; where they fail it is claimed once more, and
//	         fetched without waiting for anybody
//	deliver  the answer, put together in the order of the request
//
// Nobody waits before all of its own is being fetched, so requests with
// overlapping batches cannot wait for each other in a circle.

// batch is such a request on its way. It is for its call's goroutine.
type batch struct {
	c      *call
	split  *protocol.Batch
	items  []*item // distinct ones, in the order in which they first come
	at     []*item // the item of each position
	base   int     // the length of a request for no item
	shared bool    // the caller may be given what others have fetched
	oddity bool    // under an item's key lies what is no answer to an item alone

	brought []store.Field // by the last fetch for this request
	stored  bool          // what it brought is stored
}

// item is one input of a batch.
type item struct {
	index   int          // its first position
	size    int          // of its input, in bytes
	keys    selection    // of a request for it alone
	joinKey cachekey.Key // under which others can wait for it
	state   policy.State // of entry, for this request
	entry   *store.Entry // nil when there is none of use
	vector  protocol.Vector
	from    origination
	failed  bool      // the last fetch by others brought nothing that it could be given
	flight  *inFlight // in which the request has a seat; nil without
}

// origination says by whom a vector has come.
type origination int

const (
	fromStore    origination = iota
	fromOthers               // by a fetch for another request
	fromUpstream             // by a fetch for this one
)

// embed answers a request for embeddings item by item. done is false, and
// nothing has happened, where it is to be treated as a whole: when it cannot
// be taken apart, and when the store has, or is known not to take, answers to
// its items.
func (p *Proxy) embed(c *call) (streaming bool, err error, done bool) {
	b := c.takeApart()
	if b == nil {
		return false, nil, false
	}
	generation := p.flights.Generation()
	c.asked, c.stamp = p.now(), c.ledger().Stamp()
	if !c.asksAnew() {
		b.find(b.items)
		b.agree()
	}
	wanted := b.wanted(policy.Revalidate)
	if b.oddity || len(wanted) > 0 && b.isMarked(wanted) {
		return false, nil, false
	}
	if len(wanted) == 0 {
		if !c.cc.OnlyIfCached {
			b.refresh(generation)
		}
		streaming, err = b.deliver()
		return streaming, err, true
	}
	if c.cc.OnlyIfCached {
		return false, errOnlyIfCached, true
	}
	defer b.leave()
	streaming, err = b.complete(generation)
	return streaming, err, true
}

// asksAnew says whether the client wants nothing that is stored.
func (c *call) asksAnew() bool { return c.controls.mode == writeOnly || c.controls.mode == refresh }

// maxBatchWork bounds, in bytes, what keying the items of one batch reads: all
// that is beside the items counts for each of them.
const maxBatchWork = 32 << 20

// takeApart gives the request's items with their keys; nil where it is no
// batch, or must stay as it is.
func (c *call) takeApart() *batch {
	if c.method != http.MethodPost || c.route.Shadow || len(c.body.bytes) == 0 || !c.isPlainJSON() {
		return nil
	}
	split, ok := protocol.SplitBatch(c.route.Protocol, c.body.bytes)
	if !ok {
		return nil
	}
	b := &batch{c: c, split: split, base: len(split.Request(nil)), shared: c.mayUseShared()}
	if int64(b.base)*int64(split.Len()) > maxBatchWork {
		return nil
	}
	whole := c.body
	defer func() { c.body = whole }()
	known := make(map[string]*item, split.Len())
	for i := range split.Len() {
		one := split.Item(i)
		it := known[string(one)]
		if it == nil {
			c.body = Body{Declared: true, Size: int64(len(one)), bytes: one}
			if c.deriveKey() != nil {
				return nil
			}
			it = &item{index: i, size: max(1, len(one)-b.base), keys: c.keys, joinKey: c.keys.own, state: policy.Expired}
			if b.shared {
				it.joinKey = c.keys.base
			}
			known[string(one)] = it
			b.items = append(b.items, it)
		}
		b.at = append(b.at, it)
	}
	return b
}

// isPlainJSON says whether the body is JSON as it is, and no field says of it
// what would be untrue of a part of it.
func (c *call) isPlainJSON() bool {
	h := &c.ctx.Request.Header
	types := h.PeekAll("Content-Type")
	if len(types) != 1 {
		return false
	}
	essence, _, _ := strings.Cut(string(types[0]), ";")
	if !strings.EqualFold(strings.TrimSpace(essence), "application/json") {
		return false
	}
	for _, name := range [...]string{
		"Content-Encoding", "Content-Digest", "Content-Md5", "Digest", "Repr-Digest", "Signature", "Signature-Input", "X-Amz-Content-Sha256",
	} {
		if len(h.PeekAll(name)) > 0 {
			return false
		}
	}
	return true
}

// lookUps is how many items of one batch are looked up at the same time, for
// the sake of stores that are a round trip away.
const lookUps = 16

// find looks the items up. A store that fails counts as a miss.
func (b *batch) find(items []*item) {
	if !b.shared {
		return
	}
	p := b.c.p
	found := make([]*store.Entry, len(items))
	var next atomic.Int64
	var outage atomic.Bool
	look := func() {
		for i := int(next.Add(1)) - 1; i < len(items); i = int(next.Add(1)) - 1 {
			e, err := p.store.Get(p.ctx, items[i].keys.base)
			if err == nil {
				found[i] = e
			} else if !errors.Is(err, store.ErrNotFound) {
				outage.Store(true)
			}
		}
	}
	var others sync.WaitGroup
	for range min(len(items), lookUps) - 1 {
		others.Go(look)
	}
	look()
	others.Wait()
	b.c.outage = b.c.outage || outage.Load()
	for i, it := range items {
		if found[i] != nil {
			b.judge(it, found[i])
		}
	}
}

// judge says what of an item's entry this request may be given.
func (b *batch) judge(it *item, e *store.Entry) {
	c := b.c
	if c.route.forAll != nil && c.p.untrue(it.keys.base, e.Asked) {
		return
	}
	state := c.usable(e, c.p.regrouped(c, e))
	if state > policy.StaleOnError {
		return
	}
	if !b.read(it, e) {
		b.oddity = true
		return
	}
	it.state = state
}

// read takes an item's vector, where it is to be joined to others, out of an
// answer to it alone; false when that is not what the entry is.
func (b *batch) read(it *item, e *store.Entry) bool {
	if e.Status != http.StatusOK || len(e.Vary) > 0 || field(e.Header, "Content-Encoding") != "" {
		return false
	}
	if len(b.at) == 1 { // it is the answer
		it.entry = e
		return true
	}
	body, err := b.c.p.identity(e)
	if err != nil {
		return false
	}
	vectors, err := b.split.Take([]int{it.index}, body)
	if err != nil {
		return false
	}
	it.entry, it.vector = e, vectors[0]
	return true
}

// agree drops vectors of other models than that of the newest one, or in
// another form: they have no place beside it in one answer. (A name that a
// provider moves from one model to the next answers with the model's own.)
func (b *batch) agree() {
	if len(b.items) == 1 {
		return
	}
	var newest *item
	for _, it := range b.items {
		if it.entry != nil && (newest == nil || it.entry.Lifetime.StoredAt.After(newest.entry.Lifetime.StoredAt)) {
			newest = it
		}
	}
	for _, it := range b.items {
		if it.entry != nil && (it.vector.Model != newest.vector.Model || it.vector.Embedding[0] != newest.vector.Embedding[0]) {
			it.entry, it.state = nil, policy.Expired
		}
	}
}

// wanted are the items whose state is worse than that.
func (b *batch) wanted(state policy.State) []*item {
	var out []*item
	for _, it := range b.items {
		if it.state > state {
			out = append(out, it)
		}
	}
	return out
}

// isMarked says whether an answer to one of the items could lately not be
// stored.
func (b *batch) isMarked(items []*item) bool {
	for _, it := range items {
		if _, marked := b.c.p.uncacheable.GetIfPresent(it.joinKey); marked {
			return true
		}
	}
	return false
}
