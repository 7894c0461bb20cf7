package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"jaegis-proxy/internal/origintest"
)

// Every odd request is sent to the program, followed on its connection by two
// clean ones, and the same bytes are sent straight to a second origin, which
// reads them with no tolerance. That says what the client framed. One rule
// holds for all of them: the program answers the requests that the strict
// reader saw, in their order and each by its own proof, and what reaches its
// origin are just these, well-formed and with their own bodies; where it stops
// doing so, at the latest where the strict reader does, it refuses once and
// closes the connection.

// exchange is what became of one odd request and of what followed it.
type exchange struct {
	name    string
	sent    string
	framed  []*origintest.Request // as read strictly; only the last can have a fault
	answers []*reply              // final ones, in order
	rest    string                // what came behind the last one
	closed  bool                  // the program closed the connection
	arrived []*origintest.Request // at the program's origin
}

// refused says whether the last answer is the program's no.
func (x *exchange) refused() bool {
	return len(x.answers) > 0 && x.answers[len(x.answers)-1].StatusCode >= http.StatusBadRequest
}

// fault says in what the exchange breaks the rule; "" when in nothing.
func (x *exchange) fault() string {
	answered := x.answers
	if x.refused() {
		answered = answered[:len(answered)-1]
	}
	for i, a := range answered {
		if i >= len(x.framed) || x.framed[i].Fault != "" {
			return fmt.Sprintf("answer %d, with status %d, is to no request that can be read: %.100q", i+1, a.StatusCode, a.Body)
		}
		if why := wrongAnswer(x.framed[i], a); why != "" {
			return fmt.Sprintf("answer %d: %s", i+1, why)
		}
	}
	if len(x.arrived) != len(answered) {
		return fmt.Sprintf("%d requests were answered, %d reached the origin", len(answered), len(x.arrived))
	}
	for i, got := range x.arrived {
		if why := wrongArrival(x.framed[i], got); why != "" {
			return fmt.Sprintf("request %d: %s", i+1, why)
		}
	}
	switch {
	case x.rest != "":
		return fmt.Sprintf("behind the last answer: %.200q", x.rest)
	case !x.closed:
		return "the connection was not closed"
	case x.refused(), len(answered) == len(x.framed):
		return ""
	case len(answered) == 0 || !answered[len(answered)-1].Close:
		return fmt.Sprintf("closed without a word after %d answers", len(answered))
	}
	return ""
}

// wrongAnswer says why a is not the origin's own answer to r.
func wrongAnswer(r *origintest.Request, a *reply) string {
	if a.StatusCode != http.StatusOK || a.Err != nil {
		return fmt.Sprintf("status %d, %v", a.StatusCode, a.Err)
	}
	credential := r.Value("Authorization")
	if credential == "" {
		credential = r.Value("X-Api-Key")
	}
	if _, err := origintest.VerifyProof(r.Method, r.Target, credential, r.Body, a.Body); err != nil {
		return err.Error()
	}
	return ""
}

// wrongArrival says why got is not the request that was sent.
func wrongArrival(sent, got *origintest.Request) string {
	if got.Fault != "" {
		return fmt.Sprintf("not well-formed at the origin: %s in %q", got.Fault, got.Head)
	}
	if got.Method != sent.Method || got.Target != sent.Target || string(got.Body) != string(sent.Body) {
		return fmt.Sprintf("%s %s with %q became %s %s with %q", sent.Method, sent.Target, sent.Body, got.Method, got.Target, got.Body)
	}
	for _, name := range []string{"Authorization", "X-Api-Key", "Cookie", "Content-Type"} {
		// Two Cookies may become one, and an empty field may go: they say the same.
		if a, b := sent.Values(name), got.Values(name); strings.Join(a, "; ") != strings.Join(b, "; ") {
			return fmt.Sprintf("%s %q became %q", name, a, b)
		}
	}
	for _, name := range []string{"Connection", "TE", "Trailer", "Upgrade"} {
		if vs := got.Values(name); len(vs) > 0 {
			return fmt.Sprintf("%s %q was passed on", name, vs)
		}
	}
	return ""
}

// Clean requests that follow the odd one; the last ends the connection.
const (
	cleanNext = "POST PATH/next HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nnext"
	cleanLast = "POST PATH/last HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 4\r\n\r\nlast"
)

// tryOdd sends the odd request and the clean ones: all at once, or the clean
// ones after the first answer.
func tryOdd(addr string, judge *origintest.Origin, odd oddRequest, path string, pipelined bool) (*exchange, error) {
	fill := strings.NewReplacer("PATH", path, "LENGTH", fmt.Sprint(len(hidden)-len("PATH")+len(path)), "CHUNK", fmt.Sprintf("%x", len(hidden)-len("PATH")+len(path)))
	first, next := fill.Replace(odd.raw), fill.Replace(cleanNext+cleanLast)
	x := &exchange{name: odd.name, sent: first}
	var err error
	if x.framed, err = readStrictly(judge, first+next); err != nil {
		return nil, err
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	s := &session{c: c.(*net.TCPConn), br: bufio.NewReader(c)}
	if pipelined {
		s.send(first + next)
	} else {
		s.send(first)
	}
	for {
		a := s.receive(http.MethodPost)
		if a.StatusCode/100 == 1 {
			continue
		}
		if a.StatusCode != 0 {
			x.answers = append(x.answers, a)
		}
		if a.StatusCode == 0 || a.Err != nil || a.Close || x.refused() {
			break
		}
		if !pipelined && len(x.answers) == 1 {
			s.send(next)
		}
	}
	x.rest, x.closed = s.rest()
	return x, nil
}

// readStrictly gives what the judge, which nobody else may use meanwhile, makes
// of raw. Empty lines before a request are nothing (RFC 9112, section 2.2).
func readStrictly(judge *origintest.Origin, raw string) (framed []*origintest.Request, err error) {
	for {
		before := judge.Calls()
		if err := pour(judge.Addr, raw); err != nil {
			return nil, err
		}
		got := judge.Requests()[before:]
		framed = append(framed, got...)
		if len(got) == 0 || string(got[len(got)-1].Head) != "\r\n" {
			return framed, nil
		}
		framed = framed[:len(framed)-1]
		for _, r := range got {
			raw = raw[len(r.Head)+len(r.Framed):]
		}
	}
}

// pour sends raw and returns when the peer has closed the connection.
func pour(addr, raw string) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, _ = io.WriteString(c, raw) // the peer may close before it has all
	_ = c.(*net.TCPConn).CloseWrite()
	if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return nil
}

func TestNoMalformedRequestIsUnderstoodInTwoWays(t *testing.T) {
	origin := origintest.New(t)
	p := start(t, fmt.Sprintf(`
upstreams: {origin: {url: %q}}
default_upstream: origin
routes:
  - {name: cached, match: {path: /cached/*}, ttl: 1h}
limits: {header_timeout: 1s, body_timeout: 1s}
`, origin.URL))
	exchanges := tryAllOdd(t, p.Addr)
	p.Stop() // whatever was still on its way has arrived

	id := regexp.MustCompile(`/(?:cached|plain)/(\d+)/p`)
	for _, r := range origin.Requests() {
		m := id.FindStringSubmatch(r.Path)
		if m == nil {
			t.Fatalf("what reached the origin was never sent: %q, fault %q", r.Head, r.Fault)
		}
		n, err := strconv.Atoi(m[1])
		if err != nil || n >= len(exchanges) {
			t.Fatalf("what reached the origin was never sent: %q, %v", r.Head, err)
		}
		exchanges[n].arrived = append(exchanges[n].arrived, r)
	}
	passed, kept := 0, 0
	for _, x := range exchanges {
		if why := x.fault(); why != "" {
			t.Errorf("%s: %s\nsent %q", x.name, why, x.sent)
		}
		if len(x.arrived) > 0 {
			passed++
		}
		if len(x.arrived) > 1 {
			kept++
		}
	}
	t.Logf("%d exchanges: %d odd requests were passed on, %d connections went on after them", len(exchanges), passed, kept)
	if passed < 100 || kept < 100 || len(exchanges)-passed < 1000 {
		t.Error("too few were passed on, or refused, for this to mean anything")
	}
}

// tryAllOdd tries every odd request on a cached route and on none, once with
// the clean ones right behind it and once after its answer. The number in an
// exchange's paths is its place in the result.
func tryAllOdd(t *testing.T, addr string) []*exchange {
	t.Helper()
	odds := oddRequests()
	exchanges := make([]*exchange, 2*len(odds))
	next := make(chan int)
	var wg sync.WaitGroup
	for range 64 {
		judge := origintest.New(t)
		wg.Go(func() {
			for n := range next {
				path := fmt.Sprintf("/%s/%d/p", []string{"cached", "plain"}[n%2], n)
				pipelined := n%2 == n/2%2
				var err error
				if exchanges[n], err = tryOdd(addr, judge, odds[n/2], path, pipelined); err != nil {
					t.Errorf("%s: %v", odds[n/2].name, err)
					exchanges[n] = &exchange{}
				}
			}
		})
	}
	for n := range exchanges {
		next <- n
	}
	close(next)
	wg.Wait()
	return exchanges
}
