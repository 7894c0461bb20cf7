package main

import (
	"errors"
	"io"
	"net"
	"sync"
)

// link is the way of one proxy to Redis, which can be cut or made to swallow
// everything. It is safe for concurrent use.
type link struct {
	Addr string

	to      string
	ln      net.Listener
	running sync.WaitGroup

	mu     sync.Mutex
	state  linkState
	change chan struct{} // closed and replaced when the state changes
	conns  map[net.Conn]struct{}
	closed bool
}

type linkState int

const (
	linkUp     linkState = iota
	linkSilent           // connections stay and are made, nothing passes
	linkDown             // connections are closed, and so is each new one
)

func newLink(to string) (*link, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &link{Addr: ln.Addr().String(), to: to, ln: ln, change: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	l.running.Go(l.accept)
	return l, nil
}

// set changes the state.
func (l *link) set(s linkState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state = s
	close(l.change)
	l.change = make(chan struct{})
	if s == linkDown {
		l.dropLocked()
	}
}

func (l *link) dropLocked() {
	for c := range l.conns {
		_ = c.Close() // both ends see it
	}
}

// Close cuts everything and waits for its goroutines.
func (l *link) Close() error {
	l.mu.Lock()
	l.closed = true
	l.dropLocked()
	l.state = linkDown
	close(l.change)
	l.change = make(chan struct{})
	l.mu.Unlock()
	err := l.ln.Close()
	l.running.Wait()
	return err
}

func (l *link) accept() {
	for {
		c, err := l.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			l.running.Go(func() { l.serve(c) })
		}
	}
}

// serve passes bytes both ways until either side closes.
func (l *link) serve(near net.Conn) {
	defer func() { _ = near.Close() }()
	if !l.enter(near) {
		return
	}
	defer l.leave(near)
	if !l.pass() {
		return
	}
	far, err := net.Dial("tcp", l.to)
	if err != nil || !l.enter(far) {
		return
	}
	defer l.leave(far)
	defer func() { _ = far.Close() }()
	l.running.Go(func() {
		l.copy(far, near)
		_ = far.Close()
	})
	l.copy(near, far)
}

// enter notes a connection; false when there are to be none.
func (l *link) enter(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.state == linkDown {
		_ = c.Close()
		return false
	}
	l.conns[c] = struct{}{}
	return true
}

func (l *link) leave(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

// pass waits until bytes may pass; false when they never will.
func (l *link) pass() bool {
	for {
		l.mu.Lock()
		state, change := l.state, l.change
		l.mu.Unlock()
		switch state {
		case linkUp:
			return true
		case linkDown:
			return false
		}
		<-change
	}
}

func (l *link) copy(to io.Writer, from io.Reader) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if !l.pass() {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
