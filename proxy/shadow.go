package proxy

import (
	"bytes"
	"errors"
	"io"

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
	if head.status != l.would.Status {
		return "different"
	}
	came, err := l.p.plainReader(&store.Entry{Content: &spooledBody{l.f.Hold, l.f.Size()}})
	if err != nil {
		return "different"
	}
	defer came.Close()
	stored, err := l.p.plainReader(l.would)
	if err != nil {
		return "different"
	}
	defer stored.Close()
	if same(came, stored) {
		return "same"
	}
	return "different"
}

// same says whether two bodies are, as far as the shorter piece goes each time.
func same(a, b io.Reader) bool {
	bufs := [2][]byte{make([]byte, 32<<10), make([]byte, 32<<10)}
	for {
		n, err1 := io.ReadFull(a, bufs[0])
		m, err2 := io.ReadFull(b, bufs[1])
		if !bytes.Equal(bufs[0][:n], bufs[1][:m]) {
			return false
		}
		if err1 != nil || err2 != nil {
			return atEnd(err1) && atEnd(err2)
		}
	}
}

func atEnd(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
