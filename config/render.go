package config

import (
	"bytes"
	"reflect"
	"slices"

	"go.yaml.in/yaml/v3"
)

// Render prints the tree as a file that Load reads, every key with its value.
// Secrets (the admin token, passwords, key_secret, encryption keys, the values of
// upstream headers, credentials within URLs) are printed as Mask; Load takes such a
// file only with Sources.AllowMasked, since a proxy that served by it would
// have a token that everybody knows.
func Render(c *Config) []byte {
	var root yaml.Node
	if err := root.Encode(c); err != nil {
		panic("BUG: config: " + err.Error()) // plain values, and marshallers that do not fail
	}
	escapeValues(&root)
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(&root); err != nil {
		panic("BUG: config: " + err.Error())
	}
	return out.Bytes()
}

// escapeValues doubles the dollar signs of all values, which Load would expand
// otherwise. Keys are not expanded.
func escapeValues(n *yaml.Node) {
	for i, child := range n.Content {
		isKey := n.Kind == yaml.MappingNode && i%2 == 0
		if !isKey {
			escapeValues(child)
		}
	}
	if n.Kind == yaml.ScalarNode {
		n.Value = escape(n.Value)
	}
}

// NeedsRestart lists the keys that differ between two trees and that a running
// proxy does not take up: listeners, stores and process-wide settings. All
// others (routes, upstreams, clients, prices, TTLs, ...) it does.
func NeedsRestart(was, is *Config) []string {
	var keys []string
	for _, part := range []struct {
		key    string
		differ bool
	}{
		{"listen", was.Listen != is.Listen},
		{"admin", was.Admin != is.Admin},
		{"cache.redis", !reflect.DeepEqual(was.Cache.Redis, is.Cache.Redis)},
		{"cache.stores", !reflect.DeepEqual(was.Cache.Stores, is.Cache.Stores)},
		{"cache.memory", was.Cache.Memory != is.Cache.Memory},
		{"cache.compression", was.Cache.Compression != is.Cache.Compression},
		{"cache.max_disconnected", was.Cache.MaxDisconnected != is.Cache.MaxDisconnected},
		{"cache.encryption", !slices.Equal(was.Cache.Encryption.Keys, is.Cache.Encryption.Keys)},
		{"cache.uncacheable_ttl", was.Cache.UncacheableTTL != is.Cache.UncacheableTTL},
		{"cache.queue", was.Cache.Queue != is.Cache.Queue},
		{"cache.shared_fills", was.Cache.SharedFills != is.Cache.SharedFills},
		{"currency", was.Currency != is.Currency},
		{"spool", was.Spool != is.Spool},
		{"limits", was.Limits != is.Limits},
		{"shutdown_timeout", was.ShutdownTimeout != is.ShutdownTimeout},
		{"log", was.Log != is.Log},
		{"telemetry", was.Telemetry != is.Telemetry},
	} {
		if part.differ {
			keys = append(keys, part.key)
		}
	}
	return keys
}
