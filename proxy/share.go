package proxy

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"jaegis-proxy/policy"
	"jaegis-proxy/store"
)

// Fetches that are shared by all nodes. The flight stays what callers of one
// node wait for; only the leader of a flight that others can join asks who of
// all nodes is to fetch, and is then one of these:
//
//	holder   it has the lease and fetches, as it would without other nodes. Who
//	         follows from elsewhere is one more reader of its flight (outgoing).
//	relay    another node fetches: it copies from there into its own flight, and
//	         stores nothing (relay.go). Where the store fails in the midst of
//	         that, it fetches itself and goes on behind what has come (takeover.go).
//	neither  what another node fetched is in the store by now: everybody looks
//	         again. Or there is nobody to ask, and it fetches for its own node.
//
// Requests that cannot be joined are not shared: those passed through, those for
// a part, those that go alone, and fetches of items of a batch.

// startShared is start for a flight that others can join, on other nodes too.
// The call keeps its body: the flight may end without having needed it.
func (p *Proxy) startShared(c *call, f *inFlight, why purpose) {
	// A look-up that has cost its time for nothing is enough.
	if shared := p.o.Fills != nil && !c.ranged && !c.outage; shared {
		p.startWith(c, f, why, c.lendBody(), true)
		return
	}
	p.start(c, f, why)
}

// broadcast is the answer of a leader that has the lease, as store.Answer.
type broadcast struct {
	l      *leader
	seated bool // a seat in the flight is taken for whoever follows
}

// Admit implements store.Answer: a node may follow where a caller of this one
// could still join.
func (b *broadcast) Admit() (of store.Admission, ok bool) {
	l := b.l
	if b.Outdated() || !l.f.Sit() {
		return of, false
	}
	if b.seated {
		l.f.Leave()
	}
	b.seated = true
	return store.Admission{Age: l.p.now().Sub(l.asked), Stamp: l.stamp}, true
}

// Outdated implements store.Answer.
func (b *broadcast) Outdated() bool {
	l := b.l
	if l.f.Untrue() {
		return true
	}
	head, known := l.f.Known()
	return known && l.p.anyUntrue(l.origin, groupsOf(head.fields), l.asked)
}

// Pieces implements store.Answer.
func (b *broadcast) Pieces(ctx context.Context) store.Source { return &outgoing{l: b.l, ctx: ctx} }

// outgoing reads a flight for other nodes. The seat that Admit has taken is its
// own.
type outgoing struct {
	l    *leader
	ctx  context.Context
	last bool // the last piece has been given

	mu    sync.Mutex
	r     *reader // nil before the head, and when no body follows
	left  bool    // the seat was given back
	rests bool    // it is kept for nobody at present
}

// Next implements store.Pieces.
func (o *outgoing) Next() (store.Piece, error) {
	if o.last {
		return store.Piece{}, io.EOF
	}
	piece, err := o.next()
	o.last = err != nil || piece.Kind.Last()
	return piece, err
}

func (o *outgoing) next() (store.Piece, error) {
	switch {
	case o.left:
		return store.Piece{Kind: store.PieceEnd}, nil
	case o.r == nil:
		return o.head()
	}
	b, err := o.r.Next()
	switch {
	case err == nil:
		return store.Piece{Kind: store.PieceBody, Data: b}, nil
	case o.ctx.Err() != nil:
		return store.Piece{}, err
	case errors.Is(err, io.EOF):
		select {
		case <-o.l.f.Settled(): // the leader only computes between the end and the verdict
		case <-o.ctx.Done():
			return store.Piece{}, context.Cause(o.ctx)
		}
		return store.Piece{Kind: store.PieceEnd, Data: o.l.tail()}, nil
	}
	return failure(err), nil
}

// head gives the first piece. Of an answer that is for nobody else, the verdict
// is all that is told.
func (o *outgoing) head() (store.Piece, error) {
	head, err := o.l.f.Head(o.ctx)
	switch {
	case o.ctx.Err() != nil:
		return store.Piece{}, context.Cause(o.ctx)
	case err != nil:
		return failure(err), nil
	case head.confirmed != nil: // it is in the store, or about to be
		t := time.NewTimer(confirmedTime)
		defer t.Stop()
		select {
		case <-o.l.released:
			return store.Piece{Kind: store.PieceAgain}, nil
		case <-t.C: // what is to be written before it takes long: it is cheap to have it confirmed
			return failure(errUnwritten), nil
		case <-o.ctx.Done():
			return store.Piece{}, context.Cause(o.ctx)
		}
	}
	if hard := field(head.fields, "Content-Encoding") != "" && noTransform(head.fields); hard || !head.decision.Share {
		head.decision.Share, head.fields = false, nil // not all who wait elsewhere could be given it
		o.leave()
	} else {
		o.sit()
	}
	return store.Piece{Kind: store.PieceHead, Data: marshalHead(&head)}, nil
}

// errUnwritten is for other nodes, which then ask for themselves.
var errUnwritten = errors.New("what the upstream has confirmed is not in the store yet")

// confirmedTime is how long other nodes wait until what the upstream has confirmed
// is in the store.
const confirmedTime = time.Second

// sit makes a reader of the seat.
func (o *outgoing) sit() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.r = o.l.f.Reader(o.ctx)
	o.r.Keep(0)
	o.r.Rest(o.rests)
}

// Rest implements store.Source.
func (o *outgoing) Rest(rests bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.left || o.rests == rests {
		return
	}
	o.rests = rests
	o.l.f.Rest(rests)
	if o.r != nil {
		o.r.Rest(rests)
	}
}

// Again implements store.Source: by then there is a reader.
func (o *outgoing) Again(p []byte, off int64) error { return o.r.Again(p, off) }

// Keep implements store.Source.
func (o *outgoing) Keep(off int64) {
	if o.r != nil {
		o.r.Keep(off)
	}
}

// leave gives the seat back.
func (o *outgoing) leave() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.left {
		return
	}
	if o.left = true; o.rests {
		o.l.f.Rest(false)
	}
	if o.r != nil {
		o.r.Close()
	} else {
		o.l.f.Leave()
	}
}

// Close implements store.Pieces.
func (o *outgoing) Close() { o.leave() }

// claim finds out who fetches for all nodes. It says whether the answer has come
// by that, or is not needed; else the leader is to fetch.
func (l *leader) claim() (done bool) {
	for range maxRelays {
		seen, _ := l.p.lookedAgain.GetIfPresent(l.joinKey)
		began := l.p.now()
		claim, err := l.p.o.Fills.Claim(l.f.Context(), l.joinKey, store.Want{
			Answer: &broadcast{l: l}, Seen: seen, OnlyLead: l.why == fetchRefresh && !l.f.Wanted(),
		})
		switch {
		case err != nil: // the store has its own ways to tell of that
			return false
		case claim.Lease != nil:
			l.lease, l.released = claim.Lease, make(chan struct{})
			return false
		case claim.Landed != "":
			l.p.lookedAgain.Set(l.joinKey, claim.Landed)
			if l.why == fetchRefresh && !l.isFresh() {
				continue // it is what is stale by now
			}
			l.f.Close(errLookAgain)
			return true
		case claim.Held: // by another node, which refreshes for this one too
			l.rest()
			l.f.Close(errLookAgain)
			return true
		case claim.Follow == nil:
			return false
		}
		switch l.relay(claim.Follow, began.Add(-claim.Age), claim.Stamp) {
		case relayed:
			return true
		case relayRefused, relayLost:
			return false
		}
	}
	return false
}

// isFresh says whether what is stored for the leader's callers is.
func (l *leader) isFresh() bool {
	e, err := l.p.store.Get(l.f.Context(), l.joinKey)
	return err == nil && e.Lifetime.At(l.p.now()) == policy.Fresh
}

// maxRelays bounds how often a leader begins to wait for another node that then
// is gone.
const maxRelays = 5

// release gives the lease back, if there is one.
func (l *leader) release() {
	if l.lease != nil {
		l.lease.Release(l.isStored)
		close(l.released)
	}
}
