// Package proxy is the request path: it takes a client's request, answers it
// from the store or from an upstream, and sees to it that the same answer is
// fetched once however many ask for it.
//
// The path reads in the order in which a request runs: admit (strict parsing,
// route), readBody, deriveKey, lookup, then deliver for a hit, or fetch and
// follow. Pass-through requests take the same way without key and store.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/internal/flight"
	"jaegis-proxy/internal/protocol"
	"jaegis-proxy/internal/spool"
	"jaegis-proxy/policy"
	"jaegis-proxy/store"
)

// errShutdown ends what still runs when the time for shutting down is over.
var errShutdown = errors.New("the proxy is shutting down")

// Options are for New. Store, Writes, Spools, Metrics and Log are needed.
type Options struct {
	Store  store.Store
	Ledger func(namespace string) *store.Ledger // of what was purged; nil is one of this process
	Fills  store.Fills                          // by which all nodes fetch an answer once; nil: each for itself
	Writes *store.Queue                         // through which answers go to the store once the clients have them
	Spools *spool.Store                         // where bodies go that are too large for memory

	Compression    Compression
	UncacheableTTL time.Duration // how long it is remembered that an answer could not be stored
	BodyTimeout    time.Duration // longest silence while a request body is read; 0 is none
	WriteTimeout   time.Duration // longest stall of one write to a client; 0 is none
	MemoBytes      int64         // memory for recognising request bodies
	MaxFetches     int64         // requests to upstreams at the same time; more get 503; 0 is no limit
	MaxObjectBytes int64         // the most that the store takes; routes may have less; 0 is no limit

	Prices   Prices // what tokens cost
	Currency string // of Prices

	Metrics prometheus.Registerer
	Log     *slog.Logger
	Now     func() time.Time // nil is time.Now

	Tracer     trace.Tracer // nil when traces are off
	Propagator propagation.TextMapPropagator
}

// Compression says how answers are kept.
type Compression struct {
	Coding  string // "gzip", "zstd", or empty for none
	Level   int
	MinSize int64 // smaller bodies are kept as they are
}

// The flights of this proxy.
type (
	inFlight = flight.Flight[answerHead, *store.Entry]
	reader   = flight.Reader[answerHead, *store.Entry]
)

// Proxy answers requests. It is safe for concurrent use.
type Proxy struct {
	o       Options
	store   store.Store
	spools  *spool.Store
	log     *slog.Logger
	now     func() time.Time
	metrics *metrics
	memo    *cachekey.Memo
	ids     *requestIDs

	pseudonym string       // in Via
	fetching  atomic.Int64 // leaders at work

	table       atomic.Pointer[Table]
	flights     flight.Group[cachekey.Key, answerHead, *store.Entry]
	uncacheable *otter.Cache[cachekey.Key, struct{}] // keys whose callers do not wait for each other
	invalidated *changes                             // base keys and groups whose answers were made untrue
	fills       *fills
	owed        *owed
	written     *otter.Cache[cachekey.Key, struct{}]      // base keys written a moment ago
	lookedAgain *otter.Cache[cachekey.Key, string]        // for whose answer by another node the store was asked again
	resting     *otter.Cache[cachekey.Key, struct{}]      // keys whose refresh failed
	marking     sync.Mutex                                // held while a group's mark is made
	landings    sync.Map                                  // of cachekey.Key to *landing, by callers' own keys
	refused     *otter.Cache[cachekey.Key, policy.Reason] // why the last answer of a key was not stored, by what it was
	savings     *savings
	proofs      *proofs
	plain       *plainCache

	ctx     context.Context // of everything that outlives a client; ends at Close
	cancel  context.CancelCauseFunc
	leaders sync.WaitGroup
}

// New gives a proxy that serves the table.
func New(o Options, table *Table) (*Proxy, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Ledger == nil {
		own := store.NewLedger(store.LedgerOptions{Now: o.Now})
		o.Ledger = func(string) *store.Ledger { return own }
	}
	p := &Proxy{o: o, store: o.Store, spools: o.Spools, log: o.Log, now: o.Now, ids: newRequestIDs()}
	p.pseudonym = fmt.Sprintf("%s-%08x", cacheName, uint32(p.ids.prefix))
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	p.memo = cachekey.NewMemo(o.MemoBytes)
	var err error
	if p.metrics, err = newMetrics(p, o.Metrics); err != nil {
		return nil, err
	}
	p.plain = newPlainCache()
	p.proofs = newProofs()
	p.refused = otter.Must(&otter.Options[cachekey.Key, policy.Reason]{
		MaximumSize:      100_000,
		ExpiryCalculator: otter.ExpiryWriting[cachekey.Key, policy.Reason](10 * time.Minute),
	})
	if p.savings, err = newSavings(o.Metrics, o.Prices, o.Currency); err != nil {
		return nil, err
	}
	p.lookedAgain = otter.Must(&otter.Options[cachekey.Key, string]{
		MaximumSize:      100_000,
		ExpiryCalculator: otter.ExpiryWriting[cachekey.Key, string](time.Minute),
	})
	p.uncacheable = newMarks(o.UncacheableTTL)
	p.resting = newMarks(restTime)
	p.written = newMarks(hearTime)
	p.fills = newFills()
	p.invalidated = newChanges()
	if err := p.Reload(table); err != nil {
		return nil, err
	}
	p.owed = newOwed(p.ctx, p.remove)
	return p, nil
}

// hearTime is longer than it takes to hear of what another process deleted.
const hearTime = 10 * time.Second

// restTime is how long a key rests whose refresh brought nothing.
const restTime = 2 * time.Second

// newMarks gives a set of keys that forgets each of them after ttl.
func newMarks(ttl time.Duration) *otter.Cache[cachekey.Key, struct{}] {
	return otter.Must(&otter.Options[cachekey.Key, struct{}]{
		MaximumSize:      100_000,
		ExpiryCalculator: otter.ExpiryWriting[cachekey.Key, struct{}](max(ttl, time.Millisecond)),
	})
}

// Reload puts another table in place. Requests under way keep the one that
// they began with. On an error the old table stays.
func (p *Proxy) Reload(t *Table) error {
	if err := t.prepare(p.metrics, p.memo); err != nil {
		return err
	}
	for _, r := range t.all() {
		if p.o.MaxObjectBytes > 0 {
			r.MaxObjectBytes = min(r.MaxObjectBytes, p.o.MaxObjectBytes)
		}
	}
	if old := p.table.Swap(t); old != nil {
		for _, r := range old.all() {
			r.Upstream.CloseIdle()
		}
	}
	return nil
}

// SetPrices puts other prices in place; what was counted stays.
func (p *Proxy) SetPrices(prices Prices) error { return p.savings.setPrices(prices) }

// Stats tells what the proxy did since it began.
func (p *Proxy) Stats() Stats { return p.savings.stats(p.metrics) }

// Close ends fetches that still run, once ctx is over or they have ended, and
// waits for them.
func (p *Proxy) Close(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { p.cancel(errShutdown) })
	p.leaders.Wait()
	stop()
	p.cancel(errShutdown)
	p.lookedAgain.StopAllGoroutines()
	p.uncacheable.StopAllGoroutines()
	p.resting.StopAllGoroutines()
	p.written.StopAllGoroutines()
	<-p.owed.done
	p.refused.StopAllGoroutines()
	p.proofs.close()
	p.plain.close()
}

// Serve answers one request.
func (p *Proxy) Serve(ctx *fasthttp.RequestCtx) {
	c := p.begin(ctx)
	streaming, err := p.guarded(c, p.answer)
	if err != nil {
		c.refuse(err)
	}
	if !streaming {
		c.end(err)
	}
}

// guarded is do, where a panic fails this request and no other.
func (p *Proxy) guarded(c *call, do func(*call) (bool, error)) (streaming bool, err error) {
	defer func() {
		if r := recover(); r != nil {
			p.log.Error("panic in a request", "panic", r, "stack", string(debug.Stack()))
			streaming, err = false, errInternal
		}
	}()
	return do(c)
}

// answer runs the request. With streaming, the call ends with its stream.
func (p *Proxy) answer(c *call) (streaming bool, err error) {
	if err := c.admit(); err != nil {
		return false, err
	}
	if err := c.readBody(); err != nil {
		return false, err
	}
	if c.upload != nil {
		return p.passUpload(c)
	}
	if reason := c.route.bypassReason(c.method, &c.cc, c.head.flags); reason != "" {
		return p.pass(c, reason)
	}
	if c.controls.mode == bypass {
		return p.pass(c, "request-bypass")
	}
	if !c.cached() {
		return p.pass(c, "when")
	}
	if c.route.Protocol == protocol.OpenAIEmbeddings {
		if streaming, err, done := p.embed(c); done {
			return streaming, err
		}
	}
	if err := c.deriveKey(); err != nil {
		return p.pass(c, "no-key")
	}
	return p.lookup(c)
}

// deriveKey makes the request's key.
func (c *call) deriveKey() error {
	req := &cachekey.Request{
		Method:   c.ctx.Request.Header.Method(),
		Upstream: c.route.Upstream.identity,
		Host:     c.route.upstreamHost(&c.target),
		Path:     c.target.keyPath(),
		Query:    c.target.query,
		Headers:  c.keyHeaders(),
		Tenant:   c.tenant(),
		Body:     c.keyBody(),
	}
	var err error
	if c.digest != nil {
		if req.Body.Content, err = c.digest.Content(req.Body); err != nil {
			return err
		}
	}
	c.keys, err = c.table.keys(c.route, req)
	if c.answers, c.picked = c.keys, 0; c.route.Variants > 1 {
		c.picked = rand.IntN(c.route.Variants)
		c.keys = c.answers.answer(c.picked)
	}
	c.key, c.keyed = c.keys.own, err == nil
	return err
}

// largeBody is from where on, in bytes, reading a body once more costs more
// than remembering what it came to.
const largeBody = 1 << 10

// keys derives the keys of a request that the route has.
func (t *Table) keys(route *Route, req *cachekey.Request) (selection, error) {
	var err error
	if route.forAll != nil && req.Body.Size >= largeBody && req.Body.File == nil { // read once for all keys
		if req.Body.Content, err = t.deriver.Content(route.Key, req.Headers, req.Body); err != nil {
			return selection{}, err
		}
	}
	own, err := t.deriver.Derive(route.Key, req)
	s := selection{base: own, all: own, own: own, headers: req.Headers}
	if route.forAll == nil || err != nil {
		return s, err
	}
	if route.ProofTTL > 0 || route.Rule.PerCaller {
		s.all, err = t.deriver.Derive(route.forAll, req)
	}
	if route.ProofTTL > 0 && req.Tenant != "" { // tenants share nothing
		s.all = cachekey.Variant(s.all, []string{"@tenant"}, shown{[]byte(req.Tenant)})
	}
	s.base = s.all
	if err == nil && route.ProofTTL == 0 && !route.plain(req) {
		s.base, err = t.deriver.Derive(route.forAll, &cachekey.Request{
			Method: []byte("GET"), Upstream: req.Upstream, Host: req.Host, Path: req.Path, Query: req.Query, Headers: shown(nil),
		})
	}
	return s, err
}

// plain says whether nothing of the request but its URI is in the key for all
// callers. It may be false where that is so.
func (r *Route) plain(req *cachekey.Request) bool {
	if string(req.Method) != "GET" && string(req.Method) != "HEAD" || req.Body.Size > 0 {
		return false
	}
	for _, names := range [...][]string{r.forAll.Headers, {"Content-Type", "Content-Encoding"}} {
		for _, name := range names {
			if len(req.Headers.Values(name)) > 0 {
				return false
			}
		}
	}
	return true
}

func (c *call) keyBody() cachekey.Body {
	b := cachekey.Body{Bytes: c.body.bytes, Size: c.body.Size}
	if c.body.spool != nil {
		b.File = c.body.spool
	}
	return b
}

// upstreamHost is the host that the upstream sees; empty when it is always
// its own.
func (r *Route) upstreamHost(t *target) []byte {
	if r.Upstream.o.PreserveHost {
		return t.host
	}
	return nil
}
