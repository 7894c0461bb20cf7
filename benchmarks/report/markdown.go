package main

import (
	"fmt"
	"strings"
)

// About says how a measurement was made.
type About struct{ Date, Command, Machine, Versions string }

func markdown(a About, cells []Cell) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# The cost of a hit, %s\n\n", a.Date)
	fmt.Fprintf(&b, "    %s\n\n", a.Command)
	fmt.Fprintf(&b, "On %s; the load generator ran on the same machine.\n%s.\n\n", a.Machine, a.Versions)
	b.WriteString("One wrk thread, 64 connections, a POST with the same body again and again, an answer of 1,000 bytes. " +
		"Every server may use every core. CPU is that of the server's processes, user and system, over the requests answered. " +
		"Medians of all rounds; ratios are to bare fasthttp in the same round.\n\n")
	fmt.Fprintf(&b, "![CPU per request](%s.svg)\n\n", a.Date)
	b.WriteString("| body | server | CPU per request | ratio | requests/s | ratio | p50 | p99 | upstream calls |\n")
	b.WriteString("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	for _, c := range cells {
		fmt.Fprintf(&b, "| %s | %s | %.1f µs | %.2f | %.0f | %.2f | %s | %s | %s |\n",
			c.Body, displayName(c.Server), c.CPU, c.CPURatio, c.Rate, c.RateRatio,
			milliseconds(c.P50), milliseconds(c.P99), upstream(c))
	}
	for _, c := range cells {
		if c.Failed > 0 {
			fmt.Fprintf(&b, "\n**%s failed %d of %d requests with %s.**\n", displayName(c.Server), c.Failed, c.Requests, c.Body)
		}
		if c.Misses() {
			fmt.Fprintf(&b, "\nWith %s, %s did not hit: %s.\n", c.Body, displayName(c.Server), whyMisses(c))
		}
	}
	return b.String()
}

func upstream(c Cell) string {
	if c.Server == floor {
		return "-"
	}
	return fmt.Sprint(c.Upstream)
}

func milliseconds(us float64) string { return fmt.Sprintf("%.2f ms", us/1000) }

func whyMisses(c Cell) string {
	if c.Server == "nginx" {
		return "it stores no entry whose key, and so whose body, is above 64 KB"
	}
	return fmt.Sprintf("%d of %d requests reached the upstream", c.Upstream, c.Requests)
}
