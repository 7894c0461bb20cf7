package proxy

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"

	"jaegis-proxy/cachekey"
)

// proofs are the callers whose credential an upstream has itself accepted
// lately: they may share its answers. What is kept is a keyed digest of
// credential and upstream, in this process alone.
type proofs struct {
	mu       sync.Mutex                                 // of judge
	accepted *otter.Cache[[sha256.Size]byte, time.Time] // until when
	revoked  *otter.Cache[[sha256.Size]byte, time.Time] // when
}

func newProofs() *proofs {
	return &proofs{
		accepted: otter.Must(&otter.Options[[sha256.Size]byte, time.Time]{
			MaximumSize: 100_000, ExpiryCalculator: otter.ExpiryWriting[[sha256.Size]byte, time.Time](maxTTL),
		}),
		revoked: otter.Must(&otter.Options[[sha256.Size]byte, time.Time]{
			MaximumSize: 100_000, ExpiryCalculator: otter.ExpiryWriting[[sha256.Size]byte, time.Time](longestFetch),
		}),
	}
}

func (p *proofs) close() {
	p.accepted.StopAllGoroutines()
	p.revoked.StopAllGoroutines()
}

// holds says whether the caller is one of them.
func (p *proofs) holds(caller [sha256.Size]byte, now time.Time) bool {
	until, ok := p.accepted.GetIfPresent(caller)
	return ok && now.Before(until)
}

// judge takes down what an upstream's answer tells of the credential of a
// request that was sent at that time. An acceptance of a request that was sent
// before a refusal came does not count.
func (p *proofs) judge(caller [sha256.Size]byte, status int, sent, now time.Time, ttl time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case status == 401 || status == 403:
		p.revoked.Set(caller, now)
		p.accepted.Invalidate(caller)
	case status >= 200 && status < 300 && ttl > 0:
		if at, ok := p.revoked.GetIfPresent(caller); !ok || at.Before(sent) {
			p.accepted.Set(caller, now.Add(ttl))
		}
	}
}

// prove takes down what the answer tells of the caller's credential. Any answer
// of the upstream can refuse it; an acceptance counts on routes with the scope
// shared alone: elsewhere the upstream may not have looked.
func (l *leader) prove(resp *Response) {
	if l.table.shares {
		l.p.proofs.judge(l.caller, resp.Status, l.started, l.p.now(), l.route.ProofTTL)
	}
}

// caller is the digest of who the call's caller is.
func (c *call) caller() [sha256.Size]byte {
	sum, err := c.table.deriver.Caller(c.route.Key, &cachekey.Request{
		Upstream: c.route.Upstream.identity, Query: c.target.query, Headers: c.keyHeaders(),
	})
	if err != nil {
		panic("BUG: " + err.Error()) // the route's rule is prepared
	}
	return sum
}

// mayUseShared says whether the caller may be given what others have fetched:
// always, but on a route with the scope shared, where the upstream must have
// accepted its credential, or the proxy itself knows it.
func (c *call) mayUseShared() bool {
	if c.route.ProofTTL == 0 || c.client != nil && c.route.Upstream.injects {
		return true
	}
	return c.p.proofs.holds(c.caller(), c.p.now())
}
