package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
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
	ledgers     ledgers
	fills       map[string]*redis.Fills // likewise; empty where nodes fetch each for itself
	keys        []redis.EncryptionKey   // for all of those
	closers     []io.Closer             // in the order in which they were opened
}

// namedPrefix goes before the names of those in cache.stores, in metrics and
// health, where the other is redis: one that is called redis is another.
const namedPrefix = "redis-"

// openStores makes them. Redis need not be there yet.
func openStores(c *config.Cache, reg prometheus.Registerer, log *slog.Logger) (*stores, error) {
	s := &stores{redis: map[string]*redis.Store{}, fills: map[string]*redis.Fills{}, keys: encryptionKeys(c)}
	s.ledgers.named = map[string]*store.Ledger{}
	var err error
	if c.Memory.MaxBytes > 0 {
		if s.memory, err = memory.New(memory.Options{MaxBytes: int64(c.Memory.MaxBytes)}); err != nil {
			return nil, err
		}
		s.closers = append(s.closers, s.memory)
	}
	main, ledger, err := s.open("redis", c.Redis, c, reg, log)
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.ledgers.main = ledger
	named := map[string]store.Store{}
	for name, r := range c.Stores {
		if named[name], s.ledgers.named[name], err = s.open(namedPrefix+name, r, c, reg, log); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	if s.Store = main; len(named) > 0 {
		s.Store = &store.ByNamespace{Default: main, Stores: named}
	}
	return s, s.register(reg)
}

// sharedFills gives that by which all nodes fetch an answer once, each namespace
// in its own Redis; nil where there is none.
func (s *stores) sharedFills() store.Fills {
	if len(s.fills) == 0 {
		return nil
	}
	by := &store.FillsByNamespace{Fills: map[string]store.Fills{}}
	for name, f := range s.fills {
		if namespace, named := strings.CutPrefix(name, namedPrefix); named {
			by.Fills[namespace] = f
		} else {
			by.Default = f
		}
	}
	return by
}

// open gives a Redis behind the memory tier, and the ledger of what was purged
// in it; just the memory where no URL is configured.
func (s *stores) open(name string, c config.Redis, cache *config.Cache, reg prometheus.Registerer, log *slog.Logger) (store.Store, *store.Ledger, error) {
	if !c.InUse() {
		ledger := store.NewLedger(store.LedgerOptions{Logger: log})
		near, err := s.near(ledger, false, reg)
		return near, ledger, err
	}
	r, err := s.openRedis(name, c, log)
	if err != nil {
		return nil, nil, err
	}
	s.redis[name], s.closers = r, append(s.closers, r)
	if shared := cache.SharedFills; shared.Enabled {
		f, err := redis.NewFills(r, redis.FillOptions{MaxBytes: int64(shared.MaxBytes), MaxConnections: shared.MaxConnections})
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
		s.fills[name], s.closers = f, append(s.closers, f)
	}
	tiers := &store.Tiered{MaxPromoted: int64(cache.Memory.MaxBytes) / promotedShare}
	ledger := s.ledgers.follow(r, tiers, s.memory, time.Duration(cache.MaxDisconnected), log.With("store", name))
	s.closers = append(s.closers, ledger)
	if tiers.Far, err = store.Instrument(&store.Guard{Store: r, Ledger: ledger}, name, reg); err != nil || s.memory == nil {
		return tiers.Far, ledger, err
	}
	tiers.Near, err = s.near(ledger, true, reg)
	return tiers, ledger, err
}

// promotedShare is what part of the memory tier the largest body may take that is
// in pieces behind it: whoever holds a few of those has not emptied it.
const promotedShare = 32

// near is the memory tier as a ledger has it; nil when it is turned off. behind
// says that there is another store behind it.
func (s *stores) near(ledger *store.Ledger, behind bool, reg prometheus.Registerer) (store.Store, error) {
	if s.memory == nil {
		return nil, nil
	}
	return store.Instrument(&store.Guard{Store: s.memory, Ledger: ledger, Near: behind}, "memory", reg)
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
			continue
		}
		ledger := s.ledgers.main
		if namespace, named := strings.CutPrefix(name, namedPrefix); named {
			ledger = s.ledgers.of(namespace)
		}
		if since, ok := ledger.Following(); !ok {
			all = append(all, admin.Degraded{Component: name + "-ledger", Error: "purges of other processes are not heard of; what is stored is not used", Since: since})
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
		errs = append(errs, registerUnopened(name, r, reg))
	}
	for name, f := range s.fills {
		gauge("jaegis_leases", "Answers that this node fetches for all nodes.", prometheus.Labels{"store": name}, func() float64 { return float64(f.Stats().Held) })
		errs = append(errs, reg.Register(&fillCollector{name, f}))
	}
	return errors.Join(errs...)
}

// close closes all of them.
func (s *stores) close() error {
	var errs []error
	for _, c := range slices.Backward(s.closers) {
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
