// Package memory is the store of this process: entries by key, bounded by the
// bytes they take, each gone at its own expiry. What does not fit is thrown
// out, least useful first. Nothing outlives the process.
package memory

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/store"
)

// Source is the Source of the entries that this store returns.
const Source = "memory"

// maxShare is the part of the bound that a single entry may take: an eighth, so
// that one answer cannot push out everything else.
const maxShare = 8

// Options bound a Store.
type Options struct {
	// MaxBytes bounds the entries together, by Entry.Size. It must be positive.
	MaxBytes int64

	// Now is the clock by which entries expire; nil is time.Now.
	Now func() time.Time
}

// Stats is a Store's state at one moment.
type Stats struct {
	Entries   int   // about
	Bytes     int64 // about
	Evictions int64 // entries thrown out for want of room, ever
}

// Store is a store.Store in memory. It is safe for concurrent use. Entries are
// handed out as they were put, by pointer: nobody may change one.
type Store struct {
	max       int64
	now       func() time.Time
	cache     *otter.Cache[cachekey.Key, *store.Entry]
	evictions atomic.Int64
}

// New makes a store. It holds goroutines until Close.
func New(opts Options) (*Store, error) {
	if opts.MaxBytes <= 0 {
		return nil, errors.New("memory store: the bound in bytes must be positive")
	}
	s := &Store{max: opts.MaxBytes, now: opts.Now}
	options := &otter.Options[cachekey.Key, *store.Entry]{
		MaximumWeight: uint64(opts.MaxBytes),
		Weigher: func(_ cachekey.Key, e *store.Entry) uint32 {
			return uint32(min(e.Size(), math.MaxUint32))
		},
		OnAtomicDeletion: func(d otter.DeletionEvent[cachekey.Key, *store.Entry]) {
			if d.Cause == otter.CauseOverflow {
				s.evictions.Add(1)
			}
		},
	}
	if s.now == nil {
		s.now = time.Now
	} else {
		options.Clock = clock(s.now)
	}
	options.ExpiryCalculator = otter.ExpiryWritingFunc(func(e otter.Entry[cachekey.Key, *store.Entry]) time.Duration {
		return e.Value.Lifetime.Expiry().Sub(s.now())
	})
	cache, err := otter.New(options)
	if err != nil {
		return nil, err
	}
	s.cache = cache
	return s, nil
}

// clock makes an injected clock one of otter's. It never ticks: otter then
// drops expired entries in the course of other work.
type clock func() time.Time

func (c clock) NowNano() int64                      { return c().UnixNano() }
func (c clock) Tick(time.Duration) <-chan time.Time { return nil }

// Get returns the entry, the same pointer every time, or store.ErrNotFound. It
// does not allocate.
func (s *Store) Get(ctx context.Context, key cachekey.Key) (*store.Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	e, ok := s.cache.GetIfPresent(key)
	// Otter reads a clock of its own, at its own moment; ours decides.
	if !ok || !s.now().Before(e.Lifetime.Expiry()) {
		return nil, store.ErrNotFound
	}
	return e, nil
}

// Put stores e in place of what is there. An entry that is over already is not
// stored; one that takes more than an eighth of the bound is store.ErrTooLarge.
// In both cases what is there stays. A body that is not in memory is taken into
// it.
func (s *Store) Put(ctx context.Context, key cachekey.Key, e *store.Entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if e.Size() > s.max/maxShare || e.BodySize() > s.max/maxShare {
		return store.ErrTooLarge
	}
	if !s.now().Before(e.Lifetime.Expiry()) {
		return nil
	}
	e, err := e.Load(ctx)
	if err != nil {
		return err
	}
	if e.Source != Source {
		own := *e
		own.Source = Source
		e = &own
	}
	s.cache.Set(key, e)
	return nil
}

// Delete removes the entry. That there is none is no error.
func (s *Store) Delete(ctx context.Context, key cachekey.Key) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.cache.Invalidate(key)
	return nil
}

// Clear removes all entries.
func (s *Store) Clear() { s.cache.InvalidateAll() }

// Stats gives the store's state. It waits for a moment in which the store does
// its housekeeping: it is for metrics, not for the request path.
func (s *Store) Stats() Stats {
	return Stats{
		Entries:   s.cache.EstimatedSize(),
		Bytes:     int64(s.cache.WeightedSize()),
		Evictions: s.evictions.Load(),
	}
}

// Close drops all entries and ends the store's goroutines.
func (s *Store) Close() error {
	s.cache.InvalidateAll()
	s.cache.StopAllGoroutines()
	return nil
}
