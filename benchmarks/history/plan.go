package main

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// tenants are the callers. Those of the routes "docs" and "origin" show the
// upstream their own credential; those of the others show the proxy a key that
// it knows, and the upstream sees the provider's.
var tenants = []string{"amber", "black", "cyan", "denim"}

// How long answers are fresh. What expires is short, so that it does.
const (
	longTTL  = time.Hour
	shortTTL = 2 * time.Second
	graceTTL = time.Second // stale_while_revalidate
	errorTTL = 4 * time.Second
)

// routes are what the proxies are configured with. ORIGIN and KEYS are filled
// in.
const routes = `
upstreams:
  plain: {url: ORIGIN}
  injected: {url: ORIGIN, headers: {Authorization: "Bearer provider"}}
clients:
KEYS
routes:
  - {name: docs, match: {path: /docs/*}, upstream: plain, namespace: documents, ttl: 1h}
  - {name: convert, match: {methods: [POST], path: /convert/*}, upstream: injected, namespace: builds, ttl: 1h}
  - {name: chat, match: {methods: [POST], path: /chat/*}, upstream: injected, namespace: ai_responses, ttl: 1h, protocol: openai-chat}
  - {name: public, match: {path: /public/*}, upstream: plain, namespace: templates, scope: public, ttl: 2s, stale_while_revalidate: 1s, stale_if_error: 4s}
  - {name: origin, match: {path: /origin/*}, upstream: plain, namespace: pages, freshness: origin}
`

// ask is a request that clients make again and again, and all that must hold
// of the answers to it. It is immutable.
type ask struct {
	id      int
	route   string
	method  string
	target  string
	body    []byte
	variant string // the value of X-Variant, by which answers vary
	tenant  string // as the answer names it; "all" where it is the same for everybody
	from    string // the tenant who asks
	model   string
	tags    []string
	bad     bool // the upstream fails at times

	form     form
	size     int // of the core
	hash     string
	prefix   []byte // of the answer's body, up to the version
	lifetime time.Duration

	wire, wireGzip []byte // the whole request, the second one asking for gzip
	wirePut        []byte // a PUT for the same target; nil where there is none
	scopes         []int  // what a purge may name that the answer belongs to
	uri            int    // the one of them that a PUT makes untrue; -1 where there is none
}

// scope is something that a purge can name.
type scope struct {
	kind  string // as in the admin API; "uri" is what a PUT makes untrue
	value string
}

func (s scope) String() string { return s.kind + " " + s.value }

// plan is everything that is asked for. It is immutable once made.
type plan struct {
	asks   []*ask
	scopes []scope
	index  map[scope]int
}

// newPlan makes docs documents of each route and tenant.
func newPlan(docs int) *plan {
	p := &plan{index: map[scope]int{}}
	for doc := range docs {
		for t, tenant := range tenants {
			p.add(p.docs(doc, tenant))
			p.add(p.convert(doc, tenant))
			p.add(p.chat(doc, tenant))
			if t == 0 {
				p.add(p.public(doc))
			}
			p.add(p.origin(doc, tenant))
		}
	}
	// The popular ones are at the beginning: not all of one route.
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(p.asks), func(i, j int) { p.asks[i], p.asks[j] = p.asks[j], p.asks[i] })
	for i, a := range p.asks {
		a.id = i
	}
	return p
}

// query says what the upstream is to do: the size of the core, in chunks or
// not, slowly or not, failing at times or not.
func query(doc, size int) (query string, bad bool) {
	query = fmt.Sprintf("?size=%d", size)
	if doc%3 == 0 {
		query += "&chunked=1"
	}
	if doc%7 == 3 {
		query += "&slow=1"
	}
	if bad = doc%16 == 5; bad {
		query += "&bad=1"
	}
	return query, bad
}

// sizeOf is small for nearly all documents.
func sizeOf(doc int) int {
	switch {
	case doc%97 == 96:
		return 1_300_000 // several values in Redis
	case doc%41 == 40:
		return 150_000
	case doc%11 == 10:
		return 6_000 + doc
	}
	return 120 + doc%200
}

func (p *plan) docs(doc int, tenant string) *ask {
	q, bad := query(doc, sizeOf(doc))
	a := &ask{route: "docs", method: "GET", target: fmt.Sprintf("/docs/%d%s", doc, q), tenant: tenant, from: tenant, size: sizeOf(doc), bad: bad, lifetime: longTTL}
	if doc%2 == 0 {
		a.method, a.body = "POST", fmt.Appendf(nil, `{"document":%d}`, doc)
	}
	a.tags = []string{fmt.Sprintf("folder-%d", doc%20), fmt.Sprintf("kind-%d", doc%3)}
	p.scope(a, "namespace", "documents")
	return a
}

func (p *plan) convert(doc int, tenant string) *ask {
	q, bad := query(doc+1, sizeOf(doc))
	a := &ask{route: "convert", method: "POST", target: fmt.Sprintf("/convert/%d%s", doc%10, q), tenant: tenant, from: tenant, size: sizeOf(doc), bad: bad, lifetime: longTTL}
	a.body = fmt.Appendf(nil, `{"source":"file-%d.odt","to":"pdf"}`, doc)
	a.tags = []string{fmt.Sprintf("folder-%d", doc%20)}
	p.scope(a, "namespace", "builds")
	p.scope(a, "tenant", tenant)
	return a
}

func (p *plan) chat(doc int, tenant string) *ask {
	size := 120 + doc%400
	q, bad := query(doc+2, size)
	a := &ask{route: "chat", method: "POST", target: fmt.Sprintf("/chat/%d%s", doc%10, q), tenant: tenant, from: tenant, size: size, bad: bad, form: formChat, lifetime: longTTL}
	a.model = fmt.Sprintf("model-%d", doc%4)
	stream := ""
	if doc%2 == 1 {
		a.form, stream = formStream, `,"stream":true`
	}
	a.body = fmt.Appendf(nil, `{"model":%q,"messages":[{"role":"user","content":"question %d"}]%s}`, a.model, doc, stream)
	p.scope(a, "namespace", "ai_responses")
	p.scope(a, "tenant", tenant)
	p.scope(a, "model", a.model)
	return a
}

func (p *plan) public(doc int) *ask {
	size := 120 + doc%200
	q, bad := query(doc+3, size)
	a := &ask{route: "public", method: "GET", target: fmt.Sprintf("/public/%d%s", doc, q), tenant: "all", from: tenants[doc%len(tenants)], size: size, bad: bad, lifetime: shortTTL + graceTTL}
	if bad {
		a.lifetime = shortTTL + errorTTL
	}
	a.tags = []string{fmt.Sprintf("folder-%d", doc%20)}
	p.scope(a, "namespace", "templates")
	return a
}

// origin is under the rules of HTTP caching: answers say for how long they are
// good and whether they are for all, vary, and are made untrue by a PUT.
func (p *plan) origin(doc int, tenant string) *ask {
	size := 120 + doc%200
	q, bad := query(doc+4, size)
	a := &ask{route: "origin", method: "GET", variant: fmt.Sprint("v", doc%2), tenant: tenant, from: tenant, size: size, bad: bad, lifetime: shortTTL}
	a.target = fmt.Sprintf("/origin/%d%s", doc/2, q)
	if doc%4 < 2 {
		a.target, a.tenant = a.target+"&public=1", "all"
	}
	p.scope(a, "namespace", "pages")
	a.uri = p.scope(a, "uri", a.target)
	return a
}

// scope notes that a belongs to it, and gives its number.
func (p *plan) scope(a *ask, kind, value string) int {
	s := scope{kind, value}
	n, ok := p.index[s]
	if !ok {
		n = len(p.scopes)
		p.index[s], p.scopes = n, append(p.scopes, s)
	}
	a.scopes = append(a.scopes, n)
	return n
}

// add finishes an ask.
func (p *plan) add(a *ask) {
	if a.route != "origin" {
		a.uri = -1
	}
	p.scope(a, "all", "true")
	p.scope(a, "route", a.route)
	for _, tag := range a.tags {
		p.scope(a, "tag", tag)
	}
	a.hash = requestHash(a.method, a.target, a.variant, a.body)
	a.size = max(a.size, coreSize(a.tenant))
	whole := a.appendAnswer(nil, 0, 0)
	at := strings.Index(string(whole), a.hash) + hashSize + 1 + len(a.tenant) + 1
	a.prefix = whole[:at:at]
	a.wire, a.wireGzip = a.request(a.method, ""), a.request(a.method, "Accept-Encoding: gzip\r\n")
	if a.uri >= 0 {
		a.wirePut = a.request("PUT", "")
	}
	p.asks = append(p.asks, a)
}

// credential is what the ask shows; empty for the public route.
func (a *ask) credential() string {
	switch a.route {
	case "docs", "origin":
		return "own-key-of-" + a.from
	case "convert", "chat":
		return clientKey(a.from)
	}
	return ""
}

func clientKey(tenant string) string { return "long-and-random-key-of-" + tenant }

// headers are the fields of the request that say who asks for what.
func (a *ask) headers() []string {
	var h []string
	if c := a.credential(); c != "" {
		h = append(h, "Authorization: Bearer "+c)
	}
	if a.route == "convert" || a.route == "chat" {
		h = append(h, "X-Caller: "+a.from) // not in the key: for the upstream alone, which is not shown the client's key
	}
	if a.variant != "" {
		h = append(h, "X-Variant: "+a.variant)
	}
	if len(a.tags) > 0 {
		h = append(h, "Jaegis-Cache-Tags: "+strings.Join(a.tags, ", "))
	}
	if len(a.body) > 0 {
		h = append(h, "Content-Type: application/json")
	}
	return h
}

func (a *ask) request(method, further string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: history\r\n", method, a.target)
	for _, h := range a.headers() {
		b.WriteString(h + "\r\n")
	}
	if len(a.body) > 0 || method == "PUT" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(a.body))
	}
	b.WriteString(further + "\r\n")
	b.Write(a.body)
	return []byte(b.String())
}

// config is the proxies' configuration, but for where they listen and what is
// said of the cache.
func config(origin, cache string) string {
	var keys strings.Builder
	for _, t := range tenants {
		fmt.Fprintf(&keys, "  - {name: client-%s, tenant: %s, keys: [\"sha256:%x\"]}\n", t, t, sha256.Sum256([]byte(clientKey(t))))
	}
	return strings.NewReplacer("ORIGIN", origin, "KEYS\n", keys.String()).Replace(routes) + cache
}
