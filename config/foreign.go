package config

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The cache block is the one of JAEGIS' mcp_server.yaml, and that file is to
// load as it is. It has keys that mean nothing here; these are accepted, and
// reported as ignored. Everything else that is unknown is an error.

// foreignKey says why a key of another program's is ignored; ok is false for
// keys that are not known to be one.
func foreignKey(section, name string) (why string, ok bool) {
	switch {
	case section == "cache" && name == "serialization":
		return "entries are HTTP responses in a format of their own, and unpickling from a shared store would run code", true
	case section == "cache" && slices.Contains([]string{"type", "key_prefix", "default_ttl", "monitoring", "metrics", "alerts"}, name),
		isRedisSection(section) && slices.Contains([]string{
			"socket_connect_timeout", "socket_keepalive", "socket_keepalive_options", "health_check_interval",
			"decode_responses", "encoding", "key_prefix", "monitoring", "alerts", "cluster",
		}, name):
		return "it is a setting of JAEGIS without meaning here", true
	}
	return "", false
}

func isRedisSection(section string) bool {
	return section == "cache.redis" || (strings.HasPrefix(section, "cache.stores.") && !strings.Contains(section[len("cache.stores."):], "."))
}

// clusterWanted reads JAEGIS' redis.cluster, which is a bool or a section with
// a key enabled. False needs no mention of its own, true is not to be had.
func clusterWanted(n *yaml.Node) bool {
	n = resolve(n)
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == "enabled" {
				n = resolve(n.Content[i+1])
				break
			}
		}
	}
	on, err := parseBool(n.Value)
	return n.Kind == yaml.ScalarNode && err == nil && on
}

// sharedSection says whether a file with this top-level section is one that
// other programs read too, so that sections unknown to us are theirs.
func sharedSection(name string) bool {
	return slices.Contains([]string{"mcp_server", "mcp", "server", "ai", "processing"}, name)
}
