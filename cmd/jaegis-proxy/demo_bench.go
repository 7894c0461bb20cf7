package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	demoFirst = 1  // the variant that is asked cold and then warm
	demoFresh = 2  // the variant that the crowd asks for
	demoWarm  = 9  // how often the warm request is sent
	demoCrowd = 50 // how many ask for the same thing at once
)

// demoBench sends the demo's requests and checks the answers. It is for one
// goroutine.
type demoBench struct {
	direct, cached string                // base URLs: the upstream, and the proxy before it
	calls          func() map[string]int // the upstream's requests by counter
	credential     string                // Authorization of every request
	client         *http.Client
}

// demoRow is what became of one operation.
type demoRow struct {
	name                 string
	without, warm, crowd time.Duration // warm is the median, crowd until all have their answer
	calls, requests      int           // upstream calls for cold, warm and crowd, and how many requests those were
}

// run measures one operation after the other. The first wrong answer ends it,
// and so does an upstream call too many.
func (b *demoBench) run(ctx context.Context, operations []demoOperation, show *progress) ([]demoRow, error) {
	rows := make([]demoRow, 0, len(operations))
	for i, op := range operations {
		show.step = fmt.Sprintf("%d/%d ", i+1, len(operations))
		row, err := b.measure(ctx, op, show)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", op.name, err)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func (b *demoBench) measure(ctx context.Context, op demoOperation, show *progress) (demoRow, error) {
	row := demoRow{name: op.name, requests: 1 + demoWarm + demoCrowd}
	var want, wantFresh []byte
	err := show.during(op.name+": without cache", func() (err error) {
		want, wantFresh, row.without, err = b.askUpstream(ctx, op)
		return err
	})
	if err != nil {
		return row, err
	}
	before := b.calls()[op.counter]
	err = show.during(op.name+": first time through the cache", func() error {
		_, err := b.expect(ctx, op, demoFirst, want)
		return err
	})
	if err != nil {
		return row, err
	}
	if row.warm, err = b.askWarm(ctx, op, want); err != nil {
		return row, err
	}
	err = show.during(fmt.Sprintf("%s: %d at once", op.name, demoCrowd), func() (err error) {
		row.crowd, err = b.askAtOnce(ctx, op, wantFresh)
		return err
	})
	if err != nil {
		return row, err
	}
	row.calls = b.calls()[op.counter] - before
	if row.calls != 2 {
		return row, fmt.Errorf("%d upstream calls for %d requests that ask for 2 things", row.calls, row.requests)
	}
	return row, nil
}

// askUpstream asks the upstream itself for both variants, side by side.
func (b *demoBench) askUpstream(ctx context.Context, op demoOperation) (first, fresh []byte, took time.Duration, err error) {
	failed := make(chan error, 1)
	go func() {
		var err error
		fresh, _, err = b.fetch(ctx, op, b.direct, demoFresh)
		failed <- err
	}()
	first, took, err = b.fetch(ctx, op, b.direct, demoFirst)
	if other := <-failed; err == nil {
		err = other
	}
	return first, fresh, took, err
}

// askWarm repeats a request that has been answered and gives the median time.
func (b *demoBench) askWarm(ctx context.Context, op demoOperation, want []byte) (time.Duration, error) {
	times := make([]time.Duration, demoWarm)
	for i := range times {
		var err error
		if times[i], err = b.expect(ctx, op, demoFirst, want); err != nil {
			return 0, err
		}
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}

// askAtOnce asks for the fresh variant from many clients at the same time.
func (b *demoBench) askAtOnce(ctx context.Context, op demoOperation, want []byte) (time.Duration, error) {
	errs := make([]error, demoCrowd)
	var all sync.WaitGroup
	begin := time.Now()
	for i := range errs {
		all.Go(func() { _, errs[i] = b.expect(ctx, op, demoFresh, want) })
	}
	all.Wait()
	took := time.Since(begin)
	for _, err := range errs {
		if err != nil {
			return 0, err
		}
	}
	return took, nil
}

// expect sends a request through the proxy; any answer but want is an error.
func (b *demoBench) expect(ctx context.Context, op demoOperation, variant int, want []byte) (time.Duration, error) {
	body, took, err := b.fetch(ctx, op, b.cached, variant)
	if err != nil {
		return 0, err
	}
	if !bytes.Equal(body, want) {
		return 0, fmt.Errorf("the proxy's answer differs from the upstream's:\n%.300q\ninstead of\n%.300q", body, want)
	}
	return took, nil
}

func (b *demoBench) fetch(ctx context.Context, op demoOperation, base string, variant int) ([]byte, time.Duration, error) {
	req, err := op.request(base, variant)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Authorization", b.credential)
	begin := time.Now()
	resp, err := b.client.Do(req.WithContext(ctx))
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, 0, fmt.Errorf("read the answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, 0, fmt.Errorf("status %s: %.300s", resp.Status, body)
	}
	return body, time.Since(begin), nil
}

// printTable says what the cache has changed.
func printTable(w io.Writer, rows []demoRow) {
	fmt.Fprintln(w)
	const line = "%-21s %14s %11s %12s %11s  %s\n"
	fmt.Fprintf(w, line, "operation", "without cache", "with cache", "improvement", fmt.Sprint(demoCrowd, " at once"), "upstream calls")
	requests, calls := 0, 0
	for _, r := range rows {
		fmt.Fprintf(w, line, r.name, readable(r.without), readable(r.warm), times(r.without, r.warm), readable(r.crowd),
			fmt.Sprintf("%d for %d requests", r.calls, r.requests))
		requests, calls = requests+r.requests, calls+r.calls
	}
	fmt.Fprintf(w, "\nAll %d answers are the upstream's own, byte for byte; it was asked %d times.\n", requests, calls)
	fmt.Fprintf(w, "With cache: the median of %d repetitions. Upstream calls: for one cold request, its repetitions,\nand %d requests at once for something new.\n", demoWarm, demoCrowd)
}

// readable gives a duration with three digits that mean something.
func readable(d time.Duration) string {
	switch {
	case d >= time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d >= 10*time.Millisecond:
		return fmt.Sprintf("%.0f ms", d.Seconds()*1e3)
	}
	return fmt.Sprintf("%.2f ms", d.Seconds()*1e3)
}

// times says how many times faster with is than without.
func times(without, with time.Duration) string {
	if with <= 0 {
		return "-"
	}
	ratio := float64(without) / float64(with)
	if ratio < 10 {
		return fmt.Sprintf("%.1fx", ratio)
	}
	return fmt.Sprintf("%.0fx", ratio)
}
