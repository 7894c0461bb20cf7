package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"jaegis-proxy/internal/origintest"
)

// The tests in e2e_*_test.go look at the running program from outside: clients
// on raw sockets before it, a scripted origin behind it. What happens when is
// decided by gates in the origin, never by a clock.

// rig is the proxy with a scripted origin behind it.
type rig struct {
	*proc
	origin *origintest.Origin
}

// cachedRoute is a configuration that caches everything below /c/ for an hour
// and leaves the rest to the rules of HTTP.
const cachedRoute = `
upstreams: {origin: {url: ORIGIN}}
routes:
  - {name: cached, match: {path: /c/*}, ttl: 1h}
`

// e2e starts a proxy. ORIGIN in its configuration stands for the origin's URL.
func e2e(t *testing.T, yaml string) *rig {
	t.Helper()
	o := origintest.New(t)
	return &rig{origin: o, proc: start(t, strings.ReplaceAll(yaml, "ORIGIN", o.URL))}
}

// get and send give a request as bytes; send frames its body by a length.
func get(path string, fields ...string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: h\r\n" + fieldLines(fields) + "\r\n"
}

func send(method, path, body string, fields ...string) string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n%s\r\n%s", method, path, len(body), fieldLines(fields), body)
}

// http10 makes the request one of HTTP/1.0.
func http10(raw string) string { return strings.Replace(raw, " HTTP/1.1\r\n", " HTTP/1.0\r\n", 1) }

func fieldLines(fields []string) string {
	var b strings.Builder
	for _, f := range fields {
		b.WriteString(f + "\r\n")
	}
	return b.String()
}

// do sends the request on a connection of its own and reads the answer, after
// any interim ones.
func (r *rig) do(t *testing.T, raw string) *reply {
	t.Helper()
	s := connect(t, r.Addr)
	defer func() { _ = s.c.Close() }()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		s.send(raw)
	}()
	method, _, _ := strings.Cut(raw, " ")
	got := s.receive(method)
	for got.StatusCode/100 == 1 {
		got = s.receive(method)
	}
	_ = s.c.Close()
	<-sent
	return got
}

// whole is do for a request whose answer must be a whole one with status 200.
func (r *rig) whole(t *testing.T, raw string) *reply {
	t.Helper()
	got := r.do(t, raw)
	if got.StatusCode != http.StatusOK || got.Err != nil {
		t.Fatalf("%.60q: status %d, %v, Cache-Status %q, body %.300q", raw, got.StatusCode, got.Err, got.status(), got.Body)
	}
	return got
}

func (r *reply) status() string { return r.Header.Get("Cache-Status") }
func (r *reply) xCache() string { return r.Header.Get("X-Cache") }

// until asks until the answer is as holds wants it, and gives it. It is for
// what the proxy does in the background, such as storing and expiring.
func (r *rig) until(t *testing.T, raw, what string, holds func(*reply) bool) *reply {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		got := r.do(t, raw)
		if holds(got) {
			return got
		}
		if time.Now().After(deadline) {
			t.Fatalf("%.60q: never %s; status %d, %v, Cache-Status %q", raw, what, got.StatusCode, got.Err, got.status())
		}
	}
}

// untilX asks until X-Cache says x.
func (r *rig) untilX(t *testing.T, raw, x string) *reply {
	t.Helper()
	return r.until(t, raw, x, func(got *reply) bool { return got.xCache() == x })
}

// awaitCalls waits until the origin has had n requests for path.
func (r *rig) awaitCalls(t *testing.T, path string, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for r.origin.CallsTo(path) < n {
		if err := r.origin.Await(ctx, r.origin.Calls()+1); err != nil && r.origin.CallsTo(path) < n {
			t.Fatalf("%s: %d calls, want %d: %v", path, r.origin.CallsTo(path), n, err)
		}
	}
}

// expectCalls fails the test unless the origin had exactly n requests for path.
func (r *rig) expectCalls(t *testing.T, path string, n int) {
	t.Helper()
	if got := r.origin.CallsTo(path); got != n {
		t.Errorf("%s: %d upstream calls, want %d", path, got, n)
	}
}

// adminGet gives what the admin listener answers.
func (p *proc) adminGet(t *testing.T, path string) string {
	t.Helper()
	resp, err := http.Get("http://" + p.Admin + path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// metric sums the samples whose name and labels the pattern matches.
func (p *proc) metric(t *testing.T, pattern string) float64 {
	t.Helper()
	sum := 0.0
	for _, m := range regexp.MustCompile(`(?m)^`+pattern+` (\S+)$`).FindAllStringSubmatch(p.adminGet(t, "/metrics"), -1) {
		v, err := strconv.ParseFloat(m[len(m)-1], 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += v
	}
	return sum
}

// open lets one waiter pass the gate.
func open(t *testing.T, gate chan<- struct{}) {
	t.Helper()
	select {
	case gate <- struct{}{}:
	case <-time.After(patience):
		t.Fatal("nobody came to the gate")
	}
}

// client is one of many that read the same answer piece by piece.
type client struct {
	s    *session
	resp *http.Response
	got  []byte
}

// crowd is clients that ask for the same.
type crowd struct {
	t       *testing.T
	addr    string
	raw     string
	clients []*client
}

// add has n more clients ask, and gives them.
func (c *crowd) add(n int) []*client {
	c.t.Helper()
	for range n {
		s := connect(c.t, c.addr)
		_ = s.c.SetDeadline(time.Now().Add(3 * patience)) // a thousand of them take their time
		s.send(c.raw)
		c.clients = append(c.clients, &client{s: s})
	}
	return c.clients[len(c.clients)-n:]
}

// each has the clients do something, all at the same time.
func each(t *testing.T, clients []*client, what string, do func(*client) error) {
	t.Helper()
	errs := make([]error, len(clients))
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() { errs[i] = do(c) })
	}
	wg.Wait()
	failed := 0
	for i, err := range errs {
		if err == nil {
			continue
		}
		if failed++; failed == 1 {
			t.Errorf("%s: client %d: %v", what, i, err)
		}
	}
	if failed > 0 {
		t.Fatalf("%s: %d of %d clients failed", what, failed, len(clients))
	}
}

// head reads the answer's head.
func (c *client) head() error {
	var err error
	if c.resp, err = http.ReadResponse(c.s.br, nil); err != nil {
		return fmt.Errorf("no head: %w", err)
	}
	if c.resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", c.resp.StatusCode)
	}
	return nil
}

// upTo reads until the client has n bytes of the body.
func (c *client) upTo(n int) error {
	b := make([]byte, n-len(c.got))
	k, err := io.ReadFull(c.resp.Body, b)
	c.got = append(c.got, b[:k]...)
	return err
}

// rest reads to the end, which must be a clean one, and compares.
func (c *client) rest(want string) error {
	b, err := io.ReadAll(c.resp.Body)
	if c.got = append(c.got, b...); err != nil {
		return fmt.Errorf("after %d bytes: %w", len(c.got), err)
	}
	if !bytes.Equal(c.got, []byte(want)) {
		return fmt.Errorf("%d bytes that are not the answer, which has %d", len(c.got), len(want))
	}
	return nil
}

// cut reads to the end, which must not be a clean one.
func (c *client) cut() error {
	if _, err := io.ReadAll(c.resp.Body); err == nil {
		return errors.New("the cut body ended cleanly")
	}
	return nil
}

// leave closes the connection: with a reset, or in an orderly way.
func (c *client) leave(reset bool) {
	if reset {
		_ = c.s.c.SetLinger(0)
	}
	_ = c.s.c.Close()
}
