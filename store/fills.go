package store

import (
	"context"
	"errors"
	"time"

	"jaegis-proxy/cachekey"
)

// Fills lets the nodes that share a store fetch an answer once for all of them.
// One holds the lease of the answer's key and fetches; others follow what it
// brings as it comes. It is safe for concurrent use.
type Fills interface {
	// Claim asks who is to fetch the answer to a key. It may wait for a word of
	// another node, and until one that is dead is known to be; it does not wait
	// for an answer. An error says that nobody could be asked.
	Claim(ctx context.Context, key cachekey.Key, want Want) (Claim, error)
}

// Want is what one claims for.
type Want struct {
	Answer   Answer // what the caller fetches when it gets the lease
	Seen     string // the last Landed for this key that it has looked again for
	OnlyLead bool   // it does not follow: Held is enough
}

// Claim says who fetches. With nothing set it is the caller, for itself alone.
type Claim struct {
	// Lease is set when it is the caller, for all.
	Lease Lease

	// Follow is set when it is another node, with what that tells of the answer.
	Follow Pieces
	Admission

	// Held is set when it is another node, and the caller wants no more.
	Held bool

	// Landed is set when what another node fetched has come into the store a
	// moment ago, perhaps after the caller looked there.
	Landed string
}

// Admission is what is told of an answer to one who begins to follow it.
type Admission struct {
	// Age is how long ago it was asked for. To who follows, it says how long
	// before the call of Claim that was, at most: by the clocks of both nodes, of
	// which neither is compared with the other.
	Age time.Duration

	// Stamp is what was known of purges then.
	Stamp Stamp
}

// Lease is the right, and the duty, to fetch an answer for all nodes. It is
// kept up until its release, and lost when that cannot be done.
type Lease interface {
	// Fence gives a context for writes of the answer: a store that all nodes
	// share refuses them, with ErrFenced, once the lease is lost.
	Fence(ctx context.Context) context.Context

	// Release ends it. landed says that the answer is in the store. It must be
	// called once, and waits for no more than a round trip, and one more for each
	// node that asks at that very moment.
	Release(landed bool)
}

// Answer is what the holder of a lease fetches, for those who follow. Its
// methods are called by one goroutine at a time, but for Outdated.
type Answer interface {
	// Admit says whether one more node may follow.
	Admit() (of Admission, ok bool)

	// Outdated says that the answer is for nobody who asks now: what it answers was
	// made untrue. Another is to be fetched, for all nodes.
	Outdated() bool

	// Pieces gives the answer from its beginning. It is called once, after the
	// first Admit that said yes; its pieces end early with ctx.
	Pieces(ctx context.Context) Source
}

// Source are the pieces of an answer where they come from: what those who follow
// have not got can be asked for once more.
type Source interface {
	Pieces

	// Again fills p with bytes of the body from off on, all of which Next has
	// given. The error says that they are not there any more. It may be called
	// while Next is.
	Again(p []byte, off int64) error

	// Rest says that nobody follows at present, or that somebody does again. It
	// may be called while Next is.
	Rest(rests bool)

	// Keep says that no bytes of the body below off will be asked for again.
	Keep(off int64)
}

// Pieces are an answer as it comes. They are for one goroutine.
type Pieces interface {
	// Next waits for the next piece, which is good until the following call.
	// After the last one, and when it cannot go on, it gives an error: that the
	// other node is gone (ErrHolderGone), or that the store does not bring what
	// that node fetches, or no longer, because more has come than is kept.
	Next() (Piece, error)
	Close()
}

// Piece is a part of an answer on its way from one node to others.
type Piece struct {
	Kind PieceKind
	Data []byte // what it means is between the nodes
}

// PieceKind says what a piece is.
type PieceKind byte

// The kinds. An answer is a head, a body and an end, or what comes instead.
const (
	PieceHead  PieceKind = 'h'
	PieceBody  PieceKind = 'b'
	PieceEnd   PieceKind = 'e' // it is whole
	PieceFail  PieceKind = 'f' // it is cut, or there is none
	PieceAgain PieceKind = 'a' // there is none for those who follow: they are to claim again
)

// Last says whether nothing comes after a piece of this kind.
func (k PieceKind) Last() bool { return k != PieceHead && k != PieceBody }

var (
	// ErrHolderGone is what Pieces of another node end with when that has lost
	// its lease without an end, and is not heard of.
	ErrHolderGone = errors.New("the node that fetches the answer is gone")

	// ErrFenced is what Put returns when the lease under which it was called is
	// lost: another node may have stored a newer answer.
	ErrFenced = errors.New("the lease has passed on")
)

// Fence names the lease under which something is written.
type Fence struct {
	Key   cachekey.Key // that of the lease
	Token string       // of its holder
}

type fenceKey struct{}

// WithFence gives a context for writes under a lease.
func WithFence(ctx context.Context, f Fence) context.Context {
	return context.WithValue(ctx, fenceKey{}, f)
}

// FenceOf gives the lease under which a write is made; false without one.
func FenceOf(ctx context.Context) (Fence, bool) {
	f, ok := ctx.Value(fenceKey{}).(Fence)
	return f, ok
}
