// Package proxytest runs the real program, as processes of its own that can be
// killed, frozen and started again. It is for programs that look at the proxy
// from outside, and knows nothing of what is inside.
package proxytest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// startTime is how long the program may take to be ready, and stopTime to
	// end when it is asked to.
	startTime = 60 * time.Second
	stopTime  = 60 * time.Second

	// pollTime is between two looks at another process: nothing tells us.
	pollTime = 10 * time.Millisecond
)

// Build builds the program into the folder and gives its path. It must run
// somewhere within the repository.
func Build(dir string, race bool) (string, error) {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("this must run within the repository, or be told which program to use: %w", err)
	}
	program := filepath.Join(dir, "jaegis-proxy")
	args := []string{"build", "-buildvcs=false", "-o", program}
	if race {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "./cmd/jaegis-proxy")...)
	cmd.Dir = strings.TrimSpace(string(root))
	if said, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, said)
	}
	return program, nil
}

// Options are for Start.
type Options struct {
	Program string
	Config  string   // YAML, without the two listen addresses
	Wrap    []string // a command before the program's own, such as prlimit and its flags
	Env     []string // more variables
	Late    bool     // do not wait until it is ready
}

// Proxy is the program, on two free ports of 127.0.0.1 that it keeps when it is
// started again. It ends with Close, and on Linux with the process that started
// it, however that ends. It is safe for concurrent use.
type Proxy struct {
	Addr, Admin string // host:port of the two listeners
	File        string // the configuration

	opts Options
	dir  string
	log  log

	mu  sync.Mutex
	run *process // nil while it is down
}

// process is one run of the program.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended, and err is set
	err  error
}

// Start starts the program and waits until it is ready. Nothing is left of one
// that does not get there.
func Start(opts Options) (*Proxy, error) {
	for tries := 1; ; tries++ {
		p, err := start(opts)
		// Somebody may have taken a port since we found it free.
		if err == nil || tries == 3 || !strings.Contains(err.Error(), "already in use") {
			return p, err
		}
	}
}

func start(opts Options) (*Proxy, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "jaegis-proxy-")
	if err != nil {
		return nil, err
	}
	p := &Proxy{Addr: ports[0], Admin: ports[1], File: filepath.Join(dir, "jaegis.yaml"), opts: opts, dir: dir}
	config := fmt.Sprintf("listen: %s\nadmin: {listen: %s}\n%s", p.Addr, p.Admin, opts.Config)
	if err := os.WriteFile(p.File, []byte(config), 0o600); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	if err := p.Restart(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// Restart starts it anew, on the same ports, after Stop or Kill.
func (p *Proxy) Restart() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.runningLocked() {
		return fmt.Errorf("the proxy on %s runs already", p.Addr)
	}
	args := append(append([]string(nil), p.opts.Wrap...), p.opts.Program, "serve", "--config", p.File)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, &p.log, &p.log
	cmd.Env = append(environ(), p.opts.Env...)
	var err error
	if p.run, err = startProcess(cmd); err != nil || p.opts.Late {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	if err := p.await(ctx, p.run, func(status int, _ string) bool { return status == http.StatusOK }); err != nil {
		_ = p.endLocked(syscall.SIGKILL)
		return fmt.Errorf("the proxy on %s is not ready: %w\n%s", p.Addr, err, p.log.last())
	}
	return nil
}

// startProcess starts cmd on a thread that then waits for its end: the system
// ends it with that thread, and nothing ends that before the whole program.
func startProcess(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() { // ends with the process
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		endWithParent(cmd)
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// environ is ours without what would configure the proxy.
func environ() []string {
	env := []string{"GORACE=halt_on_error=0 exitcode=66 atexit_sleep_ms=0"}
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if !strings.HasPrefix(name, "JAEGIS_") && !strings.HasPrefix(name, "REDIS_") && !strings.HasPrefix(name, "OTEL_") && name != "GORACE" {
			env = append(env, v)
		}
	}
	return env
}

// Await asks /readyz until holds says yes to its status and body, or ctx ends.
func (p *Proxy) Await(ctx context.Context, holds func(status int, body string) bool) error {
	p.mu.Lock()
	run := p.run
	p.mu.Unlock()
	if run == nil {
		return fmt.Errorf("the proxy on %s does not run", p.Addr)
	}
	return p.await(ctx, run, holds)
}

func (p *Proxy) await(ctx context.Context, run *process, holds func(status int, body string) bool) error {
	for {
		status, body, err := p.ask(ctx)
		if err == nil && holds(status, body) {
			return nil
		}
		select {
		case <-run.done:
			return fmt.Errorf("it ended: %w", run.err)
		case <-ctx.Done():
			return fmt.Errorf("%w; the last answer was %d %s, %w", ctx.Err(), status, body, err)
		case <-time.After(pollTime):
		}
	}
}

func (p *Proxy) ask(ctx context.Context) (status int, body string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Admin+"/readyz", nil)
	if err != nil {
		return 0, "", err
	}
	transport := &http.Transport{DisableKeepAlives: true} // it may be another process next time
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// Pause freezes it: connections stay, nothing answers.
func (p *Proxy) Pause() error { return p.Signal(syscall.SIGSTOP) }

// Resume lets a frozen one go on.
func (p *Proxy) Resume() error { return p.Signal(syscall.SIGCONT) }

// Signal sends it a signal.
func (p *Proxy) Signal(sig os.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run == nil {
		return fmt.Errorf("the proxy on %s does not run", p.Addr)
	}
	return p.run.cmd.Process.Signal(sig)
}

// PID is its process id, 0 while it is down.
func (p *Proxy) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.runningLocked() {
		return 0
	}
	return p.run.cmd.Process.Pid
}

// Kill ends it at once, as kill -9 does.
func (p *Proxy) Kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.endLocked(syscall.SIGKILL) // that is how it ends
	return nil
}

// Stop asks it to end and waits. An end other than with status 0 is an error.
func (p *Proxy) Stop() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.endLocked(syscall.SIGTERM)
}

func (p *Proxy) endLocked(sig os.Signal) error {
	run := p.run
	if run == nil {
		return nil
	}
	p.run = nil
	_ = run.cmd.Process.Signal(sig) // it may be gone already
	_ = run.cmd.Process.Signal(syscall.SIGCONT)
	select {
	case <-run.done:
	case <-time.After(stopTime):
		_ = run.cmd.Process.Kill()
		<-run.done
		return fmt.Errorf("the proxy on %s did not end within %v", p.Addr, stopTime)
	}
	if run.err != nil {
		return fmt.Errorf("the proxy on %s: %w\n%s", p.Addr, run.err, p.log.last())
	}
	return nil
}

func (p *Proxy) runningLocked() bool {
	if p.run == nil {
		return false
	}
	select {
	case <-p.run.done:
		return false
	default:
		return true
	}
}

// Running says whether it runs, frozen or not.
func (p *Proxy) Running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.runningLocked()
}

// Log is the end of what all its runs have written.
func (p *Proxy) Log() string { return p.log.last() }

// Trouble is the first line that no run may write: of a data race, a panic or a
// fatal error. It is empty if there was none.
func (p *Proxy) Trouble() string { return p.log.found() }

// Close kills it if it runs, and removes what it has on disk.
func (p *Proxy) Close() error {
	return errors.Join(p.Kill(), os.RemoveAll(p.dir))
}

// log keeps the end of what is written to it, and the first line of trouble.
// It is safe for concurrent use.
type log struct {
	mu      sync.Mutex
	end     []byte
	trouble string
}

// keptLog is how much of a log is kept.
const keptLog = 64 << 10

var bad = regexp.MustCompile(`(?m)^.*(WARNING: DATA RACE|BUG: |panic in a |queued job panicked).*$|^(panic|fatal error): .*$`)

// Write implements io.Writer.
func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end = append(l.end, p...)
	if l.trouble == "" {
		from := max(0, len(l.end)-len(p)-256) // a line may come in two pieces
		if at := bad.FindIndex(l.end[from:]); at != nil {
			l.trouble = string(l.end[from+at[0]:])
		}
	} else if len(l.trouble) < keptLog/8 {
		l.trouble += string(p) // what follows tells where
	}
	if len(l.end) > 2*keptLog {
		l.end = append(l.end[:0], l.end[len(l.end)-keptLog:]...)
	}
	return len(p), nil
}

func (l *log) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.end[max(0, len(l.end)-keptLog):])
}

func (l *log) found() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(bytes.TrimSpace([]byte(l.trouble)))
}

// freePorts gives addresses on which nobody listens. Their ports are below
// those that the system gives to connections, so that the port of a proxy that
// is down for a while stays free.
func freePorts(n int) ([]string, error) {
	var addrs []string
	for tries := 0; len(addrs) < n; tries++ {
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000)))
		if err != nil {
			if tries > 1000 {
				return nil, fmt.Errorf("no free port: %w", err)
			}
			continue
		}
		defer func() { _ = ln.Close() }() // not before all are found: they differ
		addrs = append(addrs, ln.Addr().String())
	}
	return addrs, nil
}
