package redis_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jaegis-proxy/store"
	"jaegis-proxy/store/redis"
	"jaegis-proxy/store/storetest"
)

// What is promised of a failover is five seconds. A busy machine gets twice
// that, for the servers' own part in it too.
const failsOverWithin = 10 * time.Second

// traffic is callers that put and get without pause. Whatever else happens,
// nobody gets another answer than his own, or waits much longer than he may.
type traffic struct {
	s       *redis.Store
	names   []string
	stop    chan struct{}
	callers sync.WaitGroup
	found   []atomic.Int64 // by name
	stored  []atomic.Int64
}

func startTraffic(t *testing.T, s *redis.Store, names []string) *traffic {
	t.Helper()
	tr := &traffic{s: s, names: names, stop: make(chan struct{}), found: make([]atomic.Int64, len(names)), stored: make([]atomic.Int64, len(names))}
	for caller := range 6 {
		tr.callers.Go(func() {
			for i := caller; ; i++ {
				select {
				case <-tr.stop:
					return
				default:
				}
				tr.call(t, i)
			}
		})
	}
	t.Cleanup(tr.end)
	return tr
}

func (tr *traffic) end() {
	select {
	case <-tr.stop:
	default:
		close(tr.stop)
	}
	tr.callers.Wait()
}

func (tr *traffic) call(t *testing.T, i int) {
	put, at := rand.IntN(4) == 0, rand.IntN(len(tr.names))
	key := storetest.Key(tr.names[at])
	began := time.Now()
	if put {
		size := []int{100, 3000, 200 << 10, 1200 << 10}[rand.IntN(4)]
		if tr.s.Put(t.Context(), key, storetest.Entry(time.Now(), storetest.Body(key, uint64(i), size))) == nil {
			tr.stored[at].Add(1)
		}
		return
	}
	e, err := tr.s.Get(t.Context(), key)
	if took := time.Since(began); took > late {
		t.Errorf("Get with a budget of %v took %v", budget, took)
	}
	switch {
	case err == nil:
		if e, err = e.Load(t.Context()); err != nil {
			return // it is a cut, or a miss
		}
		if _, err := storetest.Prove(key, e.Body); err != nil {
			t.Error(err)
		}
		tr.found[at].Add(1)
	case errors.Is(err, redis.ErrOpen):
		time.Sleep(time.Millisecond) // there is nothing to do until it closes
	}
}

// await waits until some more of everything has been found and stored.
func (tr *traffic) await(t *testing.T, limit time.Duration, what string) {
	t.Helper()
	before := make([]int64, 2*len(tr.names))
	for i := range tr.names {
		before[2*i], before[2*i+1] = tr.found[i].Load(), tr.stored[i].Load()
	}
	storetest.Eventually(t, limit, what, func() bool {
		for i := range tr.names {
			if tr.found[i].Load() < before[2*i]+2 || tr.stored[i].Load() < before[2*i+1]+2 {
				return false
			}
		}
		return true
	})
}

func namesFor(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprint("name", i)
	}
	return names
}

func TestSentinelFailoverUnderLoad(t *testing.T) {
	sentinel := storetest.StartSentinel(t, storetest.SentinelOptions{})
	opts := sentinelOptions(sentinel)
	opts.Budget, opts.SocketTimeout = budget, time.Second
	for what, end := range map[string]func(*storetest.Server) error{"killed": (*storetest.Server).Kill, "hung": (*storetest.Server).Pause} {
		replicas := what == "killed"
		t.Run(fmt.Sprintf("primary %s, reading replicas %v", what, replicas), func(t *testing.T) {
			opts.ReadReplicas = replicas
			tr := startTraffic(t, startMemberOn(t, opts, time.Minute).following(t).redis, namesFor(8))
			tr.await(t, failsOverWithin, "traffic")
			old, err := sentinel.Primary(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := end(old); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			tr.await(t, failsOverWithin, "traffic after the failover")
			t.Logf("back in use after %v", time.Since(began))
			if what == "hung" {
				err = old.Resume()
			} else {
				err = old.Restart()
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := sentinel.AwaitReady(); err != nil {
				t.Fatal(err)
			}
			tr.await(t, failsOverWithin, "traffic after the old primary has come back")
			tr.end()
			if state := tr.s.State(); state.Open {
				t.Errorf("%+v", state)
			}
		})
	}
}

func TestClusterFailoverUnderLoad(t *testing.T) {
	cluster := storetest.StartCluster(t, storetest.ClusterOptions{})
	opts := clusterOptions(cluster)
	opts.Budget, opts.SocketTimeout = budget, time.Second
	for what, end := range map[string]func(*storetest.Server) error{"killed": (*storetest.Server).Kill, "hung": (*storetest.Server).Pause} {
		replicas := what == "killed"
		t.Run(fmt.Sprintf("primary %s, reading replicas %v", what, replicas), func(t *testing.T) {
			opts.ReadReplicas = replicas
			tr := startTraffic(t, startMemberOn(t, opts, time.Minute).following(t).redis, namesFor(12))
			tr.await(t, failsOverWithin, "traffic")
			key := storetest.Key(tr.names[0]).String()
			old, err := cluster.Primary(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			if err := end(old); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			tr.await(t, failsOverWithin, "traffic after the failover")
			t.Logf("back in use after %v", time.Since(began))
			if what == "hung" {
				err = old.Resume()
			} else {
				err = old.Restart()
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := cluster.AwaitReady(); err != nil {
				t.Fatal(err)
			}
			tr.await(t, failsOverWithin, "traffic after the old primary has come back")
			tr.end()
			storetest.Eventually(t, closesWithin, "all of it in use", func() bool { return !tr.s.State().Open })
		})
	}
}

// TestDeadPrimaryOfAClusterCostsItsOwnKeysOnly takes a third of the cluster away
// for good.
func TestDeadPrimaryOfAClusterCostsItsOwnKeysOnly(t *testing.T) {
	cluster := storetest.StartCluster(t, storetest.ClusterOptions{NodeTimeout: time.Minute})
	opts := clusterOptions(cluster)
	opts.Budget = budget
	s := open(t, opts)
	names := namesFor(30)
	for _, name := range names {
		putBody(t, s, name, 1000)
	}
	dead, err := cluster.Primary(t.Context(), storetest.Key(names[0]).String())
	if err != nil {
		t.Fatal(err)
	}
	var lost, kept []string
	for _, name := range names {
		node, err := cluster.Primary(t.Context(), storetest.Key(name).String())
		if err != nil {
			t.Fatal(err)
		}
		if node == dead {
			lost = append(lost, name)
		} else {
			kept = append(kept, name)
		}
	}
	for what, fault := range map[string]struct{ end, mend func(*storetest.Server) error }{
		"hung":   {(*storetest.Server).Pause, (*storetest.Server).Resume},
		"killed": {(*storetest.Server).Kill, (*storetest.Server).Restart},
	} {
		if err := fault.end(dead); err != nil {
			t.Fatal(err)
		}
		storetest.Eventually(t, opensWithin, "its own breaker opens", func() bool {
			return errors.Is(getTimed(t, s, lost[0]), redis.ErrOpen)
		})
		for _, name := range lost {
			if err := getTimed(t, s, name); !errors.Is(err, redis.ErrOpen) {
				t.Errorf("%s, Get of its key: %v; want ErrOpen", what, err)
			}
			if err := s.Delete(t.Context(), storetest.Key(name)); !errors.Is(err, redis.ErrOpen) {
				t.Errorf("%s, Delete of its key: %v; want ErrOpen", what, err)
			}
		}
		for range 20 {
			for _, name := range kept {
				if err := getTimed(t, s, name); err != nil && !isLate(err) {
					t.Errorf("%s, Get of another's key: %v", what, err)
				}
			}
		}
		state := s.State()
		if !state.Open || !strings.Contains(state.LastError, "1 of 3 primaries: "+dead.Addr+": ") {
			t.Errorf("%s: %+v; want %s named", what, state, dead.Addr)
		}
		if err := fault.mend(dead); err != nil {
			t.Fatal(err)
		}
		// A primary that comes back is not let in by the others at once.
		storetest.Eventually(t, failsOverWithin, "all of it in use", func() bool { return !s.State().Open })
		for _, name := range lost {
			putBody(t, s, name, 1000)
		}
	}
}

// isLate says that a busy machine has made a call fail, and not the cluster.
func isLate(err error) bool {
	return strings.Contains(err.Error(), "no answer in time") || errors.Is(err, redis.ErrBusy)
}

func TestClusterThatIsAbsentAtFirstIsUsedOnceItIsThere(t *testing.T) {
	cluster := storetest.StartCluster(t, storetest.ClusterOptions{NodeTimeout: time.Minute})
	each := func(do func(*storetest.Server) error) {
		t.Helper()
		for _, node := range cluster.Nodes {
			if err := do(node); err != nil {
				t.Fatal(err)
			}
		}
	}
	each((*storetest.Server).Pause)
	opts := clusterOptions(cluster)
	opts.Budget = budget
	s := open(t, opts)
	if err := getTimed(t, s, "k"); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get without a cluster: %v; want an outage", err)
	}
	storetest.Eventually(t, 5*time.Second, "it is known to be absent", isOpen(s))
	if err := getTimed(t, s, "k"); !errors.Is(err, redis.ErrOpen) {
		t.Errorf("Get: %v; want ErrOpen", err)
	}
	if state := s.State(); !strings.Contains(state.LastError, cluster.Addrs[0]) {
		t.Errorf("%+v", state)
	}
	each((*storetest.Server).Resume)
	storetest.Eventually(t, failsOverWithin, "it is in use", func() bool { return !s.State().Open })
	putBody(t, s, "k", 1000)
}
