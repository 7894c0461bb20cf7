package proxy

import (
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"jaegis-proxy/internal/flight"
	"jaegis-proxy/policy"
)

// metrics are what the request path counts. Names are documented in
// docs/operations.md.
type metrics struct {
	requests *prometheus.CounterVec   // route, outcome
	hits     *prometheus.HistogramVec // route
	heads    *prometheus.HistogramVec // upstream
	results  *prometheus.CounterVec   // upstream, result
	refusals *prometheus.CounterVec   // route, reason
	shadows  *prometheus.CounterVec   // route, result
	taken    *prometheus.CounterVec   // route, result
	noRoute  [outcomes]prometheus.Counter
	mu       sync.Mutex
	perRoute map[string]*routeMetrics
}

// routeMetrics are a route's own, looked up once.
type routeMetrics struct {
	requests [outcomes]prometheus.Counter
	hits     prometheus.Observer
}

func newMetrics(p *Proxy, reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jaegis_requests_total", Help: "Requests by route and by what became of them.",
		}, []string{"route", "outcome"}),
		hits: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "jaegis_hit_seconds", Help: "Time to answer from the store.",
			Buckets: []float64{.00001, .000025, .00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .5, 1},
		}, []string{"route"}),
		heads: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "jaegis_upstream_seconds", Help: "Time until the head of the upstream's answer.",
			Buckets: []float64{.001, .005, .01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300},
		}, []string{"upstream"}),
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jaegis_upstream_requests_total", Help: "Requests sent to upstreams, by class of status or \"error\".",
		}, []string{"upstream", "result"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jaegis_not_stored_total", Help: "Answers that were not stored, by reason.",
		}, []string{"route", "reason"}),
		shadows: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jaegis_shadow_total", Help: "Requests in shadow mode: miss, or a would-be hit that is the same as the fresh answer or different.",
		}, []string{"route", "result"}),
		taken: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jaegis_taken_over_total", Help: "Answers of other nodes that Redis ceased to bring and that this node fetched itself: given whole, cut because the upstream gave another this time, or failed.",
		}, []string{"route", "result"}),
		perRoute: map[string]*routeMetrics{},
	}
	flights := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "jaegis_flights", Help: "Fetches that further requests can join.",
	}, func() float64 { return float64(p.flights.Len()) })
	spooled := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "jaegis_spool_bytes", Help: "Bytes of bodies on disk.",
	}, func() float64 { return float64(p.spools.Disk()) })
	var errs []error
	for _, c := range []prometheus.Collector{m.requests, m.hits, m.heads, m.results, m.refusals, m.shadows, m.taken, flights, spooled} {
		errs = append(errs, reg.Register(c))
	}
	for o := range outcomes {
		m.noRoute[o] = m.requests.WithLabelValues("", o.label())
	}
	return m, errors.Join(errs...)
}

// route gives a route's own metrics; those of the same name are the same
// after a reload.
func (m *metrics) route(name string) *routeMetrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.perRoute[name]; r != nil {
		return r
	}
	r := &routeMetrics{hits: m.hits.WithLabelValues(name)}
	for o := range outcomes {
		r.requests[o] = m.requests.WithLabelValues(name, o.label())
	}
	m.perRoute[name] = r
	return r
}

func (m *metrics) request(c *call, took time.Duration) {
	if c.route == nil {
		m.noRoute[c.outcome].Inc()
		return
	}
	r := c.route.metrics
	r.requests[c.outcome].Inc()
	if c.outcome == Hit || c.outcome == Stale {
		r.hits.Observe(took.Seconds())
	}
}

func (m *metrics) notStored(r *Route, why policy.Reason) {
	m.refusals.WithLabelValues(r.Name, string(why)).Inc()
}

func (m *metrics) shadow(r *Route, result string) { m.shadows.WithLabelValues(r.Name, result).Inc() }

func (m *metrics) takeover(r *Route, result string) { m.taken.WithLabelValues(r.Name, result).Inc() }

// upstream counts a request that was sent; resp is nil when it failed, or when
// nobody wanted the answer any more.
func (m *metrics) upstream(u *Upstream, resp *Response, err error, took time.Duration) {
	if resp == nil {
		result := "error"
		if errors.Is(err, flight.ErrAbandoned) || errors.Is(err, errShutdown) {
			result = "cancelled"
		}
		m.results.WithLabelValues(u.Name(), result).Inc()
		return
	}
	m.heads.WithLabelValues(u.Name()).Observe(took.Seconds())
	m.results.WithLabelValues(u.Name(), strconv.Itoa(resp.Status/100)+"xx").Inc()
}
