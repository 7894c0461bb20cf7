package cachekey

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	maxPartHeader = 16 << 10 // bytes of the header of a part, its empty line included
	maxPartLines  = 32
)

// multipartRule is a Multipart that was prepared.
type multipartRule struct {
	filename    bool     // leave out
	contentType bool     // leave out
	fields      []string // leave out; sorted
	extended    bool     // filename* is another way to write filename
	exact       bool     // headers count byte for byte
	labels      []string // all of that, for the key
}

// partHeader is what the header of a part says, for those who want to see it.
type partHeader struct {
	name, filename, contentType []byte
	hasFilename                 bool
	leftOut                     bool // the part does not count
	asIs                        bool // the header is not understood and counts as it came
	shown                       bool // name, filename and contentType are wanted
}

// part shows the part of a body, of which the digest does not have the header.
func (h *partHeader) part(size int64, digest []byte) Part {
	if h.asIs {
		return Part{Name: "part", Value: fmt.Sprintf("sha256=%x of header and bytes as they came", digest), Length: int(size)}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "name=%q", h.name)
	if h.hasFilename {
		fmt.Fprintf(&b, " filename=%q", h.filename)
	}
	if h.contentType != nil {
		fmt.Fprintf(&b, " type=%q", h.contentType)
	}
	if h.leftOut {
		b.WriteString(" left out")
	} else {
		fmt.Fprintf(&b, " sha256=%x", digest)
	}
	return Part{Name: "part", Value: b.String(), Length: int(size)}
}

func (h *partHeader) show(what *[]byte, value []byte) {
	if h.shown {
		*what = bytes.Clone(value)
	}
}

// partLine is one line of the header of a part.
type partLine struct {
	name  []byte // lower case
	value []byte
}

// read appends to dst what a header says, given its lines with their CRLF. It
// does not depend on the order of lines, the case of their names, a space
// after the colon, nor on how Content-Disposition is written (see
// disposition). False is for what programs may read in different ways: lines
// that are folded, end in LF alone or come twice, control characters, space
// where clients write none.
func (h *partHeader) read(dst, block []byte, rule *multipartRule) ([]byte, bool) {
	lines, ok := partLines(block)
	if !ok {
		return dst, false
	}
	for _, line := range lines {
		switch string(line.name) {
		case "content-disposition":
			dst = h.disposition(dst, line.value, rule)
			continue
		case "content-type":
			h.show(&h.contentType, line.value)
			if rule.contentType {
				continue
			}
		}
		dst = appendField(dst, tagHeader, line.name)
		dst = appendField(dst, tagHeaderValue, line.value)
	}
	return dst, true
}

// partLines gives the lines of a header, sorted by name.
func partLines(block []byte) ([]partLine, bool) {
	var lines []partLine
	for len(block) > 0 {
		line, rest, found := bytes.Cut(block, []byte("\r\n"))
		block = rest
		name, value, colon := bytes.Cut(line, []byte{':'})
		value = bytes.TrimPrefix(value, []byte{' '})
		if !found || !colon || !isToken(name) || !isPrintable(value) || len(lines) == maxPartLines ||
			len(value) > 0 && (isBlank(value[0]) || isBlank(value[len(value)-1])) {
			return nil, false
		}
		lines = append(lines, partLine{bytes.ToLower(name), value})
	}
	slices.SortFunc(lines, func(a, b partLine) int { return bytes.Compare(a.name, b.name) })
	for i := 1; i < len(lines); i++ {
		if bytes.Equal(lines[i-1].name, lines[i].name) {
			return nil, false
		}
	}
	return lines, true
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// isPrintable tells whether there is no control character in b but tab.
func isPrintable(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// disposition appends what Content-Disposition (RFC 7578, section 4.2) says:
// its type, and its parameters whatever their order, quotes and a space
// between them. What is not understood is appended as it came.
func (h *partHeader) disposition(dst, value []byte, rule *multipartRule) []byte {
	kind, params, ok := parseDisposition(value)
	name := paramNamed(params, "name")
	if ok && name >= 0 {
		h.show(&h.name, params[name].value)
		_, listed := slices.BinarySearch(rule.fields, string(params[name].value))
		h.leftOut = listed && string(kind) == "form-data"
	}
	if ok {
		params, ok = h.filenames(params, rule)
	}
	if !ok {
		dst = appendField(dst, tagHeader, "content-disposition")
		return appendField(dst, tagHeaderValue, value)
	}
	if !slices.ContainsFunc(params, dispositionParam.isPlaced) {
		slices.SortFunc(params, func(a, b dispositionParam) int { return bytes.Compare(a.name, b.name) })
	}
	dst = appendField(dst, tagDisposition, kind)
	for _, p := range params {
		dst = appendField(dst, tagPartParam, p.name)
		dst = appendField(dst, tagPartValue, p.value)
	}
	return dst
}

// The names of a file. A decoded one stands in the place of its parameter
// under a name that no parameter can have.
const (
	filename = "filename"
	extended = "filename*"
	decoded  = "filename* decoded"
)

// filenames makes one parameter of filename and filename* (RFC 8187) where
// both say the same in ASCII. Otherwise filename* counts beside filename: some
// programs know only the one or the other, to some a part that has filename*
// alone is a field and no file, and some read a plain name as Latin-1. With
// rule.extended they are two ways to write a name. Where they say different
// things it depends on the upstream which one counts: false. Of a name that is
// left out it still counts that there is one.
func (h *partHeader) filenames(params []dispositionParam, rule *multipartRule) ([]dispositionParam, bool) {
	plain, coded := paramNamed(params, filename), paramNamed(params, extended)
	if plain >= 0 {
		h.show(&h.filename, params[plain].value)
		h.hasFilename = true
	}
	if coded >= 0 {
		name, ok := decodeExtended(params[coded].value)
		both := ok && plain >= 0
		same := both && bytes.Equal(name, params[plain].value)
		switch {
		case same && (rule.extended || isASCII(name)), both && rule.filename && len(params[plain].value) > 0:
			params = slices.Delete(params, coded, coded+1)
		case both && !same:
			return nil, false
		case ok && !both && rule.extended:
			params[coded] = dispositionParam{[]byte(filename), name}
		case ok:
			params[coded] = dispositionParam{[]byte(decoded), name}
		}
		if ok && plain < 0 {
			h.filename, h.hasFilename = name, true
		}
	}
	for i := range params {
		if p := &params[i]; rule.filename && len(p.value) > 0 && (string(p.name) == filename || string(p.name) == decoded) {
			p.value = []byte("any") // an empty one says to some that it is no file
		}
	}
	return params, true
}

func isASCII(b []byte) bool {
	return !slices.ContainsFunc(b, func(c byte) bool { return c >= 0x80 })
}

// dispositionParam is one parameter.
type dispositionParam struct {
	name  []byte // as it came
	value []byte // without its quotes
}

// isPlaced tells whether it matters to some programs what stands before or
// behind the parameter: they cut at each ";", or look for "name=" anywhere.
func (p dispositionParam) isPlaced() bool {
	switch string(p.name) {
	case "name", filename, extended, decoded:
		return bytes.ContainsAny(p.value, ";=")
	}
	return true
}

func paramNamed(params []dispositionParam, name string) int {
	return slices.IndexFunc(params, func(p dispositionParam) bool { return string(p.name) == name })
}

const maxPartParams = 16

// parseDisposition reads Content-Disposition. False is for all in which
// programs differ: backslashes (in a path, or before a quote?), an empty
// parameter, space that clients do not write, a value that should have been
// quoted, names that come twice, quotes around what may not have any, names in
// parts or in another charset.
func parseDisposition(v []byte) (kind []byte, params []dispositionParam, ok bool) {
	kind, rest, more := bytes.Cut(v, []byte{';'})
	if !isToken(kind) || bytes.IndexByte(v, '\\') >= 0 {
		return nil, nil, false
	}
	for more {
		var p dispositionParam
		if p, rest, ok = cutDispositionParam(bytes.TrimPrefix(rest, []byte{' '})); !ok || len(params) == maxPartParams {
			return nil, nil, false
		}
		for _, other := range params {
			if bytes.EqualFold(other.name, p.name) {
				return nil, nil, false
			}
		}
		params = append(params, p)
		if len(rest) == 0 {
			break
		}
		if more = rest[0] == ';'; !more {
			return nil, nil, false
		}
		rest = rest[1:]
	}
	return kind, params, true
}

// cutDispositionParam cuts the parameter that s begins with.
func cutDispositionParam(s []byte) (p dispositionParam, rest []byte, ok bool) {
	eq := bytes.IndexByte(s, '=')
	if eq < 0 || !isToken(s[:eq]) {
		return p, nil, false
	}
	p.name, rest = s[:eq], s[eq+1:]
	starred := bytes.IndexByte(p.name, '*') >= 0
	if starred && string(p.name) != extended {
		return p, nil, false
	}
	if len(rest) > 0 && rest[0] == '"' {
		end := bytes.IndexByte(rest[1:], '"')
		if end < 0 || starred {
			return p, nil, false
		}
		p.value, rest = rest[1:1+end], rest[end+2:]
		return p, rest, true
	}
	end := 0
	for end < len(rest) && isTokenByte(rest[end]) {
		end++
	}
	p.value, rest = rest[:end], rest[end:]
	return p, rest, end > 0 && (starred || !bytes.ContainsAny(p.value, "'*")) // quotes and a charset to some
}

// decodeExtended decodes an extended value (RFC 8187, section 3.2.1) in UTF-8
// and without a language. It does not where the decoded name, written plainly,
// would be another one to some programs, or none.
func decodeExtended(v []byte) ([]byte, bool) {
	charset, rest, _ := bytes.Cut(v, []byte{'\''})
	language, coded, ok := bytes.Cut(rest, []byte{'\''})
	if !ok || len(language) > 0 || !bytes.EqualFold(charset, []byte("utf-8")) {
		return nil, false
	}
	out := make([]byte, 0, len(coded))
	for i := 0; i < len(coded); i++ {
		c := coded[i]
		if c == '%' {
			if i+2 >= len(coded) || unhex(coded[i+1]) < 0 || unhex(coded[i+2]) < 0 {
				return nil, false
			}
			c = byte(unhex(coded[i+1])<<4 | unhex(coded[i+2]))
			i += 2
		} else if bytes.IndexByte([]byte("'*"), c) >= 0 {
			return nil, false
		}
		out = append(out, c)
	}
	if len(out) == 0 || !utf8.Valid(out) || !isPrintable(out) || bytes.ContainsAny(out, "%\\\";\t") || bytes.Contains(out, []byte("=?")) {
		return nil, false
	}
	return out, true
}
