package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"jaegis-proxy/store/redis"
)

// fillCollector counts what became of the fetches that this node shares with
// others by way of one Redis.
type fillCollector struct {
	name  string
	fills *redis.Fills
}

func (c *fillCollector) desc() *prometheus.Desc {
	return prometheus.NewDesc("jaegis_shared_fills_total", "Fetches that all nodes were asked about, and what became of them and of their leases.",
		[]string{"result"}, prometheus.Labels{"store": c.name})
}

// Describe implements prometheus.Collector.
func (c *fillCollector) Describe(to chan<- *prometheus.Desc) { to <- c.desc() }

// Collect implements prometheus.Collector.
func (c *fillCollector) Collect(to chan<- prometheus.Metric) {
	st, desc := c.fills.Stats(), c.desc()
	for _, of := range []struct {
		result string
		n      int64
	}{
		{"led", st.Led}, {"followed", st.Followed}, {"landed", st.Landed}, {"left", st.Left}, {"alone", st.Alone}, {"busy", st.Busy}, {"failed", st.Failed},
		{"passed_on", st.Passed}, {"lost", st.Lost}, {"fenced", st.Fenced},
	} {
		to <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(of.n), of.result)
	}
}
