package storetest_test

import (
	"context"
	"os"
	"strings"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"jaegis-proxy/store/storetest"
)

func ping(t *testing.T, s *storetest.Server, opts *goredis.Options) error {
	t.Helper()
	opts.Addr, opts.MaxRetries = s.Addr, -1
	c := goredis.NewClient(opts)
	defer func() { _ = c.Close() }()
	return c.Ping(t.Context()).Err()
}

func TestServerIsStoppedKilledFrozenAndStartedAnew(t *testing.T) {
	s, err := storetest.RunServer(storetest.ServerOptions{Args: []string{"--appendonly", "yes", "--appendfsync", "always"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	c := goredis.NewClient(&goredis.Options{Addr: s.Addr})
	defer func() { _ = c.Close() }()
	if err := c.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	for name, end := range map[string]func() error{"Stop": s.Stop, "Kill": s.Kill} {
		if err := s.Pause(); err != nil {
			t.Fatal(err)
		}
		if err := end(); err != nil {
			t.Errorf("%s of a frozen server: %v", name, err)
		}
		if s.Running() {
			t.Errorf("runs after %s", name)
		}
		if end() == nil || s.Pause() == nil {
			t.Error("what is down was ended and frozen")
		}
		if err := s.Restart(); err != nil {
			t.Fatal(err)
		}
		if s.Restart() == nil {
			t.Error("started twice")
		}
		if v, err := c.Get(t.Context(), "k").Result(); v != "v" {
			t.Errorf("after %s and Restart: %q, %v; want what is on disk", name, v, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(s.Dir); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
}

func TestServerThatCannotStartLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	_, err := storetest.RunServer(storetest.ServerOptions{Args: []string{"--no-such-setting", "1"}})
	if err == nil || !strings.Contains(err.Error(), "no-such-setting") {
		t.Errorf("%v; want what the server said", err)
	}
	if _, err := storetest.RunSentinel(storetest.SentinelOptions{Args: []string{"--no-such-setting", "1"}}); err == nil {
		t.Error("no error")
	}
	if _, err := storetest.RunCluster(storetest.ClusterOptions{Args: []string{"--no-such-setting", "1"}}); err == nil {
		t.Error("no error")
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestServerWithTLSAsksForTheClientsCertificate(t *testing.T) {
	certs := storetest.MakeCerts(t)
	s := storetest.StartServer(t, storetest.ServerOptions{TLS: certs})
	tls := certs.Client()
	if err := ping(t, s.Server, &goredis.Options{TLSConfig: tls}); err != nil {
		t.Error(err)
	}
	tls.ServerName = storetest.ServerName
	if err := ping(t, s.Server, &goredis.Options{TLSConfig: tls}); err != nil {
		t.Error(err)
	}
	tls.Certificates = nil
	if ping(t, s.Server, &goredis.Options{TLSConfig: tls}) == nil {
		t.Error("let in without a certificate")
	}
	if ping(t, s.Server, &goredis.Options{TLSConfig: storetest.MakeCerts(t).Client()}) == nil {
		t.Error("let in with somebody else's certificate")
	}
	if ping(t, s.Server, &goredis.Options{}) == nil {
		t.Error("let in without TLS")
	}
}

func TestSentinelsMakeAReplicaThePrimary(t *testing.T) {
	f := func(opts storetest.SentinelOptions) {
		t.Helper()
		s := storetest.StartSentinel(t, opts)
		old, err := s.KillPrimary(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if old != s.Servers[0] {
			t.Error("another than the first was the primary")
		}
		if _, err := s.AwaitPrimary(old); err != nil {
			t.Fatal(err)
		}
		if err := old.Restart(); err != nil {
			t.Fatal(err)
		}
		if err := s.AwaitReady(); err != nil {
			t.Fatal(err)
		}
	}
	f(storetest.SentinelOptions{})
	f(storetest.SentinelOptions{TLS: storetest.MakeCerts(t), Password: "secret", SentinelPassword: "other"})
}

func TestClusterMakesAReplicaThePrimary(t *testing.T) {
	f := func(opts storetest.ClusterOptions) {
		t.Helper()
		c := storetest.StartCluster(t, opts)
		for _, key := range []string{"a", "b", "a"} {
			old, err := c.KillPrimary(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.AwaitPrimary(key, old); err != nil {
				t.Fatal(err)
			}
			if err := old.Restart(); err != nil {
				t.Fatal(err)
			}
			if err := c.AwaitReady(); err != nil {
				t.Fatal(err)
			}
		}
	}
	f(storetest.ClusterOptions{})
	f(storetest.ClusterOptions{TLS: storetest.MakeCerts(t), Password: "secret"})
}

func TestClusterAnswersAClient(t *testing.T) {
	cluster := storetest.StartCluster(t, storetest.ClusterOptions{})
	c := goredis.NewClusterClient(&goredis.ClusterOptions{Addrs: cluster.Addrs[:1]})
	defer func() { _ = c.Close() }()
	served := map[*storetest.Server]bool{}
	for _, key := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		if err := c.Set(context.Background(), key, "v", 0).Err(); err != nil {
			t.Error(err)
		}
		node, err := cluster.Primary(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		served[node] = true
	}
	if len(served) != 3 {
		t.Errorf("eight keys were on %d nodes", len(served))
	}
}
