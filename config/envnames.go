package config

import (
	"fmt"
	"net/textproto"
	"reflect"
	"slices"
	"strings"
)

// match is one way to read a variable's name.
type match struct {
	path []string
	typ  reflect.Type
	made int // length of the names in it that are not in the tree
}

// readings lists all the ways in which rest, a folded name, leads from a part
// of type t to a value. have is that part as it is now.
func readings(t reflect.Type, path []string, rest string, have any) []match {
	var found []match
	into := func(t reflect.Type, name, rest string, have any, made int) {
		for _, m := range readings(t, append(slices.Clip(path), name), rest, have) {
			m.made += made
			found = append(found, m)
		}
	}
	tree, _ := have.(map[string]any)
	switch kindOf(t) {
	case leaf, list:
		if rest == "" {
			found = append(found, match{path: path, typ: t})
		}
	case section:
		for _, f := range fieldsOf(t) {
			if after, ok := afterName(rest, f.name); ok {
				into(f.typ, f.name, after, tree[f.name], 0)
			}
		}
	case rows:
		for index, row := range tree {
			fields, _ := row.(map[string]any)
			name, _ := fields["name"].(string)
			if !hasName(t.Elem()) { // such rows go by their number
				name = index
			}
			if after, ok := afterName(rest, name); ok {
				into(t.Elem(), index, after, row, 0)
			}
		}
	case table:
		for name, value := range tree {
			if after, ok := afterName(rest, name); ok {
				into(t.Elem(), name, after, value, 0)
			}
		}
		if t == reflect.TypeFor[map[string]Price]() {
			return found // a variable cannot spell the name of a model
		}
		for _, name := range newNames(t, rest, tree) {
			after, _ := afterName(rest, name)
			into(t.Elem(), newName(path, name), after, nil, len(name))
		}
	}
	return found
}

// hasName says whether a section has a key that names it.
func hasName(t reflect.Type) bool {
	return slices.ContainsFunc(fieldsOf(t), func(f field) bool { return f.name == "name" })
}

// afterName cuts name off the front of rest; ok is false when it is not there.
func afterName(rest, name string) (after string, ok bool) {
	if name == "" {
		return "", false
	}
	after, ok = strings.CutPrefix(rest, fold(name))
	if !ok || after == "" {
		return after, ok
	}
	return strings.CutPrefix(after, "_")
}

// newNames lists what rest may begin with as a name that the table does not
// have yet: a spelling of one that is there must not make a second entry.
func newNames(t reflect.Type, rest string, tree map[string]any) []string {
	var names []string
	for i := range len(rest) + 1 {
		if i == 0 || (i < len(rest) && rest[i] != '_') {
			continue
		}
		name := rest[:i]
		known := false
		for have := range tree {
			known = known || fold(have) == name
		}
		if !known && (i == len(rest)) == (kindOf(t.Elem()) == leaf) {
			names = append(names, name)
		}
	}
	return names
}

// newName spells a name that comes from a variable: header names the way that
// headers are written, all others in lower case.
func newName(path []string, name string) string {
	if len(path) > 0 && path[len(path)-1] == "headers" {
		return textproto.CanonicalMIMEHeaderKey(strings.ReplaceAll(name, "_", "-"))
	}
	return name
}

// displayKey gives the key of a path as messages have it.
func displayKey(path []string) string {
	shown := slices.Clone(path)
	for i := len(shown) - 1; i > 0; i-- {
		if before := shown[i-1]; i == 1 && (before == "routes" || before == "clients") || i == 3 && before == "store_when" {
			shown[i-1] = fmt.Sprintf("%s[%s]", before, shown[i])
			shown = slices.Delete(shown, i, i+1)
		}
	}
	return strings.Join(shown, ".")
}
