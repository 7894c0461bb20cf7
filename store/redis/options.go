package redis

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// How Redis is run.
const (
	Single   = "single"   // one server
	Sentinel = "sentinel" // a primary that sentinels watch and replace
	Cluster  = "cluster"  // several primaries that share the keys
)

// MinConnections is the least that MaxConnections may be.
const MinConnections = 10

// Options say where Redis is and how long it may take.
type Options struct {
	// URL is redis://[user[:password]@]host[:port][/db], rediss:// for TLS, or
	// unix://. Username, Password and DB, where set, come before what it says.
	// Where Addresses are given it may be empty, and its host does not count.
	URL      string
	Username string
	Password string
	DB       int // 0 in a Cluster, which has no others

	// Mode is Single, Sentinel or Cluster; empty is Single. Addresses are
	// host:port of sentinels, or of nodes of the cluster, of which one is enough
	// but only as long as it runs: they find the others.
	Mode      string
	Addresses []string

	// MasterName is what the sentinels call the primary. They have users of
	// their own; a password is optional.
	MasterName       string
	SentinelUsername string
	SentinelPassword string

	// ReadReplicas sends reads of small values to replicas while there are any
	// that answer. What they have may be older than what the primary has, by
	// MaxReplicaLag at most, 60 s if not positive: what was deleted is read from
	// the primary for that long. That needs a store.Ledger which follows the
	// Store's journal; before it does, no replica is read.
	ReadReplicas  bool
	MaxReplicaLag time.Duration

	// MaxConnections bounds the connections to any one server together; 20 if
	// not positive, MinConnections at least. Reserve are those among them for
	// further clients, see Options.client.
	MaxConnections int
	Reserve        int

	// RetryOnTimeout tries a write that got no answer once more. Reads of large
	// values share the writes' connections and are tried again too, within
	// their budget; other reads never are.
	RetryOnTimeout bool

	// SocketTimeout bounds a write, 5 s if not positive; with RetryOnTimeout
	// each of its two tries.
	SocketTimeout time.Duration

	// ConnectTimeout bounds the making of a connection, TLS included; twice the
	// Budget and at least 100 ms if not positive. Nobody waits longer than for
	// his call because of it.
	ConnectTimeout time.Duration

	// HealthCheckInterval is how long a connection may lie idle and still be
	// used; one that has for longer is closed, and another one made. 30 s if 0,
	// for ever if negative.
	HealthCheckInterval time.Duration

	// KeepAlive are the probes of the system on idle connections.
	KeepAlive net.KeepAliveConfig

	// Budget bounds a read as a whole; 50 ms if not positive. Of an entry in
	// chunks the manifest has it, and the first chunk that is read of the body;
	// whoever has that waits for each further one for up to SocketTimeout. A
	// value that is found corrupt has it once more, for removing it.
	Budget time.Duration

	// EncryptionKeys, where there are any, encrypt all values: the first key
	// does, all of them decrypt. Values in plain, and values that were encrypted
	// with other keys, then are misses; without keys, encrypted ones are.
	EncryptionKeys []EncryptionKey

	// TLS is used when not nil, also with redis://, and for sentinels and all
	// nodes too. Without a ServerName the certificate must be of the host that is
	// connected to, as the configuration, the sentinels or the cluster name it.
	TLS *tls.Config

	Logger *slog.Logger // hears of changes of state, not of requests; nil is none

	// Now is the clock by which entries expire; nil is time.Now. Timeouts are
	// real time.
	Now func() time.Time
}

// EncryptionKey is a key of AES-256: 32 random bytes. It does not print.
type EncryptionKey [32]byte

// Format makes every verb print the same four stars.
func (EncryptionKey) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("****")) }

// MarshalText gives four stars.
func (EncryptionKey) MarshalText() ([]byte, error) { return []byte("****"), nil }

func withDefaults(opts Options) Options {
	if opts.Mode == "" {
		opts.Mode = Single
	}
	if opts.MaxConnections <= 0 {
		opts.MaxConnections = 20
	}
	if opts.SocketTimeout <= 0 {
		opts.SocketTimeout = 5 * time.Second
	}
	if opts.Budget <= 0 {
		opts.Budget = 50 * time.Millisecond
	}
	if opts.ConnectTimeout <= 0 {
		opts.ConnectTimeout = max(100*time.Millisecond, 2*opts.Budget)
	}
	if opts.MaxReplicaLag <= 0 {
		opts.MaxReplicaLag = time.Minute
	}
	if opts.HealthCheckInterval == 0 {
		opts.HealthCheckInterval = 30 * time.Second
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return opts
}

// endpoint is what the options come to: where to connect to, as whom, and how.
type endpoint struct {
	network            string
	addrs              []string // the server, the sentinels, or nodes of the cluster
	username, password string
	db                 int
	tls                *tls.Config // nil: none
}

// endpoint makes sense of the options. The error never quotes the URL: it may
// hold a password.
func (o *Options) endpoint() (endpoint, error) {
	if !slices.Contains([]string{Single, Sentinel, Cluster}, o.Mode) {
		return endpoint{}, fmt.Errorf("redis: mode %q is none of %s, %s, %s", o.Mode, Single, Sentinel, Cluster)
	}
	e := endpoint{network: "tcp", addrs: o.Addresses}
	if o.URL != "" || len(o.Addresses) == 0 {
		if err := e.read(o.URL); err != nil {
			return endpoint{}, err
		}
	}
	if o.Username != "" {
		e.username = o.Username
	}
	if o.Password != "" {
		e.password = o.Password
	}
	if o.DB != 0 {
		e.db = o.DB
	}
	if o.TLS != nil {
		e.tls = o.TLS.Clone()
	}
	return e, o.contradiction(e)
}

// read reads the URL. Its host counts where there are no other addresses.
func (e *endpoint) read(url string) error {
	scheme, rest, _ := strings.Cut(url, "://")
	if len(e.addrs) > 0 && (rest == "" || rest == "/") {
		url = scheme + "://localhost"
	}
	parsed, err := goredis.ParseURL(url)
	if err != nil {
		return errors.New("redis: the URL is not of the form redis://[user[:password]@]host[:port][/db]")
	}
	if len(e.addrs) == 0 {
		e.network, e.addrs = parsed.Network, []string{parsed.Addr}
	}
	e.username, e.password, e.db = parsed.Username, parsed.Password, parsed.DB
	if parsed.TLSConfig != nil {
		e.tls = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return nil
}

// contradiction says what in the options cannot be together.
func (o *Options) contradiction(e endpoint) error {
	switch {
	case e.db < 0:
		return fmt.Errorf("redis: database number %d is negative", e.db)
	case o.Mode == Cluster && e.db != 0:
		return fmt.Errorf("redis: a cluster has no database %d, only 0", e.db)
	case o.Mode == Single && len(e.addrs) > 1:
		return errors.New("redis: one server has one address; several are for the modes sentinel and cluster")
	case o.Mode == Single && o.ReadReplicas:
		return errors.New("redis: one server has no replicas to read from")
	case o.Mode == Sentinel && len(o.Addresses) == 0:
		return errors.New("redis: the addresses of the sentinels are not given")
	case o.Mode == Sentinel && o.MasterName == "":
		return errors.New("redis: the name that the sentinels have for the primary is not given")
	case o.MaxConnections < MinConnections || o.lanes().bulk < 1:
		return fmt.Errorf("redis: %d connections, of which %d are reserved, are too few", o.MaxConnections, o.Reserve)
	}
	return nil
}
