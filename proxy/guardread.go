package proxy

import (
	"errors"
	"io"
	"os"
	"time"
)

// Read gives the next bytes of the answer that is expected. It waits while none
// is.
func (c *onceConn) Read(p []byte) (int, error) {
	if c.failed != nil {
		return 0, c.failed
	}
	if !c.inside {
		if err := c.await(); err != nil {
			return 0, err
		}
	}
	n, err := c.Conn.Read(p)
	if !c.inside && !c.enter() {
		return c.unasked(n, err)
	}
	kept, bad := c.answer.pass(p[:n])
	switch {
	case bad != nil:
		return kept, c.fail(bad)
	case c.answer.ended():
		c.finish(kept < n)
	}
	return kept, err
}

// await waits until the connection can be read and a request has been written.
// What comes earlier stays where it is, so that look finds it. Only a new
// connection with TLS is read at once, for the end of the handshake, and one to
// a forward proxy, which may be asked to make a tunnel first.
func (c *onceConn) await() error {
	if c.enter() || c.sock == nil || !c.kept && (c.tls != nil || !c.direct) {
		return c.stop()
	}
	var gone, ready bool
	err := c.sock.Read(func(fd uintptr) bool {
		gone, ready = peek(fd)
		return ready
	})
	if err != nil || c.enter() {
		return err
	}
	return c.poison(notClean(gone, ready))
}

// stop says why the connection must not be read.
func (c *onceConn) stop() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// enter begins an answer if one is due.
func (c *onceConn) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase != asked || c.err != nil {
		return false
	}
	c.phase, c.inside = answering, true
	c.answer.begin(c.isHead)
	return true
}

// unasked is what was read while no request had been written: what a forward
// proxy says before there is a tunnel, and what is said in it, passes.
func (c *onceConn) unasked(n int, err error) (int, error) {
	c.mu.Lock()
	pass := c.phase == resting && !c.direct && !c.kept
	c.mu.Unlock()
	switch {
	case pass:
		return n, err
	case n > 0:
		return 0, c.poison(errUnasked)
	case errors.Is(err, io.EOF):
		return 0, c.poison(errLateClose)
	}
	return 0, err
}

// poison keeps all further requests away.
func (c *onceConn) poison(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
	c.failed = c.err
	return c.failed
}

// fail ends a request whose answer breaks the rules. It is cancelled, or else
// the transport might send it again.
func (c *onceConn) fail(bad error) error {
	if a := c.current.Swap(nil); a != nil {
		a.cancel(bad)
	}
	return c.poison(bad)
}

// finish is at an answer's last byte, before the transport knows it.
func (c *onceConn) finish(excess bool) {
	var err error
	if excess {
		err = errUnasked
	} else if c.tls != nil {
		err = c.drained()
	}
	if err != nil {
		_ = c.poison(err) // for the next Read to say
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.phase, c.kept, c.inside = resting, true, false
}

// drained says whether TLS holds bytes that have been taken from the socket and
// not been read. It reads once without waiting.
func (c *onceConn) drained() error {
	if err := c.tls.SetReadDeadline(time.Unix(1, 0)); err != nil {
		return err
	}
	n, err := c.tls.Read(c.one[:])
	if n > 0 {
		return errUnasked
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return errLateClose
	}
	return c.tls.SetReadDeadline(time.Time{})
}
