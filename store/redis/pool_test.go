package redis_test

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"jaegis-proxy/store/redis"
	"jaegis-proxy/store/storetest"
)

// watcher asks a server about its connections.
type watcher struct {
	addr string
	c    *goredis.Client
}

func watch(t *testing.T, addr string) *watcher {
	t.Helper()
	c := goredis.NewClient(&goredis.Options{Addr: addr, ClientName: "watcher", PoolSize: 1, Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() { _ = c.Close() })
	return &watcher{addr, c}
}

// clients gives the connections of a store's: not the watcher's own, nor those
// of other servers and of sentinels. Each is by its id; cmd is the last command.
func (w *watcher) clients(ctx context.Context) (cmds map[string]string, err error) {
	list, err := w.c.ClientList(ctx).Result()
	if err != nil {
		return nil, err
	}
	cmds = map[string]string{}
	field := regexp.MustCompile(` (cmd|name|flags)=(\S*)`)
	for line := range strings.Lines(list) {
		f := map[string]string{}
		for _, m := range field.FindAllStringSubmatch(line, -1) {
			f[m[1]] = m[2]
		}
		if f["name"] == "" && !strings.ContainsAny(f["flags"], "SM") {
			id, _, _ := strings.Cut(line, " ")
			cmds[id] = f["cmd"]
		}
	}
	return cmds, nil
}

// most looks at the number of a store's connections until stop is closed.
func (w *watcher) most(t *testing.T, stop chan struct{}, most *atomic.Int64) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		cmds, err := w.clients(t.Context())
		if err != nil {
			t.Error(err)
			return
		}
		most.Store(max(most.Load(), int64(len(cmds))))
	}
}

// storm has many callers put and get values of all sizes for a while.
func storm(t *testing.T, s *redis.Store) {
	const callers, rounds = 60, 6
	var running sync.WaitGroup
	for i := range callers {
		running.Go(func() {
			for j := range rounds {
				key := storetest.Key(fmt.Sprint(i%7, j%5))
				if (i+j)%3 == 0 {
					size := []int{100, 200 << 10, 1200 << 10}[j%3]
					_ = s.Put(t.Context(), key, storetest.Entry(time.Now(), storetest.Body(key, 1, size)))
				} else {
					_, _ = s.Get(t.Context(), key)
				}
			}
		})
	}
	running.Wait()
}

func TestConnectionsToEachServerAreBounded(t *testing.T) {
	f := func(what string, opts redis.Options, addrs []string) {
		t.Run(what, func(t *testing.T) {
			for _, limit := range []int{redis.MinConnections, 20} {
				opts.MaxConnections = limit
				s := open(t, opts)
				stop, most := make(chan struct{}), make([]atomic.Int64, len(addrs))
				var watching sync.WaitGroup
				for i, addr := range addrs {
					w := watch(t, addr)
					watching.Go(func() { w.most(t, stop, &most[i]) })
				}
				storm(t, s)
				close(stop)
				watching.Wait()
				var reached int64
				for i, addr := range addrs {
					n := most[i].Load()
					reached = max(reached, n)
					if n > int64(limit) {
						t.Errorf("%d connections to %s, more than %d", n, addr, limit)
					}
				}
				t.Logf("%d of %d", reached, limit)
				if reached < int64(limit)/3 {
					t.Errorf("%d connections at most, of %d that may be: nothing was tested", reached, limit)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	server := storetest.StartRedis(t)
	f("single", redis.Options{URL: server.URL, Budget: patient}, []string{server.Addr})
	cluster := storetest.StartCluster(t, storetest.ClusterOptions{})
	opts := clusterOptions(cluster)
	opts.ReadReplicas = true
	f("cluster, reading replicas", opts, cluster.Addrs)
	sentinel := storetest.StartSentinel(t, storetest.SentinelOptions{})
	opts = sentinelOptions(sentinel)
	opts.ReadReplicas = true
	var addrs []string
	for _, s := range sentinel.Servers {
		addrs = append(addrs, s.Addr)
	}
	f("sentinel, reading replicas", opts, addrs)
}

// muteProxy passes bytes on, but from the first request that matches on it
// passes no more replies on that connection.
type muteProxy struct {
	addr  string
	muted atomic.Int64
	times int64 // connections to mute
}

func startMuteProxy(t *testing.T, target string, request *regexp.Regexp, times int64) *muteProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &muteProxy{addr: l.Addr().String(), times: times}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { p.serve(client, target, request) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		running.Wait() // the stores are closed by then, and their connections with them
	})
	return p
}

func (p *muteProxy) serve(client net.Conn, target string, request *regexp.Regexp) {
	defer client.Close()
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	var mute atomic.Bool
	var back sync.WaitGroup
	back.Go(func() {
		buf := make([]byte, 16<<10)
		for {
			n, err := server.Read(buf)
			if err != nil {
				return
			}
			if !mute.Load() {
				if _, err := client.Write(buf[:n]); err != nil {
					return
				}
			}
		}
	})
	buf := make([]byte, 16<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			break
		}
		if request.Match(buf[:n]) && p.muted.Add(1) <= p.times {
			mute.Store(true)
		}
		if _, err := server.Write(buf[:n]); err != nil {
			break
		}
	}
	_ = server.Close()
	back.Wait()
}

func TestWriteThatGotNoAnswerIsTriedOnceMoreIfThatIsWanted(t *testing.T) {
	server := storetest.StartRedis(t)
	f := func(retry bool, mutes, tries int64, ok bool) {
		t.Helper()
		proxy := startMuteProxy(t, server.Addr, regexp.MustCompile(`(?is)\bset\r\n.*storetest`), mutes)
		s := open(t, redis.Options{URL: "redis://" + proxy.addr, RetryOnTimeout: retry, SocketTimeout: 300 * time.Millisecond, Budget: patient})
		key := storetest.Key("k")
		began := time.Now()
		err := s.Put(t.Context(), key, storetest.Entry(began, storetest.Body(key, 1, 100)))
		if (err == nil) != ok || proxy.muted.Load() != tries {
			t.Errorf("retry %v, %d answers lost: %v after %d tries", retry, mutes, err, proxy.muted.Load())
		}
		if took := time.Since(began); took < 250*time.Millisecond || took > 300*time.Millisecond*time.Duration(tries)+late {
			t.Errorf("retry %v, %d answers lost: Put took %v", retry, mutes, took)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	f(false, 1, 1, false)
	f(true, 1, 2, true)
	f(true, 9, 2, false)
}

func TestConnectionThatHasLainIdleIsNotUsed(t *testing.T) {
	server := storetest.StartRedis(t)
	w := watch(t, server.Addr)
	f := func(interval time.Duration, reused bool) {
		t.Helper()
		s := open(t, redis.Options{URL: server.URL, HealthCheckInterval: interval, Budget: patient})
		putBody(t, s, "k", 100)
		if !hits(t, s, "k") { // reads have connections of their own
			t.Error("no hit")
		}
		before, err := w.clients(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		storetest.Eventually(t, patient, "the first probe has its connection, too", func() bool {
			time.Sleep(50 * time.Millisecond)
			last := len(before)
			before, err = w.clients(t.Context())
			return err == nil && len(before) == last
		})
		if err := w.c.Do(t.Context(), "config", "resetstat").Err(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1200 * time.Millisecond)
		if !hits(t, s, "k") {
			t.Error("no hit")
		}
		after, err := w.clients(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var fresh []string
		for id := range after {
			if _, ok := before[id]; !ok {
				fresh = append(fresh, id)
			}
		}
		if reused != (len(fresh) == 0) {
			t.Errorf("interval %v: %d connections before, %v came later", interval, len(before), slices.Sorted(slices.Values(fresh)))
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	f(time.Second, false)
	f(time.Minute, true)
	f(-1, true)
}
