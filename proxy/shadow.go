package proxy

import (
	"bytes"
	"io"

	"jaegis-proxy/internal/encoding"
	"jaegis-proxy/policy"
	"jaegis-proxy/store"
)

// shadow forwards a request that could perhaps have been answered from the
// store, and has the leader compare the two answers. Nothing of what the client
// gets comes from the store.
func (p *Proxy) shadow(c *call, e *store.Entry, state policy.State) (streaming bool, err error) {
	if c.cc.OnlyIfCached {
		return false, errOnlyIfCached
	}
	c.detail, c.forward = "shadow-miss", "bypass"
	if state == policy.Fresh {
		c.detail, c.would = "shadow-hit", e
	}
	if p.full() {
		return false, errOverCapacity
	}
	f := p.newFlight(c, c.route.CancelAbandoned)
	p.start(c, f, fetchShared)
	return p.follow(c, f, Bypass)
}

// compare says how what would have been a hit compares with the answer that
// came.
func (l *leader) compare(head *answerHead) {
	if !l.route.Shadow || l.why == fetchPass {
		return
	}
	l.p.metrics.shadow(l.route, l.likeness(head))
}

func (l *leader) likeness(head *answerHead) string {
	if l.would == nil {
		return "miss"
	}
	body, err := l.f.Body()
	if err != nil || head.status != l.would.Status {
		return "different"
	}
	stored, err := identity(l.would)
	if err == nil && bytes.Equal(body, stored) {
		return "same"
	}
	return "different"
}

// identity gives an entry's body without the coding that is ours.
func identity(e *store.Entry) ([]byte, error) {
	if e.Coding == "" {
		return e.Body, nil
	}
	r, err := encoding.NewReader(e.Coding, bytes.NewReader(e.Body))
	if err != nil {
		return nil, err
	}
	body := make([]byte, e.Length)
	if _, err = io.ReadFull(r, body); err != nil {
		return nil, err
	}
	return body, r.Close()
}
