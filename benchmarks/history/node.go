package main

import (
	"context"
	"sync"
	"sync/atomic"

	"jaegis-proxy/internal/proxytest"
)

// node is a proxy, and what its clients must know of it. It is safe for
// concurrent use.
type node struct {
	*proxytest.Proxy
	index int

	// incarnation is how often it was ended. It grows before the process is
	// told to end, so that whoever sees an error because of that sees this too.
	incarnation atomic.Int64

	mu sync.Mutex
	up chan struct{} // closed while it is up
}

func newNode(index int, p *proxytest.Proxy) *node {
	n := &node{Proxy: p, index: index, up: make(chan struct{})}
	close(n.up)
	return n
}

// await waits until it is up, and gives the incarnation to which what is sent
// now belongs. Not ok: ctx ended.
func (n *node) await(ctx context.Context) (incarnation int64, ok bool) {
	for {
		incarnation = n.incarnation.Load()
		n.mu.Lock()
		up := n.up
		n.mu.Unlock()
		select {
		case <-up:
			if n.incarnation.Load() == incarnation {
				return incarnation, true
			}
		case <-ctx.Done():
			return 0, false
		}
	}
}

// down says that it is about to be ended.
func (n *node) down() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.up = make(chan struct{})
	n.incarnation.Add(1)
}

// back says that it is there again.
func (n *node) back() {
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.up)
}
