package proxy

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
	"go.opentelemetry.io/otel/trace"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/policy"
	"jaegis-proxy/store"
)

// call is one client's request on its way through the proxy. It lives until
// the last byte of the answer is written, and then serves another request;
// what outlives it is copied (see Request).
type call struct {
	p     *Proxy
	table *Table
	ctx   *fasthttp.RequestCtx
	start time.Time
	id    requestID

	head   head
	method string // one of a few constants where possible
	target target
	route  *Route
	cc     policy.Directives // what the client's Cache-Control asks

	controls     controls
	client       *Client // nil unless the proxy knows its key
	clientHeader string  // in which that came

	body   Body
	pooled *[]byte            // the memory of body, when it is to be used again
	digest *cachekey.Digester // of a body too large for memory
	upload *upload            // a body that is passed on as it comes; nil for all others

	keys      selection
	answers   selection    // of the first of the answers that are kept for the request; keys are of the one picked
	picked    int          // which that is
	key       cachekey.Key // under which the call looks and joins
	keyed     bool
	regrouped bool         // what was found is in a group that was invalidated
	asked     time.Time    // when it was looked up: what was found, or is fetched, is no older
	stamp     store.Stamp  // what was known of purges then
	ranged    bool         // the upstream is asked for the part that the client wants
	herald    *herald      // nil when interim answers are not passed on
	signpost  *store.Entry // what lies under the base key, when that is a signpost
	stored    *store.Entry // what the upstream may confirm
	would     *store.Entry // in shadow mode: what would have been given
	fallback  *store.Entry // stale, for when the upstream fails
	part      *store.Entry // a part that is stored and not enough for this request
	partKey   cachekey.Key // under which the whole would lie that it is of
	wholeKey  cachekey.Key // under which the whole is looked for, where a part is asked for

	cookies []store.Field // of an upstream's confirmation, for this client alone
	stores  bool          // what the upstream has confirmed is stored anew
	waited  bool          // it has confirmed it to another request
	failure int           // the status with which the upstream failed; 0 when it gave none

	forward string // why the request is forwarded, where that is known better than "miss" (RFC 9211, section 2.2)
	outcome Outcome
	status  int
	detail  string // why, for Cache-Status and the log
	outage  bool   // the store failed
	blind   bool   // nothing that is stored is of use

	span trace.Span // nil when traces are off
	buf  []byte     // for values of fields

	watch *watcher // nil while nobody watches for the client leaving
}

var calls = sync.Pool{New: func() any { return new(call) }}

func (p *Proxy) begin(ctx *fasthttp.RequestCtx) *call {
	c := calls.Get().(*call)
	c.p, c.table, c.ctx, c.start, c.id = p, p.table.Load(), ctx, p.now(), p.ids.next()
	c.beginSpan()
	return c
}

// end counts and logs the request, and gives everything back. err is why the
// client did not get the whole answer.
func (c *call) end(err error) {
	c.watch.stop()
	c.upload.end()
	c.freeBody()
	took := c.p.now().Sub(c.start)
	c.p.metrics.request(c, took)
	if log := c.p.log; log.Enabled(context.Background(), slog.LevelDebug) {
		c.logRequest(log, took, err)
	}
	c.endSpan(err)
	c.drop()
}

// drop gives everything back of a call that was only tried.
func (c *call) drop() {
	*c = call{buf: c.buf[:0]}
	calls.Put(c)
}

// logRequest writes the log line of a request. It names no credential, no
// query and no key.
func (c *call) logRequest(log *slog.Logger, took time.Duration, err error) {
	attrs := []slog.Attr{
		slog.String("request_id", c.id.String()),
		slog.String("method", c.method),
		slog.String("path", string(c.target.path)),
		slog.String("outcome", c.outcome.label()),
		slog.Int("status", c.status),
		slog.Duration("took", took),
	}
	if c.route != nil {
		attrs = append(attrs, slog.String("route", c.route.Name))
	}
	if c.detail != "" {
		attrs = append(attrs, slog.String("detail", c.detail))
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	log.LogAttrs(context.Background(), slog.LevelDebug, "request", attrs...)
}

// http11 says whether the client speaks HTTP/1.1.
func (c *call) http11() bool { return c.ctx.Request.Header.IsHTTP11() }

// waiting is the context in which the call waits for others: it ends at
// shutdown, and when the client leaves while somebody watches for that.
func (c *call) waiting() context.Context {
	if c.watch != nil {
		return c.watch.ctx
	}
	return c.p.ctx
}
