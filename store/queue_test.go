package store_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"jaegis-proxy/store"
)

func TestQueueRunsEveryJobBeforeCloseReturns(t *testing.T) {
	q := store.NewQueue(store.QueueOptions{Workers: 3})
	var ran atomic.Int64
	var submitters sync.WaitGroup
	for range 4 {
		submitters.Go(func() {
			for range 1000 {
				if !q.Submit(10, func(context.Context) { ran.Add(1) }) {
					t.Error("refused")
				}
			}
		})
	}
	submitters.Wait()
	if err := q.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := ran.Load(); n != 4000 {
		t.Errorf("%d of 4000 jobs ran", n)
	}
	if s := q.Stats(); s != (store.QueueStats{}) {
		t.Errorf("%+v after Close; want nothing left", s)
	}
	if q.Submit(1, func(context.Context) { t.Error("ran after Close") }) {
		t.Error("accepted after Close")
	}
}

func TestQueueRefusesWhatDoesNotFitAndNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := store.NewQueue(store.QueueOptions{Workers: 1, MaxBytes: 100 << 10})
		release := make(chan struct{})
		block := func(context.Context) { <-release }
		f := func(cost int64, want bool, after store.QueueStats) {
			t.Helper()
			if got := q.Submit(cost, block); got != want {
				t.Errorf("Submit(%d): %v", cost, got)
			}
			synctest.Wait()
			if s := q.Stats(); s != after {
				t.Errorf("after Submit(%d): %+v; want %+v", cost, s, after)
			}
		}
		f(60<<10, true, store.QueueStats{Bytes: 60 << 10}) // runs, and holds its bytes
		f(50<<10, false, store.QueueStats{Bytes: 60 << 10, Dropped: 1})
		f(39<<10, true, store.QueueStats{Bytes: 99 << 10, Depth: 1, Dropped: 1})
		f(0, true, store.QueueStats{Bytes: 100 << 10, Depth: 2, Dropped: 1}) // counts as 1 KiB
		f(0, false, store.QueueStats{Bytes: 100 << 10, Depth: 2, Dropped: 2})
		f(1<<62, false, store.QueueStats{Bytes: 100 << 10, Depth: 2, Dropped: 3})
		close(release)
		must(t, q.Close(t.Context()))
		if s := q.Stats(); s != (store.QueueStats{Dropped: 3}) {
			t.Errorf("%+v at the end", s)
		}
	})
}

func TestQueueRunsOnAfterAPanicAndSaysSo(t *testing.T) {
	var log bytes.Buffer
	q := store.NewQueue(store.QueueOptions{Workers: 1, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	ran := false
	q.Submit(1, func(context.Context) { panic("job gone wrong") })
	q.Submit(1, func(context.Context) { ran = true })
	must(t, q.Close(t.Context()))
	if !ran {
		t.Error("the job after it did not run")
	}
	if s := q.Stats(); s.Panics != 1 || s.Bytes != 0 {
		t.Errorf("%+v; want one panic and no bytes held", s)
	}
	if !strings.Contains(log.String(), "job gone wrong") {
		t.Errorf("logged %q", log.String())
	}
}

func TestQueueCloseGivesUpWhenItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := store.NewQueue(store.QueueOptions{Workers: 1})
		stopped := make(chan error, 1)
		q.Submit(1, func(ctx context.Context) {
			<-ctx.Done()
			stopped <- ctx.Err()
		})
		q.Submit(1, func(context.Context) { t.Error("a job ran that was thrown away") })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := q.Close(ctx)
		if !errors.Is(err, store.ErrQueueNotDrained) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close: %v", err)
		}
		if err := <-stopped; !errors.Is(err, context.Canceled) {
			t.Errorf("the running job's context: %v", err)
		}
		synctest.Wait()
		if s := q.Stats(); s != (store.QueueStats{Dropped: 1}) {
			t.Errorf("%+v; want one dropped", s)
		}
	})
}
