package config

import (
	"reflect"
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
			"socket_keepalive_options", "decode_responses", "encoding", "key_prefix", "monitoring", "alerts", "cluster",
		}, name):
		return "it is a setting of JAEGIS without meaning here", true
	}
	return "", false
}

func isRedisSection(section string) bool {
	return section == "cache.redis" || (strings.HasPrefix(section, "cache.stores.") && !strings.Contains(section[len("cache.stores."):], "."))
}

// clusterWanted reads JAEGIS' redis.cluster, which is a bool or a section with
// a key enabled. False needs no mention of its own.
func clusterWanted(n *yaml.Node) bool {
	if enabled := inMapping(resolve(n), "enabled"); enabled != nil {
		n = enabled
	}
	n = resolve(n)
	on, err := parseBool(n.Value)
	return n.Kind == yaml.ScalarNode && err == nil && on
}

// foreignCluster reads JAEGIS' redis.cluster, which is on, as our own keys for
// it, where out does not have them.
func (r *reader) foreignCluster(section string, p pair, out map[string]any) {
	key := join(section, "cluster")
	if mode, ok := out["mode"]; ok && mode != "cluster" {
		r.failAt(p.key, key, "turned on, and mode says otherwise", "keep mode: cluster, and addresses")
		return
	}
	out["mode"] = "cluster"
	nodes := inMapping(resolve(p.value), "nodes")
	if _, ok := out["addresses"]; !ok && nodes != nil {
		if list, ok := r.value(join(key, "nodes"), p.key.Line, reflect.TypeFor[[]string](), nodes).([]string); ok {
			for i, node := range list {
				_, after, isURL := strings.Cut(node, "://")
				if isURL {
					list[i] = strings.TrimSuffix(after, "/")
				}
			}
			out["addresses"] = list
		}
	}
	r.warnAt(p.key, key, "read as mode: cluster, and its nodes as addresses", "")
}

// inMapping gives the value of a name in a mapping, nil if there is none.
func inMapping(n *yaml.Node, name string) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1]
		}
	}
	return nil
}

// sharedSection says whether a file with this top-level section is one that
// other programs read too, so that sections unknown to us are theirs.
func sharedSection(name string) bool {
	return slices.Contains([]string{"mcp_server", "mcp", "server", "ai", "processing"}, name)
}
