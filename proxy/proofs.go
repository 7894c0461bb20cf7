package proxy

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/policy"
)

// proofs are the callers whose credential an upstream has itself accepted
// lately: they may share its answers; and those whose credential it has refused:
// they are given nothing, not even their own, until it accepts them again. What
// is kept is a keyed digest of credential and upstream, in this process alone.
type proofs struct {
	refusals atomic.Bool // there ever was one

	mu       sync.Mutex                                 // of accept and revoke
	accepted *otter.Cache[[sha256.Size]byte, proof]     // by proofOf
	revoked  *otter.Cache[[sha256.Size]byte, time.Time] // by caller: when
}

// proof is that a credential was accepted.
type proof struct{ at, until time.Time }

func newProofs() *proofs {
	return &proofs{
		accepted: otter.Must(&otter.Options[[sha256.Size]byte, proof]{
			MaximumSize: 100_000, ExpiryCalculator: otter.ExpiryWriting[[sha256.Size]byte, proof](maxTTL),
		}),
		revoked: otter.Must(&otter.Options[[sha256.Size]byte, time.Time]{
			MaximumSize: 1_000_000, ExpiryCalculator: otter.ExpiryWriting[[sha256.Size]byte, time.Time](maxTTL),
		}),
	}
}

func (p *proofs) close() {
	p.accepted.StopAllGoroutines()
	p.revoked.StopAllGoroutines()
}

// holds says whether the caller is one of them, for requests like this.
func (p *proofs) holds(caller, request [sha256.Size]byte, now time.Time) bool {
	got, ok := p.accepted.GetIfPresent(request)
	if !ok || !now.Before(got.until) {
		return false
	}
	at, refused := p.revoked.GetIfPresent(caller)
	return !refused || at.Before(got.at)
}

// revoke takes down that the upstream has refused the caller.
func (p *proofs) revoke(caller [sha256.Size]byte, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.revoked.Set(caller, now)
	p.refusals.Store(true)
}

// isRefused says whether the caller's credential was refused, and not accepted
// since for requests like this.
func (p *proofs) isRefused(caller, request [sha256.Size]byte) bool {
	at, refused := p.revoked.GetIfPresent(caller)
	if !refused {
		return false
	}
	got, ok := p.accepted.GetIfPresent(request)
	return !ok || !got.at.After(at)
}

// accept takes down that a request was accepted that was sent at that time. One
// that was sent before a refusal came does not count.
func (p *proofs) accept(caller, request [sha256.Size]byte, sent, now time.Time, ttl time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at, ok := p.revoked.GetIfPresent(caller); !ok || at.Before(sent) {
		p.accepted.Set(request, proof{now, now.Add(ttl)})
	}
}

// refuted takes down that the upstream refuses the caller's credential, if that
// is what the answer says: to whatever request. 403 may speak of one thing that
// is not for the caller; it counts where callers share what they are given.
func (l *leader) refuted(resp *Response) {
	if resp.Status == 401 && (l.about.Credential || l.table.shares) || resp.Status == 403 && l.table.shares {
		l.p.proofs.revoke(l.caller, l.p.now())
	}
}

// prove takes down that the upstream accepts the caller's credential. What is
// proven is that it accepts it for this method and path (another may not look at
// credentials at all) and for the account and version that the request names.
func (l *leader) prove(head *answerHead) {
	ttl := l.route.ProofTTL
	if ttl == 0 {
		if !l.p.proofs.refusals.Load() || !l.p.proofs.isRefused(l.caller, l.proof) {
			return // nobody asks
		}
		ttl = maxTTL
	}
	if head.status/100 != 2 || l.why != fetchShared && l.why != fetchRefresh || l.about.Method == "HEAD" {
		return
	}
	if l.ai != nil && l.ai.refused == policy.ReasonAnswerError {
		return
	}
	l.p.proofs.accept(l.caller, l.proof, l.started, l.p.now(), ttl)
}

// proofOf names what is proven of the caller by a request like this one: route,
// method, path, and the headers that are in its key.
func (c *call) proofOf(caller [sha256.Size]byte) [sha256.Size]byte {
	b := caller[:]
	add := func(field []byte) {
		b = binary.AppendUvarint(b, uint64(len(field)))
		b = append(b, field...)
	}
	add([]byte(c.route.Name))
	add([]byte(c.method))
	add(c.target.path)
	headers := c.keyHeaders()
	for _, name := range c.route.Key.Headers {
		values := headers.Values(name)
		b = binary.AppendUvarint(b, uint64(len(values)))
		for _, v := range values {
			add(v)
		}
	}
	return sha256.Sum256(b)
}

// caller is the digest of who the call's caller is.
func (c *call) caller() [sha256.Size]byte {
	sum, err := c.table.deriver.Caller(c.route.callers, &cachekey.Request{
		Upstream: c.route.Upstream.identity, Query: c.target.query, Headers: c.keyHeaders(), Tenant: c.tenant(),
	})
	if err != nil {
		panic("BUG: " + err.Error()) // the rule is prepared
	}
	return sum
}

// mayUseShared says whether the caller may be given what others have fetched:
// always, but on a route with the scope shared, where the upstream must have
// accepted its credential, or the proxy itself knows it; and but for a caller
// whose credential the upstream has refused, on routes where answers are the
// caller's own.
func (c *call) mayUseShared() bool {
	if c.client != nil && c.route.Upstream.injects {
		return true
	}
	if c.route.ProofTTL == 0 {
		if !c.p.proofs.refusals.Load() || c.route.Rule.Freshness != policy.FreshnessRoute || !c.route.Rule.PerCaller {
			return true
		}
		caller := c.caller()
		return !c.p.proofs.isRefused(caller, c.proofOf(caller))
	}
	caller := c.caller()
	return c.p.proofs.holds(caller, c.proofOf(caller), c.p.now())
}
