package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"syscall"
)

// net/http.Transport sends a GET, HEAD, OPTIONS or TRACE again when a kept
// connection dies before the answer, though the first copy may have reached
// the upstream. onceConn and attempt stop that: the transport closes the dead
// connection before it considers another try, and at that moment a request of
// which bytes were written is cancelled, which the transport looks at first.
// What never left us may still be sent on another connection.

// onceConn is a connection to an upstream that counts what is written, and
// follows what is read. Bytes count before they go: the upstream may have read
// them, and closed, before the write returns.
//
// It lets through the bytes of answers to requests that it has seen, checked by
// framing, and nothing else. The transport reads all the time, and gives a
// connection to the next request before it has looked for what came behind the
// last answer. So between two answers nothing is read: the first byte of a
// request is written only while nothing waits to be read (look, under mu), and
// only then may reading go on. A byte that was there before the request can
// never become its answer: it makes both reading and writing fail, and the
// transport takes another connection.
//
//	phase      begins with                  a byte that comes now
//	resting    the connection; an answer's  is unasked for
//	           last byte
//	armed      the request got it           is unasked for
//	asked      its first byte is written    begins the answer
//	answering  the answer's first byte      belongs to it, if framing says so
type onceConn struct {
	net.Conn
	written atomic.Int64
	current atomic.Pointer[attempt] // the request that waits for its answer

	tls    *tls.Conn       // Conn, where it is that
	sock   syscall.RawConn // below it, to look for bytes without reading them; nil where there is none
	direct bool            // leads to the upstream itself, not to a forward proxy

	mu     sync.Mutex
	phase  connPhase
	isHead bool  // the request is a HEAD
	kept   bool  // there has been an answer
	err    error // why no further request may go here

	answer framing // the rest is the reader's own
	inside bool    // phase is answering
	failed error   // what reading ended with
	one    [1]byte
}

type connPhase int

const (
	resting connPhase = iota
	armed
	asked
	answering
)

// The reasons why a connection takes no further request. None is io.EOF, upon
// which the transport would give up a POST that was never written.
var (
	errUnasked   = badAnswer("bytes came that no request had asked for")
	errLateClose = errors.New("the upstream closed a connection that was kept")
)

// Write fails before a request's first byte when the connection is not clean.
func (c *onceConn) Write(p []byte) (int, error) {
	if err := c.ask(); err != nil {
		return 0, err
	}
	c.written.Add(int64(len(p)))
	n, err := c.Conn.Write(p)
	c.written.Add(int64(n - len(p)))
	return n, err
}

func (c *onceConn) Close() error {
	if a := c.current.Swap(nil); a != nil && c.written.Load() > a.before {
		a.cancel(errNotResent)
	}
	return c.Conn.Close()
}

// arm gives the connection to a request.
func (c *onceConn) arm(isHead bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase > armed && c.err == nil { // the transport took the last answer for whole, and it is not
		c.err = errUnasked
	}
	c.phase, c.isHead = armed, isHead
}

// ask is called before each write. It lets a request begin.
func (c *onceConn) ask() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase != armed {
		return nil // more of the same request, or a tunnel's
	}
	if c.err == nil {
		c.err = c.look()
	}
	if c.err == nil {
		c.phase = asked
	}
	return c.err
}

// look looks for bytes that have come. On a new TLS connection these are no
// answer, but the end of the handshake; on a kept one they are not worth the
// risk, whatever they are.
func (c *onceConn) look() (err error) {
	if c.sock == nil || c.tls != nil && !c.kept {
		return nil
	}
	var gone, ready bool
	if err := c.sock.Control(func(fd uintptr) { gone, ready = peek(fd) }); err != nil {
		return err
	}
	return notClean(gone, ready)
}

func notClean(gone, ready bool) error {
	switch {
	case gone:
		return errLateClose
	case ready:
		return errUnasked
	}
	return nil
}

// attempt is one request on its way.
type attempt struct {
	cancel context.CancelCauseFunc
	isHead bool
	conn   atomic.Pointer[onceConn]
	before int64 // what had been written on the connection when the request got it
}

// gotConn notes the connection, unless it is shared by many requests: HTTP/2
// says itself which of them it did not process.
func (a *attempt) gotConn(info httptrace.GotConnInfo) {
	conn := info.Conn
	t, tunnel := conn.(*tls.Conn)
	if tunnel {
		if t.ConnectionState().NegotiatedProtocol == "h2" {
			return
		}
		conn = t.NetConn()
	}
	if c, ok := conn.(*onceConn); ok {
		a.before = c.written.Load()
		a.conn.Store(c)
		c.current.Store(a)
		if !tunnel {
			c.arm(a.isHead)
		}
	}
}

// answered ends the watch: the answer has begun.
func (a *attempt) answered() {
	if c := a.conn.Load(); c != nil {
		c.current.CompareAndSwap(a, nil)
	}
}
