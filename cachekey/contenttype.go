package cachekey

import (
	"bytes"
)

// mediaType is a Content-Type that was understood. Its slices point into the
// line that it was parsed from and into its own buffer.
type mediaType struct {
	known   bool    // false: nothing is known of it, the line itself must count
	line    []byte  // as it came
	essence []byte  // "type/subtype" in lower case
	params  []param // in the order in which they came
}

// param is one parameter of a media type.
type param struct {
	name  []byte // as it came
	value []byte // without its quotes, but with what backslashes there are in them
	raw   []byte // the whole parameter as it came
}

// parse reads one Content-Type line. It is stricter than most upstreams: what
// it does not accept is keyed byte for byte, so that nothing that an upstream
// may read in another way is ever left out of a key.
func (m *mediaType) parse(line []byte) {
	m.known, m.line, m.essence, m.params = false, line, m.essence[:0], m.params[:0]
	essence, rest, _ := bytes.Cut(line, []byte{';'})
	essence = trimOWS(essence)
	kind, subtype, _ := bytes.Cut(essence, []byte{'/'})
	if !isToken(kind) || !isToken(subtype) {
		return
	}
	for _, c := range essence {
		m.essence = append(m.essence, lower(c))
	}
	for rest = trimOWS(rest); len(rest) > 0; rest = trimOWS(rest) {
		if rest[0] == ';' { // an empty parameter is allowed, and says nothing
			rest = rest[1:]
			continue
		}
		p, after, ok := cutParam(rest)
		if !ok {
			return
		}
		m.params = append(m.params, p)
		rest = after
	}
	m.known = true
}

// cutParam cuts the parameter that s begins with, and the ";" after it.
func cutParam(s []byte) (p param, rest []byte, ok bool) {
	eq := bytes.IndexByte(s, '=')
	if eq < 0 || !isToken(s[:eq]) {
		return p, nil, false
	}
	p.name = s[:eq]
	end := eq + 1
	if end < len(s) && s[end] == '"' {
		end++
		for ; end < len(s) && s[end] != '"'; end++ {
			if s[end] == '\\' {
				end++
			}
		}
		if end >= len(s) {
			return p, nil, false
		}
		p.value = s[eq+2 : end]
		end++
	} else {
		for end < len(s) && isValueByte(s[end]) {
			end++
		}
		p.value = s[eq+1 : end]
	}
	p.raw = s[:end]
	rest = trimOWS(s[end:])
	if len(rest) == 0 {
		return p, nil, true
	}
	return p, rest[1:], rest[0] == ';'
}

// isValueByte tells of which bytes an unquoted parameter value may be: those
// of a token, and those that boundaries are made of in practice.
func isValueByte(c byte) bool {
	return isTokenByte(c) || bytes.IndexByte([]byte("/:=?()"), c) >= 0
}

// boundary gives the boundary of a multipart type, and false unless there is
// exactly one, it is as RFC 2046, section 5.1.1, has it, and the type is
// written as clients write it: what is not, some programs take for no form.
func (m *mediaType) boundary() ([]byte, bool) {
	var found *param
	for i := range m.params {
		p := &m.params[i]
		switch {
		case !p.isBoundary():
		case found != nil || string(p.name) != "boundary": // also the forms of RFC 2231: boundary*=, boundary*0=
			return nil, false
		default:
			found = p
		}
	}
	if found == nil || !isBoundary(found.value) || !m.isTidy() {
		return nil, false
	}
	quoted := bytes.IndexByte(found.raw, '"') >= 0
	if !quoted && bytes.ContainsAny(found.value, "'/:=?()") { // what needs quotes, or is a comment or a charset to some
		return nil, false
	}
	return found.value, true
}

// isTidy tells whether the type is in lower case, with at most a space behind
// each ";" and no other white space.
func (m *mediaType) isTidy() bool {
	rest, ok := bytes.CutPrefix(m.line, m.essence)
	for _, p := range m.params {
		if !ok || len(rest) == 0 || rest[0] != ';' {
			return false
		}
		rest, ok = bytes.CutPrefix(bytes.TrimPrefix(rest[1:], []byte{' '}), p.raw)
	}
	return ok && len(rest) == 0
}

func (p *param) isBoundary() bool {
	const name = "boundary"
	return len(p.name) >= len(name) && bytes.EqualFold(p.name[:len(name)], []byte(name)) &&
		(len(p.name) == len(name) || p.name[len(name)] == '*')
}

// isBoundary also wants more than dashes: with those alone it could not be
// said where a delimiter begins.
func isBoundary(b []byte) bool {
	if len(b) > 70 || len(bytes.Trim(b, "-")) == 0 || b[len(b)-1] == ' ' {
		return false
	}
	for _, c := range b {
		if !isAlphanumeric(c) && bytes.IndexByte([]byte("'()+_,-./:=? "), c) < 0 {
			return false
		}
	}
	return true
}

// saysUTF8 tells whether the type has one charset parameter and p, which is
// it, says UTF-8. JSON is UTF-8 in any case (RFC 8259, section 8.1).
func (m *mediaType) saysUTF8(p param) bool {
	isCharset := func(p param) bool { return bytes.EqualFold(p.name, []byte("charset")) }
	if !isCharset(p) || !bytes.EqualFold(p.value, []byte("utf-8")) {
		return false
	}
	n := 0
	for _, other := range m.params {
		if isCharset(other) {
			n++
		}
	}
	return n == 1
}

func trimOWS(b []byte) []byte { return bytes.Trim(b, " \t") }

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}
