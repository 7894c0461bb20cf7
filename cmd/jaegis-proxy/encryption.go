package main

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"jaegis-proxy/config"
	"jaegis-proxy/store/redis"
)

// encryptionKeys gives the configured keys as the stores take them.
func encryptionKeys(c *config.Cache) []redis.EncryptionKey {
	var keys []redis.EncryptionKey
	for _, key := range c.Encryption.Raw() {
		keys = append(keys, key)
	}
	return keys
}

// registerUnopened adds what the store named name could not open.
func registerUnopened(name string, r *redis.Store, reg prometheus.Registerer) error {
	counter := func(reason string, value func(redis.Stats) int64) error {
		return reg.Register(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name:        "jaegis_store_unopened_total",
			Help:        "Values that were misses because no key here opens them, or because they are in plain where all are to be encrypted.",
			ConstLabels: prometheus.Labels{"store": name, "reason": reason},
		}, func() float64 { return float64(value(r.Stats())) }))
	}
	return errors.Join(
		counter("unknown_key", func(s redis.Stats) int64 { return s.UnknownKey }),
		counter("not_encrypted", func(s redis.Stats) int64 { return s.NotSealed }),
	)
}
