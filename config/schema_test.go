package config

import (
	"reflect"
	"strings"
)

// variable is a key together with the variable that sets it.
type variable struct {
	key   string // with docs, r, s and so on in the place of the user's names
	doc   string // with NAME, NAMESPACE, HEADER and MODEL in their place
	name  string
	docEV string // name, with the same
	typ   reflect.Type
	value string // one that is fit for the type
}

// allVariables walks the schema and lists every value of it, with an upstream
// "docs", a store "s", a namespace "documents", a route "r", a client "c" and a
// model "m".
func allVariables() []variable {
	return variablesOf(reflect.TypeFor[Config](), "", "", "JAEGIS", "JAEGIS")
}

func variablesOf(t reflect.Type, key, doc, name, docEV string) []variable {
	var out []variable
	for _, f := range fieldsOf(t) {
		key, doc := join(key, f.name), join(doc, f.name)
		name, docEV := name+"_"+strings.ToUpper(f.name), docEV+"_"+strings.ToUpper(f.name)
		typ := f.typ
		switch kindOf(typ) {
		case rows:
			key, doc = key+"[0]", doc+"[]"
			if typ = typ.Elem(); !hasName(typ) {
				name, docEV = name+"_0", docEV+"_<N>"
				break
			}
			name, docEV = name+"_"+strings.ToUpper(f.name[:1]), docEV+"_<NAME>"
		case table:
			own := map[string][2]string{"upstreams": {"docs", "NAME"}, "stores": {"s", "NAMESPACE"}, "ttl": {"documents", "NAMESPACE"}, "headers": {"Authorization", "HEADER"}, "prices": {"m", "MODEL"}}[f.name]
			key, doc = join(key, own[0]), join(doc, own[1])
			name, docEV, typ = name+"_"+strings.ToUpper(own[0]), docEV+"_<"+own[1]+">", typ.Elem()
		}
		if kindOf(typ) == section {
			out = append(out, variablesOf(typ, key, doc, name, docEV)...)
			continue
		}
		value := "7"
		switch typ {
		case reflect.TypeFor[bool](), reflect.TypeFor[Choice]():
			value = "true"
		case reflect.TypeFor[Pace]():
			value = "7/s"
		}
		out = append(out, variable{key, doc, name, docEV, typ, value})
	}
	return out
}
