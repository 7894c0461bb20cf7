package proxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// errBareLF is what reading from a client gives when a line of a request's
// head ends in LF alone.
var errBareLF = errors.New("a line of the request head ends in LF without CR")

// conn is a client's connection that is known to the server while it is open.
//
// It looks at request heads as they come in, for line ends that are a bare LF:
// fasthttp takes them in the request line, shows nobody that it did, and waits
// for ever for the end of a head that has no other. Where a head begins it
// tells from what fasthttp does between two requests: it sets a deadline and
// reads when it has nothing buffered, and sets a second one without reading
// when it has (the head of a pipelined request, which is left to scanHead).
//
//	state     is left by                    for
//	busy      body, before a body is read   body
//	          ready, after a request        deadline
//	deadline  SetReadDeadline               reading
//	reading   Read                          scanning
//	          SetReadDeadline               busy
//	scanning  Read that finds CRLF CRLF     body
//	body      ready                         deadline
//
// In the state body it sets deadlines by itself: a request body may take its
// time as long as it moves.
type conn struct {
	*net.TCPConn
	conns *connections
	state connState
	tail  [3]byte // the last bytes read, oldest first
	alone bool    // nothing was buffered when the request came: every earlier answer has been flushed
	bare  bool    // a bare LF came: no more is read, and admit refuses the request

	received int         // of a body, since its deadline was last moved
	linger   bool        // what still comes is read away before the connection closes
	halted   atomic.Bool // no more of a body is wanted

	wanted, reads, writes time.Time // deadlines: for the next read, and as they are set
}

type connState int

const (
	connDeadline connState = iota // as it is when the connection is new
	connReading
	connScanning
	connBody
	connBusy
)

// bodyStep is what has to come of a body within the body timeout, if it is not
// the rest: a client that sends a byte now and then holds what it has sent
// already, and with it a place.
const bodyStep = 32 << 10

// body says that from now on a body is read.
func (c *conn) body() {
	if c.state != connBody {
		c.state, c.received = connBody, bodyStep
	}
}

// ready says that the request has been read to its end.
func (c *conn) ready() { c.state = connDeadline }

// halt ends a Read that may be under way on another goroutine, and all later
// ones.
func (c *conn) halt() {
	c.halted.Store(true)
	_ = c.TCPConn.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed connection
}

// stalled says that it was not for the client that a body did not move on.
func (c *conn) stalled() { c.received = bodyStep }

// slackOf says how much sooner than asked for a deadline may come, given the
// timeouts that deadlines are made of: setting one costs more than many a
// request. A small part of the shortest, so that no timeout loses its meaning.
func slackOf(timeouts ...time.Duration) time.Duration {
	slack := time.Second
	for _, t := range timeouts {
		if t > 0 {
			slack = min(slack, t/8)
		}
	}
	return slack
}

// SetReadDeadline implements net.Conn. The deadline counts from the next Read.
func (c *conn) SetReadDeadline(t time.Time) error {
	switch c.state {
	case connDeadline:
		c.state = connReading
	case connReading:
		c.state, c.alone = connBusy, false
	}
	c.wanted = t
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error {
	if c.near(c.writes, t) {
		return nil
	}
	c.writes = t
	return c.TCPConn.SetWriteDeadline(t)
}

// near says whether a deadline that is set will do for one that is wanted.
func (c *conn) near(set, wanted time.Time) bool {
	d := wanted.Sub(set)
	return set.IsZero() == wanted.IsZero() && d >= 0 && d < c.conns.slack
}

// interrupt sets a deadline for a read that may be under way.
func (c *conn) interrupt(t time.Time) error {
	c.wanted, c.reads = t, t
	return c.TCPConn.SetReadDeadline(t)
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	if c.bare {
		return 0, errBareLF
	}
	if c.state == connBody && c.received >= bodyStep && c.conns.bodyTimeout > 0 {
		c.wanted, c.received = time.Now().Add(c.conns.bodyTimeout), 0
	}
	if !c.near(c.reads, c.wanted) {
		c.reads = c.wanted
		if err := c.TCPConn.SetReadDeadline(c.wanted); err != nil {
			return 0, err
		}
	}
	if c.halted.Load() { // after the deadline, which is the other way to stop it
		return 0, os.ErrDeadlineExceeded
	}
	n, err := c.TCPConn.Read(p)
	c.received += n
	if c.state == connReading {
		c.state, c.alone, c.tail = connScanning, true, [3]byte{}
	}
	if c.state == connScanning {
		c.scan(p[:n])
	}
	return n, err
}

// scan looks at bytes of a head, and leaves the state behind its end.
func (c *conn) scan(b []byte) {
	for i := 0; ; i++ {
		k := bytes.IndexByte(b[i:], '\n')
		if k < 0 {
			break
		}
		i += k
		if c.at(b, i-1) != '\r' {
			c.bare = true
			return
		}
		if c.at(b, i-2) == '\n' && c.at(b, i-3) == '\r' {
			c.body()
			return
		}
	}
	for i := range c.tail {
		c.tail[i] = c.at(b, len(b)-len(c.tail)+i)
	}
}

// at is the byte at i of b, where negative i reach into what was read before.
func (c *conn) at(b []byte, i int) byte {
	switch {
	case i >= 0:
		return b[i]
	case i >= -len(c.tail):
		return c.tail[len(c.tail)+i]
	}
	return 0
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.conns.remove(c)
	if c.linger {
		c.drain()
	}
	return c.TCPConn.Close()
}

// The most that drain reads, and for how long.
const (
	lingerBytes = 1 << 20
	lingerTime  = time.Second
)

// drain reads away what a refused client still sends: closing with bytes
// unread resets the connection, and the client may lose the answer to that.
func (c *conn) drain() {
	if c.CloseWrite() != nil || c.interrupt(time.Now().Add(lingerTime)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, c.TCPConn, lingerBytes) // whatever comes of it
}
