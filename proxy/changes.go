package proxy

import (
	"sync"
	"time"

	"jaegis-proxy/cachekey"
)

// changes remembers when what lies under a key was made untrue, for longer than
// a fetch or a write takes that began before. It forgets by generations; where
// it has to forget earlier than that for want of room, everything that old
// counts as untrue.
type changes struct {
	mu        sync.RWMutex
	now, old  map[cachekey.Key]time.Time
	began     time.Time // of the generation in now
	forgotten time.Time // the last change that was forgotten for want of room
}

const (
	longestFetch = 20 * time.Minute // with its write
	maxChanges   = 500_000          // in one generation
)

func newChanges() *changes { return &changes{now: map[cachekey.Key]time.Time{}} }

// note takes down that what lies under the key is untrue from this moment on.
func (c *changes) note(key cachekey.Key, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if full := len(c.now) >= maxChanges; full || at.Sub(c.began) > longestFetch {
		if full && at.Sub(c.began) < longestFetch {
			c.forgotten = c.began // nothing in old is younger than that
		}
		c.old, c.now, c.began = c.now, map[cachekey.Key]time.Time{}, at
	}
	c.now[key] = at
}

// noteAll makes everything untrue.
func (c *changes) noteAll(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now, c.old, c.began, c.forgotten = map[cachekey.Key]time.Time{}, nil, at, at
}

// since says whether what lies under the key was made untrue at that time or
// later.
func (c *changes) since(key cachekey.Key, t time.Time) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	at, ok := c.now[key]
	if !ok {
		at, ok = c.old[key]
	}
	return ok && !at.Before(t) || !c.forgotten.IsZero() && !c.forgotten.Before(t)
}
