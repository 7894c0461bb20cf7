package redis_test

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"jaegis-proxy/store"
	"jaegis-proxy/store/redis"
	"jaegis-proxy/store/storetest"
)

// network is what is between a store and its server. To change it cuts all
// connections: toxiproxy may hang when it changes busy ones, so that each state
// of the network is a proxy of its own, at the same address.
type network struct {
	t      *testing.T
	server *toxiproxy.ApiServer
	target string
	addr   string
	proxy  *toxiproxy.Proxy
}

func startNetwork(t *testing.T, target string) *network {
	t.Helper()
	n := &network{
		t: t, target: target, addr: storetest.FreeAddr(t),
		server: toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop()),
	}
	n.start()
	t.Cleanup(func() { n.proxy.Stop() })
	return n
}

func (n *network) start(toxics ...string) {
	n.t.Helper()
	n.proxy = toxiproxy.NewProxy(n.server, "redis", n.addr, n.target)
	for _, toxic := range toxics {
		if _, err := n.proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
			n.t.Fatal(err)
		}
	}
	if err := n.proxy.Start(); err != nil {
		n.t.Fatal(err)
	}
}

// worsen makes the network bad in one respect, on the way back from the server.
func (n *network) worsen(kind string, attributes map[string]any) {
	n.t.Helper()
	toxic, err := json.Marshal(map[string]any{"name": kind, "type": kind, "stream": "downstream", "toxicity": 1, "attributes": attributes})
	if err != nil {
		n.t.Fatal(err)
	}
	n.proxy.Stop()
	n.start(string(toxic))
}

func (n *network) mend() {
	n.t.Helper()
	n.proxy.Stop()
	n.start()
}

// readers read entries that prove themselves until enough have been found, and
// give how many were found and how many reads failed.
func readers(t *testing.T, s *redis.Store, names []string, enough int64) (found, failed int64) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	var hit, miss atomic.Int64
	var running sync.WaitGroup
	for range 32 {
		running.Go(func() {
			for hit.Load() < enough && time.Now().Before(deadline) {
				key := storetest.Key(names[rand.IntN(len(names))])
				began := time.Now()
				e, err := s.Get(t.Context(), key)
				if took := time.Since(began); took > late {
					t.Errorf("Get with a budget of %v took %v", budget, took)
				}
				if err == nil {
					e, err = e.Load(t.Context())
				}
				switch {
				case err == nil:
					hit.Add(1)
					if _, err := storetest.Prove(key, e.Body); err != nil {
						t.Error(err)
					}
				case errors.Is(err, redis.ErrOpen):
					time.Sleep(time.Millisecond)
				case errors.Is(err, store.ErrNotFound):
					t.Error("a miss of what is there")
				default:
					miss.Add(1)
				}
			}
		})
	}
	running.Wait()
	if n := s.Stats().Corrupt; n != 0 {
		t.Errorf("%d values were taken for corrupt: replies were mixed up", n)
	}
	return hit.Load(), miss.Load()
}

// TestBadNetwork has the store work over networks that are bad in several ways:
// no reply is ever given to another request, nobody waits longer than he may,
// and all is as before when the network is well again.
func TestBadNetwork(t *testing.T) {
	server := storetest.StartRedis(t)
	f := func(what string, worsen func(n *network), check func(t *testing.T, s *redis.Store, found, failed int64)) {
		t.Run(what, func(t *testing.T) {
			n := startNetwork(t, server.Addr)
			s := open(t, redis.Options{URL: "redis://" + n.addr, Budget: budget, SocketTimeout: time.Second})
			names := namesFor(20)
			for i, name := range names {
				putBody(t, s, name, []int{100, 3000, 60 << 10, 300 << 10, 1100 << 10}[i%5])
			}
			worsen(n)
			found, failed := readers(t, s, names, 400)
			t.Logf("%d found, %d failed, opened %d times", found, failed, s.Stats().BreakerOpen)
			check(t, s, found, failed)
			n.mend()
			for _, name := range names {
				storetest.Eventually(t, 2*closesWithin, "a hit once the network is well", func() bool { return hits(t, s, name) })
			}
		})
	}
	f("replies late, some by more than the budget", func(n *network) {
		n.worsen("latency", map[string]any{"latency": budget.Milliseconds() / 2, "jitter": budget.Milliseconds() / 2})
	}, func(t *testing.T, s *redis.Store, found, failed int64) {
		if found == 0 || failed == 0 || s.Stats().BreakerOpen == 0 {
			t.Errorf("%d found, %d failed", found, failed)
		}
	})
	f("replies late, but within the budget", func(n *network) {
		n.worsen("latency", map[string]any{"latency": 5, "jitter": 4})
	}, func(t *testing.T, _ *redis.Store, found, _ int64) {
		if found < 100 {
			t.Errorf("%d found", found)
		}
	})
	f("connections reset after a while", func(n *network) {
		n.worsen("reset_peer", map[string]any{"timeout": 30})
	}, func(t *testing.T, _ *redis.Store, _, failed int64) {
		if failed == 0 {
			t.Error("nothing failed")
		}
	})
	f("connections cut after so many bytes", func(n *network) {
		n.worsen("limit_data", map[string]any{"bytes": 400 << 10})
	}, func(t *testing.T, _ *redis.Store, found, failed int64) {
		if found < 50 || failed == 0 {
			t.Errorf("%d found, %d failed", found, failed)
		}
	})
	f("little bandwidth", func(n *network) {
		n.worsen("bandwidth", map[string]any{"rate": 4000}) // KB/s a connection
	}, func(t *testing.T, _ *redis.Store, found, failed int64) {
		if found == 0 || failed == 0 {
			t.Errorf("%d found, %d failed", found, failed)
		}
	})
	f("replies in small pieces", func(n *network) {
		n.worsen("slicer", map[string]any{"average_size": 600, "size_variation": 500, "delay": 20})
	}, func(t *testing.T, _ *redis.Store, found, _ int64) {
		if found < 50 {
			t.Errorf("%d found", found)
		}
	})
	f("no replies at all", func(n *network) {
		n.worsen("timeout", map[string]any{"timeout": 0})
	}, func(t *testing.T, s *redis.Store, found, failed int64) {
		if found > 0 || failed == 0 || !s.State().Open {
			t.Errorf("%d found, %d failed, %+v", found, failed, s.State())
		}
	})
}

// TestServerThatCannotBeReachedIsUsedOnceItCan takes the network away.
func TestServerThatCannotBeReachedIsUsedOnceItCan(t *testing.T) {
	server := storetest.StartRedis(t)
	n := startNetwork(t, server.Addr)
	s := open(t, redis.Options{URL: "redis://" + n.addr, Budget: budget})
	putBody(t, s, "k", 1000)
	n.proxy.Stop()
	if c, err := net.Dial("tcp", n.addr); err == nil {
		_ = c.Close()
		t.Fatal("the network is still there")
	}
	storetest.Eventually(t, opensWithin, "the breaker opens", func() bool { return getTimed(t, s, "k") != nil && s.State().Open })
	n.start()
	storetest.Eventually(t, closesWithin, "a hit", func() bool { return hits(t, s, "k") })
}
