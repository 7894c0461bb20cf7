package proxy

import (
	"context"
	"sync"
	"time"

	"jaegis-proxy/cachekey"
)

// owed are the keys that the store could not be made to forget. They are tried
// again until it has; until then nobody looks there. It has a goroutine, which
// close ends.
type owed struct {
	mu   sync.Mutex
	keys map[cachekey.Key]uint64 // and when each was last added
	n    uint64
	done chan struct{}
}

// retry is how often the store is tried again.
const retry = time.Second

func newOwed(ctx context.Context, remove func(cachekey.Key) error) *owed {
	o := &owed{keys: map[cachekey.Key]uint64{}, done: make(chan struct{})}
	go o.run(ctx, remove)
	return o
}

func (o *owed) add(key cachekey.Key) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.n++
	o.keys[key] = o.n
}

// has says whether the store is not to be trusted with the key.
func (o *owed) has(key cachekey.Key) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, ok := o.keys[key]
	return ok
}

func (o *owed) run(ctx context.Context, remove func(cachekey.Key) error) {
	defer close(o.done)
	tick := time.NewTicker(retry)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for key, n := range o.copy() {
			if remove(key) != nil {
				break // it is away: no use to ask for each
			}
			o.drop(key, n)
		}
	}
}

func (o *owed) copy() map[cachekey.Key]uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := make(map[cachekey.Key]uint64, len(o.keys))
	for k, n := range o.keys {
		out[k] = n
	}
	return out
}

// drop forgets a key, unless it was added again meanwhile.
func (o *owed) drop(key cachekey.Key, n uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.keys[key] == n {
		delete(o.keys, key)
	}
}
