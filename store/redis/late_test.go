package redis_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jaegis-proxy/store"
	"jaegis-proxy/store/redis"
	"jaegis-proxy/store/storetest"
)

// lateProxy passes bytes to a server and back, and now and then holds the
// replies of a connection up for longer than anybody waits.
type lateProxy struct {
	addr    string
	target  string
	request func([]byte) // sees what goes to the server before it does; may be nil
	hold    atomic.Bool
	held    atomic.Int64
	mu      sync.Mutex
	conns   []net.Conn
	running sync.WaitGroup
}

func startLateProxy(t *testing.T, target string, request func([]byte)) *lateProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &lateProxy{addr: l.Addr().String(), target: target, request: request}
	p.running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.serve(c)
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		for _, c := range p.conns {
			_ = c.Close()
		}
		p.mu.Unlock()
		p.running.Wait()
	})
	return p
}

func (p *lateProxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		_ = client.Close()
		return
	}
	p.mu.Lock()
	p.conns = append(p.conns, client, server)
	p.mu.Unlock()
	p.running.Go(func() {
		defer server.Close()
		buf := make([]byte, 16<<10)
		for {
			n, err := client.Read(buf)
			if p.request != nil {
				p.request(buf[:n])
			}
			if _, werr := server.Write(buf[:n]); err != nil || werr != nil {
				return
			}
		}
	})
	p.running.Go(func() {
		defer client.Close()
		buf := make([]byte, 16<<10)
		for {
			n, err := server.Read(buf)
			if p.hold.Load() && rand.IntN(1500) == 0 {
				p.held.Add(1)
				time.Sleep(budget + time.Duration(rand.Int64N(int64(budget))))
			}
			if _, werr := client.Write(buf[:n]); err != nil || werr != nil {
				return
			}
		}
	})
}

// TestLateRepliesAreGivenToNobodyElse reads entries that prove themselves
// through a network that delivers some replies after their readers have left.
func TestLateRepliesAreGivenToNobodyElse(t *testing.T) {
	server := storetest.StartRedis(t)
	proxy := startLateProxy(t, server.Addr, nil)
	s := open(t, redis.Options{URL: "redis://" + proxy.addr, Budget: budget})
	const keys = 40
	name := func(i int) string { return fmt.Sprint("late", i%keys) }
	for i := range keys {
		putBody(t, s, name(i), []int{100, 3000, 60 << 10, 300 << 10, 1100 << 10}[i%5])
	}
	proxy.hold.Store(true)
	const enough = 2000 // reads that find something; a busy machine may not get that far
	deadline := time.Now().Add(10 * time.Second)
	var found, failed atomic.Int64
	var readers sync.WaitGroup
	for range 48 {
		readers.Go(func() {
			for found.Load() < enough && time.Now().Before(deadline) {
				key := storetest.Key(name(rand.IntN(keys)))
				e, err := storetest.Get(t.Context(), s, key)
				if errors.Is(err, redis.ErrOpen) {
					time.Sleep(time.Millisecond) // there is nothing to read until it closes
					continue
				}
				if err != nil {
					failed.Add(1)
					continue
				}
				found.Add(1)
				if _, err := storetest.Prove(key, e.Body); err != nil {
					t.Error(err)
				}
			}
		})
	}
	readers.Wait()
	t.Logf("%d replies held up, %d found, %d failed", proxy.held.Load(), found.Load(), failed.Load())
	if found.Load() < 100 || failed.Load() == 0 || proxy.held.Load() == 0 {
		t.Error("nothing was tested")
	}
	if s.Stats().Corrupt != 0 {
		t.Errorf("%d values were taken for corrupt: replies were mixed up", s.Stats().Corrupt)
	}
	proxy.hold.Store(false)
	for i := range keys {
		storetest.Eventually(t, 2*closesWithin, "hits once replies are in time", func() bool { return hits(t, s, name(i)) })
	}
}

// TestWhoIsInTheMidstOfALargeValueReadsItToItsEnd puts another value, or none,
// in the place of one whose chunks are just being read.
func TestWhoIsInTheMidstOfALargeValueReadsItToItsEnd(t *testing.T) {
	server := storetest.StartRedis(t)
	direct := open(t, redis.Options{URL: server.URL, Budget: patient})
	f := func(what string, change func(name string), left error) {
		t.Run(what, func(t *testing.T) {
			key := storetest.Key(t.Name())
			putBody(t, direct, t.Name(), 3<<20)
			e, err := direct.Get(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			r := e.Open(t.Context(), 0, e.BodySize())
			defer r.Close()
			body, _ := r.Next()
			body = slices.Clone(body)
			change(t.Name())
			for {
				b, err := r.Next()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				body = append(body, b...)
			}
			if _, err := storetest.Prove(key, body); err != nil {
				t.Error(err)
			}
			if n := direct.Stats().Corrupt; n != 0 {
				t.Errorf("%d values were taken for corrupt", n)
			}
			if _, err := storetest.Get(t.Context(), direct, key); !errors.Is(err, left) {
				t.Errorf("afterwards: %v, want %v", err, left)
			}
		})
	}
	f("by another large one", func(name string) { putBody(t, direct, name, 2<<20) }, nil)
	f("by a small one", func(name string) { putBody(t, direct, name, 100) }, nil)
	f("by none", func(name string) {
		if err := direct.Delete(t.Context(), storetest.Key(name)); err != nil {
			t.Error(err)
		}
	}, store.ErrNotFound)
}
