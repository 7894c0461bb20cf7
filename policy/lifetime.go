package policy

import "time"

// State is what a stored answer may be used for at some moment.
type State int

// The states, in the order in which an answer ages through them.
const (
	Fresh        State = iota // use it
	Revalidate                // use it, and refresh it in the background
	StaleOnError              // use it only when the upstream fails
	Validate                  // use it only once the upstream has confirmed it
	Expired                   // do not use it
)

// Lifetime says how long a stored answer may be used. Durations count from
// StoredAt; a negative one counts as zero.
//
// StoredAt is the moment at which the answer was made as far as freshness
// goes: the time of receipt less the age it had on arrival (RFC 9111,
// section 4.2.3), so now minus StoredAt is its current age.
type Lifetime struct {
	StoredAt             time.Time
	TTL                  time.Duration // fresh for this long
	StaleWhileRevalidate time.Duration // then usable this much longer while being refreshed (RFC 5861, section 3)
	StaleIfError         time.Duration // usable this long past TTL when the upstream fails (RFC 5861, section 4)
	Keep                 time.Duration // kept this long past TTL to be validated (RFC 9111, section 4.3)

	// AllowStale says that neither the answer nor the rule forbids stale use,
	// so that a request may ask for it (max-stale, stale-if-error).
	AllowStale bool

	// Stale says that the answer was made stale before its TTL was over, so
	// that it is never fresh, by whosever clock. It is not stored.
	Stale bool
}

// Age is the answer's current age; never negative.
func (l Lifetime) Age(now time.Time) time.Duration {
	return max(0, now.Sub(l.StoredAt))
}

// At gives the state at now.
func (l Lifetime) At(now time.Time) State {
	age, ttl := l.Age(now), max(0, l.TTL)
	if l.Stale {
		age = max(age, ttl)
	}
	switch {
	case age < ttl:
		return Fresh
	case age < ttl+max(0, l.StaleWhileRevalidate):
		return Revalidate
	case age < ttl+max(0, l.StaleIfError):
		return StaleOnError
	case age < ttl+max(0, l.Keep):
		return Validate
	}
	return Expired
}

// Expiry is the first moment at which the answer is of no more use: stores
// drop it then.
func (l Lifetime) Expiry() time.Time {
	return l.StoredAt.Add(max(0, l.TTL) + max(0, l.StaleWhileRevalidate, l.StaleIfError, l.Keep))
}
