package proxy

import "jaegis-proxy/policy"

// refresh fetches a newer answer for a key whose stored one has just been
// handed out stale: once per key, in the background, for no client in
// particular. When it fails, the stored answer stays as it is, and the key
// rests for a while.
func (p *Proxy) refresh(c *call, generation uint64) {
	if _, rests := p.resting.GetIfPresent(c.key); rests || p.full() {
		return
	}
	f, leader := p.flights.Join(c.key, func() *inFlight { return p.newFlight(c, false) })
	if !leader {
		f.Leave()
		return
	}
	// As in fetch: what the look-up found stale may be fresh by now.
	if joined := c.key; p.flights.Generation() != generation {
		if _, state := p.find(c); state == policy.Fresh {
			p.callOff(joined, f)
			return
		}
		c.key = joined
	}
	f.Leave() // before anybody looks whether the fetch is waited for
	p.startShared(c, f, fetchRefresh)
}
