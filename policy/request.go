package policy

import (
	"time"
)

// RequestDirectives reads what a request asks of caches. Pragma counts only
// where there is no Cache-Control (RFC 9111, section 5.4); in answers it has
// no meaning.
func RequestDirectives(cacheControl, pragma []string) Directives {
	if len(cacheControl) > 0 {
		return ParseDirectives(cacheControl)
	}
	return Directives{NoCache: ParseDirectives(pragma).NoCache}
}

// Usable says in which state a stored answer is for a request with the given
// directives (RFC 9111, section 5.2.1). It makes an answer less usable than it
// is by itself, but for max-stale and stale-if-error (RFC 5861, section 4),
// which accept one that is stale, where its Lifetime allows that.
func Usable(l Lifetime, d *Directives, now time.Time) State {
	state, age := l.At(now), l.Age(now)
	staleness := age - max(0, l.TTL)
	switch {
	case d.NoCache && l.Keep > 0:
		return worse(state, Validate)
	case d.NoCache:
		return Expired
	case d.StaleIfError.Set:
		state = onError(l, state, staleness <= d.StaleIfError.D)
	}
	if d.MaxAge.Set && age > d.MaxAge.D || d.MaxAge.Set && d.MaxAge.D == 0 {
		return worse(state, StaleOnError)
	}
	if d.MinFresh.Set && l.TTL-age < d.MinFresh.D {
		return worse(state, StaleOnError)
	}
	if d.MaxStale.Set && staleness <= d.MaxStale.D && acceptable(l, state) {
		return min(state, Revalidate)
	}
	return state
}

// onError is the state of a stale answer for a request that says how stale it
// may be when the upstream fails: within that, or not.
func onError(l Lifetime, state State, within bool) State {
	switch {
	case within && acceptable(l, state):
		return min(state, StaleOnError)
	case !within && state == StaleOnError && l.Keep > 0:
		return Validate
	case !within && state == StaleOnError:
		return Expired
	}
	return state
}

// acceptable says whether a request may ask for an answer in this state.
func acceptable(l Lifetime, state State) bool {
	return state <= StaleOnError || state == Validate && l.AllowStale
}

func worse(a, b State) State { return max(a, b) }
