package redis_test

import (
	"errors"
	"testing"
	"time"

	"jaegis-proxy/store"
	"jaegis-proxy/store/redis"
	"jaegis-proxy/store/storetest"
)

// sentinelOptions and clusterOptions are those for stores on them.
func sentinelOptions(s *storetest.Sentinel) redis.Options {
	return redis.Options{Mode: redis.Sentinel, Addresses: s.Addrs, MasterName: s.MasterName, Budget: patient}
}

func clusterOptions(c *storetest.Cluster) redis.Options {
	return redis.Options{Mode: redis.Cluster, Addresses: c.Addrs[:2], Budget: patient}
}

func TestSuiteSentinel(t *testing.T) {
	opts := sentinelOptions(storetest.StartSentinel(t, storetest.SentinelOptions{}))
	storetest.Run(t, func(t *testing.T, now func() time.Time) store.Store {
		opts.Now = now
		return open(t, opts)
	})
}

func TestSuiteCluster(t *testing.T) {
	opts := clusterOptions(storetest.StartCluster(t, storetest.ClusterOptions{}))
	storetest.Run(t, func(t *testing.T, now func() time.Time) store.Store {
		opts.Now = now
		return open(t, opts)
	})
}

// Sentinels, and the nodes of a cluster, are spoken to by TLS too, with a client
// certificate and a password, and must have the certificate that is asked for.
func TestSentinelsAndClustersWithTLS(t *testing.T) {
	certs := storetest.MakeCerts(t)
	sentinel := storetest.StartSentinel(t, storetest.SentinelOptions{TLS: certs, Password: "secret", SentinelPassword: "another"})
	cluster := storetest.StartCluster(t, storetest.ClusterOptions{TLS: certs, Password: "secret"})
	bySentinel, byCluster := sentinelOptions(sentinel), clusterOptions(cluster)
	bySentinel.SentinelPassword = "another"
	for what, opts := range map[string]redis.Options{"sentinel": bySentinel, "cluster": byCluster} {
		for _, name := range []string{"", storetest.ServerName} {
			opts.Password, opts.TLS = "secret", certs.Client()
			opts.TLS.ServerName = name
			n := startMemberOn(t, opts, time.Minute).following(t)
			putBody(t, n.redis, what, 3<<20)
			if err := n.Purge(t.Context(), store.LabelAll, false); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		opts.TLS = certs.Client()
		opts.TLS.ServerName, opts.Budget = "other.jaegis.test", budget
		s := open(t, opts)
		if err := getTimed(t, s, what); err == nil || errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s, a certificate of another: %v; want an outage", what, err)
		}
		storetest.Eventually(t, opensWithin, "the breaker opens", isOpen(s))
	}
}
