package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

// progress shows people that the demo is at work: on a terminal one line that
// moves, elsewhere a plain line for each piece of work. It is for one goroutine.
type progress struct {
	w    io.Writer
	live bool
	step string // put before every label
}

func newProgress(w io.Writer) *progress {
	file, ok := w.(*os.File)
	if !ok {
		return &progress{w: w}
	}
	info, err := file.Stat()
	return &progress{w: w, live: err == nil && info.Mode()&os.ModeCharDevice != 0}
}

// during shows label until work returns, and returns its error.
func (p *progress) during(label string, work func() error) error {
	label = p.step + label
	if !p.live {
		fmt.Fprintln(p.w, label)
		return work()
	}
	done, shown := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(shown)
		p.spin(label, done)
	}()
	err := work()
	close(done)
	<-shown
	return err
}

// spin rewrites one line ten times a second until done, and clears it.
func (p *progress) spin(label string, done <-chan struct{}) {
	const clear, frames = "\r\x1b[K", `|/-\`
	begin := time.Now()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		fmt.Fprintf(p.w, "%s%c %s  %.1f s", clear, frames[i%len(frames)], label, time.Since(begin).Seconds())
		select {
		case <-tick.C:
		case <-done:
			fmt.Fprint(p.w, clear)
			return
		}
	}
}
