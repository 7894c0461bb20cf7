package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"jaegis-proxy/admin"
	"jaegis-proxy/config"
	"jaegis-proxy/store"
	"jaegis-proxy/store/memory"
	"jaegis-proxy/store/redis"
)

// stores are the stores that a configuration asks for.
type stores struct {
	store.Store // what the proxy uses: memory before Redis, by namespace
	memory      *memory.Store
	redis       map[string]*redis.Store // by the name of the store in metrics and health
	closers     []io.Closer
}

// openStores makes them. Redis need not be there yet.
func openStores(c *config.Cache, reg prometheus.Registerer, log *slog.Logger) (*stores, error) {
	s := &stores{redis: map[string]*redis.Store{}}
	near, err := s.openMemory(c, reg)
	if err != nil {
		return nil, err
	}
	main, err := s.openRedis("redis", c.Redis, near, reg, log)
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	named := map[string]store.Store{}
	for name, r := range c.Stores {
		if named[name], err = s.openRedis("redis-"+name, r, near, reg, log); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	if s.Store = main; len(named) > 0 {
		s.Store = &store.ByNamespace{Default: main, Stores: named}
	}
	return s, s.register(reg)
}

// openMemory gives the memory tier, or nil when it is turned off.
func (s *stores) openMemory(c *config.Cache, reg prometheus.Registerer) (store.Store, error) {
	if c.Memory.MaxBytes == 0 {
		return nil, nil
	}
	m, err := memory.New(memory.Options{MaxBytes: int64(c.Memory.MaxBytes)})
	if err != nil {
		return nil, err
	}
	s.memory, s.closers = m, append(s.closers, m)
	return store.Instrument(m, "memory", reg)
}

// openRedis gives a Redis behind the memory tier; just the latter when no URL
// is configured.
func (s *stores) openRedis(name string, c config.Redis, near store.Store, reg prometheus.Registerer, log *slog.Logger) (store.Store, error) {
	if c.URL == "" {
		return near, nil
	}
	tlsConfig, err := redisTLS(c)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	r, err := redis.New(redis.Options{
		URL: string(c.URL), Username: c.Username, Password: string(c.Password), DB: c.DB,
		MaxConnections: c.MaxConnections, RetryOnTimeout: c.RetryOnTimeout,
		SocketTimeout: time.Duration(c.SocketTimeout), Budget: time.Duration(c.Budget),
		TLS: tlsConfig, Logger: log.With("store", name),
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	s.redis[name], s.closers = r, append(s.closers, r)
	far, err := store.Instrument(r, name, reg)
	if err != nil || near == nil {
		return far, err
	}
	return &store.Tiered{Near: near, Far: far}, nil
}

// redisTLS gives the TLS settings for rediss:// URLs, nil for others.
func redisTLS(c config.Redis) (*tls.Config, error) {
	if !strings.HasPrefix(string(c.URL), "rediss://") {
		return nil, nil
	}
	roots, err := certPool(c.TLS.CAFile)
	if err != nil {
		return nil, err
	}
	t := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	if c.TLS.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.TLS.CertFile, c.TLS.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

// certPool reads a file of CA certificates; nil, the system's, without one.
func certPool(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca_file %s holds no certificate", file)
	}
	return pool, nil
}

// degraded lists the stores that are not in use at present.
func (s *stores) degraded() []admin.Degraded {
	var all []admin.Degraded
	for name, r := range s.redis {
		if state := r.State(); state.Open {
			all = append(all, admin.Degraded{Component: name, Error: state.LastError, Since: state.Since})
		}
	}
	return all
}

// register adds the figures that the stores keep themselves.
func (s *stores) register(reg prometheus.Registerer) error {
	var errs []error
	gauge := func(name, help string, labels prometheus.Labels, value func() float64) {
		errs = append(errs, reg.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, value)))
	}
	if m := s.memory; m != nil {
		gauge("jaegis_memory_bytes", "Bytes of entries in the memory tier.", nil, func() float64 { return float64(m.Stats().Bytes) })
		gauge("jaegis_memory_entries", "Entries in the memory tier.", nil, func() float64 { return float64(m.Stats().Entries) })
	}
	for name, r := range s.redis {
		gauge("jaegis_breaker_open", "1 while the store is not used because it fails.", prometheus.Labels{"store": name}, func() float64 {
			if r.State().Open {
				return 1
			}
			return 0
		})
	}
	return errors.Join(errs...)
}

// close closes all of them.
func (s *stores) close() error {
	var errs []error
	for _, c := range s.closers {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// storeQueue makes the queue through which answers are written.
func storeQueue(c config.Queue, reg prometheus.Registerer, log *slog.Logger) (*store.Queue, error) {
	q := store.NewQueue(store.QueueOptions{MaxBytes: int64(c.MaxBytes), Workers: c.Workers, Logger: log})
	err := errors.Join(
		reg.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "jaegis_queue_bytes", Help: "Bytes of answers waiting to be stored.",
		}, func() float64 { return float64(q.Stats().Bytes) })),
		reg.Register(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "jaegis_queue_drops_total", Help: "Answers that were not stored because the queue was full.",
		}, func() float64 { return float64(q.Stats().Dropped) })),
	)
	if err != nil {
		return nil, errors.Join(err, q.Close(context.Background()))
	}
	return q, nil
}
