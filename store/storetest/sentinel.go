package storetest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

const (
	// readyTime is how long servers may take to find each other.
	readyTime = 60 * time.Second

	// askTime bounds one question to a server.
	askTime = 2 * time.Second
)

// SentinelOptions say what kind of set-up is wanted.
type SentinelOptions struct {
	TLS              *Certs        // of servers and sentinels; nil: no TLS
	Password         string        // of the default user of the servers; empty: none
	SentinelPassword string        // of the default user of the sentinels; empty: none
	DownAfter        time.Duration // without an answer a server is down; 1 s if not positive
	FailoverTimeout  time.Duration // half of what passes before a failed failover is tried again; 2 s if not positive
	Args             []string      // further arguments of the servers
	Divisible        bool          // it can be cut in two, see Divide
}

// Sentinel is a primary and two replicas, watched by three sentinels of which
// two must agree. It is safe for concurrent use.
type Sentinel struct {
	MasterName string
	Addrs      []string  // of the sentinels, as the others know them
	Sentinels  []*Server // the sentinels
	Servers    []*Server // the others, the first primary first

	opts    SentinelOptions
	network *network // nil unless it is divisible
}

// RunSentinel starts them all and waits until they know each other and the
// replicas have all that the primary has. Nothing is left of them after an
// error.
func RunSentinel(opts SentinelOptions) (*Sentinel, error) {
	if opts.DownAfter <= 0 {
		opts.DownAfter = time.Second
	}
	if opts.FailoverTimeout <= 0 {
		opts.FailoverTimeout = 2 * time.Second
	}
	s := &Sentinel{MasterName: "jaegis", opts: opts}
	if err := s.start(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Sentinel) start() error {
	args := s.opts.Args
	if s.opts.Password != "" {
		args = append([]string{"--requirepass", s.opts.Password, "--masterauth", s.opts.Password}, args...)
	}
	if s.opts.Divisible {
		s.network = &network{known: map[*Server]string{}}
	}
	for i := range 3 {
		server, err := launch(func() (*Server, error) {
			opts := ServerOptions{TLS: s.opts.TLS, Args: args}
			if i > 0 {
				opts.ReplicaOf = s.Known(s.Servers[0])
			}
			server, err := newServer(opts)
			if err != nil || s.network == nil {
				return server, err
			}
			host, port, err := s.network.add(server, i > 0)
			server.args = append(server.args, "--replica-announce-ip", host, "--replica-announce-port", port, "--bind-source-addr", side(i > 0))
			return server, err
		})
		if err != nil {
			return err
		}
		s.Servers = append(s.Servers, server)
	}
	if err := s.await("the replicas follow", func(ctx context.Context) bool {
		return following(ctx, s.client(s.Servers[1])) && following(ctx, s.client(s.Servers[2]))
	}); err != nil {
		return err
	}
	for i := range 3 {
		server, err := launch(func() (*Server, error) { return s.newSentinel(i > 0) })
		if err != nil {
			return err
		}
		s.Sentinels, s.Addrs = append(s.Sentinels, server), append(s.Addrs, s.Known(server))
		if err := s.hasten(server); err != nil {
			return err
		}
	}
	return s.AwaitReady()
}

// newSentinel prepares a sentinel, which wants a file that it can write to.
func (s *Sentinel) newSentinel(far bool) (*Server, error) {
	server, err := emptyServer(s.opts.TLS)
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(s.Known(s.Servers[0]))
	if err != nil {
		return nil, errors.Join(err, server.Close())
	}
	var conf strings.Builder
	for i := 0; i < len(server.settings); i += 2 {
		fmt.Fprintf(&conf, "%s %q\n", server.settings[i], server.settings[i+1])
	}
	fmt.Fprintf(&conf, "sentinel monitor %s %s %s 2\n", s.MasterName, host, port)
	fmt.Fprintf(&conf, "sentinel down-after-milliseconds %s %d\n", s.MasterName, s.opts.DownAfter.Milliseconds())
	fmt.Fprintf(&conf, "sentinel failover-timeout %s %d\n", s.MasterName, s.opts.FailoverTimeout.Milliseconds())
	if s.opts.Password != "" {
		fmt.Fprintf(&conf, "sentinel auth-pass %s %s\n", s.MasterName, s.opts.Password)
	}
	if s.opts.SentinelPassword != "" {
		fmt.Fprintf(&conf, "requirepass %s\nsentinel sentinel-pass %s\n", s.opts.SentinelPassword, s.opts.SentinelPassword)
	}
	if s.network != nil {
		host, port, err := s.network.add(server, far)
		if err != nil {
			return nil, errors.Join(err, server.Close())
		}
		fmt.Fprintf(&conf, "sentinel announce-ip %s\nsentinel announce-port %s\nbind-source-addr %s\n", host, port, side(far))
	}
	file := filepath.Join(server.Dir, "sentinel.conf")
	if err := os.WriteFile(file, []byte(conf.String()), 0o600); err != nil {
		return nil, errors.Join(err, server.Close())
	}
	server.args = []string{file, "--sentinel"}
	return server, nil
}

// hasten has a sentinel ask all servers about their roles every second, as it
// does in a failover, and tell of itself twice a second: else what comes back
// is waited for half a minute. How a failover goes is as ever.
func (s *Sentinel) hasten(sentinel *Server) error {
	c := sentinel.client(s.opts.SentinelPassword)
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), readyTime)
	defer cancel()
	return c.Do(ctx, "sentinel", "debug", "info-period", "1000", "publish-period", "500").Err()
}

// AwaitReady waits until every sentinel that runs sees the same primary, which
// is up, and all the replicas and sentinels, and the replicas that run follow
// that primary: then another failover can succeed.
func (s *Sentinel) AwaitReady() error {
	return s.await("sentinels and replicas are as one", func(ctx context.Context) bool {
		primary, err := s.Primary(ctx)
		if err != nil {
			return false
		}
		for _, server := range s.Sentinels {
			if server.Running() && !s.sees(ctx, server, primary) {
				return false
			}
		}
		for _, server := range s.Servers {
			if server.Running() && server != primary && !following(ctx, s.client(server)) {
				return false
			}
		}
		return true
	})
}

func (s *Sentinel) sees(ctx context.Context, sentinel, primary *Server) bool {
	c := s.sentinelClient(sentinel)
	defer func() { _ = c.Close() }()
	master, err := c.Master(ctx, s.MasterName).Result()
	return err == nil && master["flags"] == "master" && net.JoinHostPort(master["ip"], master["port"]) == s.Known(primary) &&
		master["num-slaves"] == strconv.Itoa(len(s.Servers)-1) && master["num-other-sentinels"] == strconv.Itoa(len(s.Sentinels)-1)
}

// Primary gives the server that most sentinels take for the primary. It may
// be down.
func (s *Sentinel) Primary(ctx context.Context) (*Server, error) {
	votes := map[string]int{}
	var errs []error
	for _, sentinel := range s.Sentinels {
		if !sentinel.Running() {
			continue
		}
		c := s.sentinelClient(sentinel)
		addr, err := c.GetMasterAddrByName(ctx, s.MasterName).Result()
		_ = c.Close()
		if err != nil || len(addr) != 2 {
			errs = append(errs, fmt.Errorf("sentinel %s: %w", sentinel.Addr, err))
			continue
		}
		votes[net.JoinHostPort(addr[0], addr[1])]++
	}
	for _, server := range s.Servers {
		if votes[s.Known(server)] > len(s.Sentinels)/2 {
			return server, nil
		}
	}
	return nil, errors.Join(append(errs, fmt.Errorf("no primary: %v", votes))...)
}

// KillPrimary kills the primary and gives it, so that it can be restarted: it
// then becomes a replica.
func (s *Sentinel) KillPrimary(ctx context.Context) (*Server, error) {
	primary, err := s.Primary(ctx)
	if err != nil {
		return nil, err
	}
	return primary, primary.Kill()
}

// AwaitPrimary waits until the primary is another than old.
func (s *Sentinel) AwaitPrimary(old *Server) (*Server, error) {
	var primary *Server
	err := s.await("another primary", func(ctx context.Context) bool {
		var err error
		primary, err = s.Primary(ctx)
		if err != nil || primary == old {
			return false
		}
		role, err := s.ask(ctx, primary, "role")
		return err == nil && len(role) > 0 && role[0] == "master"
	})
	return primary, err
}

// Close ends all of them.
func (s *Sentinel) Close() error {
	err := closeAll(slices.Concat(s.Sentinels, s.Servers))
	if s.network != nil {
		s.network.close()
	}
	return err
}

func (s *Sentinel) await(what string, holds func(ctx context.Context) bool) error {
	return await(what, slices.Concat(s.Sentinels, s.Servers), holds)
}

func (s *Sentinel) ask(ctx context.Context, server *Server, args ...any) ([]any, error) {
	c := s.client(server)
	defer func() { _ = c.Close() }()
	return c.Do(ctx, args...).Slice()
}

func (s *Sentinel) client(server *Server) *goredis.Client { return server.client(s.opts.Password) }

func (s *Sentinel) sentinelClient(server *Server) *goredis.SentinelClient {
	return goredis.NewSentinelClient(server.clientOptions(s.opts.SentinelPassword))
}

// client gives a client for questions about the server itself.
func (s *Server) client(password string) *goredis.Client {
	return goredis.NewClient(s.clientOptions(password))
}

func (s *Server) clientOptions(password string) *goredis.Options {
	return &goredis.Options{
		Addr: s.Addr, Password: password, TLSConfig: s.tls, Protocol: 2, DisableIdentity: true,
		MaxRetries: -1, DialerRetries: 1, DialTimeout: askTime, ReadTimeout: askTime, WriteTimeout: askTime, PoolSize: 1,
	}
}

// following says whether a server is a replica that has all that its primary
// has, and closes the client.
func following(ctx context.Context, c *goredis.Client) bool {
	defer func() { _ = c.Close() }()
	role, err := c.Do(ctx, "role").Slice()
	return err == nil && len(role) > 3 && role[0] == "slave" && role[3] == "connected"
}

// await asks until holds says yes.
func await(what string, servers []*Server, holds func(ctx context.Context) bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), readyTime)
	defer cancel()
	for !holds(ctx) {
		if ctx.Err() != nil {
			return fmt.Errorf("not within %v: %s\n%s", readyTime, what, logs(servers))
		}
		time.Sleep(10 * pollTime)
	}
	return nil
}

// logs gives the last lines that each server has written.
func logs(servers []*Server) string {
	var b strings.Builder
	for _, server := range servers {
		said, _ := os.ReadFile(filepath.Join(server.Dir, "log"))
		fmt.Fprintf(&b, "%s:\n%s\n", server.Addr, lastLines(said, 5))
	}
	return b.String()
}

func closeAll(servers []*Server) error {
	var errs []error
	for _, s := range servers {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}
