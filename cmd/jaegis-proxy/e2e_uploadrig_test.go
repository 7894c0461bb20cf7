package main

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"
)

// taker is an upstream whose every step is the test's.
type taker struct {
	t *testing.T
	l *net.TCPListener
}

// taken is one connection from the proxy.
type taken struct {
	t    *testing.T
	c    *net.TCPConn
	br   *bufio.Reader
	req  *http.Request
	body io.Reader // decoded
}

func newTaker(t *testing.T) *taker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return &taker{t, l.(*net.TCPListener)}
}

// accept waits for a connection and the head of a request on it.
func (d *taker) accept() *taken {
	d.t.Helper()
	_ = d.l.SetDeadline(time.Now().Add(patience))
	c, err := d.l.Accept()
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = c.Close() })
	k := &taken{t: d.t, c: c.(*net.TCPConn), br: bufio.NewReader(c)}
	_ = c.SetDeadline(time.Now().Add(patience))
	k.next()
	return k
}

// next waits for the head of the next request.
func (k *taken) next() {
	k.t.Helper()
	var err error
	if k.req, err = http.ReadRequest(k.br); err != nil {
		k.t.Fatalf("no request at the upstream: %v", err)
	}
	k.body = k.req.Body
}

// read reads n bytes of the body, which must be the beginning of want.
func (k *taken) read(want string, n int) {
	k.t.Helper()
	got := make([]byte, n)
	if m, err := io.ReadFull(k.body, got); err != nil || string(got) != want[:n] {
		k.t.Fatalf("%d of %d bytes at the upstream, as sent: %v; %v", m, n, string(got[:m]) == want[:m], err)
	}
}

// ends wants the body to end here, and well.
func (k *taken) ends() {
	k.t.Helper()
	if rest, err := io.ReadAll(k.body); len(rest) > 0 || err != nil {
		k.t.Fatalf("%d bytes more at the upstream, %v", len(rest), err)
	}
}

// isCut wants the body to break off.
func (k *taken) isCut() {
	k.t.Helper()
	if n, err := io.Copy(io.Discard, k.body); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		k.t.Fatalf("the body ended with %v at the upstream after %d more bytes, want a cut", err, n)
	}
}

func (k *taken) answer(raw string) { _, _ = io.WriteString(k.c, raw) }
