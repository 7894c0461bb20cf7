package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"jaegis-proxy/admin"
	"jaegis-proxy/config"
	"jaegis-proxy/internal/spool"
	"jaegis-proxy/internal/telemetry"
	"jaegis-proxy/proxy"
	"jaegis-proxy/store"
	"jaegis-proxy/store/redis"
)

func cmdServe() command {
	const help = "run the proxy"
	return command{name: "serve", help: help, run: func(ctx context.Context, args []string, std stdio) int {
		fs := newFlags("serve")
		config.AddFlags(fs)
		if code, ok := parseFlags(fs, help, args, std); !ok {
			return code
		}
		src := config.FromFlags(fs, std.Environ)
		cfg, ok := loadConfig(src, std)
		if !ok {
			return exitUsage
		}
		log, err := telemetry.NewLogger(std.Err, cfg.Log.Level, cfg.Log.Format)
		if err != nil {
			fmt.Fprintf(std.Err, "jaegis-proxy serve: %v\n", err)
			return exitUsage
		}
		if err := serve(ctx, src, cfg, log); err != nil {
			log.Error("ended", "error", err)
			return exitFailure
		}
		return exitOK
	}}
}

// serve runs until ctx ends or a listener fails, and follows the configuration.
func serve(ctx context.Context, src config.Sources, cfg *config.Config, log *slog.Logger) error {
	s, err := startServer(ctx, cfg, log)
	if err != nil {
		return err
	}
	watcher := config.Watch(src, cfg, s.reload)
	defer watcher.Close()
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-hup:
			watcher.Reload()
			continue
		case err = <-s.failed:
		case <-ctx.Done():
		}
		break
	}
	log.Info("shutting down", "timeout", cfg.ShutdownTimeout.String())
	end, cancel := context.WithTimeout(context.Background(), time.Duration(cfg.ShutdownTimeout))
	defer cancel()
	return errors.Join(err, s.Shutdown(end))
}

// server is a running proxy with all its parts.
type server struct {
	log     *slog.Logger
	cfg     atomic.Pointer[config.Config]
	proxy   *proxy.Proxy
	public  *proxy.Server
	admin   *admin.Server
	stores  *stores
	writes  *store.Queue
	tracing func(context.Context) error

	publicAddr, adminAddr string
	draining              atomic.Bool
	failed                chan error // what ended a listener
}

// startServer opens the listeners and the stores and serves until Shutdown.
func startServer(ctx context.Context, cfg *config.Config, log *slog.Logger) (*server, error) {
	s := &server{log: log, failed: make(chan error, 2)}
	s.cfg.Store(cfg)
	reg := telemetry.NewRegistry(buildVersion())
	if err := s.assemble(ctx, cfg, reg); err != nil {
		return nil, errors.Join(err, s.closeParts(ctx))
	}
	if err := s.listen(cfg, reg); err != nil {
		return nil, errors.Join(err, s.closeParts(ctx))
	}
	log.Info("serving", "listen", s.publicAddr, "admin", s.adminAddr, "version", buildVersion(), "stores", s.storeNames())
	return s, nil
}

// assemble makes the parts and joins them.
func (s *server) assemble(ctx context.Context, cfg *config.Config, reg *prometheus.Registry) error {
	o := proxy.Options{
		Spools: &spool.Store{Memory: int64(cfg.Spool.Memory), Dir: cfg.Spool.Dir, MaxDisk: int64(cfg.Spool.MaxBytes)},

		UncacheableTTL: time.Duration(cfg.Cache.UncacheableTTL),
		BodyTimeout:    time.Duration(cfg.Limits.BodyTimeout),
		WriteTimeout:   time.Duration(cfg.Limits.WriteTimeout),
		MemoBytes:      memoBytes(cfg),
		MaxFetches:     int64(cfg.Limits.MaxConnections),
		MaxObjectBytes: maxObject(&cfg.Cache),

		Prices: newPrices(cfg.Prices), Currency: cfg.Currency,

		Metrics: reg, Log: s.log, Propagator: telemetry.Propagator(),
	}
	if c := cfg.Cache.Compression; c.Enabled {
		o.Compression = proxy.Compression{Coding: c.Algorithm, Level: c.Level, MinSize: int64(c.MinSize)}
	}
	var err error
	if o.Tracer, s.tracing, err = telemetry.Tracing(ctx, telemetry.TraceOptions{
		Endpoint: string(cfg.Telemetry.OTLPEndpoint), Version: buildVersion(), Getenv: os.Getenv, Logger: s.log,
	}); err != nil {
		return fmt.Errorf("tracing: %w", err)
	}
	if s.stores, err = openStores(&cfg.Cache, reg, s.log); err != nil {
		return err
	}
	if s.writes, err = storeQueue(cfg.Cache.Queue, reg, s.log); err != nil {
		return err
	}
	o.Store, o.Ledger, o.Fills, o.Writes = s.stores.Store, s.stores.ledgers.of, s.stores.sharedFills(), s.writes
	table, err := newTable(cfg)
	if err != nil {
		return err
	}
	if s.proxy, err = proxy.New(o, table); err != nil {
		return err
	}
	s.stores.ledgers.hear(s.proxy, s.writes)
	s.stores.ledgers.await(ctx)
	return nil
}

// memoBytes is the memory for recognising request bodies: an eighth of the
// memory tier's, within bounds.
func memoBytes(cfg *config.Config) int64 {
	return min(max(int64(cfg.Cache.Memory.MaxBytes)/8, 1<<20), 64<<20)
}

// maxObject is the most that the stores take: one answer may have an eighth of
// the memory tier where there is nothing behind it.
func maxObject(c *config.Cache) int64 {
	most := int64(redis.MaxBody)
	if !c.Redis.InUse() && c.Memory.MaxBytes > 0 {
		most = min(most, int64(c.Memory.MaxBytes)/8-entryOverhead)
	}
	return max(most, 1)
}

// entryOverhead is what an entry may need beside its body.
const entryOverhead = 64 << 10

// listen opens the listeners and serves.
func (s *server) listen(cfg *config.Config, reg *prometheus.Registry) error {
	public, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return err
	}
	s.public = proxy.NewServer(s.proxy, proxy.ServerOptions{
		MaxHeaderBytes: int(cfg.Limits.MaxHeaderBytes),
		HeaderTimeout:  time.Duration(cfg.Limits.HeaderTimeout),
		IdleTimeout:    time.Duration(cfg.Limits.IdleTimeout),
		WriteTimeout:   time.Duration(cfg.Limits.WriteTimeout),
		MaxConnections: cfg.Limits.MaxConnections,
		Log:            s.log,
	})
	if err := reg.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "jaegis_connections", Help: "Open client connections.",
	}, func() float64 { return float64(s.public.Connections()) })); err != nil {
		return errors.Join(err, public.Close())
	}
	if cfg.Admin.Listen != "" {
		ln, err := net.Listen("tcp", cfg.Admin.Listen)
		if err != nil {
			return errors.Join(err, public.Close())
		}
		s.adminAddr = ln.Addr().String()
		s.admin = admin.New(admin.Options{
			Token: string(cfg.Admin.Token), Metrics: reg, Health: s.health, Stats: func() any { return s.proxy.Stats() },
			Purge: s.stores.ledgers.purge, Version: buildVersion(), Logger: s.log,
		})
		go func() { s.failed <- s.admin.Serve(ln) }()
	}
	s.publicAddr = public.Addr().String()
	go func() { s.failed <- s.public.Serve(public) }()
	return nil
}

// Addr and AdminAddr are where the server listens; the latter may be empty.
func (s *server) Addr() string      { return s.publicAddr }
func (s *server) AdminAddr() string { return s.adminAddr }

func (s *server) health() admin.Health {
	return admin.Health{Ready: true, Draining: s.draining.Load(), Degraded: s.stores.degraded()}
}

func (s *server) storeNames() []string {
	var names []string
	if s.stores.memory != nil {
		names = append(names, "memory")
	}
	for name := range s.stores.redis {
		names = append(names, name)
	}
	return names
}

// reload takes up a changed configuration, or says why not and keeps the old.
func (s *server) reload(cfg *config.Config, warnings config.Problems, err error) {
	for _, w := range warnings {
		s.log.Warn("configuration", "warning", w.String())
	}
	if err == nil {
		err = s.apply(cfg)
	}
	if err != nil {
		s.log.Error("the new configuration is not used; the old one stays", "error", err)
	}
}

func (s *server) apply(cfg *config.Config) error {
	table, err := newTable(cfg)
	if err != nil {
		return err
	}
	if err := s.proxy.SetPrices(newPrices(cfg.Prices)); err != nil {
		return err
	}
	if err := s.proxy.Reload(table); err != nil {
		return err
	}
	was := s.cfg.Swap(cfg)
	s.log.Info("configuration reloaded")
	if keys := config.NeedsRestart(was, cfg); len(keys) > 0 {
		s.log.Warn("some changes need a restart", "keys", keys)
	}
	return nil
}

// Shutdown stops accepting, lets what runs end until ctx is over, writes what
// is to be stored, and closes everything.
func (s *server) Shutdown(ctx context.Context) error {
	s.draining.Store(true)
	err := s.public.Shutdown(ctx)
	if s.admin != nil {
		err = errors.Join(err, s.admin.Shutdown(ctx))
	}
	return errors.Join(err, s.closeParts(ctx))
}

// closeParts closes what was made, in the order in which answers pass through.
func (s *server) closeParts(ctx context.Context) error {
	var errs []error
	if s.writes != nil {
		errs = append(errs, s.writes.Close(ctx))
	}
	if s.stores != nil {
		errs = append(errs, s.stores.close())
	}
	if s.tracing != nil {
		errs = append(errs, s.tracing(ctx))
	}
	return errors.Join(errs...)
}
