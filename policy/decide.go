package policy

import (
	"net/http"
	"net/textproto"
	"net/url"
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
	ShareAuthorized      bool // must-revalidate is leave to give an answer to a request with Authorization, and no other credentials, to others (RFC 9111, section 3.5)
	PerCaller            bool // the key holds the caller's credentials: entries are private to a caller
}

// Request is what Decide needs to know of the request.
type Request struct {
	Method        string
	Credential    bool // it carried credentials of any kind, cookies included
	Authorization bool // it carried credentials other than cookies
	Others        bool // it carried credentials, cookies included, in a field other than Authorization
	NoStore       bool // its Cache-Control said no-store
	Range         bool // it asked for a part, in one range
	SentAt        time.Time
	URI           *url.URL // its effective URI, absolute; without it no POST is stored
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
	ReasonMethod         Reason = "method"           // answers to this method are not stored; for POST, see Decision.ForGET
	ReasonRequest        Reason = "request-no-store" // the request asked that nothing be stored
	ReasonStatus         Reason = "status"           // it is an answer to this one request (or not final), or none that a route's TTL applies to
	ReasonPartial        Reason = "partial"          // a part that was not asked for, or only as one of several
	ReasonUnframed       Reason = "unframed"         // its end cannot be told from a cut
	ReasonNoStore        Reason = "no-store"
	ReasonPrivate        Reason = "private"
	ReasonSetCookie      Reason = "set-cookie"
	ReasonVaryAny        Reason = "vary-any"
	ReasonNoCache        Reason = "no-cache"        // and there is no validator by which it could be confirmed
	ReasonMustUnderstand Reason = "must-understand" // and the status is not one that we know
	ReasonAuthorized     Reason = "authorization"   // the request had credentials and the answer does not say that it may be shared
	ReasonNoLifetime     Reason = "no-lifetime"     // it does not say for how long, nor can that be guessed
	ReasonNotFresh       Reason = "not-fresh"       // stale as it comes, without a validator
)

// Decision is the verdict on an answer's head.
type Decision struct {
	Store    bool
	Share    bool // callers with the same key that wait already may be given it, whether or not it is stored
	Lifetime Lifetime
	Vary     []string      // request headers that select this answer, canonical and sorted
	Reason   Reason        // why not, when Store is false
	Public   bool          // the answer itself says that any caller may be given it (FreshnessOrigin)
	Partial  *ContentRange // what is stored is this part only; nil for whole answers
	Alone    bool          // nothing is known of what the part fits with: it answers its own Range alone, and Partial tells nothing
	ForGET   bool          // it answers a POST and is to be stored as if a GET for the same URI had brought it
}

// Decide is the one place that says whether an answer may be stored, for how
// long, and why not. now is the time at which the head came.
//
// Private answers and those with Set-Cookie are for one caller: Set-Cookie is
// never stored; private only where entries belong to a caller, who must have
// shown credentials.
//
// A targeted field (RFC 9213) stands in the place of Cache-Control and Expires
// with FreshnessOrigin; with FreshnessRoute what it forbids is added to them.
func Decide(rule *Rule, req *Request, resp *Response, now time.Time) Decision {
	cc, isTargeted := answerDirectives(resp.Header)
	if rule.Freshness != FreshnessOrigin && isTargeted {
		own := ParseDirectives(resp.Header.Values("Cache-Control"))
		cc = Directives{NoStore: cc.NoStore || own.NoStore, Private: cc.Private || own.Private}
	}
	if r := personal(rule, req, resp, &cc); r != "" {
		return Decision{Reason: r}
	}
	if r := unfit(rule, req, resp); r != "" {
		return Decision{Reason: r, Share: shareable(resp.Status)}
	}
	vary, ok := parseVary(resp.Header.Values("Vary"))
	if !ok {
		return Decision{Reason: ReasonVaryAny}
	}
	if rule.Freshness == FreshnessOrigin {
		d := decideOrigin(rule, req, resp, &cc, isTargeted, now)
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
	case cc.NoStore && origin && !(cc.MustUnderstand && understood(resp.Status)):
		return ReasonNoStore
	case cc.NoStore && !origin && !rule.OverrideNoStore:
		return ReasonNoStore
	case resp.Header["Set-Cookie"] != nil:
		return ReasonSetCookie
	case cc.Private && (origin || !rule.PerCaller || !req.Credential):
		return ReasonPrivate
	}
	return ""
}

// unfit says why an answer cannot be stored whatever its directives say.
func unfit(rule *Rule, req *Request, resp *Response) Reason {
	switch {
	case req.Method == "HEAD":
		return ReasonMethod
	case resp.Status == http.StatusPartialContent && rule.Freshness != FreshnessOrigin:
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
