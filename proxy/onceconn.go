package proxy

import (
	"context"
	"crypto/tls"
	"net"
	"net/http/httptrace"
	"sync/atomic"
)

// net/http.Transport sends a GET, HEAD, OPTIONS or TRACE again when a kept
// connection dies before the answer, though the first copy may have reached
// the upstream. onceConn and attempt stop that: the transport closes the dead
// connection before it considers another try, and at that moment a request of
// which bytes were written is cancelled, which the transport looks at first.
// What never left us may still be sent on another connection.

// onceConn is a connection to an upstream that counts what is written. Bytes
// count before they go: the upstream may have read them, and closed, before
// the write returns.
type onceConn struct {
	net.Conn
	written atomic.Int64
	current atomic.Pointer[attempt] // the request that waits for its answer
}

func (c *onceConn) Write(p []byte) (int, error) {
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

// attempt is one request on its way.
type attempt struct {
	cancel context.CancelCauseFunc
	conn   atomic.Pointer[onceConn]
	before int64 // what had been written on the connection when the request got it
}

// gotConn notes the connection, unless it is shared by many requests: HTTP/2
// says itself which of them it did not process.
func (a *attempt) gotConn(info httptrace.GotConnInfo) {
	conn := info.Conn
	if t, ok := conn.(*tls.Conn); ok {
		if t.ConnectionState().NegotiatedProtocol == "h2" {
			return
		}
		conn = t.NetConn()
	}
	if c, ok := conn.(*onceConn); ok {
		a.before = c.written.Load()
		a.conn.Store(c)
		c.current.Store(a)
	}
}

// answered ends the watch: the answer has begun.
func (a *attempt) answered() {
	if c := a.conn.Load(); c != nil {
		c.current.CompareAndSwap(a, nil)
	}
}
