package policy

import (
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"time"
)

// Freshness says whose word counts for how long an answer may be used.
type Freshness string

// The freshness modes. With FreshnessRoute our own TTL rules; of the answer's
// directives only no-store (and private, see Decide) still hold. With
// FreshnessOrigin the answer's own, as RFC 9111 has them for a shared cache.
const (
	FreshnessRoute  Freshness = "route"
	FreshnessOrigin Freshness = "origin"
)

// Rule is what a route says about storing.
type Rule struct {
	Freshness            Freshness
	TTL                  time.Duration // FreshnessRoute: how long an answer is fresh
	StaleWhileRevalidate time.Duration
	StaleIfError         time.Duration
	OverrideNoStore      bool // FreshnessRoute: store even what says no-store
	PerCaller            bool // the key holds the caller's credentials: entries are private to a caller
}

// Request is what Decide needs to know of the request.
type Request struct {
	Method        string
	Credential    bool // it carried credentials of any kind, cookies included
	Authorization bool // it carried credentials other than cookies
	NoStore       bool // its Cache-Control said no-store
	SentAt        time.Time
}

// Response is what Decide needs to know of the answer's head.
type Response struct {
	Status int
	Header http.Header
	Framed bool // its end can be told from a cut: a length, a final chunk, or HTTP/2
}

// A Reason says why an answer is not stored. It is a token, fit for
// Cache-Status and for a metric's label; empty when the answer is stored.
type Reason string

// The reasons why the head of an answer forbids storing it.
const (
	ReasonMethod     Reason = "method"
	ReasonRequest    Reason = "request-no-store"
	ReasonStatus     Reason = "status"
	ReasonPartial    Reason = "partial"
	ReasonUnframed   Reason = "unframed"
	ReasonNoStore    Reason = "no-store"
	ReasonPrivate    Reason = "private"
	ReasonSetCookie  Reason = "set-cookie"
	ReasonVaryAny    Reason = "vary-any"
	ReasonNoCache    Reason = "no-cache"
	ReasonAuthorized Reason = "authorization"
	ReasonNoLifetime Reason = "no-lifetime"
	ReasonNotFresh   Reason = "not-fresh"
)

// Decision is the verdict on an answer's head.
type Decision struct {
	Store    bool
	Share    bool // callers with the same key that wait already may be given it, even if it is not stored
	Lifetime Lifetime
	Vary     []string // request headers that select this answer, canonical and sorted
	Reason   Reason   // why not, when Store is false
}

// Decide is the one place that says whether an answer may be stored, for how
// long, and why not. now is the time at which the head came.
//
// Private answers and those with Set-Cookie are for one caller: Set-Cookie is
// never stored; private only where entries belong to a caller, who must have
// shown credentials.
func Decide(rule *Rule, req *Request, resp *Response, now time.Time) Decision {
	cc := ParseDirectives(resp.Header.Values("Cache-Control"))
	if r := personal(rule, req, resp, &cc); r != "" {
		return Decision{Reason: r}
	}
	if r := unfit(req, resp); r != "" {
		return Decision{Reason: r, Share: shareable(resp.Status)}
	}
	vary, ok := parseVary(resp.Header.Values("Vary"))
	if !ok {
		return Decision{Reason: ReasonVaryAny}
	}
	if rule.Freshness == FreshnessOrigin {
		d := decideOrigin(rule, req, resp, &cc, now)
		d.Vary = vary
		return d
	}
	if !storedByRoute(resp.Status) {
		return Decision{Reason: ReasonStatus, Share: shareable(resp.Status)}
	}
	if rule.TTL <= 0 {
		return Decision{Reason: ReasonNoLifetime}
	}
	return Decision{Store: true, Share: true, Vary: vary, Lifetime: Lifetime{
		StoredAt: now, TTL: rule.TTL,
		StaleWhileRevalidate: rule.StaleWhileRevalidate, StaleIfError: rule.StaleIfError,
	}}
}

// personal says why an answer is for its own request alone.
func personal(rule *Rule, req *Request, resp *Response, cc *Directives) Reason {
	origin := rule.Freshness == FreshnessOrigin
	switch {
	case req.NoStore:
		return ReasonRequest
	case cc.NoStore && (origin || !rule.OverrideNoStore):
		return ReasonNoStore
	case resp.Header["Set-Cookie"] != nil:
		return ReasonSetCookie
	case cc.Private && (origin || !rule.PerCaller || !req.Credential):
		return ReasonPrivate
	}
	return ""
}

// unfit says why an answer cannot be stored whatever its directives say.
func unfit(req *Request, resp *Response) Reason {
	switch {
	case req.Method == "HEAD":
		return ReasonMethod
	case resp.Status == http.StatusPartialContent:
		return ReasonPartial
	case resp.Status == http.StatusNotModified || resp.Status < 200:
		return ReasonStatus
	case !resp.Framed:
		return ReasonUnframed
	}
	return ""
}

// shareable says whether an answer that is not stored may still be given to
// those who wait for the same: a failing upstream is not asked once for each
// of them. Other refusals may be due to something in the request that is not
// in the key.
func shareable(status int) bool {
	return status >= 500 || status == http.StatusTooManyRequests
}

// storedByRoute are the statuses that a route's own TTL applies to: whole,
// final answers to the request that was made.
func storedByRoute(status int) bool {
	switch status {
	case http.StatusOK, http.StatusNonAuthoritativeInfo, http.StatusNoContent,
		http.StatusMovedPermanently, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// decideOrigin is RFC 9111, sections 3 and 4.2, for a shared cache.
func decideOrigin(rule *Rule, req *Request, resp *Response, cc *Directives, now time.Time) Decision {
	switch {
	case req.Method != "GET":
		return Decision{Reason: ReasonMethod}
	case cc.NoCache:
		return Decision{Reason: ReasonNoCache}
	case req.Authorization && !cc.Public && !cc.MustRevalidate && !cc.SMaxAge.Set: // section 3.5
		return Decision{Reason: ReasonAuthorized}
	}
	ttl, ok := originTTL(resp, cc, now)
	if !ok {
		return Decision{Reason: ReasonNoLifetime, Share: shareable(resp.Status)}
	}
	l := Lifetime{StoredAt: now.Add(-initialAge(req, resp, now)), TTL: ttl}
	if !cc.MustRevalidate && !cc.ProxyRevalidate && !cc.SMaxAge.Set { // section 4.2.4
		l.StaleWhileRevalidate = orElse(cc.StaleWhileRevalidate, rule.StaleWhileRevalidate)
		l.StaleIfError = orElse(cc.StaleIfError, rule.StaleIfError)
	}
	if s := l.At(now); s != Fresh && s != Revalidate {
		return Decision{Reason: ReasonNotFresh, Share: shareable(resp.Status)}
	}
	return Decision{Store: true, Share: true, Lifetime: l}
}

func orElse(s Seconds, d time.Duration) time.Duration {
	if s.Set {
		return s.D
	}
	return d
}

// originTTL is the freshness lifetime of section 4.2.1, without heuristics.
func originTTL(resp *Response, cc *Directives, now time.Time) (time.Duration, bool) {
	switch {
	case cc.SMaxAge.Set:
		return cc.SMaxAge.D, true
	case cc.MaxAge.Set:
		return cc.MaxAge.D, true
	}
	lines := resp.Header.Values("Expires")
	if len(lines) == 0 {
		return 0, false
	}
	expires, err := http.ParseTime(lines[0])
	if err != nil {
		return 0, true // an invalid date means "already expired" (section 5.3)
	}
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		date = now
	}
	return max(0, expires.Sub(date)), true
}

// initialAge is the corrected initial age of section 4.2.3.
func initialAge(req *Request, resp *Response, now time.Time) time.Duration {
	age := time.Duration(0)
	if lines := resp.Header.Values("Age"); len(lines) > 0 {
		first, _, _ := strings.Cut(lines[0], ",")
		age = parseSeconds(strings.TrimSpace(first), false).D
	}
	if delay := now.Sub(req.SentAt); delay > 0 && !req.SentAt.IsZero() {
		age += delay
	}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		// Date counts whole seconds: an answer made in this second has no age.
		if apparent := now.Truncate(time.Second).Sub(date); apparent > age {
			age = apparent
		}
	}
	return age
}

// parseVary gives the header names that select among variants, without those
// that this cache handles itself; false for "*".
func parseVary(lines []string) ([]string, bool) {
	var names []string
	for _, line := range lines {
		for name := range strings.SplitSeq(line, ",") {
			name = textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name))
			switch name {
			case "*":
				return nil, false
			case "", "Accept-Encoding": // negotiated when an answer is delivered
			default:
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), true
}
