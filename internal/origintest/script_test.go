package origintest

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestPiecesWaitForTheirGate(t *testing.T) {
	o := New(t)
	head, gate := make(chan struct{}), make(chan struct{})
	o.On("/x", Reply{Chunked: true, Pieces: SSE("one", "two"), HeadGate: head, Gate: gate}.Serve)
	c, br := dial(t, o)
	send(t, c, get)
	expect := func(want string) {
		t.Helper()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(br, got); err != nil || string(got) != want {
			t.Fatalf("got %q, %v; want %q", got, err, want)
		}
		if br.Buffered() != 0 {
			t.Fatal("more came than the gate let through")
		}
	}
	head <- struct{}{}
	expect("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
	gate <- struct{}{}
	expect("b\r\ndata: one\n\n\r\n")
	gate <- struct{}{}
	expect("b\r\ndata: two\n\n\r\n")
	gate <- struct{}{}
	expect("0\r\n\r\n")
}

func TestRepliesEndAsScripted(t *testing.T) {
	anyError := func(err error) bool { return err != nil }
	cut := func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }
	whole := func(err error) bool { return err == nil }
	f := func(name string, reply Reply, wantBody string, wantErr func(error) bool) {
		t.Helper()
		o := New(t)
		o.On("/x", reply.Serve)
		c, br := dial(t, o)
		send(t, c, get)
		_, body, err := read(t, br, "GET")
		if !strings.HasPrefix(body, wantBody) || !wantErr(err) {
			t.Errorf("%s: body %q, %v", name, body, err)
		}
	}
	two := []string{"ab", "cd"}
	f("length", Reply{Pieces: two}, "abcd", whole)
	f("chunks", Reply{Pieces: two, Chunked: true, Trailer: []string{"T: v"}}, "abcd", whole)
	f("to close", Reply{Pieces: two, ToClose: true}, "abcd", whole)
	f("short length", Reply{Pieces: two, Claim: 9, End: EndCut}, "abcd", cut)
	f("cut on a chunk boundary", Reply{Pieces: two, Chunked: true, End: EndCut}, "abcd", cut)
	f("cut inside a chunk", Reply{Pieces: two, Chunked: true, End: EndInChunk}, "abcdhalf", cut)
	f("cut inside the last chunk", Reply{Pieces: two, Chunked: true, End: EndHalfLast}, "abcd", anyError)
	f("reset", Reply{Pieces: two, Claim: 9, End: EndReset}, "", isReset)
}

func TestRawScripts(t *testing.T) {
	f := func(name, method string, h Handler, want string) {
		t.Helper()
		o := New(t)
		o.On("/x", h)
		c, br := dial(t, o)
		send(t, c, strings.Replace(get, "GET", method, 1))
		got := make([]byte, len(want))
		if _, err := io.ReadFull(br, got); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	const length = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
	f("extra bytes", "GET", Reply{Pieces: []string{"hello"}, Extra: "XX"}.Serve, length+"helloXX")
	f("no body on HEAD", "HEAD", Reply{Pieces: []string{"hello"}}.Serve, length)
	f("body on HEAD", "HEAD", Reply{Pieces: []string{"hello"}, Bodily: true}.Serve, length+"hello")
	f("body on 204", "GET", Reply{Status: 204, Pieces: []string{"hello"}, Bodily: true}.Serve, "HTTP/1.1 204 No Content\r\n\r\nhello")
	f("interim", "GET", Reply{Interim: []int{103}}.Serve,
		"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	for _, lie := range Lies() {
		f(lie.Name, "GET", Literal(lie.Raw), lie.Raw)
	}
}

func TestHangupSendsNothing(t *testing.T) {
	o := New(t)
	o.On("/x", Hangup)
	c, br := dial(t, o)
	send(t, c, get)
	if b, err := br.ReadByte(); err == nil {
		t.Errorf("got %q", b)
	}
}

// The next answer on a connection is the next request's even after a HEAD.
func TestHeadThenGetOnOneConnection(t *testing.T) {
	o := New(t)
	for _, method := range []string{http.MethodHead, http.MethodGet} {
		req, err := http.NewRequestWithContext(t.Context(), method, o.URL+"/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || (len(body) == 0) != (method == http.MethodHead) {
			t.Errorf("%s: %q, %v", method, body, err)
		}
	}
}
