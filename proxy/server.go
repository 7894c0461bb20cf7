package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// ServerOptions are for NewServer. Zero durations mean no limit.
type ServerOptions struct {
	MaxHeaderBytes int           // of a request head; also the read buffer of each connection
	HeaderTimeout  time.Duration // for a whole request head
	IdleTimeout    time.Duration // between two requests
	WriteTimeout   time.Duration // longest stall of one write
	MaxConnections int           // further ones get 503
	Log            *slog.Logger
}

// Server is the public listener. Serve and Shutdown may be called once each.
type Server struct {
	proxy *Proxy
	http  *fasthttp.Server
	conns connections
	max   int
}

// NewServer gives a server for the proxy.
func NewServer(p *Proxy, o ServerOptions) *Server {
	s := &Server{proxy: p, max: o.MaxConnections}
	s.conns.bodyTimeout = p.o.BodyTimeout
	s.conns.slack = slackOf(o.HeaderTimeout, o.IdleTimeout, o.WriteTimeout, p.o.BodyTimeout, p.o.WriteTimeout)
	s.http = &fasthttp.Server{
		Handler:        p.Serve,
		HeaderReceived: onHeader,
		ExpectHandler:  p.expect,
		ErrorHandler:   p.protocolError,
		Logger:         serverLog{o.Log},

		ReadBufferSize:     o.MaxHeaderBytes,
		WriteBufferSize:    4 << 10,
		ReadTimeout:        o.HeaderTimeout,
		IdleTimeout:        o.IdleTimeout,
		WriteTimeout:       o.WriteTimeout,
		Concurrency:        max(o.MaxConnections, 1) * 2, // the listener has the limit
		MaxRequestBodySize: endless,                      // routes have their own bounds

		StreamRequestBody:            true,
		DisablePreParseMultipartForm: true,
		NoDefaultServerHeader:        true,
		NoDefaultContentType:         true,
		NoDefaultDate:                true,
		CloseOnShutdown:              true,
		SecureErrorLogMessage:        true,
		LazyRequestTime:              true,
	}
	return s
}

// Serve answers requests from l until Shutdown.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(&patientListener{Listener: l, conns: &s.conns, max: s.max, log: s.proxy.log}); err != nil {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return nil
}

// Connections is the number of open client connections.
func (s *Server) Connections() int { return s.conns.len() }

// Shutdown stops accepting, lets running requests end until ctx is over, cuts
// those that are left, and closes the proxy. The error says that some were cut.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.ShutdownWithContext(ctx)
	if err != nil {
		err = fmt.Errorf("%d connections were cut: %w", s.conns.closeAll(), err)
	}
	s.proxy.Close(ctx)
	return err
}

// protocolError answers what fasthttp could not read as a request.
func (p *Proxy) protocolError(ctx *fasthttp.RequestCtx, err error) {
	c := p.begin(ctx)
	var small *fasthttp.ErrSmallBuffer
	var timeout net.Error
	r := malformed("the request cannot be read: it is not well-formed HTTP/1.1")
	switch {
	case errors.As(err, &small):
		r = &refusal{fasthttp.StatusRequestHeaderFieldsTooLarge, "headers_too_large", "the request head is too large", true}
	case errors.As(err, &timeout) && timeout.Timeout():
		r = &refusal{fasthttp.StatusRequestTimeout, "request_timeout", "the request did not arrive in time", true}
	case errors.Is(err, errBareLF):
		r = malformed(errBareLF.Error())
	case badVersion(ctx):
		r = errVersion
	}
	c.refuse(r)
	c.end(r)
}

// badVersion says whether the request line names another version of HTTP.
func badVersion(ctx *fasthttp.RequestCtx) bool {
	v := string(ctx.Request.Header.Protocol())
	return v != "" && v != "HTTP/1.1" && v != "HTTP/1.0"
}

// serverLog takes what fasthttp has to say, which is about single connections.
type serverLog struct{ log *slog.Logger }

func (l serverLog) Printf(format string, args ...any) {
	l.log.Debug("connection", "message", fmt.Sprintf(format, args...))
}

// connections are the open ones.
type connections struct {
	bodyTimeout time.Duration // within which a body has to move on; 0 is no limit

	slack time.Duration // how much sooner than asked for their deadlines may come

	mu   sync.Mutex
	open map[*conn]struct{}
}

func (c *connections) add(k *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open = map[*conn]struct{}{}
	}
	c.open[k] = struct{}{}
}

func (c *connections) remove(k *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, k)
}

func (c *connections) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

// closeAll cuts all of them and says how many there were.
func (c *connections) closeAll() int {
	c.mu.Lock()
	open := make([]*conn, 0, len(c.open))
	for k := range c.open {
		open = append(open, k)
	}
	c.mu.Unlock()
	for _, k := range open {
		_ = k.Close() // it is being cut
	}
	return len(open)
}

// patientListener goes on when accepting fails for want of file descriptors or
// memory: fasthttp would end serving.
type patientListener struct {
	net.Listener
	conns *connections
	max   int // connections; 0 is no limit
	log   *slog.Logger
}

// Accept implements net.Listener.
func (l *patientListener) Accept() (net.Conn, error) {
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		c, err := l.Listener.Accept()
		if err == nil && (l.max == 0 || l.conns.len() < l.max) {
			return l.known(c), nil
		}
		if err == nil {
			l.turnAway(c)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return nil, err
		}
		l.log.Warn("cannot accept connections", "error", err, "retry_in", wait)
		<-time.After(wait)
	}
}

// turnAway answers a connection that is one too many.
func (l *patientListener) turnAway(c net.Conn) {
	body := errorBody(errOverCapacity, "")
	_ = c.SetWriteDeadline(time.Now().Add(time.Second)) // what fails here fails for the client alone
	_, _ = fmt.Fprintf(c, "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: %d\r\nRetry-After: 1\r\nConnection: close\r\n\r\n%s", len(body), body)
	_ = c.Close()
}

func (l *patientListener) known(c net.Conn) net.Conn {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return c
	}
	k := &conn{TCPConn: t, conns: l.conns}
	l.conns.add(k)
	return k
}
