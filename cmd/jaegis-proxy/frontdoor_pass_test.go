package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"jaegis-proxy/internal/origintest"
)

// one sends raw, in which PATH stands for path, and returns the reply and the
// only request that reached the origin for it, which must be well-formed; nil
// when the reply came without one.
func (h *house) one(t *testing.T, raw, path string) (*reply, *origintest.Request) {
	t.Helper()
	before := h.origin.Calls()
	got := talk(t, h.Addr, strings.ReplaceAll(raw, "PATH", path))
	calls := h.origin.Requests()[before:]
	if len(calls) > 1 {
		t.Fatalf("%d requests reached the origin, the last is\n%q", len(calls), h.lastRequest().Head)
	}
	if len(calls) == 0 {
		return got, nil
	}
	h.clean++
	if calls[0].Fault != "" {
		t.Fatalf("what reached the origin is not well-formed: %s\n%q", calls[0].Fault, calls[0].Head)
	}
	return got, calls[0]
}

// passed is one for a request that must reach the origin as a POST of body to
// path, framed once, with nothing in it that belongs to the client's connection.
func (h *house) passed(t *testing.T, raw, path, credential, body string) *origintest.Request {
	t.Helper()
	got, r := h.one(t, raw, path)
	if r == nil {
		t.Fatalf("nothing reached the origin; status %d, body %q", got.StatusCode, got.Body)
	}
	got.proof(t, "POST", path, credential, body)
	if r.Method != "POST" || r.Target != path || string(r.Body) != body {
		t.Errorf("the origin has %s %s with body %q, want POST %s with %q", r.Method, r.Target, r.Body, path, body)
	}
	for _, name := range []string{"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "TE", "Trailer", "Upgrade"} {
		if vs := r.Values(name); len(vs) > 0 {
			t.Errorf("%s %q was passed on", name, vs)
		}
	}
	if len(r.Trailers) > 0 {
		t.Errorf("trailers %q were passed on", r.Trailers)
	}
	return r
}

// alone makes raw the only request of its connection.
func alone(raw string) string {
	return strings.Replace(raw, "\r\nHost: h\r\n", "\r\nHost: h\r\nConnection: close\r\n", 1)
}

func TestFrontDoorPassesWellFormedBodiesAsTheyAre(t *testing.T) {
	h := frontDoor(t)
	for _, route := range []string{"/cached/", "/plain/"} {
		n := 0
		f := func(raw, body string) {
			t.Helper()
			n++
			h.passed(t, alone(raw), fmt.Sprintf("%s%d", route, n), "", body)
		}
		f(post(length5, "hello"), "hello")
		f(post("content-LENGTH:5\r\n", "hello"), "hello")
		f(post("Content-Length: 0\r\n", ""), "")
		f(post("", ""), "")
		f(chunked(fiveBytes), "hello")
		f(post("Transfer-Encoding: CHUNKED\r\n", fiveBytes), "hello")
		f(chunked("2\r\nhe\r\n003;name=\"v\"\r\nllo\r\n0\r\n\r\n"), "hello")
		f(chunked("A\r\n0123456789\r\n0;last=1\r\n\r\n"), "0123456789")
		f(chunked("0\r\n\r\n"), "")
		f(post("Content-Length: "+fmt.Sprint(len(smuggled))+"\r\n", smuggled), smuggled)
		f(post("Proxy-Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\n"+length5, "hello"), "hello")
		f(strings.Replace(post(length5, "hello"), "HTTP/1.1", "HTTP/1.0", 1), "hello")
	}
}

// 4, 5: some readers take an underscore or a blank for a hyphen.
func TestFrontDoorNeverForwardsTwinsOfFramingFields(t *testing.T) {
	h := frontDoor(t)
	hyphens := strings.NewReplacer("_", "-", " ", "-")
	f := func(twin, raw string) {
		t.Helper()
		for _, path := range []string{"/cached/x", "/plain/x"} {
			before := h.origin.Calls()
			got := talk(t, h.Addr, strings.ReplaceAll(raw, "PATH", path))
			calls := h.origin.Requests()[before:]
			if got.StatusCode != http.StatusBadRequest && len(calls) == 0 {
				t.Errorf("%s: neither refused nor passed: %d %q", twin, got.StatusCode, got.Body)
			}
			for _, r := range calls {
				if r.Fault != "" || r.Path != path {
					t.Errorf("%s: the origin has %q, fault %q", twin, r.Head, r.Fault)
				}
				for _, field := range r.Fields {
					if strings.EqualFold(hyphens.Replace(field.Name), hyphens.Replace(twin)) && hyphens.Replace(field.Name) != field.Name {
						t.Errorf("%s was passed on", field.Name)
					}
				}
			}
		}
	}
	f("Transfer_Encoding", alone(post("Transfer_Encoding: chunked\r\n"+length5, "hello")))
	f("Transfer Encoding", alone(post("Transfer Encoding: chunked\r\n"+length5, "hello")))
	f("Content_Length", alone(post("Content_Length: 3\r\n"+length5, "hello")))
	f("Content Length", alone(post("Content Length: 3\r\n"+length5, "hello")))
	f("Transfer_Encoding", alone(post("Transfer_Encoding: chunked\r\n", fiveBytes+smuggled)))
	f("Content_Length", alone(post("Content_Length: 5\r\n", "hello"+smuggled)))
}

// 15: what stands in trailers can change neither framing nor identity.
func TestFrontDoorDropsTrailers(t *testing.T) {
	h := frontDoor(t)
	trailers := "Content-Length: 3\r\nTransfer-Encoding: chunked\r\nHost: evil\r\nAuthorization: Bearer evil\r\nX-Key: evil\r\nX-Other: o\r\n"
	chunks := "5\r\nhello\r\n0\r\n" + trailers + "\r\n"
	for _, path := range []string{"/cached/t", "/plain/t"} {
		for i, announced := range []string{"", "Trailer: X-Other\r\n"} {
			path := fmt.Sprint(path, i)
			r := h.passed(t, alone(post(announced+"Transfer-Encoding: chunked\r\n", chunks)), path, "", "hello")
			for _, name := range []string{"Authorization", "X-Key", "X-Other"} {
				if vs := r.Values(name); len(vs) > 0 {
					t.Errorf("%s: the trailer %s became the field %q", path, name, vs)
				}
			}
		}
		// Who announces what a trailer must not have may also be refused.
		before := h.origin.Calls()
		raw := alone(post("Trailer: Authorization\r\nTransfer-Encoding: chunked\r\n", chunks))
		got, r := h.one(t, raw, path)
		if got.StatusCode == http.StatusBadRequest && h.origin.Calls() == before {
			continue
		}
		if r == nil || string(r.Body) != "hello" || len(r.Values("Authorization")) > 0 || len(r.Trailers) > 0 {
			t.Errorf("%s: status %d, the origin has %+v", path, got.StatusCode, r)
		}
	}
}

// 16: a body is a body, also when nobody wants to read it.
func TestFrontDoorRunsOneRequestHoweverItsBodyLooks(t *testing.T) {
	h := frontDoor(t)
	body := strings.Repeat(smuggled, 200)
	sized := fmt.Sprintf("Content-Length: %d\r\n", len(body))
	pieces := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	f := func(name, method, raw, path string, want ...int) {
		t.Helper()
		s := connect(t, h.Addr)
		s.send(strings.ReplaceAll(raw, "PATH", path))
		s.finish()
		if got := s.receive(method); !slices.Contains(want, got.StatusCode) {
			t.Errorf("%s: status %d, %v, want one of %v; %q", name, got.StatusCode, got.Err, want, got.Body)
		}
		if rest, closed := s.rest(); rest != "" || !closed {
			t.Errorf("%s: after the only response: %.300q, closed %v", name, rest, closed)
		}
		if n := h.origin.CallsTo("/plain/smuggled"); n != 0 {
			t.Fatalf("%s: %d requests from inside the body reached the origin", name, n)
		}
	}
	onlyIfCached := "Cache-Control: only-if-cached\r\n"
	f("miss", "POST", post(sized, body), "/cached/a", 200)
	f("hit", "POST", post(sized, body), "/cached/a", 200)
	f("hit of chunks", "POST", chunked(pieces), "/cached/a", 200)
	f("too large", "POST", post(sized, body), "/small/a", 413)
	f("too large in chunks", "POST", chunked(pieces), "/small/a", 413)
	f("too large, all of it promised and some sent", "POST", post("Content-Length: 1000000\r\n", body), "/small/a", 413)
	f("upstream away", "POST", post(sized, body), "/dead/a", 502)
	f("only if cached", "POST", post(onlyIfCached+sized, body), "/cached/b", 504)
	f("fat GET", "GET", strings.Replace(post(sized, body), "POST", "GET", 1), "/cached/c", 200, 400)
	f("fat GET again", "GET", strings.Replace(post(sized, body), "POST", "GET", 1), "/cached/c", 200, 400)
	f("fat HEAD", "HEAD", strings.Replace(post(sized, body), "POST", "HEAD", 1), "/cached/c", 200, 400)
	f("TRACE", "TRACE", strings.Replace(post(sized, body), "POST", "TRACE", 1), "/cached/d", 400, 405, 501)
	f("CONNECT", "POST", strings.Replace(post(sized, body), "POST PATH", "CONNECT h:80", 1), "", 400, 405, 501)
	f("bad expectation", "POST", post("Expect: 200-ok\r\n"+sized, body), "/cached/e", 417)
	if n := h.origin.CallsTo("/cached/a"); n < 1 || n > 3 {
		t.Errorf("%d calls for /cached/a", n)
	}
}

// 17: responses come in the order of the requests, each with its own body.
func TestFrontDoorAnswersPipelinedRequestsInOrder(t *testing.T) {
	h := frontDoor(t)
	h.untilHit(t, "/cached/quick")
	gate := make(chan struct{})
	h.origin.On("/cached/slow", func(w *origintest.Wire, r *origintest.Request) {
		if w.Wait(gate) {
			origintest.Proof(w, r, 1)
		}
	})
	before := h.origin.Calls()
	s := connect(t, h.Addr)
	slow, quick := strings.ReplaceAll(post(length5, "hello"), "PATH", "/cached/slow"), strings.ReplaceAll(post(length5, "hello"), "PATH", "/cached/quick")
	s.send(slow + quick + alone(slow))
	if err := h.origin.Await(t.Context(), before+1); err != nil {
		t.Fatal(err)
	}
	close(gate)
	first := s.receive("POST").proof(t, "POST", "/cached/slow", "", "hello")
	hit := s.receive("POST")
	hit.proof(t, "POST", "/cached/quick", "", "hello")
	if c := hit.Header.Get("X-Cache"); c != "HIT" {
		t.Errorf("the second answer is a %s", c)
	}
	s.receive("POST").proof(t, "POST", "/cached/slow", "", "hello")
	if rest, _ := s.rest(); rest != "" || first.Call != before+1 {
		t.Errorf("rest %q; the slow answer is of call %d, want %d", rest, first.Call, before+1)
	}
}

// 18: a client that is told to go on and then says nothing is not waited for.
func TestFrontDoorGivesUpOnABodyThatDoesNotCome(t *testing.T) {
	h := frontDoor(t)
	for _, path := range []string{"/cached/e", "/plain/e"} {
		raw := strings.ReplaceAll(post("Expect: 100-continue\r\n"+length5, ""), "PATH", path)
		s := connect(t, h.Addr)
		s.send(alone(raw))
		if got := s.receive("POST"); got.StatusCode != http.StatusContinue {
			t.Fatalf("%s: status %d, %v before the body", path, got.StatusCode, got.Err)
		}
		s.send("hello")
		s.receive("POST").proof(t, "POST", path, "", "hello")

		before := h.origin.Calls()
		silent := connect(t, h.Addr)
		silent.send(strings.Replace(raw, path, path+"-silent", 1))
		got := silent.receive("POST")
		if got.StatusCode == http.StatusContinue {
			got = silent.receive("POST")
		}
		if got.StatusCode != 0 && got.StatusCode != http.StatusRequestTimeout {
			t.Errorf("%s: status %d for a body that did not come", path, got.StatusCode)
		}
		if _, closed := silent.rest(); !closed {
			t.Errorf("%s: still waiting for the body after %v", path, patience)
		}
		if n := h.origin.Calls() - before; n != 0 {
			t.Errorf("%s: %d requests without their body reached the origin", path, n)
		}
	}
}
