package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// reader turns the nodes of a YAML file into a layer: nested maps of values
// that already have their types. It goes on after an error, so that all of
// them are reported at once.
type reader struct {
	*findings
	file   string
	lookup func(string) (string, bool) // the environment, for ${NAME}
	budget int                         // nodes that may still be visited: aliases can make a small file huge
}

func newReader(file string, lookup func(string) (string, bool), f *findings) *reader {
	return &reader{findings: f, file: file, lookup: lookup, budget: 100_000}
}

// fail reports the value at key, whose source is known by now.
func (r *reader) fail(key, what, fix string) {
	r.problems = append(r.problems, r.sources.of(key, source{name: r.file}).at(key, what, fix))
}

// failAt reports something at a node that is not the value of a key.
func (r *reader) failAt(n *yaml.Node, key, what, fix string) {
	r.problems = append(r.problems, source{r.file, n.Line}.at(key, what, fix))
}

func (r *reader) warnAt(n *yaml.Node, key, what, fix string) {
	r.warnings = append(r.warnings, source{r.file, n.Line}.at(key, what, fix))
}

// spend takes one node off the budget; false means that it is used up, which
// is reported once.
func (r *reader) spend() bool {
	r.budget--
	if r.budget == 0 {
		r.problems = append(r.problems, Problem{Source: r.file, What: "more than 100,000 values", Fix: "check its aliases"})
	}
	return r.budget > 0
}

// value reads the node at key, which stands in the given line, as a t. Nil
// means that nothing is said there: the defaults stay.
func (r *reader) value(key string, line int, t reflect.Type, n *yaml.Node) any {
	n = resolve(n)
	r.sources[key] = source{r.file, line}
	if !r.spend() || isNull(n) {
		return nil
	}
	k := kindOf(t)
	if n.Kind != nodeKindOf(k) {
		r.fail(key, nodeKind(n)+" where "+wanted(t)+" belongs", "")
		return nil
	}
	switch k {
	case section:
		return r.section(key, t, n)
	case table:
		return r.table(key, t, n)
	case rows:
		return r.rows(key, t, n)
	case list:
		return r.list(key, t, n)
	}
	return r.leaf(key, t, n)
}

func nodeKindOf(k kind) yaml.Kind {
	switch k {
	case section, table:
		return yaml.MappingNode
	case rows, list:
		return yaml.SequenceNode
	}
	return yaml.ScalarNode
}

func (r *reader) section(key string, t reflect.Type, n *yaml.Node) any {
	fields := fieldsOf(t)
	out := map[string]any{}
	var cluster *pair
	for _, p := range r.pairs(key, n) {
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == p.name })
		switch {
		case i < 0 && p.name == "cluster" && isRedisSection(key) && clusterWanted(p.value):
			cluster = &p
		case i < 0:
			r.unknown(key, p, fields)
		default:
			if v := r.value(join(key, p.name), p.key.Line, fields[i].typ, p.value); v != nil {
				out[p.name] = v
			}
		}
	}
	if cluster != nil {
		r.foreignCluster(key, *cluster, out)
	}
	return orNothing(out)
}

func (r *reader) table(key string, t reflect.Type, n *yaml.Node) any {
	out := map[string]any{}
	for _, p := range r.pairs(key, n) {
		v := r.value(join(key, p.name), p.key.Line, t.Elem(), p.value)
		if v == nil && kindOf(t.Elem()) == section {
			v = map[string]any{} // it is there, with nothing but defaults
		}
		if v != nil {
			out[p.name] = v
		}
	}
	return orNothing(out)
}

func (r *reader) rows(key string, t reflect.Type, n *yaml.Node) any {
	out := map[string]any{}
	for i, item := range n.Content {
		v := r.value(fmt.Sprintf("%s[%d]", key, i), item.Line, t.Elem(), item)
		if v == nil {
			v = map[string]any{}
		}
		out[strconv.Itoa(i)] = v
	}
	return orNothing(out)
}

// orNothing drops an empty section: merged, it would wipe the defaults.
func orNothing(m map[string]any) any {
	if len(m) == 0 {
		return nil
	}
	return m
}

func (r *reader) list(key string, t reflect.Type, n *yaml.Node) any {
	out := reflect.MakeSlice(t, 0, len(n.Content))
	for i, item := range n.Content {
		if !r.spend() {
			break
		}
		item = resolve(item)
		at := fmt.Sprintf("%s[%d]", key, i)
		r.sources[at] = source{r.file, item.Line}
		if item.Kind != yaml.ScalarNode || isNull(item) {
			r.fail(at, "a string belongs here", "")
			continue
		}
		if v := r.leaf(at, t.Elem(), item); v != nil {
			out = reflect.Append(out, reflect.ValueOf(v))
		}
	}
	return out.Interface()
}

// leaf reads one value. Nil means that it is not given: an empty text is that
// for everything but strings.
func (r *reader) leaf(key string, t reflect.Type, n *yaml.Node) any {
	if tag := n.ShortTag(); !strings.HasPrefix(tag, "!!") || tag == "!!binary" {
		what := "the YAML tag " + strconv.Quote(tag) + " is not known here"
		if hidden(key, t) {
			what = "its YAML tag is not known here"
		}
		r.fail(key, what, "leave it out")
		return nil
	}
	text, ok := r.expanded(key, n)
	if !ok || (text == "" && t.Kind() != reflect.String) {
		return nil
	}
	v, err := parseLeaf(t, text)
	if err != nil {
		what := err.Error()
		if !hidden(key, t) && n.Value == text {
			what = strconv.Quote(text) + ": " + what
		}
		r.fail(key, what, "")
		return nil
	}
	r.refuseMask(r.sources[key], key, v)
	return v
}

// hidden says whether what stands at key may not be shown in a message: it is a
// secret, or what may be one by mistake, the key of a client in plain.
func hidden(key string, t reflect.Type) bool {
	return isSecret(t) || strings.HasPrefix(key, "clients[") && strings.Contains(key, "].keys[")
}

// expanded gives the text of a scalar with its variables replaced.
func (r *reader) expanded(key string, n *yaml.Node) (string, bool) {
	e, err := expand(n.Value, r.lookup)
	for _, name := range e.names {
		r.referenced[name] = true
	}
	if err != nil {
		r.fail(key, err.Error(), "write $$ for a dollar sign")
		return "", false
	}
	if len(e.missing) == 0 {
		return e.text, true
	}
	names := strings.Join(e.missing, ", ")
	if mayBeUnset(key) {
		r.warnAt(n, key, "empty, since "+names+" is not set", "")
		return "", true
	}
	r.fail(key, "refers to "+names+", which is not set in the environment", "set it, or write a default: ${"+e.missing[0]+":-value}")
	return "", false
}

// mayBeUnset lists the keys whose variable need not be set: they are optional
// secrets, and one file serves with and without them.
func mayBeUnset(key string) bool {
	if key == "admin.token" || key == "cache.key_secret" {
		return true
	}
	return strings.HasPrefix(key, "cache.") && (strings.HasSuffix(key, "username") || strings.HasSuffix(key, "password"))
}

// unknown reports a key that is none of ours.
func (r *reader) unknown(sectionKey string, p pair, fields []field) {
	key := join(sectionKey, p.name)
	if why, ok := foreignKey(sectionKey, p.name); ok {
		r.warnAt(p.key, key, "ignored: "+why, "")
		return
	}
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	r.failAt(p.key, key, "unknown key", didYouMean(p.name, names))
}

// join gives the key of a name within a section.
func join(section, name string) string {
	if section == "" {
		return name
	}
	return section + "." + name
}
