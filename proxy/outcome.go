package proxy

import (
	"strconv"
	"strings"
	"time"
)

// Outcome is what became of a request. Cache-Status, X-Cache, the log line and
// the metrics all speak from the one table below.
type Outcome int

// The outcomes.
const (
	Pass        Outcome = iota // the route does not cache
	Bypass                     // the cache was left out, for a reason given in detail
	Hit                        // answered from the store, fresh
	Stale                      // answered from the store, stale
	Revalidated                // answered from the store after the upstream confirmed it
	Joined                     // answered by a fetch that was under way for another request
	Miss                       // fetched
	Error                      // no answer to give
	outcomes                   // how many there are
)

var outcomeTable = [outcomes]struct {
	name   string // in metrics and logs
	xCache string // X-Cache, for people
	status string // what Cache-Status says first (RFC 9211, section 2)
}{
	Pass:        {"pass", "PASS", "; fwd=bypass"},
	Bypass:      {"bypass", "BYPASS", "; fwd=bypass"},
	Hit:         {"hit", "HIT", "; hit"},
	Stale:       {"stale", "STALE", "; hit"},
	Revalidated: {"revalidated", "REVALIDATED", "; fwd=miss"},
	Joined:      {"joined", "MISS", "; fwd=miss; collapsed"},
	Miss:        {"miss", "MISS", "; fwd=miss"},
	Error:       {"error", "MISS", ""}, // and fwd where it was forwarded
}

func (o Outcome) label() string { return outcomeTable[o].name }

// cacheName is how the proxy calls itself in Cache-Status and Via.
const cacheName = "jaegis"

// cacheStatus is what Cache-Status tells beside the outcome.
type cacheStatus struct {
	outcome Outcome
	hasTTL  bool
	ttl     time.Duration // negative when stale
	stored  bool
	forward string // why the request was forwarded, where that is known better than the outcome tells
	status  int    // the upstream's status; 0 when it was not asked
	failed  bool   // the upstream was asked and failed
	waited  bool   // it was asked by another request's fetch
	detail  string
}

// append adds the field's value to b.
func (s *cacheStatus) append(b []byte) []byte {
	b = append(b, cacheName...)
	said, detail := outcomeTable[s.outcome].status, s.detail
	switch { // what has a word of its own in RFC 9211
	case s.outcome == Stale && s.failed:
		said = "; fwd=stale"
	case s.outcome == Error && s.forward != "":
		said = "; fwd=miss"
	case s.detail == "method" && (s.outcome == Pass || s.outcome == Bypass):
		said, detail = "; fwd=method", ""
	}
	if because, rest, ok := strings.Cut(said, "miss"); ok && s.forward != "" {
		b = append(b, because...)
		b = append(b, s.forward...)
		said = rest
	}
	b = append(b, said...)
	if s.waited {
		b = append(b, "; collapsed"...)
	}
	if s.status != 0 {
		b = append(b, "; fwd-status="...)
		b = strconv.AppendInt(b, int64(s.status), 10)
	}
	if s.hasTTL {
		b = append(b, "; ttl="...)
		b = strconv.AppendInt(b, int64(s.ttl/time.Second), 10)
	}
	if s.stored {
		b = append(b, "; stored"...)
	}
	if detail != "" {
		b = append(b, "; detail="...)
		b = append(b, detail...)
	}
	return b
}
