package redis_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"jaegis-proxy/store"
	"jaegis-proxy/store/redis"
	"jaegis-proxy/store/storetest"
)

// ledgerName is what the purges are kept under.
const ledgerName = "jaegis:{ledger}:purges"

// to gives a client for questions to one server.
func to(t *testing.T, server *storetest.Server) *goredis.Client {
	t.Helper()
	c := goredis.NewClient(&goredis.Options{Addr: server.Addr, Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// purgesOn gives how often each label was purged, by what a server has.
func purgesOn(t *testing.T, server *storetest.Server) map[string]int {
	t.Helper()
	c := goredis.NewClient(&goredis.Options{
		Addr: server.Addr, Protocol: 2, DisableIdentity: true,
		OnConnect: func(ctx context.Context, c *goredis.Conn) error {
			_ = c.ReadOnly(ctx) // a replica of a cluster tells then too; others do not know it
			return nil
		},
	})
	defer func() { _ = c.Close() }()
	records, err := c.XRange(t.Context(), ledgerName, "-", "+").Result()
	if err != nil && !goredis.HasErrorPrefix(err, "MOVED") {
		t.Fatal(err)
	}
	labels := map[string]int{}
	for _, r := range records {
		labels[r.Values["l"].(string)]++
	}
	return labels
}

// A purge that no replica has is not acknowledged: with the primary it would go.
func TestPurgeIsAcknowledgedOnceAReplicaHasIt(t *testing.T) {
	t.Parallel() // it waits, mostly
	sentinel := storetest.StartSentinel(t, storetest.SentinelOptions{DownAfter: time.Minute})
	cluster := storetest.StartCluster(t, storetest.ClusterOptions{NodeTimeout: time.Minute})
	f := func(what string, opts redis.Options, replicas []*storetest.Server) {
		t.Run(what, func(t *testing.T) {
			opts.SocketTimeout = 2 * time.Second
			n := startMemberOn(t, opts, time.Minute).following(t)
			for _, r := range replicas {
				if err := r.Pause(); err != nil {
					t.Fatal(err)
				}
			}
			err := n.Purge(t.Context(), "tag:a", false)
			if !errors.Is(err, store.ErrNotPurged) || !errors.Is(err, store.ErrUnconfirmed) || !strings.Contains(err.Error(), "no replica said in time that it has it too") {
				t.Errorf("without replicas that answer: %v", err)
			}
			for _, r := range replicas {
				if err := r.Resume(); err != nil {
					t.Fatal(err)
				}
			}
			if err := n.Purge(t.Context(), "tag:b", false); err != nil {
				t.Error(err)
			}
			has := 0
			for _, r := range replicas {
				has += purgesOn(t, r)["tag:b"]
			}
			if has == 0 {
				t.Error("no replica has the purge that was acknowledged")
			}
		})
	}
	f("sentinel", sentinelOptions(sentinel), sentinel.Servers[1:])
	primary, err := cluster.Primary(t.Context(), ledgerName)
	if err != nil {
		t.Fatal(err)
	}
	var others []*storetest.Server // one of them is its replica
	for _, node := range cluster.Nodes[3:] {
		if node != primary {
			others = append(others, node)
		}
	}
	f("cluster", clusterOptions(cluster), others)
}

// Where nothing can take the primary's place, it alone is enough.
func TestPurgeOfAClusterWithoutReplicasIsAcknowledged(t *testing.T) {
	one := storetest.StartRedis(t, "--cluster-enabled", "yes")
	if err := rawClient(t, one).Do(t.Context(), "cluster", "addslotsrange", 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	n := startMemberOn(t, redis.Options{Mode: redis.Cluster, Addresses: []string{one.Addr}, Budget: patient}, time.Minute).following(t)
	if err := n.Purge(t.Context(), "tag:a", false); err != nil {
		t.Error(err)
	}
}

// purger purges without pause, each time another tag.
type purger struct {
	n     *member
	stop  context.CancelFunc
	going sync.WaitGroup
	count atomic.Int64 // of those acknowledged

	mu     sync.Mutex
	acked  map[string]*store.Entry // an entry from before each purge that was acknowledged
	failed int
}

func startPurger(t *testing.T, n *member) *purger {
	ctx, stop := context.WithCancel(t.Context())
	p := &purger{n: n, stop: stop, acked: map[string]*store.Entry{}}
	for worker := range 2 {
		p.going.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				tag := fmt.Sprintf("tag:%d-%d", worker, i)
				before := n.fetched(tag)
				err := n.Purge(ctx, tag, false)
				p.mu.Lock()
				if err == nil {
					p.acked[tag] = before
					p.count.Add(1)
				} else {
					p.failed++
				}
				p.mu.Unlock()
			}
		})
	}
	t.Cleanup(p.end)
	return p
}

func (p *purger) end() {
	p.stop()
	p.going.Wait()
}

// await waits until some more purges have been acknowledged.
func (p *purger) await(t *testing.T, what string) {
	t.Helper()
	from := p.count.Load()
	storetest.Eventually(t, 3*failsOverWithin, what, func() bool { return p.count.Load() >= from+20 })
}

// TestNoPurgeIsLostByAFailover kills the primary of the ledger while purges are
// written: its successor has all that were acknowledged, and they hold, in the
// process that wrote them, in another one, and in one that comes later.
func TestNoPurgeIsLostByAFailover(t *testing.T) {
	t.Parallel() // it waits, mostly
	sentinel := storetest.StartSentinel(t, storetest.SentinelOptions{})
	cluster := storetest.StartCluster(t, storetest.ClusterOptions{})
	f := func(what string, opts redis.Options, primary func() (*storetest.Server, error), ready func() error) {
		t.Run(what, func(t *testing.T) {
			opts.SocketTimeout = 5 * time.Second
			writer, other := startMemberOn(t, opts, time.Minute).following(t), startMemberOn(t, opts, time.Minute).following(t)
			p := startPurger(t, writer)
			for range 2 {
				p.await(t, "purges")
				old, err := primary()
				if err != nil {
					t.Fatal(err)
				}
				if err := old.Kill(); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				p.await(t, "purges after the failover")
				t.Logf("purged again after %v", time.Since(began))
				if err := errors.Join(old.Restart(), ready()); err != nil {
					t.Fatal(err)
				}
			}
			p.end()
			now, err := primary()
			if err != nil {
				t.Fatal(err)
			}
			has := purgesOn(t, now)
			for _, tag := range slices.Sorted(maps.Keys(p.acked)) {
				if has[tag] == 0 {
					t.Errorf("the purge of %s was acknowledged, and is lost", tag)
				}
			}
			t.Logf("%d purges acknowledged, %d not", len(p.acked), p.failed)
			late := startMemberOn(t, opts, time.Minute).following(t)
			for tag, before := range p.acked {
				for who, n := range map[string]*member{"writer": writer, "other": other, "late": late} {
					until(t, fmt.Sprintf("%s purged for the %s", tag, who), func() bool { return n.judge(before) == store.Purged })
				}
			}
		})
	}
	f("sentinel", sentinelOptions(sentinel), func() (*storetest.Server, error) { return sentinel.Primary(t.Context()) }, sentinel.AwaitReady)
	f("cluster", clusterOptions(cluster), func() (*storetest.Server, error) { return cluster.Primary(t.Context(), ledgerName) }, cluster.AwaitReady)
}
