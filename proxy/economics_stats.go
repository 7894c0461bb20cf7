package proxy

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Stats is what the proxy did since it began, for people and for programs.
type Stats struct {
	Currency string       `json:"currency"` // of all money in it
	Routes   []RouteStats `json:"routes"`   // by name
	Savings  []Saving     `json:"savings"`  // by route, model and tenant
	Total    Total        `json:"total"`
}

// RouteStats are the requests of a route.
type RouteStats struct {
	Route string `json:"route"` // empty for requests that match none
	Counts
	Outcomes  map[string]int64 `json:"outcomes"`   // requests by outcome; those that never came are left out
	NotStored map[string]int64 `json:"not_stored"` // answers by the reason why they were not stored
}

// Counts are those of requests.
type Counts struct {
	Requests int64   `json:"requests"`
	Hits     int64   `json:"hits"`      // answered without a fetch of their own: hit, stale, revalidated, joined
	Misses   int64   `json:"misses"`    // fetched
	HitRatio float64 `json:"hit_ratio"` // hits among hits and misses; 0 when there are neither
}

// Saving is what was spent, and what the cache saved, for one route, model
// and tenant. Model is empty for what is no AI answer, Tenant where the
// client is not known by name, and both are "other" for all that came after
// the first thousand of them.
type Saving struct {
	Route  string `json:"route"`
	Model  string `json:"model"`
	Tenant string `json:"tenant"`
	Spent  Tally  `json:"spent"`
	Saved  Tally  `json:"saved"`
}

// Tally is what a number of answers took.
type Tally struct {
	Requests       int64   `json:"requests"`
	TokensIn       int64   `json:"tokens_in"` // those in TokensCached included
	TokensOut      int64   `json:"tokens_out"`
	TokensCached   int64   `json:"tokens_cached"` // which the provider had in a cache of its own
	TokensUnpriced int64   `json:"tokens_unpriced"`
	Seconds        float64 `json:"seconds"` // of upstream time
	Money          float64 `json:"money"`   // for all tokens but the unpriced
}

// Total is the sum over all routes.
type Total struct {
	Counts
	Spent Tally `json:"spent"`
	Saved Tally `json:"saved"`
}

// stats gives what s and m have counted. Requests that run meanwhile may be
// in one figure and not yet in another.
func (s *savings) stats(m *metrics) Stats {
	st := Stats{Currency: s.currency, Routes: m.routeStats(), Savings: s.snapshot()}
	for i := range st.Routes {
		st.Total.Counts.add(st.Routes[i].Counts)
	}
	for i := range st.Savings {
		st.Total.Spent.add(&st.Savings[i].Spent)
		st.Total.Saved.add(&st.Savings[i].Saved)
	}
	return st
}

// snapshot gives the accounts, sorted by their keys.
func (s *savings) snapshot() []Saving {
	rows := []Saving{} // a list, also when it is empty
	s.mu.RLock()
	for k, a := range s.accounts {
		rows = append(rows, Saving{k.route, k.model, k.tenant, a.fates[fateSpent].read(), a.fates[fateSaved].read()})
	}
	s.mu.RUnlock()
	slices.SortFunc(rows, func(a, b Saving) int {
		return cmp.Or(cmp.Compare(a.Route, b.Route), cmp.Compare(a.Model, b.Model), cmp.Compare(a.Tenant, b.Tenant))
	})
	return rows
}

func (t *tally) read() Tally {
	cached := t.tokens[kindCached].Load()
	return Tally{
		Requests: t.requests.Load(), TokensIn: t.tokens[kindInput].Load() + cached, TokensOut: t.tokens[kindOutput].Load(),
		TokensCached: cached, TokensUnpriced: t.unpriced.Load(),
		Seconds: time.Duration(t.took.Load()).Seconds(), Money: math.Float64frombits(t.money.Load()),
	}
}

func (t *Tally) add(o *Tally) {
	t.Requests += o.Requests
	t.TokensIn += o.TokensIn
	t.TokensOut += o.TokensOut
	t.TokensCached += o.TokensCached
	t.TokensUnpriced += o.TokensUnpriced
	t.Seconds += o.Seconds
	t.Money += o.Money
}

func (r *Counts) add(o Counts) {
	r.Requests += o.Requests
	r.Hits += o.Hits
	r.Misses += o.Misses
	if n := r.Hits + r.Misses; n > 0 {
		r.HitRatio = float64(r.Hits) / float64(n)
	}
}

// routeStats reads the counters of all routes, sorted by name, and of requests
// without a route if there were any.
func (m *metrics) routeStats() []RouteStats {
	m.mu.Lock()
	perRoute := maps.Clone(m.perRoute)
	m.mu.Unlock()
	refused := m.refused()
	rows := []RouteStats{}
	if none := newRouteStats("", &m.noRoute, refused[""]); none.Requests > 0 {
		rows = append(rows, none)
	}
	for _, name := range slices.Sorted(maps.Keys(perRoute)) {
		rows = append(rows, newRouteStats(name, &perRoute[name].requests, refused[name]))
	}
	return rows
}

func newRouteStats(name string, requests *[outcomes]prometheus.Counter, refused map[string]int64) RouteStats {
	r := RouteStats{Route: name, Outcomes: map[string]int64{}, NotStored: refused}
	if refused == nil {
		r.NotStored = map[string]int64{}
	}
	for o := range outcomes {
		n := counted(requests[o])
		if n == 0 {
			continue
		}
		r.Outcomes[o.label()] = n
		by := Counts{Requests: n}
		switch o {
		case Hit, Stale, Revalidated, Joined:
			by.Hits = n
		case Miss:
			by.Misses = n
		}
		r.Counts.add(by)
	}
	return r
}

// refused counts the answers that were not stored, by route and reason.
func (m *metrics) refused() map[string]map[string]int64 {
	all := make(chan prometheus.Metric)
	go func() {
		m.refusals.Collect(all)
		close(all)
	}()
	routes := map[string]map[string]int64{}
	for metric := range all {
		var d dto.Metric
		if metric.Write(&d) != nil {
			continue // a counter always can be written
		}
		labels := map[string]string{}
		for _, l := range d.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		route := labels["route"]
		if routes[route] == nil {
			routes[route] = map[string]int64{}
		}
		routes[route][labels["reason"]] = int64(d.GetCounter().GetValue())
	}
	return routes
}

func counted(c prometheus.Counter) int64 {
	var d dto.Metric
	if c.Write(&d) != nil {
		return 0 // a counter always can be written
	}
	return int64(d.GetCounter().GetValue())
}

// Describe implements prometheus.Collector.
func (s *savings) Describe(to chan<- *prometheus.Desc) {
	d := s.descriptions()
	to <- d.tokens
	to <- d.money
	to <- d.seconds
}

type descriptions struct{ tokens, money, seconds *prometheus.Desc }

func (s *savings) descriptions() descriptions {
	return descriptions{
		prometheus.NewDesc("jaegis_tokens_total", "Tokens of AI answers, by whether an upstream was paid for them.",
			[]string{"route", "model", "tenant", "kind", "fate"}, nil),
		prometheus.NewDesc("jaegis_money_total", "What tokens cost, or would have cost, of models that have a price.",
			[]string{"route", "model", "tenant", "fate"}, prometheus.Labels{"currency": s.currency}),
		prometheus.NewDesc("jaegis_upstream_time_saved_seconds_total", "Upstream time that answers from the cache did not take.",
			[]string{"route"}, nil),
	}
}

// Collect implements prometheus.Collector. What is zero is left out: a model
// that makes vectors has no output, and many have no price.
func (s *savings) Collect(to chan<- prometheus.Metric) {
	d := s.descriptions()
	counter := func(desc *prometheus.Desc, v float64, labels ...string) {
		if v > 0 {
			to <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, v, labels...)
		}
	}
	s.mu.RLock()
	accounts := maps.Clone(s.accounts)
	s.mu.RUnlock() // the receiver of to may be slow
	took := map[string]time.Duration{}
	for k, a := range accounts {
		took[k.route] += time.Duration(a.fates[fateSaved].took.Load())
		for f := range fates {
			t := &a.fates[f]
			for kind := range t.tokens {
				counter(d.tokens, float64(t.tokens[kind].Load()), k.route, k.model, k.tenant, kindNames[kind], fateNames[f])
			}
			counter(d.money, math.Float64frombits(t.money.Load()), k.route, k.model, k.tenant, fateNames[f])
		}
	}
	for route, t := range took {
		counter(d.seconds, t.Seconds(), route)
	}
}
