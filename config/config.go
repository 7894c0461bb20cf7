// Package config is the proxy's configuration: the tree, its defaults, how it
// is read (defaults, then a YAML file, then the environment, then flags), what
// makes it valid, and how it is printed.
//
// It knows nothing of the parts that it configures: the tree holds plain
// values, and the commands hand them to the parts. A Config is read-only once
// it has been loaded and may then be shared by any number of goroutines.
package config

import "strings"

// Config is the whole tree. Default gives its defaults.
type Config struct {
	Listen          string              `yaml:"listen"` // host:port of the public listener
	Admin           Admin               `yaml:"admin"`
	Upstreams       map[string]Upstream `yaml:"upstreams"`
	DefaultUpstream string              `yaml:"default_upstream"` // for requests that match no route; empty: they get 404
	Clients         []Client            `yaml:"clients"`          // whose keys the proxy knows itself; empty: it knows none
	Cache           Cache               `yaml:"cache"`
	Routes          []Route             `yaml:"routes"`   // the first match wins; those of presets come after them, see AllRoutes
	Prices          map[string]Price    `yaml:"prices"`   // by model: its exact name, or the beginning of names and a *
	Currency        string              `yaml:"currency"` // what prices are in; a label only
	Spool           Spool               `yaml:"spool"`
	Limits          Limits              `yaml:"limits"`
	ShutdownTimeout Duration            `yaml:"shutdown_timeout"` // how long running requests may take to end
	Log             Log                 `yaml:"log"`
	Telemetry       Telemetry           `yaml:"telemetry"`
}

// Admin is the second listener.
type Admin struct {
	Listen string `yaml:"listen"` // host:port; empty: no admin listener
	Token  Secret `yaml:"token"`  // bearer token; required off loopback
}

// Upstream is one API that requests are forwarded to. DefaultUpstream gives
// its defaults.
type Upstream struct {
	URL              string            `yaml:"url"`
	Preset           string            `yaml:"preset"`             // a well-known API, see Presets, whose routes it gets; empty: none
	Hosts            []string          `yaml:"hosts"`              // without port: the preset's routes answer on these only; empty: on all
	ConnectTimeout   Duration          `yaml:"connect_timeout"`    // name lookup, dial and TLS handshake
	FirstByteTimeout Duration          `yaml:"first_byte_timeout"` // request sent to response head
	IdleTimeout      Duration          `yaml:"idle_timeout"`       // the longest silence inside a response body
	TotalTimeout     Duration          `yaml:"total_timeout"`      // the whole exchange
	Headers          map[string]Secret `yaml:"headers"`            // set on every request, in place of the client's
	PreserveHost     bool              `yaml:"preserve_host"`      // send the client's Host instead of the URL's
	CAFile           string            `yaml:"ca_file"`            // PEM; empty: the system's roots
}

// Client is somebody whose keys the proxy itself knows, so that the upstream's
// key need not be handed around.
type Client struct {
	Name         string   `yaml:"name"`          // unique
	Tenant       string   `yaml:"tenant"`        // stands in metrics and keys; empty: the name, see Complete
	Keys         []string `yaml:"keys"`          // "sha256:" and the SHA-256 of a key in hex; see Sums
	DenyControls []string `yaml:"deny_controls"` // as in Route
}

// Price is what a model costs: money per million tokens, 0 or more.
type Price struct {
	Input       float64 `yaml:"input"`
	Output      float64 `yaml:"output"`
	CachedInput float64 `yaml:"cached_input"` // input that the provider had in its prompt cache; left out of a file: as input
}

// Cache says where answers are kept and for how long.
type Cache struct {
	Enabled        bool                `yaml:"enabled"`
	Redis          Redis               `yaml:"redis"`
	Stores         map[string]Redis    `yaml:"stores"` // namespace -> a Redis of its own
	Memory         Memory              `yaml:"memory"`
	TTL            map[string]Duration `yaml:"ttl"` // namespace -> how long an answer is fresh
	Compression    Compression         `yaml:"compression"`
	Encryption     Encryption          `yaml:"encryption"`
	KeySecret      Secret              `yaml:"key_secret"`      // keys the hash of credentials; empty: an unkeyed hash
	UncacheableTTL Duration            `yaml:"uncacheable_ttl"` // how long "this cannot be stored" is remembered
	Queue          Queue               `yaml:"queue"`
	SharedFills    SharedFills         `yaml:"shared_fills"`

	// MaxDisconnected is how long a purge may take to reach a process that is cut
	// off from Redis: past it nothing is given that was stored before.
	MaxDisconnected Duration `yaml:"max_disconnected"`
}

// Redis is one Redis: one server, or several that stand for one. DefaultRedis
// gives its defaults.
type Redis struct {
	URL      SecretURL `yaml:"url"` // redis:// or rediss://; empty, and no addresses: no Redis
	Username string    `yaml:"username"`
	Password Secret    `yaml:"password"`
	DB       int       `yaml:"db"`

	Mode             string   `yaml:"mode"`        // "single", "sentinel" or "cluster"
	Addresses        []string `yaml:"addresses"`   // host:port of sentinels, or of nodes of the cluster; then the URL's host does not count
	MasterName       string   `yaml:"master_name"` // what the sentinels call the primary
	SentinelUsername string   `yaml:"sentinel_username"`
	SentinelPassword Secret   `yaml:"sentinel_password"`
	ReadReplicas     bool     `yaml:"read_replicas"` // small values, from replicas

	MaxConnections       int      `yaml:"max_connections"` // to each server
	RetryOnTimeout       bool     `yaml:"retry_on_timeout"`
	SocketTimeout        Duration `yaml:"socket_timeout"`         // one write, or a read of a large value
	SocketConnectTimeout Duration `yaml:"socket_connect_timeout"` // one connection; 0: twice the budget, 100ms at least
	SocketKeepalive      bool     `yaml:"socket_keepalive"`
	HealthCheckInterval  Duration `yaml:"health_check_interval"` // past it an idle connection is not used any more; 0: for ever
	Budget               Duration `yaml:"budget"`                // one lookup; past it the request goes on without Redis

	TLS RedisTLS `yaml:"tls"` // for rediss://, and where addresses have no URL
}

// InUse says whether a Redis is configured.
func (r Redis) InUse() bool { return r.URL != "" || len(r.Addresses) > 0 }

// Secure says whether it is spoken to by TLS.
func (r Redis) Secure() bool {
	return strings.HasPrefix(string(r.URL), "rediss://") || r.URL == "" && r.TLS != (RedisTLS{})
}

// RedisTLS names PEM files. All are optional; a certificate needs its key.
type RedisTLS struct {
	CAFile     string `yaml:"ca_file"`
	CertFile   string `yaml:"cert_file"`
	KeyFile    string `yaml:"key_file"`
	ServerName string `yaml:"server_name"` // whose certificate it must be; empty: the host that is connected to
}

// Memory is the store inside the process.
type Memory struct {
	MaxBytes Size `yaml:"max_bytes"` // 0 turns it off
}

// Compression is how answers are stored.
type Compression struct {
	Enabled   bool   `yaml:"enabled"`
	Algorithm string `yaml:"algorithm"` // "gzip" or "zstd"
	Level     int    `yaml:"level"`     // gzip 1 to 9, zstd 1 to 22
	MinSize   Size   `yaml:"min_size"`  // smaller bodies are stored as they are
}

// Encryption is how answers are encrypted in Redis, all of them.
type Encryption struct {
	Keys []Secret `yaml:"keys"` // 32 bytes in hex or base64 each; the first encrypts, all decrypt; see Raw. Empty: answers are not encrypted
}

// Queue holds answers on their way to the store.
type Queue struct {
	MaxBytes Size `yaml:"max_bytes"` // what does not fit is not stored
	Workers  int  `yaml:"workers"`
}

// SharedFills is how nodes with the same Redis fetch an answer once for all of
// them.
type SharedFills struct {
	Enabled        bool `yaml:"enabled"`
	MaxBytes       Size `yaml:"max_bytes"`       // of one answer, kept in Redis for nodes that read it as it comes
	MaxConnections int  `yaml:"max_connections"` // to each Redis, beside those of its own section
}

// Spool is where bodies go that are too large for memory.
type Spool struct {
	Memory   Size   `yaml:"memory"`    // of one body
	Dir      string `yaml:"dir"`       // empty: the system's directory for temporary files
	MaxBytes Size   `yaml:"max_bytes"` // of all files together
}

// Limits guard the public listener.
type Limits struct {
	MaxHeaderBytes Size     `yaml:"max_header_bytes"`
	HeaderTimeout  Duration `yaml:"header_timeout"` // the whole request head
	BodyTimeout    Duration `yaml:"body_timeout"`   // the longest silence while a request body is read
	IdleTimeout    Duration `yaml:"idle_timeout"`   // between two requests
	WriteTimeout   Duration `yaml:"write_timeout"`  // the longest stall of one write
	MaxConnections int      `yaml:"max_connections"`
}

// Log is the process's log.
type Log struct {
	Level  string `yaml:"level"`  // "debug", "info", "warn" or "error"
	Format string `yaml:"format"` // "text" or "json"
}

// Telemetry is where traces go.
type Telemetry struct {
	OTLPEndpoint SecretURL `yaml:"otlp_endpoint"` // http:// or https://; empty: what OTEL_* says
}
