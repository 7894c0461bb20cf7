package admin

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener in memory, so that the real time-outs can run on the
// clock of a synctest bubble.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// connect gives the client's end of a new connection.
func (p *pipes) connect() net.Conn {
	client, server := net.Pipe()
	p.conns <- server
	return client
}

// inBubble runs f against a served admin listener on a clock of its own.
func inBubble(t *testing.T, f func(t *testing.T, p *pipes)) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		s := New(options())
		served := make(chan error, 1)
		go func() { served <- s.Serve(p) }()
		f(t, p)
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

// wantCutAt reads until the server ends the connection, and checks how long
// after start that was.
func wantCutAt(t *testing.T, conn io.Reader, start time.Time, want time.Duration) {
	t.Helper()
	_, _ = io.Copy(io.Discard, conn)
	if took := time.Since(start); took != want {
		t.Errorf("cut after %v, want %v", took, want)
	}
}

func TestAClientThatNeverFinishesItsHeadIsCutOff(t *testing.T) {
	inBubble(t, func(t *testing.T, p *pipes) {
		start, conn := time.Now(), p.connect()
		var dripping sync.WaitGroup
		dripping.Go(func() { // a field each second, for as long as the server takes it
			_, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\n")
			for err == nil {
				time.Sleep(time.Second)
				_, err = io.WriteString(conn, "X-A: b\r\n")
			}
		})
		wantCutAt(t, conn, start, headerTimeout)
		conn.Close()
		dripping.Wait()
	})
}

func TestAClientThatStaysSilentIsCutOff(t *testing.T) {
	inBubble(t, func(t *testing.T, p *pipes) {
		start, conn := time.Now(), p.connect()
		wantCutAt(t, conn, start, headerTimeout)
		conn.Close()
	})
}

func TestAnIdleConnectionIsCutOff(t *testing.T) {
	inBubble(t, func(t *testing.T, p *pipes) {
		conn := p.connect()
		go func() { _, _ = io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n") }()
		in := bufio.NewReader(conn)
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		wantCutAt(t, in, time.Now(), idleTimeout)
		conn.Close()
	})
}

func TestAClientThatDoesNotReadIsCutOff(t *testing.T) {
	inBubble(t, func(t *testing.T, p *pipes) {
		start, conn := time.Now(), p.connect()
		_, _ = io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
		time.Sleep(writeTimeout + time.Second)
		wantCutAt(t, conn, start, writeTimeout+time.Second) // at once: it has been closed meanwhile
		conn.Close()
	})
}

func TestConnectionsBeyondTheBoundWait(t *testing.T) {
	inBubble(t, func(t *testing.T, p *pipes) {
		for range maxConnections {
			defer p.connect().Close()
		}
		client, server := net.Pipe()
		start := time.Now()
		p.conns <- server // taken only once another was cut
		if waited := time.Since(start); waited != headerTimeout {
			t.Errorf("connection %d was taken after %v", maxConnections+1, waited)
		}
		client.Close()
	})
}
