package main

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
)

// floor is the server that the others are compared with.
const floor = "barefast"

// Sample is one server under one load for a few seconds.
type Sample struct {
	Round, Requests  int
	Server, Body     string
	Seconds          float64
	P50, P99         float64 // microseconds
	Failed, Upstream int     // requests that failed; calls that reached the upstream
	CPU              float64 // microseconds, all processes of the server
}

// readSamples reads tab-separated lines below a heading.
func readSamples(r io.Reader) ([]Sample, error) {
	lines := bufio.NewScanner(r)
	lines.Scan() // the heading
	var all []Sample
	for lines.Scan() {
		var s Sample
		_, err := fmt.Sscan(lines.Text(), &s.Round, &s.Server, &s.Body, &s.Requests, &s.Seconds, &s.P50, &s.P99, &s.Failed, &s.CPU, &s.Upstream)
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", lines.Text(), err)
		}
		if s.Requests == 0 || s.Seconds == 0 {
			return nil, fmt.Errorf("line %q: no request was answered", lines.Text())
		}
		all = append(all, s)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no samples")
	}
	return all, lines.Err()
}

// Cell sums up all rounds of one server under one load by their medians.
type Cell struct {
	Server, Body string
	CPU          float64 // microseconds a request
	Rate         float64 // requests a second
	P50, P99     float64 // microseconds
	Failed       int     // in all rounds
	Upstream     int     // in all rounds
	Requests     int     // in all rounds

	CPURatio, RateRatio float64 // medians, round by round, of this server's over the floor's
}

// Misses reports whether these were no hits: part of the load reached the
// upstream.
func (c Cell) Misses() bool { return c.Upstream*100 > c.Requests }

// summarize gives the cells in the order in which they first came, body by
// body. Ratios are taken within a round, where both servers saw the same
// machine.
func summarize(samples []Sample) []Cell {
	var cells []Cell
	for _, body := range distinct(samples, func(s Sample) string { return s.Body }) {
		for _, server := range distinct(samples, func(s Sample) string { return s.Server }) {
			if c, ok := cell(samples, server, body); ok {
				cells = append(cells, c)
			}
		}
	}
	return cells
}

func cell(samples []Sample, server, body string) (Cell, bool) {
	c := Cell{Server: server, Body: body}
	var cpu, rate, p50, p99, cpuRatio, rateRatio []float64
	for _, s := range samples {
		if s.Server != server || s.Body != body {
			continue
		}
		cpu, rate = append(cpu, s.perRequest()), append(rate, s.rate())
		p50, p99 = append(p50, s.P50), append(p99, s.P99)
		c.Failed += s.Failed
		c.Upstream += s.Upstream
		c.Requests += s.Requests
		for _, bare := range samples {
			if bare.Server == floor && bare.Body == body && bare.Round == s.Round {
				cpuRatio = append(cpuRatio, s.perRequest()/bare.perRequest())
				rateRatio = append(rateRatio, s.rate()/bare.rate())
			}
		}
	}
	c.CPU, c.Rate, c.P50, c.P99 = median(cpu), median(rate), median(p50), median(p99)
	c.CPURatio, c.RateRatio = median(cpuRatio), median(rateRatio)
	return c, len(cpu) > 0
}

func (s Sample) perRequest() float64 { return s.CPU / float64(s.Requests) }
func (s Sample) rate() float64       { return float64(s.Requests) / s.Seconds }

func distinct(samples []Sample, f func(Sample) string) []string {
	var names []string
	for _, s := range samples {
		if !slices.Contains(names, f(s)) {
			names = append(names, f(s))
		}
	}
	return names
}

// median gives 0 for no values.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	return (v[len(v)/2] + v[(len(v)-1)/2]) / 2
}

// displayName is the server's name for people.
func displayName(server string) string {
	switch server {
	case floor:
		return "bare fasthttp"
	case "jaegis":
		return "jaegis-proxy"
	}
	return strings.ToLower(server)
}
