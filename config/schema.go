package config

import (
	"encoding"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The tree's types are its schema: this file reads them by reflection, so that
// the file reader, the environment and the defaults cannot disagree about what
// keys there are.

// kind is what a part of the tree is.
type kind int

const (
	leaf    kind = iota // one value
	list                // strings, or secrets
	section             // named keys, all known (a struct)
	table               // names of the user's own (a map)
	rows                // sections in order (a slice of structs)
)

func kindOf(t reflect.Type) kind {
	switch t.Kind() {
	case reflect.Struct:
		if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
			return leaf
		}
		return section
	case reflect.Map:
		return table
	case reflect.Slice:
		if kindOf(t.Elem()) == section {
			return rows
		}
		return list
	}
	return leaf
}

type field struct {
	name string
	typ  reflect.Type
}

// fieldsOf lists the keys of a section in the order of their declaration.
func fieldsOf(t reflect.Type) []field {
	fields := make([]field, t.NumField())
	for i := range fields {
		f := t.Field(i)
		fields[i] = field{name: f.Tag.Get("yaml"), typ: f.Type}
	}
	return fields
}

// wanted describes a type to somebody who wrote something else.
func wanted(t reflect.Type) string {
	switch kindOf(t) {
	case list:
		return "a list of strings, such as [a, b]"
	case section, table:
		return "a section of keys"
	case rows:
		return "a list of sections"
	}
	switch t {
	case reflect.TypeFor[Duration]():
		return "a duration, such as 90s"
	case reflect.TypeFor[Size]():
		return "a size, such as 64MiB"
	case reflect.TypeFor[bool](), reflect.TypeFor[Choice]():
		return "true or false"
	case reflect.TypeFor[int]():
		return "a whole number"
	case reflect.TypeFor[float64](), reflect.TypeFor[Number]():
		return "a number"
	case reflect.TypeFor[Pace]():
		return "a pace, such as original or 20/s"
	}
	return "a string"
}

// isSecret says whether values of the type may not be shown in a message.
func isSecret(t reflect.Type) bool {
	return t == reflect.TypeFor[Secret]() || t == reflect.TypeFor[SecretURL]()
}

// parseLeaf reads the text of one value; the result has type t. Errors never
// hold the text.
func parseLeaf(t reflect.Type, text string) (any, error) {
	if err := checkPrintable(text); err != nil {
		return nil, err
	}
	v := reflect.New(t)
	if u, ok := v.Interface().(encoding.TextUnmarshaler); ok {
		if err := u.UnmarshalText([]byte(text)); err != nil {
			return nil, err
		}
		return v.Elem().Interface(), nil
	}
	switch t.Kind() {
	case reflect.String:
		v.Elem().SetString(text)
	case reflect.Bool:
		b, err := parseBool(text)
		if err != nil {
			return nil, err
		}
		v.Elem().SetBool(b)
	case reflect.Float64:
		f, err := parseFloat(text)
		if err != nil {
			return nil, err
		}
		v.Elem().SetFloat(f)
	default:
		n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 32)
		if err != nil {
			return nil, errors.New("not a whole number that fits 32 bits")
		}
		v.Elem().SetInt(n)
	}
	return v.Elem().Interface(), nil
}

func parseBool(text string) (bool, error) {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "true", "yes", "on", "1":
		return true, nil
	case "false", "no", "off", "0":
		return false, nil
	}
	return false, errors.New("not a yes or no; write true or false")
}

// checkPrintable refuses what no key or value of ours has a use for, line ends
// above all: they come in by accident with secrets read from files, and would
// end up in header values and log lines.
func checkPrintable(s string) error {
	if !utf8.ValidString(s) {
		return errors.New("not valid UTF-8")
	}
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return errors.New("contains line ends, tabs or other characters that do not print")
	}
	return nil
}

// toTree gives a part of the tree as nested maps, the form in which layers are
// merged. Rows become a map by index, so that a layer can change one row.
func toTree(v reflect.Value) any {
	switch kindOf(v.Type()) {
	case section:
		m := make(map[string]any, v.NumField())
		for i, f := range fieldsOf(v.Type()) {
			m[f.name] = toTree(v.Field(i))
		}
		return m
	case table:
		m := make(map[string]any, v.Len())
		for it := v.MapRange(); it.Next(); {
			m[it.Key().String()] = toTree(it.Value())
		}
		return m
	case rows:
		m := make(map[string]any, v.Len())
		for i := range v.Len() {
			m[strconv.Itoa(i)] = toTree(v.Index(i))
		}
		return m
	case list:
		return reflect.AppendSlice(reflect.MakeSlice(v.Type(), 0, v.Len()), v).Interface()
	}
	return v.Interface()
}

// sectionTree is toTree of a struct.
func sectionTree(v any) map[string]any {
	return toTree(reflect.ValueOf(v)).(map[string]any)
}
