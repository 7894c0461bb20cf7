package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"

	"jaegis-proxy/config"
)

// countingBody counts what is read of a body.
type countingBody struct {
	io.ReadCloser
	n atomic.Int64
}

func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}

func (b *countingBody) read() int64 { return b.n.Load() }

// warmReport counts what became of requests. It is safe for concurrent use.
type warmReport struct {
	mu     sync.Mutex
	counts warmCounts
}

type warmCounts struct {
	Requests  int            `json:"requests"` // that came to an end
	Hits      int            `json:"hits"`
	Stored    int            `json:"stored"`
	Joined    int            `json:"joined"`
	NotStored map[string]int `json:"not_stored"` // by reason
	Undecided int            `json:"undecided"`
	Errors    int            `json:"errors"`

	Sent        int64   `json:"bytes_sent"` // of bodies
	Received    int64   `json:"bytes_received"`
	Seconds     float64 `json:"seconds"`
	Slowest     float64 `json:"slowest_seconds"`
	Interrupted bool    `json:"interrupted"`
}

func newWarmReport() *warmReport { return &warmReport{counts: warmCounts{NotStored: map[string]int{}}} }

// count takes down a request. One that failed is counted by countFailure, too.
func (r *warmReport) count(a warmAnswer, err error, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &r.counts
	c.Requests++
	c.Sent, c.Received, c.Slowest = c.Sent+a.sent, c.Received+a.received, max(c.Slowest, took.Seconds())
	if err != nil || a.status >= 400 {
		return
	}
	switch a.fate.kind {
	case fateHit:
		c.Hits++
	case fateStored:
		c.Stored++
	case fateJoined:
		c.Joined++
	case fateNotStored:
		c.NotStored[a.fate.reason]++
	case fateUndecided:
		c.Undecided++
	}
}

func (r *warmReport) countFailure() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts.Errors++
}

func (r *warmReport) failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts.Errors > 0
}

// soFar is a line for people who wait.
func (r *warmReport) soFar() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Sprintf("%d requests, %d errors", r.counts.Requests, r.counts.Errors)
}

// print prints the report.
func (r *warmReport) print(to io.Writer, asJSON bool, took time.Duration, interrupted bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &r.counts
	c.Seconds, c.Interrupted = took.Seconds(), interrupted
	if asJSON {
		text, err := json.MarshalIndent(c, "", "  ")
		if err == nil {
			_, err = to.Write(append(text, '\n'))
		}
		return err
	}
	var b strings.Builder
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(name string, n int) {
		if n > 0 {
			fmt.Fprintf(tw, "%s\t%d\n", name, n)
		}
	}
	fmt.Fprintf(tw, "requests\t%d\n", c.Requests)
	row("  from the cache", c.Hits)
	row("  stored", c.Stored)
	row("  joined others", c.Joined)
	for _, reason := range slices.Sorted(maps.Keys(c.NotStored)) {
		row("  not stored: "+reason, c.NotStored[reason])
	}
	row("  undecided (streams)", c.Undecided)
	row("errors", c.Errors)
	fmt.Fprintf(tw, "sent\t%s\nreceived\t%s\ntime\t%.1f s, the slowest request %.1f s\n", bytesOf(c.Sent), bytesOf(c.Received), c.Seconds, c.Slowest)
	if interrupted {
		fmt.Fprintln(tw, "interrupted: this is what was done until then")
	}
	_ = tw.Flush() // b is a string being built
	_, err := io.WriteString(to, b.String())
	return err
}

// bytesOf shows a number of bytes to people.
func bytesOf(n int64) string {
	switch {
	case n >= 10*int64(config.MiB):
		return fmt.Sprintf("%d MiB", n/int64(config.MiB))
	case n >= 10*int64(config.KiB):
		return fmt.Sprintf("%d KiB", n/int64(config.KiB))
	}
	return fmt.Sprintf("%d bytes", n)
}

// warmProgress shows how far in the file of requests the last one is that was
// sent: by a bar on a terminal, elsewhere by a line now and then. It is safe for
// concurrent use.
type warmProgress struct {
	mu   sync.Mutex
	w    io.Writer
	bar  *progressbar.ProgressBar // nil where there is no terminal
	sent int64
	size int64 // -1 when it is not known
}

func newWarmProgress(w io.Writer, size int64) *warmProgress {
	p := &warmProgress{w: w, size: size}
	if isTerminal(w) {
		p.bar = progressbar.NewOptions64(size, progressbar.OptionSetWriter(w), progressbar.OptionClearOnFinish(),
			progressbar.OptionUseANSICodes(true), progressbar.OptionShowDescriptionAtLineEnd(), progressbar.OptionSetPredictTime(false))
	}
	return p
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// reached says that the requests in the first n bytes of the file were sent.
func (p *warmProgress) reached(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent = n
	if p.bar != nil {
		_ = p.bar.Set64(n) // it is for show
	}
}

// say prints a line, above the bar.
func (p *warmProgress) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Clear()
	}
	fmt.Fprintf(p.w, format+"\n", args...)
}

// lineEvery is how often a line tells how far it is, where there is no terminal.
const lineEvery = 5 * time.Second

// follow shows the progress until what it returns is called.
func (p *warmProgress) follow(report *warmReport) (end func()) {
	every := lineEvery
	if p.bar != nil {
		every = 200 * time.Millisecond
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				p.show(report.soFar())
			case <-done:
				return
			}
		}
	}()
	return func() {
		close(done)
		<-ended
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.bar != nil {
			_ = p.bar.Clear()
		}
	}
}

func (p *warmProgress) show(soFar string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.bar != nil:
		p.bar.Describe(soFar)
	case p.size > 0:
		fmt.Fprintf(p.w, "%s, %d %% of the file sent\n", soFar, 100*p.sent/p.size)
	default:
		fmt.Fprintln(p.w, soFar)
	}
}
