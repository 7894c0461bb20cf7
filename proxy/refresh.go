package proxy

// refresh fetches a newer answer for a key whose stored one has just been
// handed out stale: once per key, in the background, for no client in
// particular. When it fails, the stored answer stays as it is, and the key
// rests for a while.
func (p *Proxy) refresh(c *call) {
	if _, rests := p.resting.GetIfPresent(c.key); rests || p.full() {
		return
	}
	f, leader := p.flights.Join(c.key, func() *inFlight { return p.newFlight(c, false) })
	if leader {
		p.start(c, f, fetchRefresh)
	}
	f.Leave()
}
