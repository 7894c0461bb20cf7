package storetest

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// startTime is how long a server may take to answer after its start, and
	// stopTime to end when it is asked to.
	startTime = 20 * time.Second
	stopTime  = 10 * time.Second

	// pollTime is between two looks at what another process is about to do:
	// nothing tells us.
	pollTime = 5 * time.Millisecond
)

// ServerOptions say what kind of server is wanted. The zero value is a server
// for everybody, without TLS, that keeps nothing on disk.
type ServerOptions struct {
	// Config is a configuration file that is read first; empty: none. What the
	// other options say comes after it. A server with one keeps on disk what
	// the file says.
	Config string

	TLS       *Certs // speak TLS alone, and ask for a client's certificate; nil: no TLS
	ACLFile   string // users; empty: the default user, who needs no password
	MaxMemory string // such as 3mb, with the policy below; empty: no bound
	Policy    string
	ReplicaOf string // host:port of the primary; empty: it is a primary

	// Args are further arguments, as on the command line ("--appendonly",
	// "yes"), which come last.
	Args []string
}

// Server is a redis-server, or a sentinel, on a free port of 127.0.0.1, with
// files in a folder of its own that goes with it. It ends with Close, and on
// Linux with the process that started it, however that ends. It is safe for
// concurrent use.
type Server struct {
	Addr string // host:port
	URL  string // redis://host:port, or rediss://
	Dir  string // its working directory

	settings []string // names and values by turns
	args     []string
	tls      *tls.Config

	mu  sync.Mutex
	run *process // nil while it is down
}

// process is one run of a server.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// RunServer starts a server and waits until it answers. Nothing is left of one
// that does not.
func RunServer(opts ServerOptions) (*Server, error) {
	return launch(func() (*Server, error) { return newServer(opts) })
}

// launch starts the server that prepare makes.
func launch(prepare func() (*Server, error)) (*Server, error) {
	for tries := 1; ; tries++ {
		s, err := prepare()
		if err != nil {
			return nil, err
		}
		if err = s.Restart(); err == nil {
			return s, nil
		}
		err = errors.Join(err, s.Close())
		// Somebody may have taken the port since we found it free.
		if tries == 3 || !strings.Contains(err.Error(), "already in use") {
			return nil, err
		}
	}
}

// emptyServer is a server with an address and a folder that has not been told
// what to run.
func emptyServer(certs *Certs) (*Server, error) {
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "jaegis-redis-")
	if err != nil {
		return nil, err
	}
	addr := net.JoinHostPort("127.0.0.1", ports[0])
	s := &Server{Addr: addr, URL: "redis://" + addr, Dir: dir}
	s.settings = []string{"bind", "127.0.0.1", "dir", dir, "daemonize", "no", "logfile", ""}
	if certs == nil {
		s.settings = append(s.settings, "port", ports[0])
	} else {
		s.URL, s.tls = "rediss://"+addr, certs.Client()
		s.settings = append(s.settings, "port", "0", "tls-port", ports[0])
		s.settings = append(s.settings, certs.settings()...)
	}
	return s, nil
}

// newServer prepares one that does not run yet.
func newServer(opts ServerOptions) (*Server, error) {
	s, err := emptyServer(opts.TLS)
	if err != nil {
		return nil, err
	}
	set := func(name, value string) {
		if value != "" {
			s.settings = append(s.settings, name, value)
		}
	}
	set("shutdown-timeout", "1")
	set("repl-diskless-sync-delay", "0")
	set("aclfile", opts.ACLFile)
	set("maxmemory", opts.MaxMemory)
	set("maxmemory-policy", opts.Policy)
	set("replicaof", strings.Replace(opts.ReplicaOf, ":", " ", 1))
	if opts.Config == "" {
		s.args = []string{"--save", "", "--appendonly", "no"}
	} else {
		s.args = []string{opts.Config}
	}
	for i := 0; i < len(s.settings); i += 2 {
		s.args = append(s.args, "--"+s.settings[i], s.settings[i+1])
	}
	s.args = append(s.args, opts.Args...)
	return s, nil
}

// Restart starts the server anew, on the same port, after Stop or Kill: with
// what it has on disk, which is nothing unless persistence is on.
func (s *Server) Restart() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runningLocked() {
		return fmt.Errorf("the server on %s runs already", s.Addr)
	}
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return errors.New("redis-server is not installed: `make test` installs it")
	}
	log, err := os.Create(filepath.Join(s.Dir, "log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the server has a copy of its own
	cmd := exec.Command(program, s.args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.Dir, log, log
	if s.run, err = startProcess(cmd); err != nil {
		return err
	}
	if err := s.awaitAnswer(); err != nil {
		said, _ := os.ReadFile(log.Name())
		s.endLocked(syscall.SIGKILL)
		return fmt.Errorf("redis-server on %s: %w\n%s", s.Addr, err, lastLines(said, 5))
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
			_ = cmd.Wait() // how it ended is of no interest
		}
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// awaitAnswer asks until there is an answer; one that asks for a password will
// do.
func (s *Server) awaitAnswer() error {
	deadline := time.Now().Add(startTime)
	for {
		reply, err := s.ping()
		if err == nil && (strings.HasPrefix(reply, "+PONG") || strings.HasPrefix(reply, "-NOAUTH")) {
			return nil
		}
		select {
		case <-s.run.done:
			return errors.New("it ended at once")
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no answer in %v: %q, %w", startTime, reply, err)
		}
		time.Sleep(pollTime)
	}
}

func (s *Server) ping() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var c net.Conn
	var err error
	if s.tls == nil {
		c, err = new(net.Dialer).DialContext(ctx, "tcp", s.Addr)
	} else {
		c, err = (&tls.Dialer{Config: s.tls}).DialContext(ctx, "tcp", s.Addr)
	}
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return "", err
	}
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return "", err
	}
	reply := make([]byte, 128)
	n, err := c.Read(reply)
	return string(reply[:n]), err
}

// Pause freezes the server: connections stay, nothing answers.
func (s *Server) Pause() error { return s.signal(syscall.SIGSTOP) }

// Resume lets a frozen server go on.
func (s *Server) Resume() error { return s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig os.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == nil {
		return fmt.Errorf("the server on %s does not run", s.Addr)
	}
	return s.run.cmd.Process.Signal(sig)
}

// Stop ends the server as a service manager does, and waits for its end.
func (s *Server) Stop() error { return s.end(syscall.SIGTERM) }

// Kill ends the server at once, as kill -9 does, with all that is in its
// memory.
func (s *Server) Kill() error { return s.end(syscall.SIGKILL) }

func (s *Server) end(sig syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == nil {
		return fmt.Errorf("the server on %s does not run", s.Addr)
	}
	if !s.endLocked(sig) {
		return fmt.Errorf("the server on %s did not end within %v and was killed", s.Addr, stopTime)
	}
	return nil
}

// endLocked says whether it ended by itself.
func (s *Server) endLocked(sig syscall.Signal) bool {
	p := s.run
	s.run = nil
	_ = p.cmd.Process.Signal(sig) // it may be gone already
	_ = p.cmd.Process.Signal(syscall.SIGCONT)
	select {
	case <-p.done:
		return true
	case <-time.After(stopTime):
	}
	_ = p.cmd.Process.Kill()
	<-p.done
	return false
}

// Running says whether the server runs, frozen or not.
func (s *Server) Running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runningLocked()
}

func (s *Server) runningLocked() bool {
	if s.run == nil {
		return false
	}
	select {
	case <-s.run.done:
		return false
	default:
		return true
	}
}

// Close kills the server if it runs and removes its folder.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run != nil {
		s.endLocked(syscall.SIGKILL)
	}
	return os.RemoveAll(s.Dir)
}

// freePorts gives that many ports of 127.0.0.1 on which nobody listens. They
// are below those that the system gives to connections, so that the port of a
// server that is down for a while stays free.
func freePorts(n int) ([]string, error) {
	const lowest, highest = 20000, 32000
	var ports []string
	for tries := 0; len(ports) < n; tries++ {
		port := strconv.Itoa(lowest + rand.IntN(highest-lowest))
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
		if err != nil {
			if tries > 1000 {
				return nil, fmt.Errorf("no free port: %w", err)
			}
			continue
		}
		defer func() { _ = l.Close() }() // not before all are found: they differ
		ports = append(ports, port)
	}
	return ports, nil
}

func lastLines(text []byte, n int) []byte {
	lines := bytes.SplitAfter(bytes.TrimSpace(text), []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-n):], nil)
}
