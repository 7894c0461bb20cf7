package redis

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var errProbe = errors.New("no answer to the probe")

// rig is a breaker with its prober, in a bubble of its own time, whose probes go
// as told.
type rig struct {
	*breaker
	healthy    atomic.Bool
	afterWrite atomic.Bool // of the last probe
	probes     atomic.Int64
}

func withBreaker(t *testing.T, healthy bool, test func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{breaker: newBreaker(slog.New(slog.DiscardHandler), new(atomic.Int64))}
		r.healthy.Store(healthy)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go r.run(ctx, func(_ context.Context, afterWrite bool) error {
			r.probes.Add(1)
			r.afterWrite.Store(afterWrite)
			if r.healthy.Load() {
				return nil
			}
			return errProbe
		})
		synctest.Wait()
		test(t, r)
	})
}

func (r *rig) want(t *testing.T, open bool, when string) {
	t.Helper()
	synctest.Wait()
	if r.state().Open != open {
		t.Fatalf("%s: open is %v", when, !open)
	}
}

func (r *rig) fail(t *testing.T, write bool) {
	t.Helper()
	pass, ok := r.enter()
	if !ok {
		t.Fatal("not let in")
	}
	r.failed(pass, errors.New("no answer"), write)
}

func TestBreakerOpensWithoutACallWhenTheFirstProbeFails(t *testing.T) {
	withBreaker(t, false, func(t *testing.T, r *rig) {
		r.want(t, true, "at the start")
		if got := r.state().LastError; got != errProbe.Error() {
			t.Errorf("last error %q", got)
		}
	})
}

func TestBreakerOpensAfterOneFailureWhenTheProbeFailsToo(t *testing.T) {
	withBreaker(t, true, func(t *testing.T, r *rig) {
		r.want(t, false, "at the start")
		r.fail(t, false)
		r.want(t, false, "after a failure that the probe did not confirm")
		r.healthy.Store(false)
		r.fail(t, false)
		r.want(t, true, "after one that it did")
	})
}

func TestBreakerOpensAfterFailuresInARowWhateverTheProbeSays(t *testing.T) {
	withBreaker(t, true, func(t *testing.T, r *rig) {
		for range maxFailures - 1 {
			r.fail(t, false)
		}
		pass, _ := r.enter()
		r.succeeded(pass)
		for range maxFailures - 1 {
			r.fail(t, false)
		}
		r.want(t, false, "after failures with a success among them")
		before := r.opens.Load()
		r.fail(t, false)
		synctest.Wait()
		if r.opens.Load() != before+1 {
			t.Error("not opened")
		}
	})
}

func TestBreakerClosesWithinOneProbeOfRecovery(t *testing.T) {
	withBreaker(t, false, func(t *testing.T, r *rig) {
		time.Sleep(10 * time.Second)
		r.want(t, true, "while probes fail")
		if n, want := r.probes.Load(), int64(10*time.Second/probeEvery)+1; n != want {
			t.Errorf("%d probes in ten seconds, want %d: one at once, then one each pause", n, want)
		}
		r.healthy.Store(true)
		time.Sleep(probeEvery)
		r.want(t, false, "after a probe that succeeded")
		probes := r.probes.Load()
		time.Sleep(time.Minute)
		if n := r.probes.Load() - probes; n > 0 {
			t.Errorf("%d probes while closed", n)
		}
	})
}

func TestBreakerForgetsCallsLetInBeforeItChanged(t *testing.T) {
	withBreaker(t, true, func(t *testing.T, r *rig) {
		old, _ := r.enter()
		r.healthy.Store(false)
		r.fail(t, false)
		r.want(t, true, "after a failure")
		r.healthy.Store(true)
		time.Sleep(probeEvery)
		r.want(t, false, "after recovery")
		opens := r.opens.Load()
		for range 100 {
			r.failed(old, errors.New("late"), false)
		}
		r.want(t, false, "after failures of calls from before")
		if r.opens.Load() != opens {
			t.Error("opened by calls from before")
		}
	})
}

func TestBreakerProbesAWriteAfterAFailedWrite(t *testing.T) {
	withBreaker(t, true, func(t *testing.T, r *rig) {
		r.fail(t, false)
		synctest.Wait()
		if r.afterWrite.Load() {
			t.Error("probed a write after a failed read")
		}
		r.healthy.Store(false)
		r.fail(t, true)
		synctest.Wait()
		if !r.afterWrite.Load() {
			t.Error("did not probe a write after a failed write")
		}
	})
}
