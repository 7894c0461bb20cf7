package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"jaegis-proxy/internal/origintest"
)

// runDemoFor runs the demo in this process until its table is there.
func runDemoFor(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs logBuffer
	args = append([]string{"--scale", "0.002", "--exit"}, args...)
	code = cmdDemo().run(t.Context(), args, stdio{Out: &out, Err: &errs})
	return code, out.String(), errs.String()
}

// wantTable fails the test unless out is the whole table, with two upstream
// calls for every operation.
func wantTable(t *testing.T, code int, out, errs string) {
	t.Helper()
	if code != 0 {
		t.Fatalf("status %d, stderr %s\n%s", code, errs, out)
	}
	for _, op := range demoOperations() {
		found := false
		for line := range strings.Lines(out) {
			found = found || strings.HasPrefix(strings.TrimSpace(line), op.name+" ") && strings.Contains(line, "x ") && strings.Contains(line, " 2 for 60 requests")
		}
		if !found {
			t.Errorf("no whole line for %q in\n%s", op.name, out)
		}
	}
}

func TestDemoPaysOnceAndShowsIt(t *testing.T) {
	code, out, errs := runDemoFor(t, "--listen", "127.0.0.1:0")
	wantTable(t, code, out, errs)
}

func TestDemoRunsAgainOnARedisThatItHasFilled(t *testing.T) {
	redis := startRedis(t)
	for range 2 {
		code, out, errs := runDemoFor(t, "--listen", "127.0.0.1:0", "--redis", "redis://"+redis)
		wantTable(t, code, out, errs)
	}
}

func TestDemoTakesAFreePortWhenItsOwnIsBusy(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	code, out, errs := runDemoFor(t, "--listen", ln.Addr().String())
	wantTable(t, code, out, errs)
	if !strings.Contains(out, ln.Addr().String()+" is busy") {
		t.Errorf("no word of the busy port in\n%s", out)
	}
}

func TestDemoEndsWhenItIsInterruptedAtWork(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var errs logBuffer
	// The first piece of work takes minutes here, and says so before it begins.
	out := writerFunc(func([]byte) { cancel() })
	args := []string{"--scale", "100", "--listen", "127.0.0.1:0"}
	if code := cmdDemo().run(ctx, args, stdio{Out: out, Err: &errs}); code != 130 || !strings.HasSuffix(errs.String(), "interrupted\n") {
		t.Errorf("status %d, stderr %q", code, errs.String())
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

func TestDemoChecksItsFlags(t *testing.T) {
	f := func(want int, args ...string) {
		t.Helper()
		var said logBuffer
		if code := cmdDemo().run(t.Context(), args, stdio{Out: &said, Err: &said}); code != want || said.String() == "" {
			t.Errorf("%q: status %d, want %d; said %q", args, code, want, said.String())
		}
	}
	f(0, "--help")
	f(2, "--scale", "-1")
	f(2, "--scale", "NaN")
	f(2, "--scale", "much")
	f(2, "--unknown")
	f(2, "argument")
	f(1, "--redis", "not a url", "--exit")
}

// The demo's claim is worth something only if it notices what breaks it.
func TestDemoNoticesWhatACacheMustNotDo(t *testing.T) {
	f := func(name, want string, spoil func(*http.Response) error) {
		t.Helper()
		sample := &origintest.Sample{}
		upstream := httptest.NewServer(sample.Handler())
		defer upstream.Close()
		target, err := url.Parse(upstream.URL)
		if err != nil {
			t.Fatal(err)
		}
		pass := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, ModifyResponse: spoil}
		cache := httptest.NewServer(pass)
		defer cache.Close()
		bench := &demoBench{direct: upstream.URL, cached: cache.URL, calls: sample.Calls, client: &http.Client{}}
		rows, err := bench.run(t.Context(), demoOperations(), newProgress(io.Discard))
		if err == nil || !strings.Contains(err.Error(), want) || rows != nil {
			t.Errorf("%s: %v, %v; want %q", name, rows, err, want)
		}
	}
	f("no cache at all", "60 upstream calls for 60 requests", nil)
	f("another answer", "differs", func(r *http.Response) error {
		body, err := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(bytes.Replace(body, []byte("1"), []byte("2"), 1)))
		return err
	})
	f("an error", "status 500", func(r *http.Response) error { r.StatusCode = 500; return nil })
}

func TestProgressMovesOnATerminalOnly(t *testing.T) {
	var plain, live bytes.Buffer
	for _, p := range []*progress{{w: &plain}, {w: &live, live: true}} {
		want := fmt.Errorf("as it was")
		if err := p.during("work", func() error { return want }); !errors.Is(err, want) {
			t.Errorf("error %v", err)
		}
	}
	if plain.String() != "work\n" {
		t.Errorf("plain: %q", plain.String())
	}
	if s := live.String(); !strings.HasPrefix(s, "\r\x1b[K| work  0.0 s") || !strings.HasSuffix(s, "\r\x1b[K") {
		t.Errorf("on a terminal: %q", s)
	}
}

// The lines that the demo prints to be tried are tried here, as a user would,
// and then Ctrl-C is pressed.
func TestDemoStaysUpAndItsCurlLinesWork(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed")
	}
	binary, err := buildBinary()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "demo", "--scale", "0.002", "--listen", "127.0.0.1:0")
	cmd.Env = cleanEnv()
	log := &logBuffer{}
	cmd.Stderr = log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	curls := curlLines(bufio.NewScanner(stdout))
	if len(curls) < 6 {
		t.Errorf("only %d lines to try: %q, %s", len(curls), curls, log)
	}
	for i, line := range curls {
		out, err := exec.CommandContext(ctx, "sh", "-c", line).CombinedOutput()
		text := string(out)
		if err != nil || len(text) == 0 || strings.Contains(text, `{"error"`) || strings.Contains(line, "-si ") && !strings.HasPrefix(text, "HTTP/1.1 200") {
			t.Errorf("%s: %v\n%.500s", line, err, text)
		}
		if i == 0 && !strings.Contains(text, "X-Cache: HIT") {
			t.Errorf("the first line is no hit:\n%.500s", text)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Error(err)
	}
	_, _ = io.Copy(io.Discard, stdout)
	if err := cmd.Wait(); err != nil || trouble(log.String()) != "" {
		t.Errorf("after Ctrl-C: %v\n%s", err, log)
	}
}

// curlLines reads the demo's output until it waits, and gives the curl lines.
func curlLines(out *bufio.Scanner) (curls []string) {
	for out.Scan() {
		if strings.HasPrefix(out.Text(), "curl ") {
			curls = append(curls, out.Text())
		}
		if strings.HasPrefix(out.Text(), "Ctrl-C ") {
			break
		}
	}
	return curls
}

// startRedis runs a real Redis on a free port until the test ends, and gives
// its address once it answers.
func startRedis(t *testing.T) string {
	t.Helper()
	addr := freeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command("redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--dir", t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("tcp", addr); err == nil {
			_ = c.Close()
			return addr
		}
		if time.Now().After(deadline) {
			t.Fatal("redis-server does not listen")
		}
	}
}
