package redis_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"jaegis-proxy/store"
	"jaegis-proxy/store/storetest"
)

// move gives the slots of the names to another primary, one after the other and
// with pauses, as an operator does who adds a node.
func move(t *testing.T, cluster *storetest.Cluster, names []string) {
	t.Helper()
	for _, name := range names {
		from, err := cluster.Primary(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		target := from
		for _, other := range namesFor(30) {
			if target, err = cluster.Primary(t.Context(), other); err != nil {
				t.Fatal(err)
			}
			if target != from {
				break
			}
		}
		do := func(server *storetest.Server, args ...any) any {
			t.Helper()
			reply, err := to(t, server).Do(t.Context(), args...).Result()
			if err != nil {
				t.Fatalf("%v: %v", args, err)
			}
			return reply
		}
		slot := do(from, "cluster", "keyslot", name)
		source, destination := do(from, "cluster", "myid"), do(target, "cluster", "myid")
		do(target, "cluster", "setslot", slot, "importing", source)
		do(from, "cluster", "setslot", slot, "migrating", destination)
		time.Sleep(200 * time.Millisecond) // what is new goes there by ASK, what is old is here still
		host, port, _ := net.SplitHostPort(target.Addr)
		for {
			keys := do(from, "cluster", "getkeysinslot", slot, 100).([]any)
			if len(keys) == 0 {
				break
			}
			do(from, append([]any{"migrate", host, port, "", 0, 5000, "replace", "keys"}, keys...)...)
		}
		time.Sleep(200 * time.Millisecond) // nothing is here any more, and nobody else knows
		do(target, "cluster", "setslot", slot, "node", destination)
		do(from, "cluster", "setslot", slot, "node", destination)
		now, err := cluster.Primary(t.Context(), name)
		if err != nil || now == from {
			t.Fatalf("%s has not moved: %v", name, err)
		}
	}
}

// Slots go to another node under load, that of the ledger among them.
func TestSlotsThatMoveUnderLoad(t *testing.T) {
	t.Parallel() // it waits, mostly
	cluster := storetest.StartCluster(t, storetest.ClusterOptions{NodeTimeout: time.Minute})
	opts := clusterOptions(cluster)
	opts.Budget, opts.SocketTimeout = budget, 5*time.Second
	for _, replicas := range []bool{false, true} {
		t.Run(fmt.Sprintf("reading replicas %v", replicas), func(t *testing.T) {
			opts.ReadReplicas = replicas
			n, other := startMemberOn(t, opts, 5*time.Second).following(t), startMemberOn(t, opts, 5*time.Second).following(t)
			names := namesFor(6)
			tr := startTraffic(t, n.redis, names)
			p := startPurger(t, other)
			tr.await(t, failsOverWithin, "traffic")
			kept := n.fetched()
			p.await(t, "purges")
			moved := []string{ledgerName}
			for _, name := range names[:3] {
				moved = append(moved, storetest.Key(name).String())
			}
			began := time.Now()
			move(t, cluster, moved)
			tr.await(t, failsOverWithin, "traffic after that")
			p.await(t, "purges after that")
			t.Logf("moved in %v", time.Since(began))
			tr.end()
			p.end()
			if state := n.redis.State(); state.Open {
				t.Errorf("%+v", state)
			}
			t.Logf("%d purges acknowledged, %d not", len(p.acked), p.failed)
			if p.failed > 0 {
				t.Errorf("%d purges failed", p.failed)
			}
			for tag, before := range p.acked {
				until(t, tag+" purged", func() bool { return n.judge(before) == store.Purged })
			}
			if n.judge(kept) != store.Good {
				t.Error("the ledger began anew")
			}
			if _, ok := n.Following(); !ok {
				t.Error("the ledger is not followed where it is now")
			}
		})
	}
}
