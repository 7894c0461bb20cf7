package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"jaegis-proxy/store/storetest"
)

const (
	clients = 16
	docs    = 50
	small   = "pad=300"

	// noMemory leaves Redis as the only store, so that each request needs it.
	noMemory = "memory: {max_bytes: 0}, "
)

func redisFaults() []fault {
	const back = "no request fails, in use again by itself, no purge lost"
	bypass := "bypass within the budget, the breaker opens, no request fails"
	return []fault{
		{"Redis frozen", "SIGSTOP", bypass, hung(func(_ context.Context, s *storetest.Server) error { return s.Pause() }, (*storetest.Server).Resume)},
		{"Redis paused", "CLIENT PAUSE 4000 ALL", bypass, hung(func(ctx context.Context, s *storetest.Server) error {
			return do(ctx, &goredis.Options{Addr: s.Addr}, "client", "pause", 4000, "all")
		}, func(*storetest.Server) error { return nil })},
		{"Redis killed", "SIGKILL, and a start with nothing in it", "no request fails, in use again by itself", killed},
		{"Redis full", "maxmemory 3mb, noeviction", "served, the failed store counted, no request fails", full},
		{"ACL user switched off", "ACL SETUSER off, connections killed", "served from the upstream, /readyz says degraded, in use again by itself", switchedOff},
		{"wrong CA", "TLS with a certificate of another authority", "served from the upstream, /readyz says degraded", wrongCA},
		{"Sentinel failover", "SIGKILL of the primary under load", back, sentinelFailover((*storetest.Server).Kill)},
		{"Sentinel failover, hung", "SIGSTOP of the primary under load", back, sentinelFailover((*storetest.Server).Pause)},
		{"Cluster failover", "SIGKILL of a primary under load", back, clusterFailover((*storetest.Server).Kill)},
		{"Cluster failover, hung", "SIGSTOP of a primary under load", back, clusterFailover((*storetest.Server).Pause)},
	}
}

// hung has Redis accept everything and answer nothing. What that adds to a
// request is seen beside a proxy that has no cache, which asks the upstream as
// this one must.
func hung(freeze func(context.Context, *storetest.Server) error, thaw func(*storetest.Server) error) func(context.Context, *rig) error {
	return func(ctx context.Context, r *rig) error {
		s, err := r.redis(storetest.ServerOptions{})
		if err != nil {
			return err
		}
		if err := errors.Join(r.start(noMemory+"redis: {url: \""+s.URL+"\"}", nil), r.fill(ctx, docs, small)); err != nil {
			return err
		}
		plain, err := r.another("enabled: false")
		if err != nil {
			return err
		}
		before, _ := r.beside(ctx, plain, docs, time.Second, small)
		if err := freeze(ctx, s); err != nil {
			return err
		}
		began := time.Now()
		opened := make(chan time.Duration, 1)
		go func() { // ends with until
			_ = r.until(ctx, "an open breaker", r.open)
			opened <- time.Since(began)
		}()
		first, firstPlain := r.beside(ctx, plain, docs, time.Second, small)
		after := <-opened
		then, thenPlain := r.beside(ctx, plain, docs, 2*time.Second, small)
		if err := thaw(s); err != nil {
			return err
		}
		back := time.Now()
		if err := r.until(ctx, "a closed breaker", func() bool { return !r.open() }); err != nil {
			return err
		}
		r.figure("open after %d ms", after.Milliseconds())
		r.figure("p99 %.1f ms before; beside a proxy without a cache: %.1f and %.1f ms in the first second, %.1f and %.1f ms after it (median %.2f and %.2f ms)",
			before.p(0.99), first.p(0.99), firstPlain.p(0.99), then.p(0.99), thenPlain.p(0.99), then.p(0.5), thenPlain.p(0.5))
		r.figure("%d requests, failed %d", len(first.took)+len(then.took), first.failures+then.failures)
		r.figure("in use again %d ms after", time.Since(back).Milliseconds())
		return errors.Join(before.err(), first.err(), then.err(), r.fill(ctx, docs, small))
	}
}

// killed is for a server that dies and comes back.
func killed(ctx context.Context, r *rig) error {
	s, err := r.redis(storetest.ServerOptions{})
	if err != nil {
		return err
	}
	if err := errors.Join(r.start(noMemory+"redis: {url: \""+s.URL+"\"}", nil), r.fill(ctx, docs, small)); err != nil {
		return err
	}
	if err := s.Kill(); err != nil {
		return err
	}
	without := r.load(ctx, clients, docs, 2*time.Second, small)
	if err := s.Restart(); err != nil {
		return err
	}
	began := time.Now()
	err = r.fill(ctx, 1, small)
	r.figure("%d requests, failed %d, p99 %.1f ms", len(without.took), without.failures, without.p(0.99))
	r.figure("in use again %d ms after", time.Since(began).Milliseconds())
	return errors.Join(without.err(), err)
}

func full(ctx context.Context, r *rig) error {
	s, err := r.redis(storetest.ServerOptions{MaxMemory: "3mb", Policy: "noeviction"})
	if err != nil {
		return err
	}
	if err := r.start(noMemory+"compression: {enabled: false}, redis: {url: \""+s.URL+"\"}", nil); err != nil {
		return err
	}
	got := r.load(ctx, clients, 400, 3*time.Second, "pad=20000")
	failed := r.metric(`jaegis_not_stored_total\{.*reason="store-error".*\}`)
	r.figure("%d requests, failed %d, %.0f stores counted as failed", len(got.took), got.failures, failed)
	if failed == 0 {
		return errors.Join(got.err(), errors.New("no failed store was counted"))
	}
	return got.err()
}

func switchedOff(ctx context.Context, r *rig) error {
	s, err := r.redis(storetest.ServerOptions{})
	if err != nil {
		return err
	}
	acl := func(args ...any) error { return do(ctx, &goredis.Options{Addr: s.Addr}, args...) }
	if err := acl("acl", "setuser", "jaegis", "on", ">secret", "~jaegis:*", "&jaegis:*", "+@all", "-@dangerous"); err != nil {
		return err
	}
	if err := errors.Join(r.start(noMemory+"redis: {url: \""+s.URL+"\", username: jaegis, password: secret}", nil), r.fill(ctx, docs, small)); err != nil {
		return err
	}
	if err := errors.Join(acl("acl", "setuser", "jaegis", "off"), acl("client", "kill", "user", "jaegis")); err != nil {
		return err
	}
	without := r.load(ctx, clients, docs, 2*time.Second, small)
	r.figure("%d requests, failed %d", len(without.took), without.failures)
	if err := errors.Join(without.err(), r.degraded(ctx), acl("acl", "setuser", "jaegis", "on")); err != nil {
		return err
	}
	began := time.Now()
	err = r.fill(ctx, docs, small)
	r.figure("in use again %d ms after", time.Since(began).Milliseconds())
	return err
}

// degraded waits until /readyz says that something is missing.
func (r *rig) degraded(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return r.proxy.Await(ctx, func(status int, body string) bool {
		return status == http.StatusOK && strings.Contains(body, `"status":"degraded"`)
	})
}

func wrongCA(ctx context.Context, r *rig) error {
	theirs, ours := filepath.Join(r.dir, "theirs"), filepath.Join(r.dir, "ours")
	if err := errors.Join(os.Mkdir(theirs, 0o700), os.Mkdir(ours, 0o700)); err != nil {
		return err
	}
	certs, err := storetest.NewCerts(theirs)
	if err != nil {
		return err
	}
	other, err := storetest.NewCerts(ours)
	if err != nil {
		return err
	}
	s, err := r.redis(storetest.ServerOptions{TLS: certs})
	if err != nil {
		return err
	}
	if err := r.start(fmt.Sprintf("%sredis: {url: %q, tls: {ca_file: %q}}", noMemory, s.URL, other.CAFile), nil); err != nil {
		return err
	}
	got := r.load(ctx, clients, docs, 2*time.Second, small)
	r.figure("%d requests, failed %d, hits %d", len(got.took), got.failures, got.hits)
	if got.hits > 0 {
		err = errors.New("a server that shows a wrong certificate was used")
	}
	return errors.Join(err, got.err(), r.degraded(ctx))
}

func sentinelFailover(end func(*storetest.Server) error) func(context.Context, *rig) error {
	return func(ctx context.Context, r *rig) error {
		s, err := storetest.RunSentinel(storetest.SentinelOptions{})
		if err != nil {
			return err
		}
		r.closers = append(r.closers, s.Close)
		cache := fmt.Sprintf("%sredis: {mode: sentinel, master_name: %s, addresses: [%q, %q, %q]}", noMemory, s.MasterName, s.Addrs[0], s.Addrs[1], s.Addrs[2])
		return failover(ctx, r, cache, func() error {
			primary, err := s.Primary(ctx)
			if err != nil {
				return err
			}
			return end(primary)
		})
	}
}

// clusterFailover ends the primary of the ledger.
func clusterFailover(end func(*storetest.Server) error) func(context.Context, *rig) error {
	return func(ctx context.Context, r *rig) error {
		c, err := storetest.RunCluster(storetest.ClusterOptions{})
		if err != nil {
			return err
		}
		r.closers = append(r.closers, c.Close)
		cache := fmt.Sprintf("%sredis: {mode: cluster, addresses: [%q, %q, %q]}", noMemory, c.Addrs[0], c.Addrs[1], c.Addrs[2])
		return failover(ctx, r, cache, func() error {
			primary, err := c.Primary(ctx, "jaegis:{ledger}:purges")
			if err != nil {
				return err
			}
			return end(primary)
		})
	}
}

// failover has a primary end under load, and sees that what was purged stays so.
func failover(ctx context.Context, r *rig, cache string, end func() error) error {
	if err := r.start(cache, nil); err != nil {
		return err
	}
	if err := r.fill(ctx, docs, small); err != nil {
		return err
	}
	r.origin.SetVersion(2)
	if err := r.purgeAll(ctx); err != nil {
		return err
	}
	before := r.load(ctx, clients, docs, time.Second, small)
	if err := end(); err != nil {
		return err
	}
	began := time.Now()
	got := r.load(ctx, clients, docs, 3*time.Second, small)
	err := r.fill(ctx, docs, small)
	r.figure("p99 %.1f ms before, %.1f ms in the first 3 s, %d requests, failed %d", before.p(0.99), got.p(0.99), len(got.took), got.failures)
	r.figure("all hits again after %.1f s at the latest", time.Since(began).Seconds())
	lost := 0
	for k := range docs {
		_, body, gerr := r.get(fmt.Sprintf("/c/%d?%s", k, small), "a-key")
		if gerr != nil || !strings.Contains(string(body), `"version":2`) {
			lost++
		}
	}
	r.figure("answers from before the purge: %d", lost)
	if lost > 0 {
		err = errors.Join(err, errors.New("what was purged before came back"))
	}
	return errors.Join(before.err(), got.err(), err)
}

// purgeAll purges everything.
func (r *rig) purgeAll(ctx context.Context) error {
	return r.until(ctx, "a purge", func() bool {
		resp, err := r.client.Post("http://"+r.proxy.Admin+"/api/v1/purge", "application/json", strings.NewReader(`{"all":true}`))
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}
