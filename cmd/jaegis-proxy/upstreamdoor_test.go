package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"jaegis-proxy/internal/origintest"
)

// The upstream's side of the door: answers that two readers could understand
// differently, and answers that were never asked for. Whatever an upstream
// sends, a client gets 502, or sees that it was cut off, or gets the one answer
// that there is; nothing wrong is stored; and the next request on the client's
// connection and on the upstream's is given its own answer.

// doorRoutes caches below /c/ for an hour, and the rest by the rules of HTTP.
// An answer for which the proxy waits longer than it has to is a 504.
const doorRoutes = `
upstreams: {origin: {url: ORIGIN, first_byte_timeout: 3s, idle_timeout: 3s, MORE}}
routes:
  - {name: cached, match: {path: /c/*}, ttl: 1h}
`

// door is a proxy before an origin that sends odd answers.
type door struct {
	*rig
	client *session // the connection that is used while it lasts
	n      int
	kinds  map[string]int // what came of the odd answers
}

func (d *door) ask(t *testing.T, method, path string) *reply {
	t.Helper()
	if d.client == nil {
		d.client = connect(t, d.Addr)
	}
	d.client.send(method + " " + path + " HTTP/1.1\r\nHost: h\r\n\r\n")
	got := d.client.receive(method)
	for got.StatusCode/100 == 1 {
		got = d.client.receive(method)
	}
	if got.Err != nil || got.Close {
		_ = d.client.c.Close()
		d.client = nil
	}
	return got
}

// try has the origin send an odd answer, and another one behind it, and then
// asks for something else and for the same once more. With end the origin
// ends the connection; else it takes further requests on it.
func (d *door) try(t *testing.T, odd oddAnswer, end bool) {
	t.Helper()
	d.n++
	path := fmt.Sprintf("/%s/%d", []string{"c", "d"}[d.n%2], d.n)
	proof := func(w *origintest.Wire, r *origintest.Request) { origintest.Proof(w, r, 1) }
	d.origin.On(path, func(w *origintest.Wire, _ *origintest.Request) {
		w.Raw(odd.raw + evilAnswer)
		if end {
			w.Close()
		}
	}, proof)
	want := readOneWay(odd.method, odd.raw+evilAnswer)
	got := d.ask(t, odd.method, path)
	kind, err := judge(odd.method, got, want)
	d.kinds[kind]++
	if err != nil {
		t.Errorf("%s %s: %v\nsent %.300q", odd.name, odd.method, err, odd.raw)
	}
	next := fmt.Sprintf("/next/%d", d.n)
	d.ask(t, "GET", next).proof(t, "GET", next, "", "")
	again := d.ask(t, "GET", path)
	if want.kind == whole && odd.method == "GET" && again.StatusCode == want.status && again.Err == nil && string(again.Body) == want.body {
		return // stored, and by right
	}
	again.proof(t, "GET", path, "", "")
}

// judge says what came of an odd answer, and whether that may be.
func judge(method string, got *reply, want reading) (kind string, err error) {
	malformed := refusedBy(got, "jaegis_upstream_malformed", http.StatusBadGateway)
	broken := refusedBy(got, "jaegis_upstream_broken", http.StatusBadGateway)
	right := got.Err == nil && got.StatusCode == want.status && string(got.Body) == want.body
	switch {
	case malformed == nil && want.kind == refused:
		return "refused", nil
	case broken == nil && want.kind == cut:
		return "broken", nil
	case right && (want.kind == whole || want.kind == toClose):
		return "answered", nil
	case got.Err != nil && got.StatusCode == want.status && want.kind == cut:
		return "cut", nil
	case got.Err != nil && got.StatusCode == want.status && want.kind == refused && !strings.Contains(string(got.Body), "evil"):
		return "cut", nil // the head was in order, what is behind it not
	case got.StatusCode == http.StatusBadGateway && method == "HEAD" && want.kind == refused && len(got.Body) == 0:
		return "refused", nil
	}
	return "wrong", fmt.Errorf("status %d, %v, body %.200q; it can be read as %+v", got.StatusCode, got.Err, got.Body, want)
}

// tryAll tries all odd answers, on a connection that stays where the proxy can
// know what it has without the connection's end.
func (d *door) tryAll(t *testing.T, all []oddAnswer) {
	t.Helper()
	for _, odd := range all {
		kind := readOneWay(odd.method, odd.raw+evilAnswer).kind
		d.try(t, odd, kind == cut || kind == toClose)
	}
	t.Logf("%d tries: %v, over %d connections to the origin", d.n, d.kinds, d.origin.Connections())
}

func newDoor(r *rig) *door { return &door{rig: r, kinds: map[string]int{}} }

func TestNoAnswerIsUnderstoodInTwoWays(t *testing.T) {
	d := newDoor(e2e(t, strings.ReplaceAll(doorRoutes, "MORE", "connect_timeout: 5s")))
	d.tryAll(t, oddAnswers())
	if d.kinds["refused"] < 500 || d.kinds["answered"] < 100 || d.kinds["cut"] < 20 {
		t.Error("too few were refused, or answered, or cut, for this to mean anything")
	}
}

// What comes on a kept connection when no answer is due ends that connection.
func TestAnAnswerThatNobodyAskedForIsNobodysAnswer(t *testing.T) {
	r := e2e(t, strings.ReplaceAll(doorRoutes, "MORE", "connect_timeout: 5s"))
	late, gone := make(chan struct{}), make(chan struct{})
	s := connect(t, r.Addr)
	for i := range 10 {
		path, next := fmt.Sprint("/d/", i), fmt.Sprint("/next/", i)
		r.origin.On(path, func(w *origintest.Wire, _ *origintest.Request) {
			w.Raw(answerByLength)
			if w.Wait(late) {
				w.Raw(evilAnswer)
				w.Wait(make(chan struct{})) // until the proxy has closed the connection
			}
			gone <- struct{}{}
		})
		s.send(get(path))
		if got := s.receive("GET"); got.Err != nil || string(got.Body) != "hello" {
			t.Fatalf("%+v", got)
		}
		open(t, late)
		<-gone
		s.send(get(next))
		s.receive("GET").proof(t, "GET", next, "", "")
	}
	if n := r.origin.Connections(); n < 10 {
		t.Errorf("%d connections: those with excess bytes were kept", n)
	}
}
