package protocol

import (
	"bytes"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// A doc walks one JSON text in a single pass and takes what it is asked for,
// wherever that has the type that was expected; what has another is passed
// over. Texts with repeated names or invalid UTF-8 are not valid: two readers
// could understand them differently. The first fault ends the walk, and end
// tells of it.
//
// A doc is used for many texts, one after another, and holds on to the last.
type doc struct {
	dec     *jsontext.Decoder
	buf     bytes.Buffer
	scratch []byte
	bad     bool
}

// begin starts on a text, which must not change until the next begin.
func (d *doc) begin(text []byte) {
	d.buf, d.bad = *bytes.NewBuffer(text), false
	if d.dec == nil {
		d.dec = jsontext.NewDecoder(&d.buf)
		return
	}
	d.dec.Reset(&d.buf)
}

// end says whether the whole text was one valid JSON value.
func (d *doc) end() bool {
	if d.bad || d.dec.StackDepth() != 0 || d.dec.InputOffset() == 0 {
		return false
	}
	return len(bytes.TrimLeft(d.dec.UnreadBuffer(), " \t\r\n")) == 0
}

func (d *doc) kind() jsontext.Kind { return d.dec.PeekKind() }

// members calls f for each member of an object. What f does not take is passed
// over. The name is good until f takes the value.
func (d *doc) members(f func(name []byte)) {
	if d.kind() != '{' {
		d.skip()
		return
	}
	d.token()
	for !d.bad && d.kind() != '}' {
		name := d.text()
		at := d.dec.InputOffset()
		if d.bad {
			return
		}
		f(name)
		if !d.bad && d.dec.InputOffset() == at {
			d.skip()
		}
	}
	d.token()
}

// elements calls f for each element of an array. What f does not take is
// passed over.
func (d *doc) elements(f func(i int64)) {
	if d.kind() != '[' {
		d.skip()
		return
	}
	d.token()
	for i := int64(0); !d.bad && d.kind() != ']'; i++ {
		at := d.dec.InputOffset()
		f(i)
		if !d.bad && d.dec.InputOffset() == at {
			d.skip()
		}
	}
	d.token()
}

func (d *doc) token() {
	if d.bad {
		return
	}
	_, err := d.dec.ReadToken()
	d.bad = err != nil
}

func (d *doc) skip() {
	if !d.bad {
		d.bad = d.dec.SkipValue() != nil
	}
}

// raw takes a value as it stands in the text, of which it is a part.
func (d *doc) raw() []byte {
	if d.bad {
		return nil
	}
	v, err := d.dec.ReadValue()
	d.bad = err != nil
	return v
}

// text takes a string; nil when the value is none. It is good until the next
// call.
func (d *doc) text() []byte {
	v := d.raw()
	if len(v) < 2 || v[0] != '"' {
		return nil
	}
	if bytes.IndexByte(v, '\\') < 0 {
		return v[1 : len(v)-1]
	}
	s, err := jsontext.AppendUnquote(d.scratch[:0], v)
	if err != nil {
		d.bad = true // a lone surrogate in an escape: no text
		return nil
	}
	d.scratch = s
	return s
}

// word takes a string that is the name of something; longer ones than names
// are, and values that are none, count as absent.
func (d *doc) word() string {
	if s := d.text(); len(s) <= maxWord {
		return string(s)
	}
	return ""
}

// count takes a whole number from zero up; false when the value is none.
func (d *doc) count() (int64, bool) {
	n, err := strconv.ParseInt(string(d.raw()), 10, 64)
	return n, err == nil && n >= 0 && n <= maxCount
}

func (d *doc) number() (float64, bool) {
	x, err := strconv.ParseFloat(string(d.raw()), 64)
	return x, err == nil
}

// isTrue takes a value and says whether it was true.
func (d *doc) isTrue() bool { return string(d.raw()) == "true" }

// filled takes a value and says whether it holds anything: a string, an array
// or an object that is not empty, a number, or true.
func (d *doc) filled() bool {
	switch d.kind() {
	case '"':
		return len(d.raw()) > len(`""`)
	case '[':
		n := 0
		d.elements(func(int64) { n++ })
		return n > 0
	case '{':
		n := 0
		d.members(func([]byte) { n++ })
		return n > 0
	case 'n', 'f':
		d.skip()
		return false
	}
	d.skip()
	return true
}

// valid says whether a text is JSON that can be read in one way only.
func valid(text []byte) bool { return jsontext.Value(text).IsValid() }
