package store

import (
	"context"
	"errors"
	"sync"
	"time"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/policy"
)

// Tiered puts a Near store (fast, of this process) in front of a Far one
// (shared). It is made as &Tiered{Near: ..., Far: ...}, must not be copied, and
// is safe for concurrent use.
//
// An entry found in Far is promoted into Near. A promotion is a write of
// something read earlier, so it must not undo a Put or Delete of this process
// that came in between. Each shard of the keys counts its changes: a Get notes
// the count before it asks Far, and promotes only if it is still the same, with
// the shard locked. Put and Delete count once before and once after their work
// in Far, so whatever a Get read from Far while they worked there is used for
// that one answer and kept nowhere:
//
//	Get                     Delete
//	notes count 6
//	reads the entry in Far
//	                        count 7, gone from Near
//	                        gone from Far
//	                        count 8, gone from Near
//	8 is not 6: no promotion
//
// Had the Get promoted before "count 8", that second step takes the entry out
// of Near again. Changes made by other processes are not seen here while what
// Near has is fresh. Once it is stale Far is asked too, where another process
// may have put a newer entry.
type Tiered struct {
	Near, Far Store

	// Now is the clock by which an entry of Far counts as expired; nil is
	// time.Now.
	Now func() time.Time

	// MaxPromoted is the largest body, in bytes, that is taken into Near from
	// where it is read in pieces; 0 is none. A small part of what Near holds.
	MaxPromoted int64

	shards [64]shard

	mu         sync.Mutex
	promotions map[cachekey.Key]*Entry // that are going on
}

type shard struct {
	mu      sync.Mutex
	changes uint64
}

func (t *Tiered) shard(key cachekey.Key) *shard {
	return &t.shards[key.Digest[0]%byte(len(t.shards))]
}

// Get asks Near and, where that has nothing fresh, Far. When Near has nothing
// and Far fails, the error is Far's: an outage, which the caller treats as a
// miss but can tell from one.
func (t *Tiered) Get(ctx context.Context, key cachekey.Key) (*Entry, error) {
	near, nearErr := t.Near.Get(ctx, key)
	if nearErr == nil && near.Lifetime.At(t.now()) == policy.Fresh {
		return near, nil
	}
	s := t.shard(key)
	before := s.count()
	e, err := t.Far.Get(ctx, key)
	if err == nil && !t.now().Before(e.Lifetime.Expiry()) {
		err = ErrNotFound
	}
	if nearErr == nil && (err != nil || !e.Lifetime.StoredAt.After(near.Lifetime.StoredAt)) {
		return near, nil
	}
	if err != nil {
		return nil, outage(nearErr, err)
	}
	if e.Content != nil {
		return t.promotable(key, e, before), nil
	}
	t.promote(key, e, before)
	t.outdate(key, e)
	return e, nil
}

// Put stores e in both. What Near refuses it must not keep an older version of
// either, and what Far refuses for a lost lease Near must not keep at all.
// ErrTooLarge means that neither holds e; too large for Near alone is no error.
func (t *Tiered) Put(ctx context.Context, key cachekey.Key, e *Entry) error {
	s := t.shard(key)
	nearCtx := context.WithoutCancel(ctx) // what is begun in Near is brought to its end
	near, nearErr := t.forNear(ctx, e)
	if nearErr == nil {
		nearErr = s.change(func() error { return t.Near.Put(nearCtx, key, near) })
	}
	farErr := t.Far.Put(ctx, key, forFar(e))
	// If Near did not take it, Near may have an older version: from before, or
	// promoted by a Get while Far still had that.
	again := s.change(func() error {
		if nearErr == nil && !errors.Is(farErr, ErrFenced) {
			return nil
		}
		return t.Near.Delete(nearCtx, key)
	})
	if farErr == nil && (near == nil || errors.Is(nearErr, ErrTooLarge)) {
		nearErr = nil
	}
	return errors.Join(nearErr, farErr, again)
}

// Delete removes the entry from both, whatever happens in either. After it has
// returned nil, no Get of this process returns an entry put before it.
func (t *Tiered) Delete(ctx context.Context, key cachekey.Key) error {
	nearCtx := context.WithoutCancel(ctx)
	near := func() error { return t.Near.Delete(nearCtx, key) }
	s := t.shard(key)
	first := s.change(near)
	far := t.Far.Delete(ctx, key)
	second := s.change(near)
	return errors.Join(first, far, second)
}

// Drop takes out of Near what another process has deleted in Far.
func (t *Tiered) Drop(ctx context.Context, key cachekey.Key) error {
	return t.shard(key).change(func() error { return t.Near.Delete(ctx, key) })
}

func (t *Tiered) now() time.Time {
	if t.Now == nil {
		return time.Now()
	}
	return t.Now()
}

func (s *shard) count() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changes
}

// change counts a change and makes it, with the shard locked.
func (s *shard) change(do func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes++
	return do()
}

// outage gives the one error that stands for both tiers: ErrNotFound only when
// neither has the entry and neither failed.
func outage(near, far error) error {
	switch {
	case errors.Is(near, ErrNotFound):
		return far
	case errors.Is(far, ErrNotFound):
		return near
	}
	return errors.Join(near, far)
}
