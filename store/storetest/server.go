package storetest

import (
	"net"
	"testing"
)

// RedisServer is a Server of a test, which it fails when it cannot do what it is
// told. It ends with the test. Its methods are for the test's own goroutine;
// those of its Server return errors, and are for all.
type RedisServer struct {
	*Server

	t testing.TB
}

// StartRedis starts a server with the further arguments given, as on the
// command line ("--maxmemory", "3mb"), and waits until it answers.
func StartRedis(t testing.TB, args ...string) *RedisServer {
	t.Helper()
	return StartServer(t, ServerOptions{Args: args})
}

// StartServer is RunServer for a test.
func StartServer(t testing.TB, opts ServerOptions) *RedisServer {
	t.Helper()
	s, err := RunServer(opts)
	r := &RedisServer{Server: s, t: t}
	r.check(err)
	closeWith(t, s)
	return r
}

// StartSentinel is RunSentinel for a test.
func StartSentinel(t testing.TB, opts SentinelOptions) *Sentinel {
	t.Helper()
	s, err := RunSentinel(opts)
	if err != nil {
		t.Fatal(err)
	}
	closeWith(t, s)
	return s
}

// StartCluster is RunCluster for a test.
func StartCluster(t testing.TB, opts ClusterOptions) *Cluster {
	t.Helper()
	c, err := RunCluster(opts)
	if err != nil {
		t.Fatal(err)
	}
	closeWith(t, c)
	return c
}

// MakeCerts is NewCerts for a test.
func MakeCerts(t testing.TB) *Certs {
	t.Helper()
	c, err := NewCerts(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func closeWith(t testing.TB, c interface{ Close() error }) {
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

// FreeAddr gives an address of 127.0.0.1 on which nobody listens.
func FreeAddr(t testing.TB) string {
	t.Helper()
	ports, err := freePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", ports[0])
}

func (r *RedisServer) check(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// Stop freezes the server, as SIGSTOP does: connections stay, nothing answers.
// (Server.Stop ends it.)
func (r *RedisServer) Stop() {
	r.t.Helper()
	r.check(r.Server.Pause())
}

// Cont lets a frozen server go on.
func (r *RedisServer) Cont() {
	r.t.Helper()
	r.check(r.Server.Resume())
}

// Kill ends the server at once, as kill -9 does, with all that is in it.
func (r *RedisServer) Kill() {
	r.t.Helper()
	r.check(r.Server.Kill())
}

// Restart starts the server anew on the same port, after Kill.
func (r *RedisServer) Restart() {
	r.t.Helper()
	r.check(r.Server.Restart())
}
