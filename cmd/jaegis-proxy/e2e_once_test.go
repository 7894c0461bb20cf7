package main

import (
	"bufio"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"jaegis-proxy/internal/origintest"
)

// What may have reached the upstream is not sent again, also where the HTTP
// client library would: on a kept connection that ends before the answer.
func TestARequestThatMayHaveArrivedIsNotSentAgain(t *testing.T) {
	r := e2e(t, cachedRoute)
	reset := func(w *origintest.Wire, _ *origintest.Request) { w.Reset() }
	n := 0
	f := func(raw string) {
		t.Helper()
		for name, script := range map[string]origintest.Handler{"closes": origintest.Hangup, "resets": reset} {
			for _, route := range []string{"/c/", "/d/"} {
				n++
				path := route + strings.Repeat("x", n)
				r.origin.On(path, script)
				r.whole(t, get("/d/warm", "Cache-Control: no-cache")) // leaves a connection to be used again
				opened := r.origin.Connections()
				raw := strings.Replace(raw, "PATH", path, 1)
				method, _, _ := strings.Cut(raw, " ")
				got := r.do(t, raw)
				if got.StatusCode != http.StatusBadGateway || got.Err != nil {
					t.Errorf("origin %s on %s %s: status %d, %v", name, method, path, got.StatusCode, got.Err)
				}
				r.expectCalls(t, path, 1)
				if now := r.origin.Connections(); now != opened {
					t.Errorf("origin %s on %s %s: a new connection was opened: %d, were %d", name, method, path, now, opened)
				}
			}
		}
	}
	f(get("PATH"))
	f(strings.Replace(get("PATH"), "GET", "HEAD", 1))
	f(strings.Replace(get("PATH"), "GET", "OPTIONS", 1))
	f(send("POST", "PATH", "hello"))
	f(send("PUT", "PATH", "hello"))
	f(strings.Replace(send("DELETE", "PATH", ""), "Content-Length: 0\r\n", "", 1))
	f(send("POST", "PATH", "hello", "Idempotency-Key: 1"))
	f(send("POST", "PATH", "hello", "X-Idempotency-Key: 1"))
	f(send("POST", "PATH", "", "Idempotency-Key: 1"))
	f(get("PATH", "Idempotency-Key: 1"))
}

func TestAnIdempotencyKeyReachesTheUpstream(t *testing.T) {
	r := e2e(t, cachedRoute)
	for _, path := range []string{"/c/a", "/d/a"} {
		r.whole(t, send("POST", path, "hello", "Idempotency-Key: k1", "X-Idempotency-Key: k2"))
		last := r.origin.Requests()[r.origin.Calls()-1]
		if last.Value("Idempotency-Key") != "k1" || last.Value("X-Idempotency-Key") != "k2" {
			t.Errorf("%s: the origin has\n%s", path, last.Head)
		}
	}
}

// closingOrigin answers one request on each connection, then closes its side
// and sends on closed once the proxy has closed the other one: from then on it
// knows.
func closingOrigin(t *testing.T) (url string, closed <-chan struct{}) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	told, done := make(chan struct{}, 100), make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			closeAfterOne(c.(*net.TCPConn))
			told <- struct{}{}
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
	return "http://" + ln.Addr().String(), told
}

func closeAfterOne(c *net.TCPConn) {
	defer func() { _ = c.Close() }()
	if c.SetDeadline(time.Now().Add(patience)) != nil {
		return
	}
	br := bufio.NewReader(c)
	req, err := http.ReadRequest(br)
	if err != nil {
		return
	}
	for b := make([]byte, 1024); err == nil; _, err = req.Body.Read(b) {
	}
	_, _ = c.Write([]byte(origintest.Head(200, "Content-Length: 2") + "ok")) // the test sees whether it came
	_ = c.CloseWrite()
	_, _ = br.ReadByte() // io.EOF, when the proxy closes
}

func TestAKeptConnectionThatTheUpstreamClosedWhileIdleCostsNoRequest(t *testing.T) {
	url, closed := closingOrigin(t)
	p := start(t, strings.ReplaceAll(cachedRoute, "ORIGIN", url))
	r := &rig{proc: p}
	for range 5 {
		for _, raw := range []string{get("/d/a"), send("POST", "/d/a", "hello"), send("POST", "/d/a", "hello", "Idempotency-Key: 1")} {
			if got := r.whole(t, raw); string(got.Body) != "ok" {
				t.Errorf("%.20q: %q", raw, got.Body)
			}
			select {
			case <-closed:
			case <-time.After(patience):
				t.Fatal("the proxy keeps a connection that the upstream has closed")
			}
		}
	}
}
