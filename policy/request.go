package policy

import "time"

// Usable says in which state a stored answer is for a request with the given
// directives (RFC 9111, section 5.2.1). It only ever makes an answer less
// usable than it is by itself, but for max-stale, which accepts one that is
// kept for use when the upstream fails.
func Usable(l Lifetime, d *Directives, now time.Time) State {
	if d.NoCache {
		return Expired
	}
	state, age := l.At(now), l.Age(now)
	if d.MaxAge.Set && age > d.MaxAge.D || d.MaxAge.Set && d.MaxAge.D == 0 {
		return worse(state, StaleOnError)
	}
	if d.MinFresh.Set && l.TTL-age < d.MinFresh.D {
		return worse(state, StaleOnError)
	}
	if d.MaxStale.Set && state != Expired && age-l.TTL <= d.MaxStale.D {
		return min(state, Revalidate)
	}
	return state
}

func worse(a, b State) State { return max(a, b) }
