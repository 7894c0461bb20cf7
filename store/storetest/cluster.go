package storetest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// slots is the number of slots of a cluster.
const slots = 16384

// ClusterOptions say what kind of cluster is wanted.
type ClusterOptions struct {
	TLS         *Certs        // of clients and between the nodes; nil: no TLS
	Password    string        // of the default user; empty: none
	NodeTimeout time.Duration // without an answer a node is down; 1 s if not positive
	Args        []string      // further arguments of the nodes
}

// Cluster is three primaries with a third of the slots and a replica each. It
// is safe for concurrent use.
type Cluster struct {
	Addrs []string  // of the nodes
	Nodes []*Server // the first three are the first primaries

	opts ClusterOptions
}

// RunCluster starts the nodes, joins them, and waits until all of them find the
// cluster in order and the replicas follow. Nothing is left of them after an
// error.
func RunCluster(opts ClusterOptions) (*Cluster, error) {
	if opts.NodeTimeout <= 0 {
		opts.NodeTimeout = time.Second
	}
	c := &Cluster{opts: opts}
	if err := c.start(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Cluster) start() error {
	var buses []string
	for range 6 {
		var bus string
		node, err := launch(func() (*Server, error) {
			ports, err := freePorts(1)
			if err != nil {
				return nil, err
			}
			bus = ports[0]
			return newServer(ServerOptions{TLS: c.opts.TLS, Args: c.args(bus)})
		})
		if err != nil {
			return err
		}
		c.Nodes, c.Addrs, buses = append(c.Nodes, node), append(c.Addrs, node.Addr), append(buses, bus)
	}
	if err := c.join(buses); err != nil {
		return err
	}
	return c.AwaitReady()
}

func (c *Cluster) args(bus string) []string {
	args := []string{
		"--cluster-enabled", "yes", "--cluster-port", bus,
		"--cluster-node-timeout", fmt.Sprint(c.opts.NodeTimeout.Milliseconds()),
		"--cluster-require-full-coverage", "no",
	}
	if c.opts.TLS != nil {
		args = append(args, "--tls-cluster", "yes")
	}
	if c.opts.Password != "" {
		args = append(args, "--requirepass", c.opts.Password, "--masterauth", c.opts.Password)
	}
	return append(args, c.opts.Args...)
}

// join makes one cluster of the nodes.
func (c *Cluster) join(buses []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), readyTime)
	defer cancel()
	for i := range 3 {
		if err := c.do(ctx, c.Nodes[i], "cluster", "addslotsrange", i*slots/3, (i+1)*slots/3-1); err != nil {
			return err
		}
	}
	for i, node := range c.Nodes {
		// Epochs that differ spare the nodes the quarrel about them.
		if err := c.do(ctx, node, "cluster", "set-config-epoch", i+1); err != nil {
			return err
		}
	}
	for i, node := range c.Nodes[1:] {
		host, port, err := net.SplitHostPort(node.Addr)
		if err != nil {
			return err
		}
		if err := c.do(ctx, c.Nodes[0], "cluster", "meet", host, port, buses[i+1]); err != nil {
			return err
		}
	}
	if err := c.await("all nodes know each other", func(ctx context.Context) bool {
		for _, node := range c.Nodes {
			if nodes, err := c.nodes(ctx, node); err != nil || len(nodes) != len(c.Nodes) {
				return false
			}
		}
		return true
	}); err != nil {
		return err
	}
	for i := range 3 {
		nodes, err := c.nodes(ctx, c.Nodes[0])
		if err != nil {
			return err
		}
		if err := c.do(ctx, c.Nodes[3+i], "cluster", "replicate", nodes[c.Addrs[i]][0]); err != nil {
			return err
		}
	}
	return nil
}

// AwaitReady waits until every node that runs finds the cluster in order, there
// is a primary for each third, and all the others that run follow one: then the
// next failover of one with a replica can succeed.
func (c *Cluster) AwaitReady() error {
	return c.await("the cluster is in order", func(ctx context.Context) bool {
		views := map[string]bool{}
		for _, node := range c.Nodes {
			if !node.Running() {
				continue
			}
			view, ok := c.healthy(ctx, node)
			if !ok {
				return false
			}
			views[view] = true
		}
		return len(views) == 1 // they agree
	})
}

// healthy says whether a node is, and how it sees the cluster: who is whose
// replica.
func (c *Cluster) healthy(ctx context.Context, node *Server) (view string, ok bool) {
	info, err := c.info(ctx, node)
	if err != nil || !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_slots_ok:16384") {
		return "", false
	}
	nodes, err := c.nodes(ctx, node)
	if err != nil || len(nodes) != len(c.Nodes) {
		return "", false
	}
	parts := make([]string, len(c.Nodes))
	for i, n := range c.Nodes {
		f := nodes[n.Addr]
		if f == nil || n.Running() && (f[7] != "connected" || strings.Contains(f[2], "fail")) {
			return "", false
		}
		parts[i] = f[0] + " " + f[3]
		if n == node && strings.Contains(f[2], "slave") && !following(ctx, c.client(node)) {
			return "", false
		}
	}
	return strings.Join(parts, "\n"), true
}

// nodes gives how a node sees the nodes: the fields of CLUSTER NODES, by
// address.
func (c *Cluster) nodes(ctx context.Context, node *Server) (map[string][]string, error) {
	client := c.client(node)
	defer func() { _ = client.Close() }()
	text, err := client.ClusterNodes(ctx).Result()
	if err != nil {
		return nil, err
	}
	nodes := map[string][]string{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		addr, _, _ := strings.Cut(f[1], "@")
		if strings.Contains(f[2], "handshake") || len(f) < 8 {
			return nil, fmt.Errorf("%s is not known yet", addr)
		}
		nodes[addr] = f
	}
	return nodes, nil
}

func (c *Cluster) info(ctx context.Context, node *Server) (string, error) {
	client := c.client(node)
	defer func() { _ = client.Close() }()
	return client.ClusterInfo(ctx).Result()
}

// Primary gives the node that serves a key at present, as a node that runs sees
// it. It may be down.
func (c *Cluster) Primary(ctx context.Context, key string) (*Server, error) {
	var errs []error
	for _, node := range c.Nodes {
		if !node.Running() {
			continue
		}
		primary, err := c.primary(ctx, node, key)
		if err == nil {
			return primary, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", node.Addr, err))
	}
	return nil, errors.Join(errs...)
}

func (c *Cluster) primary(ctx context.Context, node *Server, key string) (*Server, error) {
	client := c.client(node)
	defer func() { _ = client.Close() }()
	slot, err := client.ClusterKeySlot(ctx, key).Result()
	if err != nil {
		return nil, err
	}
	//lint:ignore SA1019 it names who serves a slot now; the shards list those that have failed too
	ranges, err := client.ClusterSlots(ctx).Result()
	if err != nil {
		return nil, err
	}
	for _, r := range ranges {
		if int64(r.Start) > slot || slot > int64(r.End) || len(r.Nodes) == 0 {
			continue
		}
		for _, n := range c.Nodes {
			if n.Addr == r.Nodes[0].Addr {
				return n, nil
			}
		}
	}
	return nil, fmt.Errorf("nobody serves slot %d", slot)
}

// KillPrimary kills the node that serves a key and gives it, so that it can be
// restarted. That comes back as a new node with nothing in it, as its primary's
// replica or as it was, because the file that says so is on disk.
func (c *Cluster) KillPrimary(ctx context.Context, key string) (*Server, error) {
	primary, err := c.Primary(ctx, key)
	if err != nil {
		return nil, err
	}
	return primary, primary.Kill()
}

// AwaitPrimary waits until a key's node is another than old, by the word of
// that node itself.
func (c *Cluster) AwaitPrimary(key string, old *Server) (*Server, error) {
	var primary *Server
	err := c.await("another primary", func(ctx context.Context) bool {
		var err error
		primary, err = c.Primary(ctx, key)
		if err != nil || primary == old {
			return false
		}
		itself, err := c.primary(ctx, primary, key)
		return err == nil && itself == primary
	})
	return primary, err
}

// Close ends all of them.
func (c *Cluster) Close() error { return closeAll(c.Nodes) }

func (c *Cluster) await(what string, holds func(ctx context.Context) bool) error {
	return await(what, c.Nodes, holds)
}

func (c *Cluster) client(node *Server) *goredis.Client { return node.client(c.opts.Password) }

func (c *Cluster) do(ctx context.Context, node *Server, args ...any) error {
	client := c.client(node)
	defer func() { _ = client.Close() }()
	if err := client.Do(ctx, args...).Err(); err != nil {
		return fmt.Errorf("%s: %v: %w", node.Addr, args, err)
	}
	return nil
}
