package proxy

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/internal/flight"
	"jaegis-proxy/policy"
	"jaegis-proxy/store"
)

// answerHead is the head of an answer in flight.
type answerHead struct {
	status   int
	fields   []store.Field
	length   int64 // of the body; -1 when it is not known
	decision policy.Decision
	at       place     // where the answer belongs
	asked    time.Time // as in leader
	stamp    store.Stamp
	tags     []string  // under which the answer can be purged, as far as its head tells
	came     time.Time // when the head came

	untagged  bool     // what it can be purged by is in the answer itself, too, which is still coming
	undecided bool     // whether it is stored depends on the answer itself, which is still coming
	joined    *joiners // callers that were given the answer and did not ask for it themselves

	relayed   bool          // another node fetches it
	cookies   []store.Field // of a confirmation, for who asked for it
	confirmed *store.Entry  // the stored answer, freshened, that the upstream has confirmed; then there is no body
}

// errorStatus says whether a stale answer is better than this one (RFC 5861,
// section 4).
func (h *answerHead) errorStatus() bool {
	switch h.status {
	case 500, 502, 503, 504:
		return true
	}
	return false
}

// leader fetches one answer. It has a goroutine, a deadline and a copy of the
// request of its own: no client's leaving or slowness touches it.
type leader struct {
	p        *Proxy
	f        *inFlight
	route    *Route
	why      purpose
	id       string // of the request that began the fetch
	req      *Request
	about    policy.Request
	table    *Table
	joinKey  cachekey.Key // under which others can join
	keys     selection
	origin   origin
	controls controls
	sign     *store.Entry      // as in call
	stored   *store.Entry      // what is stored, whatever its state
	part     *store.Entry      // as in call
	partKey  cachekey.Key      // as in call
	wholeKey cachekey.Key      // of the whole, where a part is asked for
	forAll   bool              // the flight is offered to all callers, under the key of the request whoever asks
	prefix   []byte            // what comes before the upstream's answer
	whole    bool              // all of the answer has been taken in to prefix
	span     trace.SpanContext // of the request that began the fetch
	asked    time.Time         // when the client's request came: what was looked up is no older
	stamp    store.Stamp       // what was known of purges then
	model    string            // that the request names
	started  time.Time
	size     int64

	ai         *answer           // nil when the answer is not read
	look       *look             // nil when the answer is not looked into
	bodyTags   []string          // that were found in it
	askedTags  []string          // that were found in the request's body
	tagFault   policy.Reason     // why those cannot all be kept
	aiSpan     trace.Span        // of the upstream's answer; nil when traces are off
	tenant     string            // whose request it was
	caller     [sha256.Size]byte // who asks
	proof      [sha256.Size]byte // what an acceptance proves of him
	would      *store.Entry      // in shadow mode: what would have been given
	joined     joiners
	landing    *landing // of the part that is to be stored
	fallback   bool     // what is stored may be used when the upstream fails
	filling    bool     // begun in fills
	completing bool     // prefix is the stored part, and what comes is the rest of the whole
	confirmed  bool     // the upstream says that what is stored still holds

	shared   bool          // all nodes are asked who fetches; see share.go
	lease    store.Lease   // nil unless it is this one, for all
	released chan struct{} // closed once the lease is given back
	isStored bool          // the answer is in the store
	took     time.Duration // the whole fetch
	given    *given        // what callers have got of another node's answer; nil without one
}

// newFlight makes a flight for the call. With abandon it ends when no client
// waits any more; else the answer, which is paid for, is fetched to its end.
func (p *Proxy) newFlight(c *call, abandon bool) *inFlight {
	return flight.New[answerHead, *store.Entry](p.ctx, flight.Options{
		Body:     p.spools.New(-1),
		Window:   p.window(),
		Patience: 2 * time.Second,
		Abandon:  abandon,
	})
}

// window is how far an answer that is not kept may come before those who get it.
func (p *Proxy) window() int64 { return p.spools.Memory / 2 }

// purpose says what a fetch is for.
type purpose int

const (
	fetchPass    purpose = iota // for one client, the cache has nothing to do with it
	fetchPost                   // the same, but the answer may be that of a later GET
	fetchShared                 // for whoever may be given the answer
	fetchRefresh                // the same, while a stale answer is handed out
)

// start sets a leader going for the call's flight.
func (p *Proxy) start(c *call, f *inFlight, why purpose) {
	if c.stored != nil && c.stored.Content != nil { // whose body may be gone
		p.startWith(c, f, why, c.lendBody(), false)
		return
	}
	p.startWith(c, f, why, c.takeBody(), false)
}

func (p *Proxy) startWith(c *call, f *inFlight, why purpose, body Body, shared bool) {
	if why == fetchShared && c.forward == "" && !c.cc.NoCache && p.fills.varies(c.keys.base) {
		c.forward = "vary-miss" // another variant is on its way to the store
	}
	l := p.newLeader(c, f, why, body)
	l.shared = shared
	if why != fetchRefresh {
		if c.herald = c.newHerald(); c.herald != nil {
			l.req.Interim = c.herald.tell
		}
	}
	p.leaders.Add(1)
	p.fetching.Add(1)
	go l.run()
}

// newLeader makes a leader of a request like the call's, with this body. It
// counts in fills from now on.
func (p *Proxy) newLeader(c *call, f *inFlight, why purpose, body Body) *leader {
	client := c.snapshot()
	l := &leader{
		p: p, f: f, route: c.route, table: c.table, why: why, id: c.id.String(), asked: c.asked, stamp: c.stamp,
		joinKey: c.key, keys: c.keys, origin: c.origin(), controls: c.controls, sign: c.signpost,
		stored: c.stored, part: c.part, partKey: c.partKey, wholeKey: c.wholeKey, would: c.would, fallback: c.fallback != nil,
		span: c.spanContext(), tenant: c.tenant(), filling: why != fetchPass,
		about: policy.Request{
			Method: c.method, NoStore: c.cc.NoStore, Range: c.ranged,
			Credential: c.hasCredential(true), Authorization: c.head.flags.has(hasAuthorization) || c.hasCredential(false), Others: c.hasOthers(),
		},
		req: &Request{
			Method: c.method, Path: string(c.target.path), Query: string(c.target.query), HasQuery: c.target.hasQuery,
			Host: string(c.target.host), Header: c.upstreamHeader(client, why != fetchPass), Body: body,
		},
	}
	l.readAskedTags()
	if l.caller = c.caller(); c.route.Key != nil {
		l.proof = c.proofOf(l.caller)
	}
	if l.asked.IsZero() {
		l.asked, l.stamp = c.start, c.ledger().Stamp()
	}
	l.keys.headers = c.counting(variantHeaders(client))
	if why == fetchPost {
		l.keys.headers, l.about.URI = ofTarget{l.keys.headers}, l.targetURI()
	}
	if l.filling {
		p.fills.begin(l.keys.base)
	}
	f.Until(l.untrue(l.keys.base))
	return l
}

// untrue gives a function that says whether what the leader fetches for the key
// has been made untrue, or purged, since it began.
func (l *leader) untrue(base cachekey.Key) func() bool {
	if l.why == fetchPass {
		return nil
	}
	return l.untrueSince(base, l.asked, l.stamp)
}

// untrueSince is untrue of what was asked for then.
func (l *leader) untrueSince(base cachekey.Key, asked time.Time, stamp store.Stamp) func() bool {
	of := store.Entry{Stamp: stamp, Asked: asked, Tags: l.tags(nil, base)}
	ledger := l.p.o.Ledger(base.Namespace)
	return func() bool { return ledger.Judge(base, &of) != store.Good || l.p.untrue(base, of.Asked) }
}

// full says whether as many fetches are under way as there may be. They may
// outlive their clients, so that the bound on connections does not hold them.
func (p *Proxy) full() bool {
	return p.o.MaxFetches > 0 && p.fetching.Load() >= p.o.MaxFetches
}

// hasCredential says whether the request shows who its caller is.
func (c *call) hasCredential(cookies bool) bool {
	for _, name := range c.route.credentials() {
		if (cookies || name != "Cookie") && len(c.ctx.Request.Header.Peek(name)) > 0 {
			return true
		}
	}
	return false
}

// hasOthers says whether the request has credentials in a field other than
// Authorization: what the route takes for such, or what is one as a rule.
func (c *call) hasOthers() bool {
	for _, names := range [...][]string{c.route.credentials(), cachekey.DefaultCredentials} {
		for _, name := range names {
			if !strings.EqualFold(name, "Authorization") && len(c.ctx.Request.Header.Peek(name)) > 0 {
				return true
			}
		}
	}
	return false
}

// run fetches, settles and stores.
func (l *leader) run() {
	defer l.p.leaders.Done()
	defer l.p.fetching.Add(-1)
	defer func() { // what follows elsewhere may keep the leader for a while
		l.req.Body.close()
		l.req.Body, l.prefix, l.stored = Body{}, nil, nil
	}()
	l.started = l.p.now()
	if l.shared && l.claim() {
		l.f.Settle(nil)
		l.land()
		return
	}
	head, err := l.fetch()
	if err == nil && (l.ai != nil || l.look != nil) {
		l.decide(head)
	}
	if err == nil && l.ai != nil {
		l.prove(head)
	}
	l.f.Close(err)
	if err == nil {
		l.account(head.status/100 != 2)
	}
	l.endSpan(err)
	if err == nil {
		l.compare(head)
	}
	var e *store.Entry
	switch {
	case err != nil:
	case head.confirmed != nil:
		if head.decision.Store {
			e = head.confirmed
		}
	case head.decision.Store && !l.f.Sealed():
		e, err = l.entry(head)
	}
	if err != nil {
		l.failed(err)
	}
	if errors.Is(err, errPart) && l.completing {
		l.p.forget(l.keys.base, l.route) // it would spoil every answer that begins with it
	}
	l.f.Settle(e)
	if e == nil {
		l.land()
		return
	}
	l.p.keep(l, head, e)
}

// failed notes a fetch that broke off. One that nobody wanted any more has not
// failed.
func (l *leader) failed(err error) {
	l.rest()
	level := slog.LevelDebug
	second := l.p.now().Unix() // one line a second tells enough of an upstream that is down
	var ours *refusal          // of a body that broke off
	if !errors.Is(err, flight.ErrAbandoned) && !errors.Is(err, errShutdown) && !errors.As(err, &ours) && l.route.warned.Swap(second) != second {
		level = slog.LevelWarn
	}
	l.p.log.Log(context.Background(), level, "fetch failed", "request_id", l.id, "route", l.route.Name, "upstream", l.route.Upstream.Name(), "error", err)
}

// land takes the flight out of the group: from now on the store answers. Other
// nodes are told first, so that this one never meets a lease of its own.
func (l *leader) land() {
	l.release()
	l.p.flights.Forget(l.joinKey, l.f)
	if l.about.Range {
		l.p.flights.Forget(l.wholeKey, l.f)
	}
	if l.forAll {
		l.p.flights.Forget(l.keys.all, l.f)
	}
	l.f.Done()
	if l.filling {
		l.p.fills.end(l.keys.base)
	}
	if l.landing != nil {
		l.p.landings.CompareAndDelete(l.keys.own, l.landing)
	}
}

// fetch asks the upstream and copies its answer into the flight. A panic fails
// this request and no other.
func (l *leader) fetch() (head *answerHead, err error) {
	defer func() {
		if r := recover(); r != nil {
			l.p.log.Error("panic in a fetch", "panic", r, "stack", string(debug.Stack()))
			err = fmt.Errorf("%w: internal error", errBroken)
		}
		l.countTakeover(err)
	}()
	ask := l.ask
	if l.given != nil {
		ask = l.askAgain
	}
	resp, err := ask()
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // the body's end was seen by reading it
	l.refuted(resp)
	if resp.Header.Get("Date") == "" { // RFC 9110, section 6.6.1
		resp.Header.Set("Date", l.p.now().UTC().Format(http.TimeFormat))
	}
	if l.confirmed {
		head = l.confirm(resp)
	} else {
		head = l.judge(resp)
		head.joined = &l.joined
		l.readAnswer(resp, head)
		l.lookInto(resp, head)
		if err := l.takeIn(resp, head); err != nil {
			return nil, err
		}
		l.giveOn(head)
		if l.ai == nil || l.whole {
			l.prove(head)
		}
	}
	if l.given == nil {
		l.f.Start(*head, resp.Length, !head.decision.Store && !l.route.Shadow)
	} else if err := l.goOn(head); err != nil {
		return nil, err
	}
	return head, l.copy(resp)
}

// judge gives the verdict on the answer's head.
func (l *leader) judge(resp *Response) *answerHead {
	cookies := l.withoutCookies(resp)
	head := &answerHead{status: resp.Status, fields: endToEnd(resp.Header), length: resp.Length, at: place{key: l.keys.base}, asked: l.asked, stamp: l.stamp, came: l.p.now()}
	if l.about.Method == "HEAD" || resp.Status == 204 || resp.Status == 304 {
		head.length = contentLength(resp)
	}
	head.fields = append(head.fields, cookies...)
	late := false
	switch {
	case l.why == fetchPass:
		l.invalidate(resp)
		return head
	case l.why == fetchPost:
		late = l.outdated() || l.p.anyUntrue(l.origin, groupsOf(head.fields), l.asked) // by somebody else
		l.invalidate(resp)
		l.asked = l.p.now().Add(1) // what it has just made untrue is older
		head.asked = l.asked
		l.f.Until(l.untrue(l.keys.base))
	case l.about.Method == "HEAD":
		l.updateByHead(head)
	}
	d := l.decideHead(resp, head, late)
	if origin := l.route.Rule.Freshness == policy.FreshnessOrigin; origin && l.stored != nil && l.about.Method != "HEAD" &&
		!d.Store && d.Reason != reasonRequest && replaced(head.status) {
		l.p.forget(l.keys.base, l.route)
	} else if l.unfinished(&d, head.status) {
		l.p.forget(l.keys.base, l.route)
	}
	head.at = l.place(&d)
	head.at.alias, _ = l.keys.inLanguage(head.at, head.fields)
	head.decision = d
	head.tags = l.tags(head.fields, head.at.key)
	switch {
	case d.Store && d.Partial != nil:
		l.arriving()
	case d.Store && d.Public && l.joinKey == l.keys.own && l.keys.all != l.keys.own:
		l.forAll = true
		l.p.flights.Offer(l.keys.all, l.f)
	case d.Store && l.about.Range: // the whole, which others may be waiting for
		l.p.flights.Offer(l.wholeKey, l.f)
	case d.Store && l.why == fetchPost: // a GET that comes before it is stored finds it here
		d.Share, head.decision.Share = true, true
		l.p.flights.Offer(l.joinKey, l.f)
	}
	if l.why != fetchPost {
		l.remember(&d)
	}
	if l.route.ProofTTL > 0 && !d.Store {
		head.decision.Share = false // a refusal may speak of one caller's account
	}
	return head
}

// decideHead gives policy's verdict on the head, and what else speaks against
// storing the answer. late says that it was made untrue before it came.
func (l *leader) decideHead(resp *Response, head *answerHead, late bool) policy.Decision {
	d := policy.Decide(&l.route.Rule, &l.about, &policy.Response{
		Status: resp.Status, Header: resp.Header, Framed: resp.Framed,
	}, l.p.now())
	l.controls.apply(&l.route.Rule, &d)
	switch {
	case d.Store && late:
		d.Store, d.Reason = false, policy.ReasonMethod
	case d.Store && resp.Length > l.route.MaxObjectBytes:
		d.Store, d.Reason = false, reasonTooLarge
	case d.Store && l.fallback && (head.errorStatus() || head.status == 529):
		d.Store, d.Reason = false, policy.ReasonStatus // what is stored is better
	case d.Store && d.Partial != nil && !d.Alone && resp.Length >= 0 && resp.Length != d.Partial.Len():
		d.Store, d.Share, d.Reason = false, false, policy.ReasonPartial // it is not the part that it says
	case d.Store && resp.Status == http.StatusPartialContent && resp.Header.Get("Content-Encoding") != "":
		d.Store, d.Reason = false, policy.ReasonPartial // asked for without: it may not be for those who ask next
	}
	l.lookAtHead(resp.Status, resp.Header, &d)
	return d
}

// replaced says whether an answer that is not stored tells that what is stored
// is no more, where answers themselves say how they are to be kept. (A refusal
// or an error may be due to the request that got it.)
func replaced(status int) bool { return status < 400 || status == 404 || status == 410 }

// reasonTooLarge is why an answer above the route's bound is not stored.
const reasonTooLarge policy.Reason = "too-large"

// remember marks a key whose answer is of no use to others, so that its
// callers need not wait for each other for a while; and takes the mark away
// when an answer can be stored again.
func (l *leader) remember(d *policy.Decision) {
	l.mark(d)
	if !d.Store {
		l.rest()
		l.p.metrics.notStored(l.route, d.Reason)
	}
}

func (l *leader) mark(d *policy.Decision) {
	switch {
	case d.Store && d.Share:
		l.p.uncacheable.Invalidate(l.joinKey)
	case !d.Share && d.Reason != policy.ReasonMethod || d.Reason == reasonTooLarge:
		l.p.uncacheable.Set(l.joinKey, struct{}{})
	}
}

// rest keeps a refresh that brought nothing from being tried again at once.
func (l *leader) rest() {
	if l.why == fetchRefresh {
		l.p.resting.Set(l.joinKey, struct{}{})
	}
}

// contentLength is what the head says of a body that does not come.
func contentLength(resp *Response) int64 {
	if resp.Header.Get("Content-Length") == "" {
		return -1
	}
	return resp.Length
}
