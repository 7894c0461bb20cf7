package admin

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
)

// metrics answers a scrape, as OpenMetrics or in the older Prometheus text
// form, whichever the scraper asks for. What could be gathered is served even
// when a collector failed; the failure is logged.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	families, err := s.opts.Metrics.Gather()
	if err != nil {
		s.opts.Logger.Warn("gathering metrics", "error", err)
		if len(families) == 0 {
			writeError(w, http.StatusInternalServerError, "jaegis_internal", "no metrics could be gathered")
			return
		}
	}
	gathered := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return families, nil })
	promhttp.HandlerFor(gathered, promhttp.HandlerOpts{EnableOpenMetrics: true}).ServeHTTP(w, r)
}

// bounded answers 503 while maxReports are being gathered: each may be large.
func (s *Server) bounded(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case s.reports <- struct{}{}:
			defer func() { <-s.reports }()
			next(w, r)
		default:
			w.Header().Set("Retry-After", "1")
			writeError(w, http.StatusServiceUnavailable, "jaegis_over_capacity", "too many are asking for this at the same time")
		}
	}
}
