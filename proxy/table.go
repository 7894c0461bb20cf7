package proxy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/internal/protocol"
	"jaegis-proxy/policy"
)

// Route says what is done with the requests that it takes.
type Route struct {
	Name     string
	Match    policy.Match
	Upstream *Upstream

	Cache bool // false passes everything to the upstream, uncached
	Key   *cachekey.Rule
	Rule  policy.Rule

	Protocol protocol.Kind // what answers are; empty or None for any
	Gates    policy.Gates  // which answers of the protocol may be stored
	Look     *policy.Look  // what is looked for in answers; nil: nothing
	Tags     Tags          // by what else answers can be purged
	When     When          // which requests are cached
	ProofTTL time.Duration // scope shared: for how long the upstream's acceptance of a credential counts; 0 for other scopes. Key has the credential scope then
	Variants int           // up to how many distinct answers are kept for one key; 0 counts as 1
	Pace     Pace          // how the events of a stored stream are sent
	Shadow   bool          // everything is forwarded; what would have been a hit is compared
	Deny     Controls      // what clients may not say

	MaxRequestBytes  int64 // larger request bodies are refused
	MaxCachedRequest int64 // larger ones are streamed to the upstream, uncached; 0 is no bound
	BypassSpoolFull  bool  // so are those for which there is no room; else they are refused
	MaxObjectBytes   int64 // larger answers are passed on and not stored
	CancelAbandoned  bool  // stop fetching when no client waits any more; else the answer, paid for, is fetched to its end and stored

	metrics *routeMetrics
	warned  atomic.Int64   // the second of the last warning about its upstream
	keyed   []string       // lower-case names of the headers in the key
	callers *cachekey.Rule // what identifies a caller to the upstream, on whatever route
	forAll  *cachekey.Rule // the key whoever asks, where answers say themselves whom they are for or all accepted callers share; nil elsewhere
}

// alwaysKeyed are request headers that change an answer without being asked
// for in a route's key: what is wanted of the answer, what the body is, and
// which account or version of the API is meant.
var alwaysKeyed = []string{
	"Accept", "Accept-Charset", "Accept-Language", "Origin", "Prefer",
	"Content-Disposition", "Content-Language", "Content-Range",
	"OpenAI-Organization", "OpenAI-Project", "OpenAI-Beta", "Anthropic-Version", "Anthropic-Beta", "X-Goog-User-Project",
	controlNamespace,
}

// Table is one configuration of routes. It is immutable: a reload makes a new
// one.
type Table struct {
	Clients   []*Client // whose keys the proxy itself knows
	Routes    []*Route  // the first that takes a request has it
	Fallback  *Route    // for what no route takes; nil answers 404
	KeySecret []byte    // keys the hash of credentials

	clients clients
	shares  bool // a route has the scope shared
	matcher *policy.Matcher
	deriver *cachekey.Deriver
}

// prepare checks the table and makes it ready for use. Both parameters may be
// nil when nothing is served by it.
func (t *Table) prepare(m *metrics, memo *cachekey.Memo) error {
	matches := make([]policy.Match, len(t.Routes))
	for i, r := range t.Routes {
		matches[i] = r.Match
	}
	var err error
	if t.matcher, err = policy.NewMatcher(matches); err != nil {
		return err
	}
	t.clients = newClients(t.Clients)
	t.deriver = &cachekey.Deriver{Secret: t.KeySecret, Memo: memo}
	var errs []error
	for _, r := range t.all() {
		t.shares = t.shares || r.ProofTTL > 0
	}
	if err := t.prepareCallers(); err != nil {
		errs = append(errs, err)
	}
	for _, r := range t.all() {
		if err := r.prepare(m); err != nil {
			errs = append(errs, fmt.Errorf("route %s: %w", r.Name, err))
		}
	}
	return errors.Join(errs...)
}

// prepareCallers has all routes of an upstream tell its callers apart by the
// same headers and parameters: a credential that is refused on one of them is
// refused.
func (t *Table) prepareCallers() error {
	of := map[*Upstream]*cachekey.Rule{}
	for _, r := range t.all() {
		if r.Upstream == nil {
			continue
		}
		rule := of[r.Upstream]
		if rule == nil {
			rule = &cachekey.Rule{Namespace: "callers", Scope: cachekey.ScopeCredential}
			of[r.Upstream] = rule
		}
		r.callers = rule
		for _, name := range r.credentials() {
			if !slices.ContainsFunc(rule.Credentials, func(have string) bool { return strings.EqualFold(have, name) }) {
				rule.Credentials = append(rule.Credentials, name)
			}
		}
	}
	for u, rule := range of {
		slices.Sort(rule.Credentials) // whatever the order of the routes
		if err := rule.Prepare(); err != nil {
			return fmt.Errorf("upstream %s: %w", u.Name(), err)
		}
	}
	return nil
}

// all are the routes and the fallback.
func (t *Table) all() []*Route {
	if t.Fallback == nil {
		return t.Routes
	}
	return append(slices.Clone(t.Routes), t.Fallback)
}

func (r *Route) prepare(m *metrics) error {
	if r.Upstream == nil {
		return errors.New("has no upstream")
	}
	if m != nil {
		r.metrics = m.route(r.Name)
	}
	if r.Key == nil {
		return nil
	}
	if err := r.prepareLook(); err != nil {
		return err
	}
	if len(r.Gates.Finish) == 0 {
		r.Gates.Finish = r.Protocol.CleanFinishes()
	}
	headers := alwaysKeyed
	if r.Rule.Freshness == policy.FreshnessOrigin {
		// What else selects an answer, its Vary says; and what a QUERY's body is
		// is a part of that (RFC 10008).
		headers = []string{"Origin", "Content-Disposition", "Content-Language", "Content-Location", "Content-Range", controlNamespace}
	}
	r.Key.Headers = append(slices.Clone(r.Key.Headers), headers...)
	perCaller := r.Key.Scope != cachekey.ScopePublic
	r.Rule.PerCaller = perCaller && (r.ProofTTL == 0 || r.Rule.OverrideNoStore)
	if r.Rule.Freshness == policy.FreshnessOrigin || r.ProofTTL > 0 {
		r.forAll = &cachekey.Rule{
			Namespace: r.Key.Namespace, Provider: r.Key.Provider, Body: r.Key.Body, Ignore: r.Key.Ignore,
			Headers: r.Key.Headers, QueryIgnore: r.Key.QueryIgnore, Scope: cachekey.ScopePublic, Credentials: r.Key.Credentials,
			Multipart: r.Key.Multipart,
		}
		if err := r.forAll.Prepare(); err != nil {
			return err
		}
	}
	keyed := r.Key.Headers
	if perCaller {
		keyed = slices.Concat(keyed, r.credentials())
	}
	for _, name := range keyed {
		r.keyed = append(r.keyed, strings.ToLower(name))
	}
	return r.Key.Prepare()
}

// credentials are the headers that identify a caller.
func (r *Route) credentials() []string {
	if r.Key != nil && len(r.Key.Credentials) > 0 {
		return r.Key.Credentials
	}
	return cachekey.DefaultCredentials
}

// find gives the route for a request, or nil.
func (t *Table) find(method, host, path []byte) *Route {
	if i := t.matcher.Find(method, host, path); i >= 0 {
		return t.Routes[i]
	}
	return t.Fallback
}

// cacheable says whether the route may answer this method from the cache.
// Methods that say themselves that they change something never are.
func (r *Route) cacheable(method string) bool {
	switch method {
	case "GET", "HEAD", "QUERY":
		return r.Cache
	case "POST":
		return r.Cache && r.Rule.Freshness == policy.FreshnessRoute
	}
	return false
}
