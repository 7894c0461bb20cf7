package config

import (
	"reflect"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// pair is one key of a section of the file.
type pair struct {
	name       string
	key, value *yaml.Node
}

// pairs lists the keys of a mapping in their order: its own first, then those
// that a merge key (<<) adds.
func (r *reader) pairs(section string, n *yaml.Node) []pair {
	var own, merged []pair
	first := map[string]int{} // name -> line
	for i := 0; i+1 < len(n.Content) && r.spend(); i += 2 {
		key, value := resolve(n.Content[i]), n.Content[i+1]
		if key.ShortTag() == "!!merge" {
			merged = append(merged, r.merge(section, value)...)
			continue
		}
		if key.Kind != yaml.ScalarNode || isNull(key) || key.Value == "" {
			r.failAt(key, section, "a key that is not a name", "")
			continue
		}
		if err := checkPrintable(key.Value); err != nil {
			r.failAt(key, section, "the key "+strconv.Quote(key.Value)+" "+err.Error(), "")
			continue
		}
		if line, seen := first[key.Value]; seen {
			r.failAt(key, join(section, key.Value), "written twice, first in line "+strconv.Itoa(line), "keep one of them")
			continue
		}
		first[key.Value] = key.Line
		own = append(own, pair{key.Value, key, value})
	}
	for _, p := range merged {
		if _, seen := first[p.name]; !seen {
			first[p.name] = p.key.Line
			own = append(own, p)
		}
	}
	return own
}

// merge lists what a merge key brings: the keys of a mapping, or of several,
// of which the first that has a key wins.
func (r *reader) merge(section string, value *yaml.Node) []pair {
	value = resolve(value)
	if !r.spend() {
		return nil // a mapping merged into itself ends here
	}
	switch value.Kind {
	case yaml.MappingNode:
		return r.pairs(section, value)
	case yaml.SequenceNode:
		var all []pair
		for _, item := range value.Content {
			all = append(all, r.merge(section, item)...)
		}
		return all
	}
	r.failAt(value, section, "<< merges sections only", "")
	return nil
}

// resolve follows an alias to what it stands for.
func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	return n
}

// document reads the whole file. In a file that other programs read too, the
// top-level sections unknown to us are ignored, and the cache block may stand
// within mcp_server.
func (r *reader) document(root *yaml.Node) map[string]any {
	root = resolve(root)
	if root.Kind != yaml.MappingNode {
		r.failAt(root, "", nodeKind(root)+" where a section of keys belongs", "begin with a key, such as listen:")
		return nil
	}
	t := reflect.TypeFor[Config]()
	fields := fieldsOf(t)
	pairs := r.pairs("", root)
	shared := slices.ContainsFunc(pairs, func(p pair) bool { return sharedSection(p.name) })
	hasCache := slices.ContainsFunc(pairs, func(p pair) bool { return p.name == "cache" })
	out := map[string]any{}
	for _, p := range pairs {
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == p.name })
		switch {
		case i >= 0:
			if v := r.value(p.name, p.key.Line, fields[i].typ, p.value); v != nil {
				out[p.name] = v
			}
		case !shared:
			r.unknown("", p, fields)
		default:
			r.warnAt(p.key, p.name, "ignored: it is a section of another program's", "")
			if !hasCache && p.name == "mcp_server" {
				r.innerCache(p, out)
			}
		}
	}
	return out
}

// innerCache reads the cache block within mcp_server, should it have one.
func (r *reader) innerCache(p pair, out map[string]any) {
	value := resolve(p.value)
	if value.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(value.Content); i += 2 {
		if value.Content[i].Value != "cache" || resolve(value.Content[i+1]).Kind != yaml.MappingNode {
			continue
		}
		r.warnAt(value.Content[i], p.name+".cache", "read as cache", "")
		if v := r.value("cache", value.Content[i].Line, reflect.TypeFor[Cache](), value.Content[i+1]); v != nil {
			out["cache"] = v
		}
	}
}
