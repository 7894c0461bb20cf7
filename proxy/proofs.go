package proxy

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/policy"
)

// proofs are the callers whose credential an upstream has itself accepted
// lately: they may share its answers. What is kept is a keyed digest of
// credential and upstream, in this process alone.
type proofs struct {
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
// is what the answer says: to whatever request.
func (l *leader) refuted(resp *Response) {
	if l.table.shares && (resp.Status == 401 || resp.Status == 403) {
		l.p.proofs.revoke(l.caller, l.p.now())
	}
}

// prove takes down that the upstream accepts the caller's credential. What is
// proven is that it accepts it for this method and path: another may not look
// at credentials at all.
func (l *leader) prove(head *answerHead) {
	if l.route.ProofTTL == 0 || head.status/100 != 2 || l.why != fetchShared && l.why != fetchRefresh || l.about.Method == "HEAD" {
		return
	}
	if l.ai != nil && l.ai.refused == policy.ReasonAnswerError {
		return
	}
	l.p.proofs.accept(l.caller, proofOf(l.caller, l.route.Name, l.about.Method, l.req.Path), l.started, l.p.now(), l.route.ProofTTL)
}

// proofOf names what is proven of a caller.
func proofOf(caller [sha256.Size]byte, route, method, path string) [sha256.Size]byte {
	b := append(caller[:], route...)
	b = append(append(b, 0), method...)
	b = append(append(b, 0), path...)
	return sha256.Sum256(b)
}

// caller is the digest of who the call's caller is.
func (c *call) caller() [sha256.Size]byte {
	sum, err := c.table.deriver.Caller(c.route.Key, &cachekey.Request{
		Upstream: c.route.Upstream.identity, Query: c.target.query, Headers: c.keyHeaders(), Tenant: c.tenant(),
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
	caller := c.caller()
	return c.p.proofs.holds(caller, proofOf(caller, c.route.Name, c.method, string(c.target.path)), c.p.now())
}
