package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"jaegis-proxy/policy"
	"jaegis-proxy/store"
	"jaegis-proxy/store/memory"
	"jaegis-proxy/store/storetest"
)

// guarded is a memory store with a ledger of its own.
func guarded(t *testing.T, clock *storetest.Clock) *store.Guard {
	t.Helper()
	m, err := memory.New(memory.Options{MaxBytes: 64 << 20, Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	ledger := store.NewLedger(store.LedgerOptions{Now: clock.Now})
	t.Cleanup(func() { _, _ = m.Close(), ledger.Close() })
	return &store.Guard{Store: m, Ledger: ledger}
}

func TestAPurgeTakesWhatHasTheLabelAndNothingElse(t *testing.T) {
	key := storetest.Key("k")
	labels := []string{store.LabelRoute + "convert", store.LabelTenant + "a", store.LabelModel + "m", store.LabelTag + "x"}
	f := func(label string, gone bool) {
		t.Helper()
		clock := storetest.NewClock()
		g := guarded(t, clock)
		e := storetest.Entry(clock.Now(), []byte("body"))
		e.Tags, e.Stamp = labels, g.Ledger.Stamp()
		if err := errors.Join(g.Put(t.Context(), key, e), g.Ledger.Purge(t.Context(), label, false)); err != nil {
			t.Fatal(err)
		}
		if _, err := g.Get(t.Context(), key); errors.Is(err, store.ErrNotFound) != gone {
			t.Errorf("%s: %v", label, err)
		}
		// What began before the purge is not stored after it, and what began after
		// it is.
		if err := g.Put(t.Context(), key, e); err != nil {
			t.Fatal(err)
		}
		if _, err := g.Get(t.Context(), key); errors.Is(err, store.ErrNotFound) != gone {
			t.Errorf("%s, put again: %v", label, err)
		}
		later := *e
		later.Stamp = g.Ledger.Stamp()
		if err := g.Put(t.Context(), key, &later); err != nil {
			t.Fatal(err)
		}
		if _, err := g.Get(t.Context(), key); err != nil {
			t.Errorf("%s, fetched anew: %v", label, err)
		}
	}
	f(store.LabelAll, true)
	f(store.LabelKey+key.String(), true)
	f(store.LabelNamespace+key.Namespace, true)
	for _, label := range labels {
		f(label, true)
		f(label+"y", false)
	}
	f(store.LabelKey+storetest.Key("other").String(), false)
	f(store.LabelNamespace+"other", false)
	f(store.LabelTag+"convert", false)
	f(store.LabelTag+"key:"+key.String(), false)
	f("alL", false)
}

func TestASoftPurgeMakesStale(t *testing.T) {
	clock := storetest.NewClock()
	g := guarded(t, clock)
	key := storetest.Key("k")
	e := storetest.Entry(clock.Now(), []byte("body"))
	e.Lifetime.StaleWhileRevalidate = time.Minute
	e.Stamp = g.Ledger.Stamp()
	clock.Advance(10 * time.Second)
	if err := errors.Join(g.Put(t.Context(), key, e), g.Ledger.Purge(t.Context(), store.LabelAll, true)); err != nil {
		t.Fatal(err)
	}
	state := func() policy.State {
		got, err := g.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if got.Lifetime.TTL > 10*time.Second || string(got.Body) != "body" {
			t.Errorf("%+v", got)
		}
		return got.Lifetime.At(clock.Now())
	}
	if s := state(); s != policy.Revalidate {
		t.Errorf("state %v", s)
	}
	clock.Advance(time.Minute)
	if s := state(); s != policy.Expired {
		t.Errorf("a minute later: state %v", s)
	}
	if e.Lifetime.TTL != time.Hour {
		t.Error("the entry that was put has changed")
	}
	near := &store.Guard{Store: g.Store, Ledger: g.Ledger, Near: true}
	if _, err := near.Get(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("before another store: %v", err)
	}
	if err := g.Ledger.Purge(t.Context(), store.LabelAll, false); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Get(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("purged as well: %v", err)
	}
}

// A request is judged by when it was asked: one that came between two purges
// finds the second, and must not take what the first made stale for fresh.
func TestWhatIsStaleStaysStaleWhenItIsPurgedAgain(t *testing.T) {
	clock := storetest.NewClock()
	g := guarded(t, clock)
	key := storetest.Key("k")
	e := storetest.Entry(clock.Now(), []byte("body"))
	e.Lifetime.StaleWhileRevalidate, e.Tags, e.Stamp = time.Minute, []string{store.LabelTag + "x"}, g.Ledger.Stamp()
	if err := g.Put(t.Context(), key, e); err != nil {
		t.Fatal(err)
	}
	for _, label := range []string{store.LabelAll, store.LabelAll, store.LabelTag + "x"} {
		clock.Advance(10 * time.Second)
		if err := g.Ledger.Purge(t.Context(), label, true); err != nil {
			t.Fatal(err)
		}
	}
	got, err := g.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	for _, ago := range []time.Duration{0, 5 * time.Second, 15 * time.Second} {
		if s := got.Lifetime.At(clock.Now().Add(-ago)); s != policy.Revalidate {
			t.Errorf("asked %v ago: state %v", ago, s)
		}
	}
	if ttl := got.Lifetime.TTL.Round(10 * time.Millisecond); ttl != 20*time.Second {
		t.Errorf("stale from %v on, want the first purge that is known", got.Lifetime.TTL)
	}
}

// unread is a journal that can be written and not be read, as one is for a
// moment when it comes back.
type unread struct{ seq uint64 }

func (u *unread) Append(_ context.Context, r store.Record) (store.Record, error) {
	u.seq++
	r.Seq.Time = u.seq
	return r, nil
}

func (u *unread) Read(context.Context, store.Position) (store.Batch, error) {
	return store.Batch{}, errors.New("not yet")
}

func TestAPurgeHoldsForWhatWasFetchedWhileCutOff(t *testing.T) {
	g := guarded(t, storetest.NewClock())
	g.Ledger = store.NewLedger(store.LedgerOptions{Journal: &unread{}, MaxDisconnected: time.Hour})
	t.Cleanup(func() { _ = g.Ledger.Close() })
	key := storetest.Key("k")
	for _, soft := range []bool{false, true} {
		e := storetest.Entry(time.Now(), []byte("body"))
		e.Asked, e.Stamp = time.Now(), g.Ledger.Stamp()
		if err := g.Put(t.Context(), key, e); err != nil {
			t.Fatal(err)
		}
		if _, err := g.Get(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		if err := g.Ledger.Purge(t.Context(), store.LabelAll, soft); err != nil {
			t.Fatal(err)
		}
		if _, err := g.Get(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("soft %v: %v", soft, err)
		}
		if err := g.Put(t.Context(), key, e); err != nil {
			t.Fatal(err)
		}
		if _, err := g.Get(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("soft %v, put after the purge: %v", soft, err)
		}
	}
}

// However many purges there are, memory is bounded, and what is not known any
// more counts as purged.
func TestPurgesThatAreForgottenTakeEverythingOlder(t *testing.T) {
	clock := storetest.NewClock()
	g := guarded(t, clock)
	key := storetest.Key("k")
	e := storetest.Entry(clock.Now(), []byte("body"))
	e.Tags, e.Stamp = []string{store.LabelTag + "0"}, g.Ledger.Stamp()
	for i := range 1 << 17 {
		if err := g.Ledger.Purge(t.Context(), fmt.Sprint(store.LabelTag, i), false); err != nil {
			t.Fatal(err)
		}
	}
	if v := g.Ledger.Judge(key, e); v != store.Purged {
		t.Errorf("an entry that was purged, and that purge forgotten: %v", v)
	}
	e.Stamp = g.Ledger.Stamp()
	if v := g.Ledger.Judge(key, e); v != store.Good {
		t.Errorf("a new entry: %v", v)
	}
}

func TestEntriesOfAnotherLedgerDoNotCount(t *testing.T) {
	g, other := guarded(t, storetest.NewClock()), guarded(t, storetest.NewClock())
	e := storetest.Entry(storetest.NewClock().Now(), nil)
	for _, stamp := range []store.Stamp{{}, other.Ledger.Stamp(), {Epoch: g.Ledger.Stamp().Epoch + 1, Seq: store.Seq{Time: 1 << 62}}} {
		if e.Stamp = stamp; g.Ledger.Judge(storetest.Key("k"), e) != store.Purged {
			t.Errorf("%+v counts", stamp)
		}
	}
}
