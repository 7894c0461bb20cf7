package policy

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	// keepValidated is how long an answer that can be validated is kept once
	// it is of no other use.
	keepValidated = 24 * time.Hour
	// maxHeuristic bounds a lifetime that is only a guess (RFC 9111, section
	// 4.2.2).
	maxHeuristic = 24 * time.Hour
)

// originLifetime is what the answer itself says of its use (RFC 9111, section
// 4.2), and why it is of no use to keep, if so.
func originLifetime(rule *Rule, req *Request, resp *Response, cc *Directives, isTargeted bool, now time.Time) (Lifetime, Reason) {
	ttl, explicit := explicitTTL(resp, cc, isTargeted, now)
	if !explicit && !heuristicStatus(resp.Status) && !cc.Public {
		return Lifetime{}, ReasonNoLifetime
	}
	if !explicit {
		ttl = heuristicTTL(resp, now)
	}
	age, known := initialAge(req, resp, now)
	unusable := cc.NoCache || !known // before it has been validated
	if unusable {
		ttl = 0
	}
	l := Lifetime{StoredAt: now.Add(-age), TTL: ttl}
	if !unusable && !cc.MustRevalidate && !cc.ProxyRevalidate && !cc.SMaxAge.Set { // section 4.2.4
		l.StaleWhileRevalidate = orElse(cc.StaleWhileRevalidate, rule.StaleWhileRevalidate)
		l.StaleIfError = orElse(cc.StaleIfError, rule.StaleIfError)
		l.AllowStale = true
	}
	if hasValidator(resp.Header, now) {
		l.Keep = keepValidated + max(0, age-ttl) // from its arrival on, however old it was then
	}
	return l, futile(l, cc, explicit, now)
}

// futile says why there is no point in storing an answer with this lifetime.
// One that is stale from the start is stored for its validator or because it
// says itself what its stale use is.
func futile(l Lifetime, cc *Directives, explicit bool, now time.Time) Reason {
	switch state := l.At(now); {
	case state == Fresh || state == Revalidate || l.Keep > 0:
		return ""
	case state == StaleOnError && cc.StaleIfError.Set:
		return ""
	case cc.NoCache:
		return ReasonNoCache
	case !explicit:
		return ReasonNoLifetime
	}
	return ReasonNotFresh
}

func orElse(s Seconds, d time.Duration) time.Duration {
	if s.Set {
		return s.D
	}
	return d
}

// explicitTTL is the freshness lifetime of section 4.2.1 that an answer
// states; false when it states none.
func explicitTTL(resp *Response, cc *Directives, isTargeted bool, now time.Time) (time.Duration, bool) {
	switch {
	case cc.SMaxAge.Set:
		return cc.SMaxAge.D, true
	case cc.MaxAge.Set:
		return cc.MaxAge.D, true
	}
	lines := resp.Header.Values("Expires")
	if len(lines) == 0 || isTargeted { // RFC 9213, section 2.2
		return 0, false
	}
	expires, ok := parseDate(lines[0], now)
	if !ok {
		return 0, true // an invalid date means "already expired" (section 5.3)
	}
	return min(max(0, expires.Sub(dateOf(resp.Header, now))), maxSeconds*time.Second), true
}

// heuristicTTL is a tenth of the time for which an answer has not changed
// (section 4.2.2).
func heuristicTTL(resp *Response, now time.Time) time.Duration {
	modified, ok := parseDate(resp.Header.Get("Last-Modified"), now)
	if !ok {
		return 0
	}
	return min(max(0, dateOf(resp.Header, now).Sub(modified)/10), maxHeuristic)
}

// heuristicStatus says whether an answer with this status may be stored though
// it does not say for how long (RFC 9110, section 15.1).
func heuristicStatus(status int) bool {
	switch status {
	case 200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501:
		return true
	}
	return false
}

// initialAge is the corrected initial age of section 4.2.3; false when the
// answer has been in a cache for a time that cannot be read: section 5.1
// would have that passed over, but then it could be of any age.
func initialAge(req *Request, resp *Response, now time.Time) (time.Duration, bool) {
	age, known := time.Duration(0), true
	if lines := resp.Header.Values("Age"); len(lines) > 0 {
		age, known = parseAge(lines[0])
	}
	if delay := now.Sub(req.SentAt); delay > 0 && !req.SentAt.IsZero() {
		age += delay
	}
	// Date counts whole seconds: an answer made in this second has no age.
	if date := dateOf(resp.Header, now); now.Truncate(time.Second).Sub(date) > age {
		age = now.Truncate(time.Second).Sub(date)
	}
	return min(age, maxSeconds*time.Second), known
}

// parseAge reads an Age field. Of several members the first counts.
func parseAge(line string) (time.Duration, bool) {
	first, _, _ := strings.Cut(line, ",")
	first = strings.Trim(first, " \t")
	if first == "" || strings.Trim(first, "0123456789") != "" {
		return 0, false
	}
	return parseSeconds(first, false).D, true
}

// hasValidator says whether the upstream can be asked if an answer still
// holds.
func hasValidator(h http.Header, now time.Time) bool {
	_, modified := parseDate(h.Get("Last-Modified"), now)
	return modified || validETag(h.Get("ETag"))
}

// strongValidator gives what identifies the very bytes of a representation
// (RFC 9110, section 8.8.1): its strong entity tag, or its Last-Modified where
// that is a minute or more before its Date (section 8.8.2.2); else "".
func strongValidator(h http.Header, now time.Time) string {
	if etag := h.Get("ETag"); etag != "" {
		if validETag(etag) && etag[0] == '"' {
			return etag
		}
		return "" // a weak tag says that the bytes may differ
	}
	modified, ok1 := parseDate(h.Get("Last-Modified"), now)
	date, ok2 := parseDate(h.Get("Date"), now)
	if ok1 && ok2 && date.Sub(modified) >= time.Minute {
		return h.Get("Last-Modified")
	}
	return ""
}

// validETag checks the syntax of an entity tag (RFC 9110, section 8.8.3).
func validETag(s string) bool {
	s = strings.TrimPrefix(s, "W/")
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return false
	}
	return !slices.ContainsFunc([]byte(s[1:len(s)-1]), func(c byte) bool {
		return c <= ' ' || c == '"' || c == 0x7f
	})
}
