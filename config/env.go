package config

import (
	"cmp"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	envPrefix   = "JAEGIS_"
	maxVariable = 256 // length of a name; the ways to read it grow with its square
)

// redisVariables are the names that JAEGIS has for its Redis; the JAEGIS_
// names of the same keys win over them.
func redisVariables() map[string][]string {
	return map[string][]string{
		"REDIS_URL":              {"cache", "redis", "url"},
		"REDIS_PASSWORD":         {"cache", "redis", "password"},
		"REDIS_DB":               {"cache", "redis", "db"},
		"REDIS_MAX_CONNECTIONS":  {"cache", "redis", "max_connections"},
		"REDIS_RETRY_ON_TIMEOUT": {"cache", "redis", "retry_on_timeout"},
		"REDIS_SOCKET_TIMEOUT":   {"cache", "redis", "socket_timeout"},
	}
}

// overlay turns variables and flags into values of the tree. A variable names
// its key as JAEGIS_ and the key's path in upper case with _ between, so what
// it means depends on the names (of upstreams, routes, ...) that are there.
type overlay struct {
	*findings
	tree     map[string]any // the layers below
	zeroTTLs []string       // keys of TTLs that were set to 0
}

// variable reads one JAEGIS_ variable. It gives its path and its value, or nil
// for one that sets nothing; an empty one sets nothing.
func (o *overlay) variable(name, text string) ([]string, any) {
	if text == "" {
		return nil, nil
	}
	src := source{name: "environment " + name}
	rest := fold(strings.TrimPrefix(name, envPrefix))
	var found []match
	if len(rest) <= maxVariable {
		found = readings(reflect.TypeFor[Config](), nil, rest, o.tree)
	}
	if len(found) == 0 {
		o.unknown(src, name, rest)
		return nil, nil
	}
	slices.SortFunc(found, func(a, b match) int {
		return cmp.Or(cmp.Compare(a.made, b.made), cmp.Compare(displayKey(a.path), displayKey(b.path)))
	})
	best := found[0]
	key := displayKey(best.path)
	if len(found) > 1 && found[1].made == best.made {
		o.problems = append(o.problems, src.at(key,
			"may mean "+key+" or "+displayKey(found[1].path), "set it in the file, or rename one of the two"))
		return nil, nil
	}
	return best.path, o.parse(src, best.path, best.typ, text)
}

// parse reads the text of the value at path; nil after a problem.
func (o *overlay) parse(src source, path []string, t reflect.Type, text string) any {
	key := displayKey(path)
	o.sources[key] = src
	if kindOf(t) == list {
		return o.parseList(src, key, t, text)
	}
	v, err := parseLeaf(t, text)
	if err != nil {
		what := err.Error()
		if !isSecret(t) {
			what = strconv.Quote(text) + ": " + what
		}
		o.problems = append(o.problems, src.at(key, what, ""))
		return nil
	}
	o.refuseMask(src, key, v)
	return v
}

// parseList reads items with commas between. They take the place of those in
// the file.
func (o *overlay) parseList(src source, key string, t reflect.Type, text string) any {
	maps.DeleteFunc(o.sources, func(k string, _ source) bool { return strings.HasPrefix(k, key+"[") })
	if err := checkPrintable(text); err != nil {
		o.problems = append(o.problems, src.at(key, err.Error(), ""))
		return nil
	}
	items := reflect.MakeSlice(t, 0, 1)
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			v := reflect.ValueOf(item).Convert(t.Elem())
			o.refuseMask(src, key, v.Interface())
			items = reflect.Append(items, v)
		}
	}
	if items.Len() == 0 && isSecret(t.Elem()) {
		// Whoever wrote it meant to protect something.
		o.problems = append(o.problems, src.at(key, "set, and nothing in it", "write what belongs there, or do not set it"))
		return nil
	}
	return items.Interface()
}

// unknown reports a JAEGIS_ variable that names no key. It is an error when it
// was surely meant for us: when it is near a key, or within one of our
// sections. Others may belong to the programs around us, and are a warning.
func (o *overlay) unknown(src source, name, rest string) {
	if o.referenced[name] || name == envPrefix+"CONFIG" || serviceLink(name) {
		return
	}
	for _, prefix := range []string{"cache_redis_", "cache_"} {
		if key, ok := strings.CutPrefix(rest, prefix); ok {
			if _, ok := foreignKey(strings.ReplaceAll(strings.TrimSuffix(prefix, "_"), "_", "."), key); ok {
				o.warnings = append(o.warnings, src.at("", "ignored: it is a setting of JAEGIS without meaning here", ""))
				return
			}
		}
	}
	near := nearest(rest, staticNames(reflect.TypeFor[Config](), ""))
	ours := slices.ContainsFunc(fieldsOf(reflect.TypeFor[Config]()), func(f field) bool {
		return strings.HasPrefix(rest, f.name+"_") && kindOf(f.typ) != leaf
	})
	switch {
	case near != "":
		o.problems = append(o.problems, src.at("", "names no key", "did you mean "+envPrefix+strings.ToUpper(near)+"?"))
	case strings.HasPrefix(rest, "routes_"):
		o.problems = append(o.problems, src.at("", "names no key of a route that there is", "routes are made in the file; write JAEGIS_ROUTES_<NAME>_<KEY> to change one"))
	case strings.HasPrefix(rest, "clients_"):
		o.problems = append(o.problems, src.at("", "names no key of a client that there is", "clients are made in the file; write JAEGIS_CLIENTS_<NAME>_<KEY> to change one"))
	case strings.HasPrefix(rest, "prices_"):
		o.problems = append(o.problems, src.at("", "names no key of a price that there is", "models get their prices in the file; write JAEGIS_PRICES_<MODEL>_<KEY> to change one"))
	case ours:
		o.problems = append(o.problems, src.at("", "names no key", "jaegis-proxy check prints the keys; join them with _"))
	default:
		o.warnings = append(o.warnings, src.at("", "ignored: it names no key", ""))
	}
}

// serviceLink says whether the variable is one that Kubernetes sets for a
// service whose name begins with jaegis.
func serviceLink(name string) bool {
	ok, _ := regexp.MatchString(`_(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT|PORT_[0-9]+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)$`, name)
	return ok
}

// staticNames lists the folded paths of all values that need no name of the
// user's.
func staticNames(t reflect.Type, prefix string) []string {
	var names []string
	for _, f := range fieldsOf(t) {
		switch kindOf(f.typ) {
		case section:
			names = append(names, staticNames(f.typ, prefix+f.name+"_")...)
		case leaf, list:
			names = append(names, prefix+f.name)
		}
	}
	return names
}

// redisVariable is variable for the names that JAEGIS has for its Redis.
func (o *overlay) redisVariable(name, text string) ([]string, any) {
	path, ok := redisVariables()[name]
	if !ok || text == "" {
		return nil, nil
	}
	t := reflect.TypeFor[Config]()
	for _, part := range path {
		for _, f := range fieldsOf(t) {
			if f.name == part {
				t = f.typ
				break
			}
		}
	}
	return path, o.parse(source{name: "environment " + name}, path, t, text)
}
