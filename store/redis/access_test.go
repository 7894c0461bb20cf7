package redis_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"sync"
	"testing"

	"jaegis-proxy/store"
	"jaegis-proxy/store/redis"
	"jaegis-proxy/store/storetest"
)

// TestUserNeedsNoMoreThanThePackageSays goes through everything that sends a
// command, as a user who may send no others and touch no other names.
func TestUserNeedsNoMoreThanThePackageSays(t *testing.T) {
	server := storetest.StartRedis(t)
	raw := rawClient(t, server)
	ctx := t.Context()
	allow := func(rules ...any) {
		t.Helper()
		if err := raw.Do(ctx, append([]any{"acl", "setuser", "app"}, rules...)...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	allow("on", ">secret", "~jaegis:*", "-@all", "+get", "+getrange", "+set", "+pexpire", "+unlink", "+watch", "+unwatch", "+multi", "+exec", "+xadd", "+xrange", "+xrevrange", "+xread", "+eval")
	s := open(t, redis.Options{URL: server.URL, Username: "app", Password: "secret", Budget: patient})
	for _, size := range []int{100, 600 << 10, 3 << 20} {
		key := storetest.Key("k")
		putBody(t, s, "k", size)
		putBody(t, s, "k", size)
		damaged := key.String()
		if chunks := kept(t, raw, keysOf(t, raw, damaged+":*")); len(chunks) > 0 {
			damaged = chunks[0]
		}
		if err := raw.Append(ctx, damaged, "x").Err(); err != nil {
			t.Fatal(err)
		}
		if _, err := storetest.Get(ctx, s, key); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Get of a damaged value: %v", err)
		}
		if left := keysOf(t, raw, key.String()); len(left) != 0 {
			t.Errorf("a damaged value of %d bytes was not removed: %v", size, left)
		}
		putBody(t, s, "k", size)
		e, err := s.Get(ctx, key)
		if err == nil {
			err = s.Put(ctx, key, e) // which writes no body that is there
		}
		if err != nil {
			t.Error(err)
		}
		if err := s.Delete(ctx, key); err != nil {
			t.Error(err)
		}
	}
	ledger := store.NewLedger(store.LedgerOptions{Journal: s, MaxDisconnected: patient})
	defer ledger.Close()
	if err := errors.Join(ledger.Await(ctx), ledger.Purge(ctx, store.LabelAll, false)); err != nil {
		t.Error(err)
	}
	log, err := raw.Do(ctx, "acl", "log").Slice()
	if err != nil || len(log) != 0 {
		t.Errorf("denied: %v, %v", log, err)
	}

	// A user who may read alone is of use still.
	putBody(t, s, "k", 100)
	allow("-set")
	if err := s.Put(ctx, storetest.Key("k"), storetest.Entry(storetest.NewClock().Now(), nil)); err == nil {
		t.Error("Put succeeded")
	}
	if !hits(t, s, "k") || s.State().Open {
		t.Errorf("%+v: reads must go on", s.State())
	}
}

func TestTLS(t *testing.T) {
	server := storetest.StartRedis(t)
	web := httptest.NewTLSServer(nil) // for its certificate
	defer web.Close()
	addr := startTLSProxy(t, web.TLS.Certificates[0], server.Addr)
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())

	s := open(t, redis.Options{URL: "rediss://" + addr, TLS: &tls.Config{RootCAs: roots}, Budget: patient})
	putBody(t, s, "k", 3<<20)
	s = open(t, redis.Options{URL: "redis://" + addr, TLS: &tls.Config{RootCAs: roots}, Budget: patient})
	if !hits(t, s, "k") {
		t.Errorf("no hit: %+v", s.State())
	}
	s = open(t, redis.Options{URL: "rediss://" + addr, Budget: patient})
	if err := getTimed(t, s, "k"); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get from a server that cannot be verified: %v; want an outage", err)
	}
	storetest.Eventually(t, opensWithin, "the breaker opens", isOpen(s))
}

// startTLSProxy makes a server that speaks TLS of one that does not.
func startTLSProxy(t *testing.T, cert tls.Certificate, target string) (addr string) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { join(client, target) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		running.Wait() // the stores are closed by then, and their connections with them
	})
	return l.Addr().String()
}

func join(client net.Conn, target string) {
	defer client.Close()
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(client, server)
		_ = client.Close()
	})
	_, _ = io.Copy(server, client)
	_ = server.Close()
	back.Wait()
}
