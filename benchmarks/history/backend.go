package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"jaegis-proxy/store/storetest"
)

// backends are what the proxies may have behind their memory.
var backends = []string{"memory", "single", "sentinel", "cluster"}

// backend is the Redis of all proxies, in one of its forms.
type backend struct {
	servers  []*storetest.Server // those that hold data
	links    []*link             // by proxy, to a single server
	sentinel *storetest.Sentinel
	cluster  *storetest.Cluster
}

func startBackend(kind string, proxies int) (*backend, error) {
	b := &backend{}
	err := b.start(kind, proxies)
	if err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

func (b *backend) start(kind string, proxies int) (err error) {
	switch kind {
	case "single":
		server, err := storetest.RunServer(storetest.ServerOptions{MaxMemory: "96mb", Policy: "allkeys-lru"})
		if err != nil {
			return err
		}
		b.servers = append(b.servers, server)
		for range proxies {
			l, err := newLink(server.Addr)
			if err != nil {
				return err
			}
			b.links = append(b.links, l)
		}
	case "sentinel":
		if b.sentinel, err = storetest.RunSentinel(storetest.SentinelOptions{}); err != nil {
			return err
		}
		b.servers = b.sentinel.Servers
	case "cluster":
		if b.cluster, err = storetest.RunCluster(storetest.ClusterOptions{}); err != nil {
			return err
		}
		b.servers = b.cluster.Nodes
	}
	return nil
}

func (b *backend) close() error {
	var errs []error
	for _, l := range b.links {
		errs = append(errs, l.Close())
	}
	switch {
	case b.sentinel != nil:
		errs = append(errs, b.sentinel.Close())
	case b.cluster != nil:
		errs = append(errs, b.cluster.Close())
	default:
		for _, s := range b.servers {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}

// config is the part of a proxy's configuration, below cache.
func (b *backend) config(proxy int) string {
	quoted := func(addrs []string) string { return `["` + strings.Join(addrs, `", "`) + `"]` }
	switch {
	case b.sentinel != nil:
		return fmt.Sprintf("  redis: {mode: sentinel, master_name: %s, addresses: %s}\n", b.sentinel.MasterName, quoted(b.sentinel.Addrs))
	case b.cluster != nil:
		return fmt.Sprintf("  redis: {mode: cluster, addresses: %s}\n", quoted(b.cluster.Addrs))
	case len(b.links) > 0:
		return fmt.Sprintf("  redis: {url: \"redis://%s\"}\n", b.links[proxy].Addr)
	}
	return ""
}

// do has one server carry out a command.
func (b *backend) do(ctx context.Context, s *storetest.Server, args ...any) error {
	c := goredis.NewClient(&goredis.Options{Addr: s.Addr, Protocol: 2, DisableIdentity: true, MaxRetries: -1, PoolSize: 1})
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := c.Do(ctx, args...).Err()
	if errors.Is(err, goredis.Nil) {
		return nil
	}
	return err
}

// primaries are the servers that take writes.
func (b *backend) primaries(ctx context.Context, rng *rand.Rand) ([]*storetest.Server, error) {
	switch {
	case b.sentinel != nil:
		s, err := b.sentinel.Primary(ctx)
		return []*storetest.Server{s}, err
	case b.cluster != nil:
		var all []*storetest.Server
		for range 20 { // by chance all three
			s, err := b.cluster.Primary(ctx, fmt.Sprint(rng.Uint64()))
			if err != nil {
				return nil, err
			}
			if !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
		return all, nil
	}
	return b.servers, nil
}

// awaitReady waits until a failure of another server can be survived.
func (b *backend) awaitReady() error {
	switch {
	case b.sentinel != nil:
		return b.sentinel.AwaitReady()
	case b.cluster != nil:
		return b.cluster.AwaitReady()
	}
	return nil
}

// restart starts a server anew, with what it has on disk or with nothing.
func (b *backend) restart(s *storetest.Server, keep bool) error {
	if !keep {
		if err := os.Remove(filepath.Join(s.Dir, "dump.rdb")); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return s.Restart()
}
