package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"jaegis-proxy/store/storetest"
)

// topology is a set-up of Redis in which a server takes another's place.
type topology struct {
	name    string
	yaml    string // of cache.redis
	primary func(*testing.T) *storetest.Server
	ready   func() error // another failover can succeed
}

const purgesName = "jaegis:{ledger}:purges"

// startTopologies starts one of each. The primary is that of the ledger.
func startTopologies(t *testing.T) []topology {
	t.Helper()
	sentinel := storetest.StartSentinel(t, storetest.SentinelOptions{})
	cluster := storetest.StartCluster(t, storetest.ClusterOptions{})
	must := func(t *testing.T, s *storetest.Server, err error) *storetest.Server {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	list := func(addrs []string) string { return `["` + strings.Join(addrs, `", "`) + `"]` }
	return []topology{
		{"sentinel", fmt.Sprintf("mode: sentinel, master_name: %s, addresses: %s", sentinel.MasterName, list(sentinel.Addrs)),
			func(t *testing.T) *storetest.Server { s, err := sentinel.Primary(t.Context()); return must(t, s, err) }, sentinel.AwaitReady},
		{"cluster", "mode: cluster, addresses: " + list(cluster.Addrs),
			func(t *testing.T) *storetest.Server {
				s, err := cluster.Primary(t.Context(), purgesName)
				return must(t, s, err)
			}, cluster.AwaitReady},
	}
}

// usedAgainWithin is how soon after the end of its primary a set-up must be in
// use again: the five seconds that are promised, and as much for the election on
// a busy machine.
const usedAgainWithin = 10 * time.Second

// A failover costs no request, and what was purged before, while and after it
// stays purged.
func TestAFailoverCostsNoRequestAndNoPurge(t *testing.T) {
	t.Parallel() // it waits, mostly
	for _, top := range startTopologies(t) {
		for _, fault := range []struct {
			what      string
			end, mend func(*storetest.Server) error
			replicas  bool
		}{
			{"killed", (*storetest.Server).Kill, (*storetest.Server).Restart, true},
			{"hung", (*storetest.Server).Pause, (*storetest.Server).Resume, false},
		} {
			t.Run(fmt.Sprintf("%s, %s, replicas %v", top.name, fault.what, fault.replicas), func(t *testing.T) {
				const route = "  - {name: purged, match: {path: /p/*}, ttl: 1h}\n"
				yaml := redisYAML(fmt.Sprintf("%s, socket_timeout: 4s, read_replicas: %v", top.yaml, fault.replicas)) + route
				r := e2e(t, yaml)
				other := &rig{origin: r.origin, proc: start(t, strings.ReplaceAll(yaml, "ORIGIN", r.origin.URL))}
				l, l2 := r.begin(t, 3), other.begin(t, 3)
				l.pass(t, 200)
				l2.pass(t, 200)
				p := r.purgeOnAndOn(t)
				p.pass(t, 5)

				old := top.primary(t)
				if err := fault.end(old); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				r.awaitReadyz(t, "degraded", patience)
				r.awaitReadyz(t, "ok", usedAgainWithin)
				r.fromRedis(t, "/c/again")
				t.Logf("in use again after %v", time.Since(began))
				p.pass(t, 5)
				t.Logf("purged again after %v", time.Since(began))
				if err := fault.mend(old); err != nil {
					t.Fatal(err)
				}
				if err := top.ready(); err != nil {
					t.Fatal(err)
				}
				r.awaitReadyz(t, "ok", usedAgainWithin)
				l.pass(t, 200)
				l2.pass(t, 200)
				p.pass(t, 5)
				l.end(t)
				l2.end(t)
				p.end(t, r, other)
			})
		}
	}
}

// purging purges a tag of its own with each request, and knows which purges
// were acknowledged.
type purging struct {
	stop   chan struct{}
	done   chan struct{}
	acked  atomic.Int64
	denied atomic.Int64
	wrong  atomic.Value // string
}

// purgeOnAndOn stores an answer, purges it, and asks for it, without pause: once
// the purge is acknowledged, the answer must be another one.
func (r *rig) purgeOnAndOn(t *testing.T) *purging {
	t.Helper()
	p := &purging{stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(p.done)
		client := &http.Client{Timeout: patience}
		for i := 0; ; i++ {
			select {
			case <-p.stop:
				return
			default:
			}
			if err := r.purgeOnce(client, p); err != nil {
				p.wrong.CompareAndSwap(nil, err.Error())
			}
		}
	}()
	t.Cleanup(func() {
		select {
		case <-p.stop:
		default:
			close(p.stop)
		}
		<-p.done
	})
	return p
}

// purgeOnce is for one answer, that of a path that nothing else asks for.
func (r *rig) purgeOnce(client *http.Client, p *purging) error {
	const path = "/p/purged"
	ask := func() error {
		resp, err := client.Post(r.URL+path, "text/plain", strings.NewReader("hello"))
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("status %d", resp.StatusCode)
		}
		return err
	}
	if err := ask(); err != nil {
		return err
	}
	calls := r.origin.CallsTo(path)
	resp, err := client.Post("http://"+r.Admin+"/api/v1/purge", "application/json", strings.NewReader(`{"route":"purged"}`))
	if err != nil {
		return err
	}
	var answer struct {
		Error struct{ Type, Message string }
	}
	err = json.NewDecoder(resp.Body).Decode(&answer)
	_ = resp.Body.Close()
	switch {
	case err != nil:
		return err
	case resp.StatusCode == http.StatusServiceUnavailable && answer.Error.Type == "jaegis_not_purged":
		p.denied.Add(1)
		return nil
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("purge: %d %+v", resp.StatusCode, answer)
	}
	p.acked.Add(1)
	if err = ask(); err == nil && r.origin.CallsTo(path) == calls {
		err = fmt.Errorf("an answer from before a purge that was acknowledged")
	}
	return err
}

// pass waits for n more purges that are acknowledged.
func (p *purging) pass(t *testing.T, n int64) {
	t.Helper()
	from := p.acked.Load()
	storetest.Eventually(t, 2*patience, fmt.Sprintf("%d purges", n), func() bool { return p.acked.Load() >= from+n })
}

// end stops it, and looks whether what was purged is gone in all processes.
func (p *purging) end(t *testing.T, rigs ...*rig) {
	t.Helper()
	close(p.stop)
	<-p.done
	if wrong := p.wrong.Load(); wrong != nil {
		t.Error(wrong)
	}
	t.Logf("%d purges acknowledged, %d not", p.acked.Load(), p.denied.Load())
	first := rigs[0]
	for i, r := range rigs {
		path := fmt.Sprintf("/p/last%d", i)
		r.fromRedis(t, path)
		calls := r.origin.CallsTo(path)
		first.purge(t, `{"route":"purged"}`)
		r.until(t, send("POST", path, "hello"), "purged", func(*reply) bool { return r.origin.CallsTo(path) > calls })
	}
}
