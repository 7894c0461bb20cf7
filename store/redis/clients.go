package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// purpose is what a client is for. Each client has connections of its own, so
// that what one is waiting for holds nobody else up.
type purpose struct {
	// conns is the most connections to any one server, pipes the most that it
	// has beside them for pipelines; without pipes those use conns too. A
	// subscription takes one more. Whoever makes a client beside the store counts
	// all of these into Options.Reserve: together with the store's own they are
	// MaxConnections.
	conns, pipes int

	// turn is how long a call waits for one of them: past it, it gets
	// goredis.ErrPoolTimeout. The budget if not positive.
	turn time.Duration

	// reply is how long a call waits for its reply where its context says
	// nothing shorter; negative is for ever, for reads that block. The socket
	// timeout if 0.
	reply time.Duration

	// retries is how often what failed on the network, or found no server that
	// would do it, is tried again. In a cluster it bounds redirects too, of which
	// there are then at least three.
	retries int

	// eager has it try to connect whenever it is used, however often that failed.
	// It is for who uses one connection at a time.
	eager bool

	// replicas has the client speak to replicas, and to the primary where there
	// are none. Not for a whole cluster.
	replicas bool

	// singly has the commands of a pipeline go out one after the other, where the
	// client is of a whole cluster: see oneByOne.
	singly bool
}

// client makes a client: for one server, for the primary of the sentinels,
// whoever that is at the time, or for a cluster. It connects when it is used;
// closing it is the caller's. This is the one place that knows what the library
// is to be told in any mode.
func (o *Options) client(p purpose) (goredis.UniversalClient, error) {
	e, err := o.endpoint()
	if err != nil {
		return nil, err
	}
	common := o.common(&e, p)
	switch o.Mode {
	case Sentinel:
		common.MasterName = o.MasterName
		common.SentinelUsername, common.SentinelPassword = o.SentinelUsername, o.SentinelPassword
		common.ReadOnly = p.replicas
		client := goredis.NewFailoverClient(common.Failover())
		client.AddHook(unknownPrimary{o.MasterName})
		return client, nil
	case Cluster:
		cluster := common.Cluster()
		cluster.MaxRedirects = max(3, p.retries)
		// A node that is dead never says who has its slots now: only asking the
		// others tells.
		cluster.ClusterStateReloadInterval = time.Second
		client := goredis.NewClusterClient(cluster)
		if p.singly {
			client.AddHook(oneByOne{client})
		}
		return client, nil
	}
	return goredis.NewClient(common.Simple()), nil
}

// sentinelClient makes a client for questions to one sentinel.
func (o *Options) sentinelClient(e *endpoint, addr string) *goredis.SentinelClient {
	simple := o.common(e, purpose{conns: 1}).Simple()
	simple.Addr, simple.Username, simple.Password, simple.DB = addr, o.SentinelUsername, o.SentinelPassword, 0
	return goredis.NewSentinelClient(simple)
}

// clientTo makes a client of one node of a cluster, which follows no redirects.
func (o *Options) clientTo(e *endpoint, addr string, p purpose) goredis.UniversalClient {
	simple := o.common(e, p).Simple()
	simple.Addr = addr
	if p.replicas {
		simple.OnConnect = func(ctx context.Context, c *goredis.Conn) error { return c.ReadOnly(ctx).Err() }
	}
	return goredis.NewClient(simple)
}

// purposes are those of the two clients that a node has.
func (o *Options) purposes(l lanes) (fast, bulk purpose) {
	// A read that is late is given up by its caller at the end of the budget,
	// while its connection may still deliver: others wait in the same batch,
	// and a connection is dear. What is later than this is dropped.
	fast = purpose{conns: l.reads + 1, pipes: l.pipes, turn: o.Budget / 2, reply: 4 * o.Budget} // one for the probe
	bulk = purpose{conns: l.bulk, turn: min(o.SocketTimeout, o.Budget) / 2}
	if o.RetryOnTimeout {
		bulk.retries = 1
	}
	return fast, bulk
}

// common is what clients of all modes are told.
func (o *Options) common(e *endpoint, p purpose) *goredis.UniversalOptions {
	u := &goredis.UniversalOptions{
		// A copy: the library appends to it, each client under a lock of its own.
		Addrs: slices.Clone(e.addrs), Username: e.username, Password: e.password, DB: e.db,
		Protocol: 2, // no push messages between the replies

		PoolSize: p.conns, PipelinePoolSize: p.pipes, PoolTimeout: p.turn,
		ReadTimeout: p.reply, WriteTimeout: p.reply, ContextTimeoutEnabled: true,
		MaxRetries: p.retries, MinRetryBackoff: time.Millisecond, MaxRetryBackoff: 8 * time.Millisecond,

		Dialer: o.dialer(e), DialTimeout: o.ConnectTimeout, DialerRetries: 1,
		ConnMaxIdleTime: o.HealthCheckInterval,

		DisableIdentity:          true, // CLIENT SETINFO, which few users may call
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if p.pipes == 0 {
		u.PipelinePoolSize = -1
	}
	if p.turn <= 0 {
		u.PoolTimeout = o.Budget
	}
	if p.eager {
		u.PoolSize = eagerDials
	}
	switch {
	case p.reply == 0:
		u.ReadTimeout, u.WriteTimeout = o.SocketTimeout, o.SocketTimeout
	case p.reply < 0:
		u.ReadTimeout, u.WriteTimeout = -1, o.SocketTimeout
	}
	if p.retries <= 0 {
		u.MaxRetries = -1
	}
	if o.HealthCheckInterval < 0 {
		u.ConnMaxIdleTime = -1
	}
	return u
}

// eagerDials is more than a client fails to connect in a short outage. After as
// many failures as its pool has connections the library tries once a second; who
// uses one connection at a time has no more of them for the larger pool.
const eagerDials = 1 << 12

// dialer gives what makes the connections: to servers and to sentinels alike.
func (o *Options) dialer(e *endpoint) func(ctx context.Context, _, addr string) (net.Conn, error) {
	plain := &net.Dialer{KeepAlive: -1, KeepAliveConfig: o.KeepAlive}
	network, secure, timeout := e.network, e.tls, o.ConnectTimeout
	return func(ctx context.Context, _, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		conn, err := plain.DialContext(ctx, network, addr)
		if err != nil || secure == nil {
			return conn, err
		}
		config := secure
		if config.ServerName == "" {
			config = config.Clone()
			if config.ServerName, _, err = net.SplitHostPort(addr); err != nil {
				config.ServerName = addr
			}
		}
		wrapped := tls.Client(conn, config)
		if err := wrapped.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, err
		}
		return wrapped, nil
	}
}

// unknownPrimary says it in words when the sentinels know no primary of that
// name. The library's own error is that of a key that is not there: taken for
// that, it would make of every call a miss.
type unknownPrimary struct{ name string }

func (u unknownPrimary) err() error {
	return fmt.Errorf("the sentinels know no primary named %q", u.name)
}

func (u unknownPrimary) DialHook(next goredis.DialHook) goredis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := next(ctx, network, addr)
		if errors.Is(err, goredis.Nil) {
			err = u.err()
		}
		return conn, err
	}
}

func (unknownPrimary) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook { return next }

func (unknownPrimary) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return next
}

// oneByOne makes single calls of a pipeline to a cluster. The library sends a
// command of one twice, at the same time, when the first command is to be tried
// again and that one is to go elsewhere, as happens while a slot moves: both
// replies are then read into the one result.
type oneByOne struct{ client *goredis.ClusterClient }

func (oneByOne) DialHook(next goredis.DialHook) goredis.DialHook { return next }

func (oneByOne) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook { return next }

func (o oneByOne) ProcessPipelineHook(goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []goredis.Cmder) (first error) {
		for _, cmd := range cmds {
			if err := o.client.Process(ctx, cmd); err != nil && first == nil {
				first = err
			}
		}
		return first
	}
}
