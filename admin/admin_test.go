package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const token = "s3cret"

// options are those of a process that is well; tests change what they are
// about.
func options() Options {
	r := prometheus.NewRegistry()
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "jaegis_test_total", Help: "A counter."})
	c.Add(7)
	r.MustRegister(c)
	return Options{
		Metrics: r,
		Health:  func() Health { return Health{Ready: true} },
		Stats:   func() any { return map[string]any{"routes": []string{"chat"}} },
		Purge:   func(context.Context, string, bool) error { return nil },
		Version: "1.2.3",
		Logger:  slog.New(slog.DiscardHandler),
	}
}

// start serves on a free port of loopback until the test ends.
func start(t *testing.T, o Options) (s *Server, base string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s = New(o)
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return s, "http://" + ln.Addr().String()
}

// ask sends one request; fields are "Name: value", and Host is one of them.
func ask(t *testing.T, method, url string, fields ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		if name == "Host" {
			req.Host = value
			continue
		}
		req.Header.Add(name, value)
	}
	noRedirect := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := noRedirect.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// errorType reads the type out of an error answer, and fails for any other.
func errorType(t *testing.T, resp *http.Response, body string) string {
	t.Helper()
	var e struct {
		Error struct{ Type, Message string }
	}
	if err := json.Unmarshal([]byte(body), &e); err != nil || e.Error.Message == "" {
		t.Errorf("%d %q is not an error in JSON (%v)", resp.StatusCode, body, err)
	}
	if ct := resp.Header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("Content-Type %q", ct)
	}
	return e.Error.Type
}

func TestWhatCanBeAsked(t *testing.T) {
	_, base := start(t, options())
	f := func(method, path string, wantCode int, wantType, wantAllow string) {
		t.Helper()
		resp, body := ask(t, method, base+path)
		if resp.StatusCode != wantCode {
			t.Fatalf("%s %s: %d, want %d", method, path, resp.StatusCode, wantCode)
		}
		if got := resp.Header.Get("Allow"); got != wantAllow {
			t.Errorf("%s %s: Allow %q, want %q", method, path, got, wantAllow)
		}
		if method == http.MethodHead {
			if body != "" {
				t.Errorf("HEAD %s has the body %q", path, body)
			}
			return
		}
		if wantType != "" && errorType(t, resp, body) != wantType {
			t.Errorf("%s %s: %s, want type %s", method, path, body, wantType)
		}
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/api/v1/stats"} {
		f("GET", path, 200, "", "")
		f("HEAD", path, 200, "", "")
		f("POST", path, 405, "jaegis_method_not_allowed", "GET, HEAD")
		f("DELETE", path, 405, "jaegis_method_not_allowed", "GET, HEAD")
		f("OPTIONS", path, 405, "jaegis_method_not_allowed", "GET, HEAD")
		f("get", path, 405, "jaegis_method_not_allowed", "GET, HEAD")
	}
	f("GET", "/", 404, "jaegis_not_found", "")
	f("HEAD", "/nothing", 404, "", "")
	f("GET", "/api/v1/stats/", 404, "jaegis_not_found", "")
	f("GET", "/healthz/", 404, "jaegis_not_found", "")
	f("POST", "/metrics/x", 404, "jaegis_not_found", "")
}

func TestEveryAnswerHasTheSecurityHeaders(t *testing.T) {
	o := options()
	o.Token = token
	_, base := start(t, o)
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/api/v1/stats", "/nothing"} {
		resp, _ := ask(t, "GET", base+path)
		for name, want := range map[string]string{
			"Cache-Control":           "no-store",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
			"X-Content-Type-Options":  "nosniff",
			"X-Frame-Options":         "DENY",
			"Referrer-Policy":         "no-referrer",
		} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s: %s %q, want %q", path, name, got, want)
			}
		}
	}
}

func TestBeyondLoopbackATokenIsRequired(t *testing.T) {
	f := func(tok string, ip net.IP, want error) {
		t.Helper()
		o := options()
		o.Token = tok
		ln := &addressed{addr: &net.TCPAddr{IP: ip, Port: 8081}}
		err := New(o).Serve(ln)
		if !errors.Is(err, want) {
			t.Errorf("token %q on %s: %v, want %v", tok, ip, err, want)
		}
		if !ln.closed {
			t.Errorf("token %q on %s: the listener was left open", tok, ip)
		}
	}
	f("", net.IPv4(10, 0, 0, 1), ErrTokenRequired)
	f("", net.IPv4zero, ErrTokenRequired)
	f("", net.IPv6unspecified, ErrTokenRequired)
	f("", net.IPv4(127, 0, 0, 1), net.ErrClosed) // got as far as accepting
	f("", net.IPv6loopback, net.ErrClosed)
	f(token, net.IPv4zero, net.ErrClosed)
}

// addressed is a listener of which only the address counts: Accept fails.
type addressed struct {
	addr   net.Addr
	closed bool
}

func (l *addressed) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (l *addressed) Close() error              { l.closed = true; return nil }
func (l *addressed) Addr() net.Addr            { return l.addr }

func TestShutdownWaitsForTheRequestThatRuns(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	o := options()
	o.Health = func() Health { close(entered); <-release; return Health{Ready: true} }
	s, base := start(t, o)
	answered := make(chan int, 1)
	go func() {
		resp, err := http.Get(base + "/readyz")
		if err != nil {
			answered <- 0
			return
		}
		resp.Body.Close()
		answered <- resp.StatusCode
	}()
	<-entered
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(context.Background()) }()
	select {
	case err := <-down:
		t.Fatalf("shutdown came back (%v) with a request still running", err)
	case <-time.After(20 * time.Millisecond): // can only miss the fault, never invent one
	}
	close(release)
	if code := <-answered; code != 200 {
		t.Errorf("the request that ran was answered %d", code)
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
}

func TestShutdownEndsWithItsContext(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	o := options()
	o.Health = func() Health { close(entered); <-release; return Health{} }
	s, base := start(t, o)
	client := make(chan error, 1)
	go func() {
		resp, err := http.Get(base + "/readyz")
		if err == nil {
			resp.Body.Close()
		}
		client <- err
	}()
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("shutdown: %v, want the context's error", err)
	}
	if err := <-client; err == nil {
		t.Error("the connection that was left was not cut")
	}
	close(release)
}
