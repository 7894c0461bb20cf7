package redis

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"jaegis-proxy/store"
)

// ErrOpen is what every call returns, at once, while Redis is left alone.
var ErrOpen = errors.New("redis: left alone until it answers again")

const (
	// maxFailures is how many failures in a row open the breaker.
	maxFailures = 3

	// probeEvery is the pause between probes while it is open. The library lets
	// up to a second pass between its own attempts to connect, and the two
	// together must stay below the two seconds after which a Redis that is back
	// is to be in use.
	probeEvery = 100 * time.Millisecond

	// probeTime bounds a probe's patient part.
	probeTime = 400 * time.Millisecond

	// declinedEvery is the pause between probes while writes are declined, and
	// refusalsEvery that between log lines about it.
	declinedEvery = time.Second
	refusalsEvery = time.Minute
)

// breaker keeps calls away from a Redis that fails.
//
//	closed  calls pass. A failure has the prober look at once: a probe that
//	        fails too opens it, so that one slow caller is enough. So do three
//	        failures in a row, whatever the probe says.
//	open    calls get ErrOpen. The prober looks ten times a second; a probe
//	        that succeeds closes it.
//
// A call holds the pass that it was let in with; when the state has changed
// since, its outcome counts for nothing. So the failures of a hundred calls
// that hung before do not open it anew after Redis has come back.
type breaker struct {
	log  *slog.Logger
	look chan struct{} // asks the prober to look now; holds one

	opens    *atomic.Int64 // counts the times that it opened
	pass     atomic.Uint64 // counts the changes of state: odd is open
	failures atomic.Int64  // in a row, of calls
	declines atomic.Bool   // writes are declined

	mu         sync.Mutex
	since      time.Time // of the state
	lastErr    string
	afterWrite bool          // the last failure was a write's
	refusal    string        // what was said to the last write, if it was declined
	logged     time.Time     // when a refusal was logged last
	back       chan struct{} // closed when it closes; nil while it is closed
}

// State says whether Redis is in use.
type State struct {
	Open      bool      // it is not: calls return ErrOpen
	Since     time.Time // when that last changed
	LastError string    // the last failure, empty if there was none; holds no secrets
	Refused   string    // what Redis says to writes while it declines them and is read still
}

func newBreaker(log *slog.Logger, opens *atomic.Int64) *breaker {
	b := &breaker{log: log, look: make(chan struct{}, 1), opens: opens, since: time.Now()}
	b.look <- struct{}{} // a Redis that is not there is best known before the first call
	return b
}

// enter lets a call in, or not.
func (b *breaker) enter() (pass uint64, ok bool) {
	pass = b.pass.Load()
	return pass, pass%2 == 0
}

// judge says what an error means, nil included, of a call let in with pass. It
// is false for a failure.
func (b *breaker) judge(pass uint64, err error, write bool) (fine bool) {
	switch {
	case isBusy(err):
		return true
	case write && isRefusal(err):
		b.refused(err)
	case err == nil:
		if write {
			b.accepted()
		}
	case !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrCorrupt) && !errors.Is(err, store.ErrGone):
		b.failed(pass, err, write)
		return false
	}
	b.succeeded(pass)
	return true
}

// succeeded says that Redis answered the call let in with pass.
func (b *breaker) succeeded(pass uint64) {
	if b.failures.Load() != 0 && b.pass.Load() == pass {
		b.failures.Store(0)
	}
}

// failed says that it did not.
func (b *breaker) failed(pass uint64, err error, write bool) {
	if b.pass.Load() != pass {
		return
	}
	b.mu.Lock()
	b.lastErr, b.afterWrite = err.Error(), write
	b.mu.Unlock()
	if b.failures.Add(1) >= maxFailures {
		b.open(pass, err)
	}
	b.lookNow()
}

func (b *breaker) lookNow() {
	select {
	case b.look <- struct{}{}:
	default:
	}
}

// refused says that Redis works but declined a write. The log hears of it once
// in a while: with a Redis that is full, writes are declined and done by turns.
func (b *breaker) refused(err error) {
	b.mu.Lock()
	b.refusal = err.Error()
	again := time.Since(b.logged) < refusalsEvery
	if !again {
		b.logged = time.Now()
	}
	b.mu.Unlock()
	if !b.declines.Swap(true) {
		b.lookNow() // the prober is to find out when that ends
	}
	if !again {
		b.log.Warn("redis declines writes; it is read still", "error", err)
	}
}

// accepted says that it did a write.
func (b *breaker) accepted() {
	if !b.declines.Load() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refusal = ""
	b.declines.Store(false)
}

func (b *breaker) open(pass uint64, err error) {
	b.mu.Lock()
	opened := b.pass.CompareAndSwap(pass, pass+1)
	if opened {
		b.since, b.lastErr = time.Now(), err.Error()
		b.back = make(chan struct{})
	}
	b.mu.Unlock()
	if !opened {
		return
	}
	b.opens.Add(1)
	b.log.Warn("redis is left alone until it answers again", "error", err)
}

func (b *breaker) close(pass uint64) {
	b.failures.Store(0)
	b.mu.Lock()
	out := time.Since(b.since)
	closed := b.pass.CompareAndSwap(pass, pass+1)
	if closed {
		b.since, b.afterWrite = time.Now(), false
		close(b.back)
		b.back = nil
	}
	b.mu.Unlock()
	if closed {
		b.log.Info("redis is in use again", "after", out)
	}
}

// inUse gives what is closed once Redis is in use again; nil while it is.
func (b *breaker) inUse() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.back
}

// run is the prober. It ends with ctx. It is the only one that closes.
func (b *breaker) run(ctx context.Context, probe func(ctx context.Context, write bool) error) {
	timer := time.NewTimer(probeEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.look:
		case <-timer.C:
		}
		pass, closed := b.enter()
		err := b.try(ctx, probe)
		switch {
		case ctx.Err() != nil:
			return
		case closed && err != nil:
			b.open(pass, err)
		case !closed && err == nil:
			b.close(pass)
		}
		timer.Stop()
		if _, closed := b.enter(); !closed {
			timer.Reset(probeEvery)
		} else if b.declines.Load() {
			timer.Reset(declinedEvery)
		}
	}
}

// try probes, with a write if the last one failed or was declined.
func (b *breaker) try(ctx context.Context, probe func(ctx context.Context, write bool) error) error {
	b.mu.Lock()
	write := b.afterWrite || b.refusal != ""
	b.mu.Unlock()
	err := explain(probe(ctx, write))
	var declined refusal
	switch {
	case errors.As(err, &declined):
		b.refused(declined.error)
		return nil
	case write && err == nil:
		b.accepted()
	}
	return err
}

// refusal is what a probe returns when all but its write went well.
type refusal struct{ error }

func (b *breaker) state() State {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, closed := b.enter()
	return State{Open: !closed, Since: b.since, LastError: b.lastErr, Refused: b.refusal}
}
