package redis

import (
	"sync"
	"sync/atomic"
	"time"
)

// recent knows which names were deleted lately: a replica may have them still,
// so that they are read from their primary. It is safe for concurrent use.
type recent struct {
	lag   time.Duration // how far behind a replica may be
	begun atomic.Bool   // what was deleted before the start is known

	mu       sync.Mutex
	all      time.Time           // what was deleted before is not known
	turned   time.Time           // when newer was begun
	newer    map[string]struct{} // and older, those of the time before
	older    map[string]struct{}
	capacity int
}

func newRecent(lag time.Duration, now time.Time) *recent {
	return &recent{lag: lag, turned: now, newer: map[string]struct{}{}, capacity: maxDeletions}
}

// note takes down a name.
func (r *recent) note(name string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turnLocked(now)
	if len(r.newer) >= r.capacity {
		r.newer, r.older, r.all = map[string]struct{}{}, nil, now
	}
	r.newer[name] = struct{}{}
}

// noteAll says that anything may have been deleted.
func (r *recent) noteAll(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = now
}

// has says whether the name may be one that was deleted within the lag.
func (r *recent) has(name string, now time.Time) bool {
	if !r.begun.Load() {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.all) < r.lag {
		return true
	}
	r.turnLocked(now)
	_, newer := r.newer[name]
	_, older := r.older[name]
	return newer || older
}

// turnLocked forgets what is older than twice the lag.
func (r *recent) turnLocked(now time.Time) {
	switch age := now.Sub(r.turned); {
	case age < r.lag:
		return
	case age < 2*r.lag:
		r.older = r.newer
	default:
		r.older = nil
	}
	r.newer, r.turned = map[string]struct{}{}, now
}
