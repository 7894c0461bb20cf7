package store

import (
	"context"
	"time"

	"jaegis-proxy/cachekey"
)

// Guard is a store as its ledger has it: what was purged is not found. It is
// made as &Guard{...}, must not be copied, and is safe for concurrent use.
type Guard struct {
	Store
	Ledger *Ledger

	// Near says that there is another store behind this one, which may have a
	// newer entry than one that was purged softly.
	Near bool
}

// Get implements Store. A softly purged entry has been stale since then.
func (g *Guard) Get(ctx context.Context, key cachekey.Key) (*Entry, error) {
	e, err := g.Store.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	verdict, since := g.Ledger.judge(key, e)
	switch {
	case verdict == Good:
		return e, nil
	case verdict == Purged, g.Near:
		return nil, ErrNotFound
	}
	stale := *e
	at := time.UnixMilli(int64(min(since.Time, uint64(g.Ledger.now().UnixMilli()))))
	stale.Lifetime.TTL = max(0, min(stale.Lifetime.TTL, at.Sub(stale.Lifetime.StoredAt)))
	stale.Lifetime.Stale = true // whoever asked before the last of several purges, or by a clock that is behind, asked after the first
	return &stale, nil
}

// Put implements Store. What was purged since it was asked for is not stored,
// which is no error; what has no stamp gets that of this moment.
func (g *Guard) Put(ctx context.Context, key cachekey.Key, e *Entry) error {
	if e.Stamp == (Stamp{}) {
		stamped := *e
		stamped.Stamp = g.Ledger.Stamp()
		e = &stamped
	}
	if g.Ledger.Judge(key, e) == Purged {
		return nil
	}
	return g.Store.Put(ctx, key, e)
}
