package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// result is what a run has shown.
type result struct {
	counts   counts
	took     time.Duration
	upstream int64
	broken   int64 // answers that the upstream failed to give
	history  string
	trouble  string // data races, panics: what a proxy's log must not have
	rows     [][2]string
}

// result adds up what the clients have seen.
func (r *run) result(workers []*worker, took time.Duration) (*result, error) {
	res := &result{took: took, upstream: r.origin.calls.Load(), broken: r.origin.faults.Load(), counts: counts{outcomes: map[string]int64{}}}
	for _, w := range workers {
		res.counts.add(&w.counts)
	}
	var errs []error
	for _, n := range r.nodes {
		if n.Running() {
			errs = append(errs, n.Stop())
		}
		if t := n.Trouble(); t != "" {
			res.trouble += fmt.Sprintf("node %d: %s\n", n.index, t)
		}
	}
	path, err := r.history.close()
	if res.history = path; path != "" {
		for _, n := range r.nodes {
			errs = append(errs, os.WriteFile(fmt.Sprintf("%s.node-%d.log", path, n.index), []byte(n.Log()), 0o600))
		}
	}
	res.fill(r)
	return res, errors.Join(append(errs, err)...)
}

func (c *counts) add(o *counts) {
	c.operations += o.operations
	c.excused += o.excused
	c.gone += o.gone
	c.upstream += o.upstream
	c.left += o.left
	c.bytes += o.bytes
	for k, n := range o.outcomes {
		c.outcomes[k] += n
	}
	for v := range o.verdicts {
		c.verdicts[v] += o.verdicts[v]
	}
}

// found is how many violations there were.
func (r *result) found() (n int64) {
	for v, k := range r.counts.verdicts {
		if verdict(v).isViolation() {
			n += k
		}
	}
	return n
}

func (r *result) row(name, format string, args ...any) {
	r.rows = append(r.rows, [2]string{name, fmt.Sprintf(format, args...)})
}

// fill makes the rows of the table.
func (r *result) fill(run *run) {
	c := &r.counts
	r.row("requests", "%d", c.operations)
	r.row("seconds", "%.1f", r.took.Seconds())
	r.row("requests/s", "%.0f", float64(c.operations)/r.took.Seconds())
	var all int64
	for _, n := range c.outcomes {
		all += n
	}
	r.row("hit share", "%.1f %%", 100*float64(c.outcomes["HIT"]+c.outcomes["STALE"])/float64(max(all, 1)))
	for _, k := range slices.Sorted(maps.Keys(c.outcomes)) {
		r.row("  "+strings.ToLower(k), "%d", c.outcomes[k])
	}
	r.row("upstream calls", "%d", r.upstream)
	r.row("  that the upstream broke off or failed", "%d", r.broken)
	r.row("  failures passed on", "%d", c.upstream)
	r.row("cut visibly", "%d", c.verdicts[cutVisibly])
	r.row("  with a proxy that was ended, frozen or cut off", "%d", c.gone)
	r.row("not waited for by the client", "%d", c.left)
	r.row("lost with a proxy that was ended", "%d", c.excused)
	r.fillPurges(run)
	run.faults.mu.Lock()
	for _, k := range slices.Sorted(maps.Keys(run.faults.count)) {
		r.row("fault: "+k, "%d", run.faults.count[k])
	}
	run.faults.mu.Unlock()
	for v := wrong; v < verdicts; v++ {
		r.row(v.String(), "%d", c.verdicts[v])
	}
	if r.trouble != "" {
		r.row("trouble in a log", "%s", r.trouble)
	}
}

func (r *result) fillPurges(run *run) {
	p := &run.purges
	p.mu.Lock()
	defer p.mu.Unlock()
	var all int64
	for _, n := range p.acked {
		all += n
	}
	if all+p.refused+p.unknown == 0 {
		return
	}
	r.row("purges acknowledged", "%d", all)
	for _, k := range slices.Sorted(maps.Keys(p.acked)) {
		r.row("  "+k, "%d", p.acked[k])
	}
	r.row("  longest, no fault", "%.1f ms", p.longest.Seconds()*1000)
	r.row("purges refused, the ledger being away", "%d", p.refused)
	r.row("purges whose outcome is not known", "%d", p.unknown)
	c := run.checker
	c.mu.Lock()
	defer c.mu.Unlock()
	r.row("answers before a purge had reached a proxy", "%d", c.late)
	r.row("  longest after it, connected", "%.1f ms", float64(c.lateness)/1e6)
	r.row("  longest after it, cut off", "%.1f ms", float64(c.lateExcuse)/1e6)
}

// table prints the rows.
func (r *result) table() string {
	width := 0
	for _, row := range r.rows {
		width = max(width, len(row[0]))
	}
	var b strings.Builder
	for _, row := range r.rows {
		fmt.Fprintf(&b, "%-*s  %s\n", width, row[0], row[1])
	}
	return b.String()
}
