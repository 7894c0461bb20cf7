package proxy

import (
	"context"
	"errors"
	"io"
)

// Why a request body is passed on as it comes, for Cache-Status.
const (
	passTooLarge  = "request-too-large"
	passSpoolFull = "spool-full"
)

// upload is a request body that is passed to the upstream as it comes from the
// client, with nothing kept of it: it is above what the route caches, or there
// is no room for it. A pump, with a goroutine of its own, reads from the client
// and waits for the upstream to take what came. The request goes upstream once;
// a client that breaks off cuts it there too.
//
//	ends first      then
//	the body        the answer is awaited like any other
//	the client      the upstream sees a cut
//	an answer       2xx: both go on, and the connection closes behind the answer;
//	                else the client gets it at once, and the rest is not read
//	the fetch       the same
type upload struct {
	r      io.Reader // what still comes
	length int64     // of the whole body, -1 when it is not known
	came   int64     // of it so far
	why    string

	conn  *conn // nil where the client's connection is none that can be stopped
	relay *relay
	done  chan struct{} // closed at the end of the pump; nil before there is one
	err   error         // what that ended with; nil when the whole body came
	cut   bool          // the answer goes out while, or though, not all of the body has come
}

// errUploaded says that a pump has ended.
var errUploaded = errors.New("the request body has come to its end")

// unread says whether something of the body is still to come, so that the
// connection is of no further use.
func (u *upload) unread() bool { return u != nil && (u.done == nil || u.cut) }

// ended says whether the pump has come to its end.
func (u *upload) ended() bool {
	select {
	case <-u.done:
		return true
	default:
		return false
	}
}

// end stops the pump, if it runs still, and waits for its end. What the
// upstream does with what it has is not touched.
func (u *upload) end() {
	if u == nil || u.done == nil || u.ended() {
		return
	}
	u.relay.stop(errEnough)
	if u.conn != nil {
		u.conn.halt()
	}
	<-u.done
}

// errEnough is what a pump ends with when no more is wanted.
var errEnough = errors.New("no more of the request body is wanted")

// passUpload passes a request on whose body is still coming. The request ends
// with its client.
func (p *Proxy) passUpload(c *call) (streaming bool, err error) {
	u, outcome := c.upload, Bypass
	c.detail, c.keyed, c.forward = u.why, false, "bypass"
	switch reason := c.route.bypassReason(c.method, &c.cc, c.head.flags); reason {
	case "method":
		c.detail, c.forward, outcome = reason, reason, Pass
	case "uncached-route":
		c.detail, outcome = reason, Pass
	}
	if c.cc.OnlyIfCached {
		return false, errOnlyIfCached
	}
	if p.full() {
		return false, errOverCapacity
	}
	f := p.newFlight(c, true)
	if err := p.relay(c, f); err != nil {
		c.herald.end()
		f.Leave()
		return false, err
	}
	if u.cut && u.conn != nil {
		u.conn.linger = true
	}
	if !u.cut {
		if u.conn != nil {
			u.conn.ready()
		}
		c.watch = watch(p.ctx, c.ctx.Conn())
	}
	return p.follow(c, f, outcome)
}

// relay sets a leader and a pump going, and comes back when the body has ended
// or the answer has begun. An error is that of a body that will never be whole.
func (p *Proxy) relay(c *call, f *inFlight) error {
	u := c.upload
	u.conn, _ = c.ctx.Conn().(*conn)
	u.relay, u.done = newRelay(c.body.spool, u.came), make(chan struct{})
	c.body.relay, c.body.Size = u.relay, u.length
	p.start(c, f, fetchPass)
	ctx, cancel := context.WithCancelCause(p.ctx)
	defer cancel(nil)
	go func() { // ends with the body, the fetch or the call, which waits for it
		defer cancel(errUploaded)
		defer close(u.done)
		u.err = u.pump(c.route)
	}()
	head, err := f.Head(ctx)
	switch {
	case errors.Is(err, errUploaded): // and perhaps because of the answer
		<-u.done
	case err != nil || head.status >= 300:
		u.end()
	default:
		u.relay.answered()
	}
	u.cut = !u.ended() || u.err != nil
	if u.ended() && u.err != nil && !errors.Is(u.err, errEnough) {
		return u.err
	}
	return nil
}

// pump moves the body from the client to the relay, until its verified end.
func (u *upload) pump(route *Route) error {
	buf := getBuffer(32 << 10)
	defer putBuffer(buf)
	for {
		n, err := u.r.Read(*buf)
		if u.came += int64(n); u.came > route.MaxRequestBytes {
			return u.relay.fail(errTooLarge)
		}
		waited, werr := u.relay.write((*buf)[:n], route.Upstream.o.IdleTimeout)
		if werr != nil {
			return werr
		}
		if u.conn != nil && waited > u.conn.conns.slack {
			u.conn.stalled()
		}
		switch {
		case err == io.EOF && u.length >= 0 && u.came != u.length:
			return u.relay.fail(errBodyCut)
		case err == io.EOF:
			u.relay.finish()
			return nil
		case err != nil:
			return u.relay.fail(bodyError(err))
		}
	}
}
