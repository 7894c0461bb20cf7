package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for the real process or its answers: it only says
// when a test gives up, never what it measures.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := buildDir(); err == nil {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// buildDir makes the directory of the binaries, buildBinary the binary that most
// tests run: the real program, with the race detector. Each is built once.
// buildPlain makes it as users run it, for what takes memory, or very often.
var (
	buildDir = sync.OnceValues(func() (string, error) {
		return os.MkdirTemp("", "jaegis-proxy-test-")
	})
	buildBinary = sync.OnceValues(func() (string, error) { return build("jaegis-proxy", "-race") })
	buildPlain  = sync.OnceValues(func() (string, error) { return build("jaegis-proxy-plain") })
)

func build(name string, flags ...string) (path string, err error) {
	dir, err := buildDir()
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, name)
	args := append([]string{"build", "-o", path}, flags...)
	if out, err := exec.Command("go", append(args, ".")...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
}

// proc is the proxy, running as a process of its own.
type proc struct {
	Addr, Admin string // host:port of the two listeners
	URL         string // "http://" + Addr
	Config      string // the configuration file's path

	t      *testing.T
	cmd    *exec.Cmd
	log    *logBuffer
	exited chan struct{} // closed once the process is gone and err is set
	err    error
	stop   sync.Once
}

// start runs "jaegis-proxy serve" with a configuration of yaml, before which
// the two listen addresses are put, and waits until it is ready. When the test
// ends it is sent SIGTERM and must then end by itself, with status 0 and with
// neither a data race nor a panic in its log.
func start(t *testing.T, yaml string, args ...string) *proc {
	t.Helper()
	binary, err := buildBinary()
	if err != nil {
		t.Fatal(err)
	}
	return startBinary(t, binary, yaml, args...)
}

// startPlain is start without the race detector.
func startPlain(t *testing.T, yaml string) *proc {
	t.Helper()
	binary, err := buildPlain()
	if err != nil {
		t.Fatal(err)
	}
	return startBinary(t, binary, yaml)
}

func startBinary(t *testing.T, binary, yaml string, args ...string) *proc {
	t.Helper()
	// A free port can be taken by another before the process listens on it.
	for attempt := 1; ; attempt++ {
		p := launch(t, binary, yaml, args)
		err := p.awaitReady()
		if err == nil {
			t.Cleanup(p.Stop)
			return p
		}
		p.kill()
		if attempt == 3 || !strings.Contains(p.log.String(), "address already in use") {
			t.Fatalf("not ready: %v\n%s", err, p.log)
		}
	}
}

func launch(t *testing.T, binary, yaml string, args []string) *proc {
	t.Helper()
	addrs := freeAddrs(t, 2)
	p := &proc{t: t, Addr: addrs[0], Admin: addrs[1], log: &logBuffer{}, exited: make(chan struct{})}
	p.URL = "http://" + p.Addr
	p.Config = filepath.Join(t.TempDir(), "jaegis.yaml")
	head := fmt.Sprintf("listen: %s\nadmin: {listen: %s}\n", p.Addr, p.Admin)
	if err := os.WriteFile(p.Config, []byte(head+yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	p.cmd = exec.Command(binary, append([]string{"serve", "--config", p.Config}, args...)...)
	p.cmd.Env = cleanEnv()
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	return p
}

// cleanEnv is the environment without what would configure the proxy, and with
// a race detector that does not hide its finding in the exit status of a
// process that is ended by a signal.
func cleanEnv() []string {
	env := []string{"GORACE=halt_on_error=0 exitcode=66 atexit_sleep_ms=0"}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "JAEGIS_") && !strings.HasPrefix(v, "REDIS_") && !strings.HasPrefix(v, "OTEL_") && !strings.HasPrefix(v, "GORACE=") {
			env = append(env, v)
		}
	}
	return env
}

// awaitReady polls /readyz until it is 200 or the process has ended.
func (p *proc) awaitReady() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Admin+"/readyz", nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("/readyz: %s", resp.Status)
		}
		select {
		case <-p.exited:
			return fmt.Errorf("process ended: %w", p.err)
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Log is all that the process has written so far.
func (p *proc) Log() string { return p.log.String() }

// Stop sends SIGTERM, waits for the end, and looks at how the process went. A
// second call does nothing.
func (p *proc) Stop() {
	p.stop.Do(func() {
		p.t.Helper()
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			p.t.Errorf("SIGTERM: %v", err)
		}
		select {
		case <-p.exited:
		case <-time.After(patience):
			p.t.Errorf("did not end within %v of SIGTERM", patience)
			p.kill()
		}
		if p.err != nil {
			p.t.Errorf("ended with %v\n%s", p.err, p.log)
		}
		if bad := trouble(p.Log()); bad != "" {
			p.t.Errorf("the log has %q\n%s", bad, p.log)
		}
	})
}

func (p *proc) kill() {
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.exited
}

// trouble finds a sign in a log that no process of ours may leave.
func trouble(log string) string {
	return regexp.MustCompile(`WARNING: DATA RACE|(?m:^panic: )|(?m:^fatal error: )|BUG: |goroutine \d+ \[`).FindString(log)
}

func TestTroubleIsSeenInALog(t *testing.T) {
	f := func(log string, want bool) {
		t.Helper()
		if got := trouble(log) != ""; got != want {
			t.Errorf("%q: %v", log, got)
		}
	}
	f("level=INFO msg=ready\n", false)
	f("level=INFO msg=\"no panic: here\"\n", false)
	f("x\n==================\nWARNING: DATA RACE\n", true)
	f("x\npanic: runtime error\n", true)
	f("fatal error: concurrent map writes\n", true)
	f("stack:\ngoroutine 12 [running]:\n", true)
}

func freeAddr(t *testing.T) string {
	t.Helper()
	return freeAddrs(t, 1)[0]
}

// freeAddrs gives several, no two of them the same.
func freeAddrs(t *testing.T, n int) []string {
	t.Helper()
	addrs := make([]string, n)
	for i := range addrs {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = ln.Close() }()
		addrs[i] = ln.Addr().String()
	}
	return addrs
}

// logBuffer keeps what is written to it. It is safe for concurrent use.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

var _ io.Writer = (*logBuffer)(nil)

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
