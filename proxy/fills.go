package proxy

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"jaegis-proxy/cachekey"
)

// fills knows what is on its way to the store, by base key: fetches that come
// together must agree on the epoch of their signpost, and an older answer must
// not take the place of a newer one. What it knows of a base ends with the last
// fetch for it.
type fills struct {
	mu   sync.Mutex
	base map[cachekey.Key]*fill
}

type fill struct {
	fetches int
	names   []string // of the signpost that was begun, and its epoch
	epoch   uint64
	newest  map[cachekey.Key]time.Time // when the newest answer came, by the key under which it lies
}

func newFills() *fills { return &fills{base: map[cachekey.Key]*fill{}} }

// begin counts a fetch; end must follow.
func (f *fills) begin(base cachekey.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	of := f.base[base]
	if of == nil {
		of = &fill{newest: map[cachekey.Key]time.Time{}}
		f.base[base] = of
	}
	of.fetches++
}

func (f *fills) end(base cachekey.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	of := f.base[base]
	if of.fetches--; of.fetches == 0 {
		delete(f.base, base)
	}
}

// epoch gives the epoch that has begun for a signpost with these names, or
// begins one. It is for who has begun a fetch.
func (f *fills) epoch(base cachekey.Key, names []string) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	of := f.base[base]
	if of.epoch == 0 || !slices.Equal(of.names, names) {
		of.names, of.epoch = names, 1+rand.Uint64N(1<<63)
	}
	return of.epoch
}

// varies says whether a signpost for the base has begun by which a field of the
// request selects.
func (f *fills) varies(base cachekey.Key) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	of := f.base[base]
	return of != nil && of.epoch != 0 && varies(of.names)
}

// forget ends the epoch.
func (f *fills) forget(base cachekey.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if of := f.base[base]; of != nil {
		of.epoch = 0
	}
}

// isNewest says whether no answer for the key came later than this one, of
// those that are still on their way.
func (f *fills) isNewest(base, key cachekey.Key, came time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	of := f.base[base]
	if came.Before(of.newest[key]) {
		return false
	}
	of.newest[key] = came
	return true
}
