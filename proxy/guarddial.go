package proxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// upstreamDialer makes an upstream's connections. What the transport does with
// them decides who checks the answers:
//
//	http://                          onceConn
//	https://, HTTP/1.1               onceConn above TLS
//	https://, HTTP/2                 net/http: frames cannot be read in two ways
//	http:// by an HTTP(S) or SOCKS   onceConn
//	  proxy of the environment
//	https:// by such a proxy         net/http alone: it makes the tunnel and the TLS within it
//	                                 itself. onceConn still counts the bytes that are written.
type upstreamDialer struct {
	dialer  net.Dialer
	timeout time.Duration // for TLS; 0 means none
	tls     *tls.Config   // without ServerName
	addr    string        // the upstream's own host:port
}

func newUpstreamDialer(base *url.URL, timeout time.Duration, config *tls.Config) *upstreamDialer {
	port := base.Port()
	if port == "" {
		port = "80"
		if base.Scheme == "https" {
			port = "443"
		}
	}
	return &upstreamDialer{
		dialer:  net.Dialer{Timeout: timeout, KeepAlive: 30 * time.Second},
		timeout: timeout,
		tls:     config,
		addr:    net.JoinHostPort(base.Hostname(), port),
	}
}

// plain is http.Transport's DialContext.
func (d *upstreamDialer) plain(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := d.dialer.DialContext(ctx, network, addr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errConnect, err)
	}
	return &onceConn{Conn: c, sock: rawConn(c), direct: d.isUpstream(addr)}, nil
}

// secure is http.Transport's DialTLSContext. The transport speaks HTTP/2 where
// it is given a *tls.Conn on which that was agreed, and HTTP/1 over all else.
func (d *upstreamDialer) secure(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := d.dialer.DialContext(ctx, network, addr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errConnect, err)
	}
	config := d.tls.Clone()
	config.ServerName, _, _ = net.SplitHostPort(addr) // it has been dialled: it has a port
	config.NextProtos = []string{"http/1.1"}
	if d.isUpstream(addr) {
		config.NextProtos = []string{"h2", "http/1.1"}
	}
	t := tls.Client(c, config)
	if err := d.handshake(ctx, t); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("%w: %w", errConnect, err)
	}
	if t.ConnectionState().NegotiatedProtocol == "h2" {
		return t, nil
	}
	return &onceConn{Conn: t, tls: t, sock: rawConn(c), direct: d.isUpstream(addr)}, nil
}

func (d *upstreamDialer) handshake(ctx context.Context, t *tls.Conn) error {
	if d.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.timeout)
		defer cancel()
	}
	return t.HandshakeContext(ctx)
}

// isUpstream tells the upstream's address from a forward proxy's.
func (d *upstreamDialer) isUpstream(addr string) bool { return strings.EqualFold(addr, d.addr) }

// isForwarded says whether the environment wants requests to be given to an
// HTTP proxy as they are. What cannot be understood there is for the transport
// to say, with each request.
func isForwarded(base *url.URL) bool {
	by, err := http.ProxyFromEnvironment(&http.Request{URL: base})
	return err == nil && by != nil && base.Scheme == "http" && (by.Scheme == "http" || by.Scheme == "https")
}

// rawConn gives the socket of a connection; nil where it has none.
func rawConn(c net.Conn) syscall.RawConn {
	if s, ok := c.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			return raw
		}
	}
	return nil
}
