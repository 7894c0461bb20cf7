package redis_test

import (
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
