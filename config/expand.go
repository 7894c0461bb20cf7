package config

import (
	"errors"
	"strings"
)

// expansion is the outcome of replacing the variables of one value.
type expansion struct {
	text    string
	names   []string // variables that it refers to
	missing []string // those of them that are not set and have no default
}

// expand replaces ${NAME} and ${NAME:-default} in text, and $$ by one dollar
// sign; any other dollar sign stays. As in a shell, the default counts when the
// variable is not set or empty. What a variable holds is not expanded again.
func expand(text string, lookup func(string) (string, bool)) (expansion, error) {
	var out strings.Builder
	var e expansion
	for {
		at := strings.IndexByte(text, '$')
		if at < 0 || at == len(text)-1 {
			break
		}
		out.WriteString(text[:at])
		switch text[at+1] {
		case '$':
			out.WriteByte('$')
			text = text[at+2:]
		case '{':
			inner, rest, ok := strings.Cut(text[at+2:], "}")
			if !ok {
				return e, errors.New("${ without }")
			}
			name, def, hasDefault := strings.Cut(inner, ":-")
			if !validVariable(name) {
				return e, errors.New("${...} takes the name of a variable, and :- before a default")
			}
			e.names = append(e.names, name)
			value, set := lookup(name)
			switch {
			case hasDefault && value == "":
				value = def
			case !set:
				e.missing = append(e.missing, name)
			}
			out.WriteString(value)
			text = rest
		default:
			out.WriteByte('$')
			text = text[at+1:]
		}
	}
	e.text = out.String() + text
	return e, nil
}

func validVariable(name string) bool {
	for i, c := range []byte(name) {
		switch {
		case c == '_', c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z':
		case c >= '0' && c <= '9' && i > 0:
		default:
			return false
		}
	}
	return name != ""
}

// escape is the inverse of expand: it gives the text that expands to s.
func escape(s string) string { return strings.ReplaceAll(s, "$", "$$") }
