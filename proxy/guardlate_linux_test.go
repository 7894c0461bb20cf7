package proxy

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"

// excessServer answers each request with its path, and puts something behind
// the answers to requests for /at-once, /half, /late and /close. What comes
// late is in the client's socket when late returns.
type excessServer struct {
	t    *testing.T
	next chan net.Conn // a connection on which an answer has been given behind which something comes late
}

func newExcessServer(t *testing.T, ln net.Listener) *excessServer {
	s := &excessServer{t: t, next: make(chan net.Conn, 1)}
	var running sync.WaitGroup
	t.Cleanup(func() { _ = ln.Close(); running.Wait() })
	running.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() { s.serve(c) })
		}
	})
	return s
}

func (s *excessServer) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	br := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		answer := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(r.URL.Path), r.URL.Path)
		switch r.URL.Path {
		case "/at-once":
			answer += evil
		case "/half":
			answer += evil[:20]
		}
		if _, err := io.WriteString(c, answer); err != nil {
			return
		}
		switch r.URL.Path {
		case "/half", "/late", "/close":
			s.next <- c
		}
	}
}

// late writes more, or ends the connection, and waits until the client's side
// of the loopback has it. An error means that the client has left.
func (s *excessServer) late(more string) {
	c := <-s.next
	if more == "" {
		_ = c.(interface{ CloseWrite() error }).CloseWrite()
	} else if _, err := io.WriteString(c, more); err != nil {
		return
	}
	delivered(s.t, c)
}

// delivered waits until the other side of the loopback has all that was
// written on c.
func delivered(t *testing.T, c net.Conn) {
	t.Helper()
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Error(err)
		return
	}
	for deadline, waiting := time.Now().Add(10*time.Second), 1; waiting > 0; time.Sleep(100 * time.Microsecond) {
		if raw.Control(func(fd uintptr) { waiting, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }) != nil {
			return // it is closed: the other side has left
		}
		if time.Now().After(deadline) {
			t.Error("the client's system does not take the bytes")
			return
		}
	}
}

// withExcess tests with an excessServer behind HTTP and HTTPS.
func withExcess(t *testing.T, do func(t *testing.T, s *excessServer, u *Upstream)) {
	t.Run("http", func(t *testing.T) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		do(t, newExcessServer(t, ln), newTestUpstream(t, UpstreamOptions{URL: "http://" + ln.Addr().String()}))
	})
	t.Run("https", func(t *testing.T) {
		ln, roots := tlsListener(t)
		do(t, newExcessServer(t, ln), newTestUpstream(t, UpstreamOptions{URL: "https://" + ln.Addr().String(), RootCAs: roots}))
	})
}

// askTwice asks for a path, has something come late, and asks for another one.
func (s *excessServer) askTwice(t *testing.T, u *Upstream, path, method string, late func()) {
	t.Helper()
	for i, p := range []string{path, "/next"} {
		body, _, err := fetch(u, &Request{Method: method, Path: p, Body: Body{Size: 5, bytes: []byte("hello")}})
		if err != nil || body != p {
			t.Fatalf("%s %s behind %s: %q, %v", method, p, path, body, err)
		}
		if i == 0 {
			late()
		}
	}
}

// Bytes behind an answer that are there before the next request is sent are
// never the answer to it, wherever they are waiting.
func TestWhatComesBehindAnAnswerIsNotTheNextAnswer(t *testing.T) {
	withExcess(t, func(t *testing.T, s *excessServer, u *Upstream) {
		for range 5 {
			for _, method := range []string{"GET", "POST"} {
				s.askTwice(t, u, "/at-once", method, func() {})
				s.askTwice(t, u, "/half", method, func() { s.late(evil[20:]) })
				s.askTwice(t, u, "/late", method, func() { s.late(evil) })
			}
		}
	})
}

// A request that was never written is not lost with a connection that the
// upstream has closed, a POST neither.
func TestARequestLeavesAConnectionThatWasClosedBeforeIt(t *testing.T) {
	withExcess(t, func(t *testing.T, s *excessServer, u *Upstream) {
		for range 5 {
			s.askTwice(t, u, "/close", "GET", func() { s.late("") })
			s.askTwice(t, u, "/close", "POST", func() { s.late("") })
		}
	})
}

// onWire gives a connection of an upstream's dialer, and the other end.
func onWire(t *testing.T, secure bool) (c *onceConn, upstream net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	base, config := &url.URL{Scheme: "http"}, &tls.Config{}
	if err != nil {
		t.Fatal(err)
	}
	if secure {
		_ = ln.Close()
		ln, config.RootCAs = tlsListener(t)
		base.Scheme = "https"
	}
	defer func() { _ = ln.Close() }()
	base.Host = ln.Addr().String()
	accepted := make(chan struct{})
	go func() {
		defer close(accepted)
		if upstream, err = ln.Accept(); err == nil && secure {
			err = upstream.(*tls.Conn).Handshake()
		}
	}()
	d := newUpstreamDialer(base, 0, config)
	dial := d.plain
	if secure {
		dial = d.secure
	}
	conn, derr := dial(t.Context(), "tcp", base.Host)
	<-accepted
	if err := errors.Join(err, derr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = conn.Close(), upstream.Close() })
	_ = upstream.SetDeadline(time.Now().Add(10 * time.Second))
	timer := time.AfterFunc(10*time.Second, func() { _ = conn.Close() })
	t.Cleanup(func() { timer.Stop() })
	return conn.(*onceConn), upstream
}

// exchange sends a request, and reads the answer in one piece.
func exchange(t *testing.T, c *onceConn, upstream net.Conn, answers ...string) {
	t.Helper()
	c.arm(false)
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	for _, a := range answers {
		if _, err := io.WriteString(upstream, a); err != nil {
			t.Fatal(err)
		}
	}
	delivered(t, upstream)
	var p [1000]byte
	if n, err := c.Read(p[:]); err != nil || string(p[:n]) != good {
		t.Fatalf("read %q, %v", p[:n], err)
	}
}

const good = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"

// Here no transport reads ahead: every order of events is one that can happen
// to it.
func TestNoRequestIsWrittenWhileUnaskedBytesWait(t *testing.T) {
	var p [1000]byte
	for _, secure := range []bool{false, true} {
		f := func(name string, want error, spoil func(t *testing.T, c *onceConn, upstream net.Conn)) {
			t.Run(fmt.Sprintf("%s, TLS %v", name, secure), func(t *testing.T) {
				c, upstream := onWire(t, secure)
				exchange(t, c, upstream, good)
				spoil(t, c, upstream)
				if n, err := io.WriteString(c, "GET / HTTP/1.1\r\n\r\n"); n != 0 || !errors.Is(err, want) {
					t.Errorf("wrote %d bytes, %v", n, err)
				}
				if n, err := c.Read(p[:]); n != 0 || !errors.Is(err, want) {
					t.Errorf("read %q, %v", p[:n], err)
				}
			})
		}
		f("in the same read", errUnasked, func(t *testing.T, c *onceConn, upstream net.Conn) {
			exchange(t, c, upstream, good+evil)
			c.arm(false)
		})
		f("in the same segment", errUnasked, func(t *testing.T, c *onceConn, upstream net.Conn) {
			exchange(t, c, upstream, good, evil)
			c.arm(false)
		})
		f("before the request has the connection", errUnasked, func(t *testing.T, c *onceConn, upstream net.Conn) {
			_, _ = io.WriteString(upstream, evil)
			delivered(t, upstream)
			c.arm(false)
		})
		f("after it has", errUnasked, func(t *testing.T, c *onceConn, upstream net.Conn) {
			c.arm(false)
			_, _ = io.WriteString(upstream, evil)
			delivered(t, upstream)
		})
		f("seen by the reader", errUnasked, func(t *testing.T, c *onceConn, upstream net.Conn) {
			_, _ = io.WriteString(upstream, evil)
			if n, err := c.Read(p[:]); n != 0 || !errors.Is(err, errUnasked) {
				t.Errorf("read %q, %v", p[:n], err)
			}
			if err := c.look(); !errors.Is(err, errUnasked) {
				t.Errorf("the bytes were taken from where a request looks for them: %v", err)
			}
			c.arm(false)
		})
		if secure {
			continue // the end says something too there: close_notify
		}
		f("the end", errLateClose, func(t *testing.T, c *onceConn, upstream net.Conn) {
			_ = upstream.Close()
			if n, err := c.Read(p[:]); n != 0 || !errors.Is(err, errLateClose) {
				t.Errorf("read %q, %v", p[:n], err)
			}
			c.arm(false)
		})
	}
}

func TestANewConnectionThatSpeaksFirstIsNotUsed(t *testing.T) {
	c, upstream := onWire(t, false)
	_, _ = io.WriteString(upstream, evil)
	delivered(t, upstream)
	c.arm(false)
	if n, err := io.WriteString(c, "GET / HTTP/1.1\r\n\r\n"); n != 0 || !errors.Is(err, errUnasked) {
		t.Errorf("wrote %d bytes, %v", n, err)
	}
}

// The transport and framing must agree on where an answer ends.
func TestNoRequestIsWrittenBeforeTheAnswerToTheLastHasEnded(t *testing.T) {
	c, upstream := onWire(t, false)
	exchange(t, c, upstream, good)
	c.arm(false)
	for want, i := error(nil), 0; i < 2; i++ {
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\n\r\n"); !errors.Is(err, want) {
			t.Errorf("request %d: %v", i, err)
		}
		c.arm(false)
		want = errUnasked
	}
}
