package store_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/store"
	"jaegis-proxy/store/memory"
	"jaegis-proxy/store/storetest"
)

// far is a store in front of which a test can stand: before and after an
// operation it does what it is told, or it fails.
type far struct {
	store.Store
	err                 error
	afterGet, beforeDel func()
	beforePut           func()
}

func (f *far) Get(ctx context.Context, key cachekey.Key) (*store.Entry, error) {
	if f.err != nil {
		return nil, f.err
	}
	e, err := f.Store.Get(ctx, key)
	call(f.afterGet)
	return e, err
}

func (f *far) Put(ctx context.Context, key cachekey.Key, e *store.Entry) error {
	call(f.beforePut)
	if f.err != nil {
		return f.err
	}
	return f.Store.Put(ctx, key, e)
}

func (f *far) Delete(ctx context.Context, key cachekey.Key) error {
	call(f.beforeDel)
	if f.err != nil {
		return f.err
	}
	return f.Store.Delete(ctx, key)
}

func call(f func()) {
	if f != nil {
		f()
	}
}

type tiers struct {
	*store.Tiered
	near  store.Store
	far   *far
	clock *storetest.Clock
}

func newTiers(t *testing.T, nearBytes, farBytes int64) *tiers {
	t.Helper()
	clock := storetest.NewClock()
	open := func(max int64) store.Store {
		s, err := memory.New(memory.Options{MaxBytes: max, Now: clock.Now})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	near, far := open(nearBytes), &far{Store: open(farBytes)}
	return &tiers{&store.Tiered{Near: near, Far: far, Now: clock.Now}, near, far, clock}
}

func (s *tiers) entry(key cachekey.Key, version uint64, size int) *store.Entry {
	return storetest.Entry(s.clock.Now(), storetest.Body(key, version, size))
}

// version is the version of the entry that the store has, 0 for none.
func version(t *testing.T, s store.Store, key cachekey.Key) uint64 {
	t.Helper()
	e, err := s.Get(t.Context(), key)
	if errors.Is(err, store.ErrNotFound) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	v, err := storetest.Prove(key, e.Body)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const roomy = 1 << 20

func TestTieredPromotesWhatIsFoundFarAway(t *testing.T) {
	s, key := newTiers(t, roomy, roomy), storetest.Key("k")
	must(t, s.far.Put(t.Context(), key, s.entry(key, 1, 100)))
	if v := version(t, s, key); v != 1 {
		t.Fatalf("version %d", v)
	}
	if v := version(t, s.near, key); v != 1 {
		t.Error("not promoted")
	}
}

func TestTieredWritesAndDeletesInBoth(t *testing.T) {
	s, key := newTiers(t, roomy, roomy), storetest.Key("k")
	must(t, s.Put(t.Context(), key, s.entry(key, 1, 100)))
	if n, f := version(t, s.near, key), version(t, s.far, key); n != 1 || f != 1 {
		t.Errorf("near has %d, far %d", n, f)
	}
	must(t, s.Delete(t.Context(), key))
	if n, f := version(t, s.near, key), version(t, s.far, key); n != 0 || f != 0 {
		t.Errorf("near still has %d, far %d", n, f)
	}
}

func TestTieredDoesNotUseAnEntryThatIsOver(t *testing.T) {
	s, key := newTiers(t, roomy, roomy), storetest.Key("k")
	// Far goes by a clock of its own, as a Redis does.
	stopped, err := memory.New(memory.Options{MaxBytes: roomy, Now: storetest.NewClock().Now})
	must(t, err)
	defer stopped.Close()
	s.far.Store = stopped
	must(t, stopped.Put(t.Context(), key, s.entry(key, 1, 100)))
	s.clock.Advance(time.Hour)
	if v := version(t, stopped, key); v != 1 {
		t.Fatal("far has dropped it by itself")
	}
	if v := version(t, s, key); v != 0 {
		t.Error("an entry that is over was found")
	}
}

// Another process may have refreshed what is stale here.
func TestTieredLooksFarAwayForNewerThanWhatIsStale(t *testing.T) {
	f := func(what string, want uint64, do func(s *tiers, key cachekey.Key)) {
		t.Helper()
		s, key := newTiers(t, roomy, roomy), storetest.Key("k")
		e := s.entry(key, 1, 100)
		e.Lifetime.StaleWhileRevalidate = time.Hour
		must(t, s.Put(t.Context(), key, e))
		do(s, key)
		if v := version(t, s, key); v != want {
			t.Errorf("%s: version %d, want %d", what, v, want)
		}
	}
	f("fresh, whatever far has", 1, func(s *tiers, key cachekey.Key) { must(t, s.far.Put(t.Context(), key, s.entry(key, 2, 100))) })
	f("stale, and newer far away", 2, func(s *tiers, key cachekey.Key) {
		s.clock.Advance(time.Hour)
		must(t, s.far.Put(t.Context(), key, s.entry(key, 2, 100)))
		if version(t, s, key) != version(t, s.near, key) {
			t.Error("it was not promoted")
		}
	})
	f("stale, and the same far away", 1, func(s *tiers, key cachekey.Key) { s.clock.Advance(time.Hour) })
	f("stale, and older far away", 1, func(s *tiers, key cachekey.Key) {
		old := s.entry(key, 2, 100)
		old.Lifetime.StoredAt, old.Lifetime.StaleWhileRevalidate = old.Lifetime.StoredAt.Add(-time.Minute), 2*time.Hour
		must(t, s.far.Put(t.Context(), key, old))
		s.clock.Advance(time.Hour)
	})
	f("stale, and nothing far away", 1, func(s *tiers, key cachekey.Key) {
		s.clock.Advance(time.Hour)
		must(t, s.far.Delete(t.Context(), key))
	})
	f("stale, and far away in trouble", 1, func(s *tiers, _ cachekey.Key) {
		s.clock.Advance(time.Hour)
		s.far.err = errors.New("outage")
	})
}

func TestTieredReportsAnOutageOnlyWhenNearHasNothing(t *testing.T) {
	s, key := newTiers(t, roomy, roomy), storetest.Key("k")
	must(t, s.near.Put(t.Context(), key, s.entry(key, 1, 100)))
	outage := errors.New("outage")
	s.far.err = outage
	if v := version(t, s, key); v != 1 {
		t.Error("no hit in near")
	}
	if _, err := s.Get(t.Context(), storetest.Key("other")); !errors.Is(err, outage) || errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get: %v; want the outage", err)
	}
	if err := s.Put(t.Context(), key, s.entry(key, 2, 100)); !errors.Is(err, outage) {
		t.Errorf("Put: %v; want the outage", err)
	}
	if v := version(t, s, key); v != 2 {
		t.Errorf("version %d; near must have the new one", v)
	}
	if err := s.Delete(t.Context(), key); !errors.Is(err, outage) {
		t.Errorf("Delete: %v; want the outage", err)
	}
	if v := version(t, s.near, key); v != 0 {
		t.Error("not deleted in near, for far's outage")
	}
}

func TestTieredEntryTooLargeForNearIsInFarAlone(t *testing.T) {
	s, key := newTiers(t, 8<<10, 1<<20), storetest.Key("k")
	must(t, s.Put(t.Context(), key, s.entry(key, 1, 100)))
	must(t, s.Put(t.Context(), key, s.entry(key, 2, 20<<10)))
	if v := version(t, s.near, key); v != 0 {
		t.Errorf("near has version %d still", v)
	}
	if v := version(t, s, key); v != 2 {
		t.Errorf("version %d", v)
	}
	if err := s.Put(t.Context(), key, s.entry(key, 3, 300<<10)); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("Put of what is too large for both: %v", err)
	}
}

// A reader has read an entry in far; before it can promote it, another one
// changes the key. What the reader read must not come back.
func TestTieredPromotionDoesNotUndoAChange(t *testing.T) {
	f := func(what string, nearBytes int64, want uint64, change func(s *tiers, key cachekey.Key)) {
		t.Run(what, func(t *testing.T) {
			s, key := newTiers(t, nearBytes, roomy), storetest.Key("k")
			must(t, s.far.Put(t.Context(), key, s.entry(key, 1, 100)))
			s.far.afterGet = func() {
				s.far.afterGet = nil // the change's own reads are not interrupted
				change(s, key)
			}
			if v := version(t, s, key); v != 1 {
				t.Fatalf("the reader itself got %d; want what it read", v)
			}
			if v := version(t, s.near, key); v != 0 && v != want {
				t.Errorf("near has version %d", v)
			}
			if v := version(t, s, key); v != want {
				t.Errorf("version %d; want %d", v, want)
			}
		})
	}
	f("deleted", roomy, 0, func(s *tiers, key cachekey.Key) { must(t, s.Delete(t.Context(), key)) })
	f("replaced", roomy, 2, func(s *tiers, key cachekey.Key) { must(t, s.Put(t.Context(), key, s.entry(key, 2, 100))) })
	f("replaced by what near does not hold", 8<<10, 2, func(s *tiers, key cachekey.Key) {
		must(t, s.Put(t.Context(), key, s.entry(key, 2, 20<<10)))
	})
}

// The other way round: the change has begun, near has nothing any more, and far
// still has the old entry when a reader comes and promotes it.
func TestTieredChangeUndoesAPromotionThatCameInItsMidst(t *testing.T) {
	s, key := newTiers(t, 8<<10, roomy), storetest.Key("k")
	read := func() {
		if v := version(t, s, key); v != 1 {
			t.Errorf("the reader got %d; want what far still had", v)
		}
	}
	must(t, s.Put(t.Context(), key, s.entry(key, 1, 100)))
	s.far.beforeDel = read
	must(t, s.Delete(t.Context(), key))
	if v := version(t, s, key); v != 0 {
		t.Errorf("version %d after Delete", v)
	}
	s.far.beforeDel = nil

	must(t, s.Put(t.Context(), key, s.entry(key, 1, 100)))
	s.far.beforePut = read
	must(t, s.Put(t.Context(), key, s.entry(key, 2, 20<<10)))
	if v := version(t, s, key); v != 2 {
		t.Errorf("version %d after Put", v)
	}
}

func TestTieredDeleteWithACancelledContextStillClearsNear(t *testing.T) {
	s, key := newTiers(t, roomy, roomy), storetest.Key("k")
	must(t, s.Put(t.Context(), key, s.entry(key, 1, 100)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Delete(ctx, key); !errors.Is(err, context.Canceled) {
		t.Errorf("Delete: %v; far did not do it", err)
	}
	if v := version(t, s.near, key); v != 0 {
		t.Error("near still has the entry")
	}
}
