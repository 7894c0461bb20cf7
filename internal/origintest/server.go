// Package origintest is an upstream for tests and for the demo.
//
// Origin is a scripted HTTP/1.1 server on a loopback port. It speaks raw TCP
// and not net/http, so that a test sees the very bytes that were sent to it and
// can have it stall, cut, lie about its framing, and count. It never waits on a
// clock: a test decides by channels when the next byte goes.
//
// Sample is an ordinary, well-behaved upstream with the APIs and the latencies
// of a document and AI service; it shares nothing with Origin.
package origintest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
)

// TB is the part of testing.TB that New needs, so that a program that links
// this package does not link the testing package.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// Handler answers one request. It runs on the connection's goroutine once the
// request has been read to its end, and must return when w.Wait says false.
type Handler func(w *Wire, r *Request)

// Origin is a scripted upstream. Every request that has no script of its own is
// answered by Proof. It is safe for concurrent use.
type Origin struct {
	URL  string // "http://127.0.0.1:PORT"
	Addr string // "127.0.0.1:PORT"

	version  atomic.Int64
	listener net.Listener
	closing  chan struct{}
	running  sync.WaitGroup // the accept loop and every connection

	mu      sync.Mutex
	closed  bool
	conns   map[net.Conn]struct{}
	opened  int
	seen    []*Request
	changed chan struct{} // closed and replaced whenever seen grows
	scripts map[string][]Handler
	calls   map[string]int
}

// New starts an origin that is closed when the test ends.
func New(t TB) *Origin {
	t.Helper()
	o, err := Start()
	if err != nil {
		t.Fatalf("origintest: %v", err)
	}
	t.Cleanup(o.Close)
	return o
}

// Start starts an origin on a free loopback port. The caller closes it.
func Start() (*Origin, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	addr := ln.Addr().String()
	o := &Origin{
		URL: "http://" + addr, Addr: addr, listener: ln,
		closing: make(chan struct{}),
		changed: make(chan struct{}),
		conns:   map[net.Conn]struct{}{},
		scripts: map[string][]Handler{},
		calls:   map[string]int{},
	}
	o.version.Store(1)
	o.running.Add(1)
	go o.accept()
	return o, nil
}

// Close closes the listener and every connection, wakes every handler that
// waits, and returns when all of them are gone.
func (o *Origin) Close() {
	o.mu.Lock()
	if !o.closed {
		o.closed = true
		close(o.closing)
		_ = o.listener.Close()
		for c := range o.conns {
			_ = c.Close()
		}
	}
	o.mu.Unlock()
	o.running.Wait()
}

// On sets the script of a path (without its query): its first call from now on
// is given to the first handler, the next to the second, and every later one to
// the last. With no handler the path is answered by Proof again.
func (o *Origin) On(path string, handlers ...Handler) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.scripts, path)
	if len(handlers) > 0 {
		o.scripts[path] = handlers
	}
}

// SetVersion sets the version that Proof puts into its answers; it begins at 1.
func (o *Origin) SetVersion(v int64) { o.version.Store(v) }

// Calls is the number of requests that have come in, broken ones included.
func (o *Origin) Calls() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.seen)
}

// CallsTo is the number of requests for a path (without its query).
func (o *Origin) CallsTo(path string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.calls[path]
}

// Connections is the number of connections that were ever opened.
func (o *Origin) Connections() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.opened
}

// Requests gives all requests in the order in which their last byte came in.
// They are shared and must not be changed.
func (o *Origin) Requests() []*Request {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]*Request(nil), o.seen...)
}

// Await returns once n requests have come in, or with the error of ctx.
func (o *Origin) Await(ctx context.Context, n int) error {
	for {
		o.mu.Lock()
		have, changed := len(o.seen), o.changed
		o.mu.Unlock()
		if have >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d requests have come: %w", have, n, ctx.Err())
		}
	}
}

func (o *Origin) accept() {
	defer o.running.Done()
	for {
		c, err := o.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // a client that left before it was accepted
		}
		if !o.track(c) {
			_ = c.Close()
			return
		}
		go o.serve(c)
	}
}

// track enters a new connection; false when the origin is closing.
func (o *Origin) track(c net.Conn) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return false
	}
	o.conns[c] = struct{}{}
	o.opened++
	o.running.Add(1)
	return true
}

func (o *Origin) serve(c net.Conn) {
	defer o.running.Done()
	defer func() {
		_ = c.Close()
		o.mu.Lock()
		delete(o.conns, c)
		o.mu.Unlock()
	}()
	br := bufio.NewReader(c)
	for {
		r := readRequest(br, c)
		if r == nil {
			return // the connection ended between two requests
		}
		handle := o.record(r)
		w := &Wire{conn: c, closing: o.closing, gone: make(chan struct{})}
		if r.Fault != "" {
			Reply{Status: 400, Pieces: []string{r.Fault}}.Serve(w, r)
			return
		}
		if !w.run(br, handle, r) || r.wantsClose() {
			return
		}
	}
}

// record keeps a request and picks its handler.
func (o *Origin) record(r *Request) Handler {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen = append(o.seen, r)
	o.calls[r.Path]++
	r.Call = len(o.seen)
	close(o.changed)
	o.changed = make(chan struct{})

	script := o.scripts[r.Path]
	if len(script) == 0 {
		version := o.version.Load()
		return func(w *Wire, r *Request) { Proof(w, r, version) }
	}
	if len(script) > 1 {
		o.scripts[r.Path] = script[1:]
	}
	return script[0]
}
