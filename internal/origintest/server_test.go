package origintest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// dial opens a raw connection with a bound on the whole of its use.
func dial(t *testing.T, o *Origin) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", o.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

func send(t *testing.T, c net.Conn, raw string) {
	t.Helper()
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
}

// read reads one response; err is that of its body.
func read(t *testing.T, br *bufio.Reader, method string) (*http.Response, string, error) {
	t.Helper()
	resp, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

const get = "GET /x HTTP/1.1\r\nHost: o\r\n\r\n"

func TestRecordsTheBytesAsTheyCame(t *testing.T) {
	f := func(raw, wantBody string) {
		t.Helper()
		o := New(t)
		c, br := dial(t, o)
		send(t, c, raw)
		resp, _, _ := read(t, br, "POST")
		if resp.StatusCode != 200 || o.Calls() != 1 || o.CallsTo("/p") != 1 {
			t.Fatalf("status %d, calls %d, to /p %d", resp.StatusCode, o.Calls(), o.CallsTo("/p"))
		}
		r := o.Requests()[0]
		if got := string(r.Head) + string(r.Framed); got != raw {
			t.Errorf("recorded %q, sent %q", got, raw)
		}
		if string(r.Body) != wantBody || r.Path != "/p" || r.Query != "q=1" {
			t.Errorf("body %q, path %q, query %q", r.Body, r.Path, r.Query)
		}
	}
	f("POST /p?q=1 HTTP/1.1\r\nhOsT:o\r\nContent-Length: 5\r\n\r\nhello", "hello")
	f("POST /p?q=1 HTTP/1.1\r\nHost: o\r\nX-Long: "+strings.Repeat("x", 9000)+"\r\nContent-Length: 0\r\n\r\n", "")
	f("POST /p?q=1 HTTP/1.1\r\nHost: o\r\nTransfer-Encoding: chunked\r\n\r\n3;e=1\r\nhel\r\n02\r\nlo\r\n0\r\nT: v\r\n\r\n", "hello")
}

func TestMalformedRequestsAreFaults(t *testing.T) {
	f := func(raw, wantFault string) {
		t.Helper()
		o := New(t)
		c, br := dial(t, o)
		send(t, c, raw)
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		resp, _, _ := read(t, br, "GET")
		if resp.StatusCode != 400 || o.Calls() != 1 {
			t.Fatalf("status %d, calls %d", resp.StatusCode, o.Calls())
		}
		if r := o.Requests()[0]; !strings.Contains(r.Fault, wantFault) {
			t.Errorf("fault %q, want %q, of %q", r.Fault, wantFault, raw)
		}
	}
	h := "POST / HTTP/1.1\r\nHost: o\r\n"
	f("GET / HTTP/1.1\nHost: o\n\n", "bare LF")
	f("GET / HTTP/1.1\r\nHost: o\r\n", "cut")
	f("GET /a b HTTP/1.1\r\nHost: o\r\n\r\n", "request line")
	f("GET / HTTP/2.0\r\nHost: o\r\n\r\n", "protocol")
	f("GET /#f HTTP/1.1\r\nHost: o\r\n\r\n", "target")
	f("G@T / HTTP/1.1\r\nHost: o\r\n\r\n", "method")
	f("GET / HTTP/1.1\r\n\r\n", "0 Host")
	f(h+"Host: o\r\n\r\n", "2 Host")
	f(h+"X: a\r\n b\r\n\r\n", "field line")
	f(h+"CL : 5\r\n\r\n", "field line")
	f(h+"X: a\x00\r\n\r\n", "control")
	f(h+"X: a\rb\r\n\r\n", "control")
	f(h+"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "Content-Length")
	f(h+"Content-Length: 03\r\n\r\nabc", "Content-Length")
	f(h+"Content-Length: -3\r\n\r\nabc", "Content-Length")
	f(h+"Content-Length: 9\r\n\r\nabc", "body")
	f(h+"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "beside")
	f(h+"Transfer-Encoding: chunked, cow\r\n\r\n0\r\n\r\n", "Transfer-Encoding")
	f(h+"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", "chunk size")
	f(h+"Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n", "chunk size")
	f(h+"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", "ends in")
	f(h+"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", "cut")
}

func TestProofAnswersBelongToTheirRequest(t *testing.T) {
	o := New(t)
	o.SetVersion(7)
	c, br := dial(t, o)
	send(t, c, "POST /p?pad=1000&chunk=300 HTTP/1.1\r\nHost: o\r\nAuthorization: Bearer a\r\nContent-Length: 2\r\n\r\nhi")
	resp, body, err := read(t, br, "POST")
	if err != nil || resp.TransferEncoding == nil {
		t.Fatalf("read: %v, transfer coding %v", err, resp.TransferEncoding)
	}
	a, err := VerifyProof("POST", "/p?pad=1000&chunk=300", "Bearer a", []byte("hi"), []byte(body))
	if err != nil || a.Version != 7 || a.Call != 1 || a.Length != 1000 {
		t.Fatalf("%+v, %v", a, err)
	}
	f := func(method, target, credential, sent, answer string) {
		t.Helper()
		if _, err := VerifyProof(method, target, credential, []byte(sent), []byte(answer)); err == nil {
			t.Error("a proof of something else was believed")
		}
	}
	f("GET", "/p?pad=1000&chunk=300", "Bearer a", "hi", body)
	f("POST", "/p?pad=1000&chunk=301", "Bearer a", "hi", body)
	f("POST", "/p?pad=1000&chunk=300", "Bearer b", "hi", body)
	f("POST", "/p?pad=1000&chunk=300", "", "hi", body)
	f("POST", "/p?pad=1000&chunk=300", "Bearer a", "ho", body)
	f("POST", "/p?pad=1000&chunk=300", "Bearer a", "hi", body[:len(body)-1])
	f("POST", "/p?pad=1000&chunk=300", "Bearer a", "hi", strings.Replace(body, a.Pad, a.Pad[1:]+"x", 1))
}

func TestKeepsConnectionsAliveAndCountsThem(t *testing.T) {
	o := New(t)
	c, br := dial(t, o)
	send(t, c, get+get) // pipelined
	for range 2 {
		if _, body, err := read(t, br, "GET"); err != nil || !strings.Contains(body, "hash") {
			t.Fatalf("%q, %v", body, err)
		}
	}
	if o.Calls() != 2 || o.Connections() != 1 {
		t.Errorf("%d calls on %d connections", o.Calls(), o.Connections())
	}
	send(t, c, "GET /x HTTP/1.1\r\nHost: o\r\nConnection: close\r\n\r\n")
	read(t, br, "GET")
	if _, err := br.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("after Connection: close: %v", err)
	}
}

func TestScriptsFollowEachOtherAndTheLastStays(t *testing.T) {
	o := New(t)
	o.On("/x", Reply{Status: 500}.Serve, Reply{Status: 201}.Serve)
	c, br := dial(t, o)
	for _, want := range []int{500, 201, 201} {
		send(t, c, get)
		if resp, _, _ := read(t, br, "GET"); resp.StatusCode != want {
			t.Errorf("status %d, want %d", resp.StatusCode, want)
		}
	}
	o.On("/x")
	send(t, c, get)
	if _, body, _ := read(t, br, "GET"); !strings.Contains(body, "hash") {
		t.Errorf("after the script was taken away: %q", body)
	}
}

func TestExpectIsAnsweredBeforeTheBodyIsRead(t *testing.T) {
	o := New(t)
	c, br := dial(t, o)
	send(t, c, "POST /x HTTP/1.1\r\nHost: o\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
	if resp, _, _ := read(t, br, "POST"); resp.StatusCode != 100 {
		t.Fatalf("status %d before the body", resp.StatusCode)
	}
	send(t, c, "hi")
	if resp, _, _ := read(t, br, "POST"); resp.StatusCode != 200 {
		t.Fatalf("status %d", resp.StatusCode)
	}
}

func TestCloseWakesWhoeverWaits(t *testing.T) {
	o, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	o.On("/x", Reply{HeadGate: make(chan struct{})}.Serve)
	c, br := dial(t, o)
	send(t, c, get)
	if err := o.Await(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	o.Close()
	o.Close() // a second time does nothing
	if _, err := br.ReadByte(); err == nil {
		t.Error("a byte came after Close")
	}
}

func TestGoneIsClosedWhenThePeerLeaves(t *testing.T) {
	o := New(t)
	left := make(chan struct{})
	o.On("/x", func(w *Wire, _ *Request) {
		<-w.Gone()
		if w.Wait(make(chan struct{})) {
			t.Error("Wait passed a gate that nobody opened")
		}
		close(left)
	})
	c, _ := dial(t, o)
	send(t, c, get)
	if err := o.Await(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	<-left
}

func TestServesManyAtOnce(t *testing.T) {
	o := New(t)
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			body := bytes.Repeat([]byte{byte(i)}, 100+i)
			resp, err := http.Post(o.URL+"/many?pad=5000", "application/octet-stream", bytes.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = resp.Body.Close() }()
			answer, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Error(err)
			}
			if _, err := VerifyProof("POST", "/many?pad=5000", "", body, answer); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if o.CallsTo("/many") != 50 {
		t.Errorf("%d calls", o.CallsTo("/many"))
	}
}

func isReset(err error) bool { return errors.Is(err, syscall.ECONNRESET) }
