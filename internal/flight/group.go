package flight

import (
	"sync"
	"sync/atomic"
)

// Group holds the flights that can be joined, by key. The zero value is ready
// for use.
type Group[K comparable, H, V any] struct {
	mu      sync.Mutex
	flights map[K]*Flight[H, V]

	ended atomic.Uint64
}

// Join takes a seat in the key's flight. When there is none that can be joined
// it puts a new one there, made by open, and the caller is its leader, who
// must see to it that Start, Close, Settle and Forget are called.
func (g *Group[K, H, V]) Join(key K, open func() *Flight[H, V]) (f *Flight[H, V], leader bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f := g.flights[key]; f != nil && f.Sit() {
		return f, false
	}
	if g.flights == nil {
		g.flights = map[K]*Flight[H, V]{}
	}
	f = open()
	g.flights[key] = f
	return f, true
}

// Find takes a seat in the key's flight; nil when there is none that can be
// joined.
func (g *Group[K, H, V]) Find(key K) *Flight[H, V] {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f := g.flights[key]; f != nil && f.Sit() {
		return f
	}
	return nil
}

// Offer lets others join the flight under the key, in the place of one that is
// there. The duties of a leader towards the group come with that.
func (g *Group[K, H, V]) Offer(key K, f *Flight[H, V]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.flights == nil {
		g.flights = map[K]*Flight[H, V]{}
	}
	g.flights[key] = f
}

// Forget takes the flight out of the group, if it is the key's flight still.
//
// A caller that missed in the store before a flight's answer was put there,
// and joins after that flight was forgotten, would fetch what is stored by
// now. So who becomes leader compares Generation before its look-up with the
// one after Join, and looks again when they differ.
func (g *Group[K, H, V]) Forget(key K, f *Flight[H, V]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.flights[key] == f {
		delete(g.flights, key)
		g.ended.Add(1)
	}
}

// Generation counts the flights that were forgotten.
func (g *Group[K, H, V]) Generation() uint64 { return g.ended.Load() }

// Len is the number of flights that can be joined.
func (g *Group[K, H, V]) Len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.flights)
}
