package config

import (
	"strings"
	"time"
)

// DefaultNamespace is the namespace of routes that name none.
const DefaultNamespace = "default"

// Default gives the tree as it is when nothing is configured. Its maps and
// slices belong to the caller.
func Default() *Config {
	return &Config{
		Listen: "127.0.0.1:8080",
		Admin:  Admin{Listen: "127.0.0.1:8081"},
		Cache: Cache{
			Enabled: true,
			Redis:   DefaultRedis(),
			Memory:  Memory{MaxBytes: 256 * MiB},
			TTL: map[string]Duration{
				"documents":    Duration(time.Hour),
				"ai_responses": Duration(2 * time.Hour),
				"templates":    Duration(24 * time.Hour),
				"builds":       Duration(30 * time.Minute),
			},
			Compression:    Compression{Enabled: true, Algorithm: "gzip", Level: 6, MinSize: KiB},
			UncacheableTTL: Duration(10 * time.Second),
			Queue:          Queue{MaxBytes: 64 * MiB, Workers: 2},
			SharedFills:    SharedFills{Enabled: true, MaxBytes: 16 * MiB, MaxConnections: 64},

			MaxDisconnected: Duration(30 * time.Second),
		},
		Spool: Spool{Memory: MiB, MaxBytes: 10 * GiB},
		Limits: Limits{
			MaxHeaderBytes: 16 * KiB,
			HeaderTimeout:  Duration(10 * time.Second),
			BodyTimeout:    Duration(time.Minute),
			IdleTimeout:    Duration(75 * time.Second),
			WriteTimeout:   Duration(time.Minute),
			MaxConnections: 20000,
		},
		Currency:        "USD",
		ShutdownTimeout: Duration(30 * time.Second),
		Log:             Log{Level: "info", Format: "text"},
	}
}

// DefaultUpstream gives an upstream with everything but its URL.
func DefaultUpstream() Upstream {
	return Upstream{
		ConnectTimeout:   Duration(5 * time.Second),
		FirstByteTimeout: Duration(2 * time.Minute),
		IdleTimeout:      Duration(time.Minute),
		TotalTimeout:     Duration(15 * time.Minute),
	}
}

// DefaultRedis gives a Redis with everything but its URL.
func DefaultRedis() Redis {
	return Redis{
		MaxConnections: 20,
		RetryOnTimeout: true,
		SocketTimeout:  Duration(5 * time.Second),
		Budget:         Duration(50 * time.Millisecond),
		Mode:           "single",

		SocketKeepalive:     true,
		HealthCheckInterval: Duration(30 * time.Second),
	}
}

// DefaultRoute gives a route with everything but its name, its upstream and
// its TTL; the latter two are for Complete to fill in.
func DefaultRoute() Route {
	return Route{
		Match:     Match{Path: "/*"},
		Cache:     true,
		Namespace: DefaultNamespace,
		Scope:     "credential",
		ProofTTL:  Duration(10 * time.Minute),
		Freshness: "route",
		Protocol:  "none",
		Variants:  1,
		Expiry:    Expiry{SignedLinks: true, Members: true},
		OnAbandon: "finish",
		Key: Key{
			Body:        "auto",
			Credentials: []string{"Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key", "Cookie"},
			Multipart:   KeyMultipart{Headers: "auto"},
		},
		MaxRequestBytes:       512 * MiB,
		MaxCachedRequestBytes: 256 * MiB,
		OnSpoolFull:           "reject",
		MaxObjectBytes:        64 * MiB,
	}
}

// Complete fills in what follows from other parts of the tree (the default
// upstream when there is only one, a route's upstream, a route's TTL from its
// namespace, a client's tenant) and lowers the case of host names, of clients'
// hashes and of the log level. Load has done it; trees that are built in Go
// call it before Validate. The routes of presets are not added to the tree: see
// AllRoutes.
func (c *Config) Complete() {
	c.Log.Level = strings.ToLower(c.Log.Level)
	if c.Log.Level == "warning" {
		c.Log.Level = "warn"
	}
	if c.DefaultUpstream == "" && len(c.Upstreams) == 1 {
		for name := range c.Upstreams {
			c.DefaultUpstream = name
		}
	}
	for i := range c.Routes {
		r := &c.Routes[i]
		if r.Upstream == "" {
			r.Upstream = c.DefaultUpstream
		}
		if r.TTL == 0 {
			r.TTL = c.Cache.TTL[r.Namespace]
		}
		lower(r.Match.Hosts)
	}
	for _, u := range c.Upstreams {
		lower(u.Hosts)
	}
	for i := range c.Clients {
		if c.Clients[i].Tenant == "" {
			c.Clients[i].Tenant = c.Clients[i].Name
		}
		lower(c.Clients[i].Keys)
	}
}

func lower(list []string) {
	for i, s := range list {
		list[i] = strings.ToLower(s)
	}
}
