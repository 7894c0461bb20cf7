// Package flight is one upstream response on its way to many readers:
// streaming, coalescing and recording are this one mechanism.
//
// A leader fetches the response and calls Start, Write and Close; readers come
// at any moment and read every byte from the first one, at their own speed.
// Nobody polls and no reader holds up another.
//
//	state     entered by          readers get              joinable
//	waiting   Join or New         nothing yet (Head waits) yes
//	flowing   Start               head, bytes so far       until sealed
//	ended     last Write, Close   all bytes, then io.EOF   until forgotten
//	cut       Close(err)          bytes so far, then err   no
//
// The leader goes on with Settle, Group.Forget and Done, in this order. A seat
// taken by Join, Sit or New is given back once, by Leave or by its reader's Close;
// until then its holder reads, leaves, or calls Wait: the leader may be waiting
// for it.
//
// Sealed is a property beside the state: a sealed flight admits no further
// readers, so bytes that all its readers have passed are given up and memory
// stays bounded however long the body is. A flight is sealed when it will not
// be stored or when there is no room to keep all of it.
//
// The package knows nothing of HTTP: H is what a head is, V what the leader
// makes of the whole (see Settle).
package flight

import (
	"context"
	"errors"
	"sync"
	"time"

	"jaegis-proxy/internal/spool"
)

// ErrAbandoned is given to a leader whose readers have all gone and who has
// nothing to finish for.
var ErrAbandoned = errors.New("abandoned by all readers")

// ErrLagging is given to a reader that has fallen behind further than there is
// room for, while another one is not to wait for it.
var ErrLagging = errors.New("too slow: there is no room left to hold the rest")

// errNoHead is what callers get of a leader that ended well and gave no head.
var errNoHead = errors.New("ended without a head")

// Flight is one response in flight. All methods are safe for concurrent use,
// but Start, Write, Close, Settle and Done are for the leader alone.
type Flight[H, V any] struct {
	body     *spool.Spool
	patience time.Duration
	settled  chan struct{}
	ctx      context.Context // the leader's work ends with it
	cancel   context.CancelCauseFunc

	mu        sync.Mutex
	came      signal // head, bytes or end: readers wait for it
	passed    signal // readers went on or left: the leader waits for it
	head      *H
	size      int64
	ended     bool
	err       error
	value     V
	sealed    bool
	window    int64       // how far it may then run ahead of its fastest reader
	untrue    func() bool // says that nobody is to join any more; nil: never
	abandon   bool        // the leader stops when nobody reads
	abandoned bool
	held      bool // the leader may still need the body
	seats     int  // callers that joined and have not left
	resting   int  // those of them that sit there for nobody
	readers   map[*Reader[H, V]]struct{}
	front     int64 // how far the fastest reader has come
	released  int64 // bytes below this were given up
}

// Options are for a new flight.
type Options struct {
	Body     *spool.Spool  // where the bytes go; the flight owns it
	Window   int64         // bytes that a sealed flight may be ahead of its fastest reader before the leader waits; 0 is 1
	Patience time.Duration // how long readers wait for a slower one when there is no room left, before that is cut off; 0 is for ever
	Abandon  bool          // stop the leader as soon as nobody reads, even if the answer could be stored
}

// New gives a flight of its own, outside any group, with one seat taken. Its
// leader's work ends with ctx.
func New[H, V any](ctx context.Context, o Options) *Flight[H, V] {
	f := &Flight[H, V]{
		body: o.Body, window: max(1, o.Window), patience: o.Patience, abandon: o.Abandon,
		settled: make(chan struct{}), held: true, seats: 1, readers: map[*Reader[H, V]]struct{}{},
	}
	f.ctx, f.cancel = context.WithCancelCause(ctx)
	return f
}

// Context is for the leader's work. It ends, with ErrAbandoned as its cause,
// when that is of no more use.
func (f *Flight[H, V]) Context() context.Context { return f.ctx }

// Start gives the head to everybody who waits for it. length is that of the
// body, or -1. A flight that is sealed from the start will not be stored.
func (f *Flight[H, V]) Start(head H, length int64, seal bool) {
	f.body.Expect(length)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.head = &head
	f.sealed = f.sealed || seal
	f.came.broadcast()
	f.stopIfUselessLocked()
}

// Keep says that the leader is to come to its end even if nobody reads any more
// and even if it was to be abandoned then.
func (f *Flight[H, V]) Keep() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.abandon = false
}

// RunAhead changes how far a sealed flight may be ahead of its fastest reader
// before the leader waits (see Options): where it must not wait there is room on
// the disk.
func (f *Flight[H, V]) RunAhead(window int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.window = max(1, window)
	f.passed.broadcast()
}

// Until has callers join only while untrue says no. It is asked for each of
// them, must be quick, and must not use the flight.
func (f *Flight[H, V]) Until(untrue func() bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.untrue = untrue
}

// Spare is the opposite of Keep: the leader's work ends as soon as nobody
// reads, which may be at once.
func (f *Flight[H, V]) Spare() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.abandon = true
	f.stopIfUselessLocked()
}

// Close ends the body: whole with nil, cut short with an error, which readers
// get once they have read the bytes that came.
func (f *Flight[H, V]) Close(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return
	}
	f.ended, f.err = true, err
	f.came.broadcast()
}

// Settle says what became of the answer; whoever waits on Settled goes on. It
// must be called once, after Close.
func (f *Flight[H, V]) Settle(v V) {
	f.mu.Lock()
	f.value = v
	f.mu.Unlock()
	close(f.settled)
}

// Done says that the leader needs the body no more and that nobody can join
// any more: the body goes with its last reader.
func (f *Flight[H, V]) Done() {
	f.cancel(nil)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held = false
	f.closeBodyLocked()
}

// Settled is closed once the leader has settled.
func (f *Flight[H, V]) Settled() <-chan struct{} { return f.settled }

// Value is what the leader settled on; the zero value before.
func (f *Flight[H, V]) Value() V {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.value
}

// Ended says whether all bytes have come: no reader will have to wait for the
// upstream.
func (f *Flight[H, V]) Ended() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ended
}

// Body gives the whole body, for the leader between Close and Done.
func (f *Flight[H, V]) Body() ([]byte, error) { return f.body.Bytes() }

// Hold keeps the body readable for as long as it is held; nil once the body is
// gone.
func (f *Flight[H, V]) Hold() *spool.Hold { return f.body.Hold() }

// Size is the number of bytes that have come so far.
func (f *Flight[H, V]) Size() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.size
}

// Seal stops further callers from joining: the answer will not be stored.
func (f *Flight[H, V]) Seal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sealed = true
	f.stopIfUselessLocked()
}

// Sealed says whether the flight admits no further readers.
func (f *Flight[H, V]) Sealed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sealed
}

// Untrue says whether the answer is for nobody who asks now, by what Until was
// given.
func (f *Flight[H, V]) Untrue() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.untrueLocked()
}

func (f *Flight[H, V]) untrueLocked() bool { return f.untrue != nil && f.untrue() }

// Sit takes a seat for one more caller; false when it is too late for that.
func (f *Flight[H, V]) Sit() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sealed || f.abandoned || !f.held || f.ended && f.err != nil || f.untrueLocked() {
		return false
	}
	f.seats++
	return true
}

// Leave gives a seat back without reading.
func (f *Flight[H, V]) Leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leaveLocked()
}

func (f *Flight[H, V]) leaveLocked() {
	if f.seats--; f.seats < len(f.readers) {
		panic("BUG: a seat was given back twice")
	}
	f.stopIfUselessLocked()
	f.passed.broadcast()
	f.closeBodyLocked()
}

// Wanted says whether anybody has a seat who does not rest.
func (f *Flight[H, V]) Wanted() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seats > f.resting
}

// Rest says of one of the seats that its holder, who may yet read, sits there for
// nobody at present, or does so no longer. Such seats do not keep the leader at
// work. Who rests says so no longer before it gives its seat back.
func (f *Flight[H, V]) Rest(rests bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !rests {
		f.resting--
		return
	}
	f.resting++
	f.stopIfUselessLocked()
	f.passed.broadcast()
}

// stopIfUselessLocked ends the leader's work when nobody reads and nothing
// would be stored.
func (f *Flight[H, V]) stopIfUselessLocked() {
	if f.seats > f.resting || f.ended || f.abandoned || !f.sealed && !f.abandon {
		return
	}
	f.abandoned = true
	f.cancel(ErrAbandoned)
}

// closeBodyLocked frees the body once nobody can want it.
func (f *Flight[H, V]) closeBodyLocked() {
	if !f.held && f.seats == 0 {
		_ = f.body.Close() // an unlinked file: nothing to lose
	}
}
