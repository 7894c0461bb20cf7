package storetest

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startTime is how long a Redis server may take to answer after its start.
const startTime = 10 * time.Second

// RedisServer is a real redis-server, on a free port of 127.0.0.1, that keeps
// nothing on disk. It ends with the test. Its methods fail the test when they
// cannot do what they say; they are for the test's own goroutine.
type RedisServer struct {
	Addr string // host:port
	URL  string // redis://host:port

	t    testing.TB
	args []string
	cmd  *exec.Cmd
}

// StartRedis starts a server with the further arguments given, as on the
// command line ("--maxmemory", "3mb"), and waits until it answers.
func StartRedis(t testing.TB, args ...string) *RedisServer {
	t.Helper()
	addr := FreeAddr(t)
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	r := &RedisServer{
		Addr: addr,
		URL:  "redis://" + addr,
		t:    t,
		args: append([]string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir()}, args...),
	}
	r.start()
	t.Cleanup(r.end)
	return r
}

// FreeAddr gives an address of 127.0.0.1 on which nobody listens.
func FreeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (r *RedisServer) start() {
	r.t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		r.t.Fatal("redis-server is not installed: `make test` installs it")
	}
	r.cmd = exec.Command(program, r.args...)
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	if err := r.waitReady(); err != nil {
		r.end()
		r.t.Fatalf("redis-server on %s: %v", r.Addr, err)
	}
}

// waitReady asks until there is an answer; one that asks for a password will do.
func (r *RedisServer) waitReady() error {
	deadline := time.Now().Add(startTime)
	for {
		reply, err := ping(r.Addr)
		if err == nil && (strings.HasPrefix(reply, "+PONG") || strings.HasPrefix(reply, "-NOAUTH")) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no answer in %v: %q, %w", startTime, reply, err)
		}
		time.Sleep(5 * time.Millisecond) // a process of its own: nothing tells us
	}
}

func ping(addr string) (string, error) {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return "", err
	}
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return "", err
	}
	return bufio.NewReader(c).ReadString('\n')
}

// Stop freezes the server: connections stay, nothing answers.
func (r *RedisServer) Stop() { r.signal(syscall.SIGSTOP) }

// Cont lets a frozen server go on.
func (r *RedisServer) Cont() { r.signal(syscall.SIGCONT) }

func (r *RedisServer) signal(s os.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.t.Fatal(err)
	}
}

// Kill ends the server at once, as kill -9 does, with all that is in it.
func (r *RedisServer) Kill() {
	r.t.Helper()
	r.end()
}

// Restart starts the server anew, empty, on the same port, after Kill.
func (r *RedisServer) Restart() {
	r.t.Helper()
	if r.cmd != nil {
		r.t.Fatal("Restart of a server that runs")
	}
	r.start()
}

func (r *RedisServer) end() {
	if r.cmd == nil {
		return
	}
	_ = r.cmd.Process.Kill() // it may be gone already
	_ = r.cmd.Wait()         // reports the kill
	r.cmd = nil
}
