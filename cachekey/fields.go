package cachekey

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"unicode/utf8"
)

// format names the way keys are made. It is the first thing hashed: whoever
// changes which bytes are hashed for some request must change it, or old
// entries would be found under keys that now mean something else.
const format = "jaegis-key-3"

// tag says what a field is. The numbers are hashed and so part of the format:
// they are never given another meaning.
type tag byte

const (
	tagFormat        tag = 1
	tagNamespace     tag = 2
	tagProvider      tag = 3
	tagScope         tag = 4
	tagMethod        tag = 5
	tagUpstream      tag = 6
	tagHost          tag = 7
	tagPath          tag = 8
	tagQueryIgnore   tag = 9
	tagQuery         tag = 10
	tagContentType   tag = 11 // one Content-Type line as it came
	tagMediaType     tag = 12 // type/subtype of a Content-Type that was understood
	tagMediaParam    tag = 13 // one of its parameters, as it came
	tagContentCoding tag = 14 // one Content-Encoding line of a body that was not decoded
	tagBodyKind      tag = 15
	tagBodyIgnore    tag = 16
	tagBody          tag = 17
	tagHeader        tag = 18
	tagHeaderValue   tag = 19
	tagCredential    tag = 20
	tagBase          tag = 21 // the digest that a variant is a variant of
	tagFormName      tag = 22
	tagFormValue     tag = 23
	tagPart          tag = 24 // what the header of a part says
	tagPartAsItCame  tag = 25 // the length and digest of a part with its header
	tagDisposition   tag = 26 // the type of a Content-Disposition
	tagPartParam     tag = 27 // the name of one of its parameters
	tagPartValue     tag = 28 // its value
)

func (t tag) String() string {
	switch t {
	case tagFormat:
		return "format"
	case tagNamespace:
		return "namespace"
	case tagProvider:
		return "provider"
	case tagScope:
		return "scope"
	case tagMethod:
		return "method"
	case tagUpstream:
		return "upstream"
	case tagHost:
		return "host"
	case tagPath:
		return "path"
	case tagQueryIgnore:
		return "query ignores"
	case tagQuery:
		return "query"
	case tagContentType:
		return "content-type"
	case tagMediaType:
		return "media type"
	case tagMediaParam:
		return "media parameter"
	case tagContentCoding:
		return "content-encoding"
	case tagBodyKind:
		return "body kind"
	case tagBodyIgnore:
		return "body ignores"
	case tagBody:
		return "body"
	case tagHeader:
		return "header"
	case tagHeaderValue:
		return "header value"
	case tagCredential:
		return "credential"
	}
	return "field " + strconv.Itoa(int(t))
}

// Part is one of the fields that made a key.
type Part struct {
	Name   string // what it is: "path", "body", "header value"
	Value  string // as text; the digest of a body; a short keyed digest of a credential
	Length int    // in bytes, of the value; of a body: as it came, before decoding
}

// appendField appends one field: its tag, the length of v as an unsigned
// varint, v. A sequence of fields reads back in one way only, so two different
// sequences are two different byte strings.
func appendField[V string | []byte](b []byte, t tag, v V) []byte {
	b = append(b, byte(t))
	b = binary.AppendUvarint(b, uint64(len(v)))
	return append(b, v...)
}

// writer gathers the fields of a key. Where parts is not nil it also tells
// what it was given.
type writer struct {
	buf   []byte
	parts *[]Part
}

// put writes a field that may be shown.
func put[V string | []byte](w *writer, t tag, v V) {
	w.buf = appendField(w.buf, t, v)
	if w.parts != nil {
		w.note(t, printable(string(v)), len(v))
	}
}

// putDigest writes a digest, to be shown in hex, of n bytes.
func (w *writer) putDigest(t tag, digest []byte, n int) {
	w.buf = appendField(w.buf, t, digest)
	if w.parts != nil {
		w.note(t, hex.EncodeToString(digest), n)
	}
}

// note tells of a field.
func (w *writer) note(t tag, shown string, n int) {
	*w.parts = append(*w.parts, Part{Name: t.String(), Value: shown, Length: n})
}

// printable gives s where a terminal can show it, else a quoted form.
func printable(s string) string {
	if !utf8.ValidString(s) {
		return strconv.Quote(s)
	}
	for _, r := range s {
		if !strconv.IsPrint(r) {
			return strconv.Quote(s)
		}
	}
	return s
}
