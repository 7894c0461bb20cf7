package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"jaegis-proxy/internal/origintest"
)

// session is a client's connection over which a test sends whatever it likes.
type session struct {
	t  *testing.T
	c  *net.TCPConn
	br *bufio.Reader
}

// connect opens a session, all of which must be over within patience.
func connect(t *testing.T, addr string) *session {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &session{t: t, c: c.(*net.TCPConn), br: bufio.NewReader(c)}
}

// send writes raw; the peer may close before it has all.
func (s *session) send(raw string) { _, _ = io.WriteString(s.c, raw) }

// finish says that nothing more will be sent.
func (s *session) finish() { _ = s.c.CloseWrite() }

// reply is one response. A StatusCode of 0 says that none came.
type reply struct {
	StatusCode int
	Header     http.Header
	Body       []byte
	Close      bool   // the response says that the connection ends with it
	Err        error  // of reading the head or the body
	Rest       string // what came after it, by talk
	Closed     bool   // by talk: the peer closed the connection of itself
}

// receive reads one response to a request of method, a 1xx being one too.
func (s *session) receive(method string) *reply {
	resp, err := http.ReadResponse(s.br, &http.Request{Method: method})
	if err != nil {
		return &reply{Err: fmt.Errorf("no response: %w", err)}
	}
	body, err := io.ReadAll(resp.Body)
	return &reply{StatusCode: resp.StatusCode, Header: resp.Header, Body: body, Close: resp.Close, Err: err}
}

// rest reads to the end of the connection; closed says that the peer ended it.
func (s *session) rest() (rest string, closed bool) {
	b, err := io.ReadAll(s.br)
	return string(b), !errors.Is(err, os.ErrDeadlineExceeded)
}

// talk sends raw on a connection of its own, without closing its side, and
// reads one response and what follows until the peer closes. Sending and
// reading run side by side, because a refusal may come before all is sent.
func talk(t *testing.T, addr, raw string) *reply {
	t.Helper()
	s := connect(t, addr)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		s.send(raw)
	}()
	r := s.receive(http.MethodPost)
	for r.StatusCode/100 == 1 {
		r = s.receive(http.MethodPost)
	}
	r.Rest, r.Closed = s.rest()
	_ = s.c.Close()
	<-sent
	return r
}

// proof fails the test unless the reply is the origin's whole answer to this
// request, and returns that answer.
func (r *reply) proof(t *testing.T, method, target, credential, body string) origintest.Answer {
	t.Helper()
	if r.StatusCode != http.StatusOK || r.Err != nil {
		t.Fatalf("%s %s: status %d, %v, body %q", method, target, r.StatusCode, r.Err, r.Body)
	}
	a, err := origintest.VerifyProof(method, target, credential, []byte(body), r.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	return a
}
