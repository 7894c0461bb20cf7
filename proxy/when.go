package proxy

import (
	"bytes"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"jaegis-proxy/internal/protocol"
	"jaegis-proxy/policy"
)

// When says which requests of a route are cached; the others are passed on. The
// zero When is all of them.
type When struct {
	policy.When
	Without []string // JSON pointers: none of these members may be there, other than as null or false
}

// cached says whether the route's condition on requests holds.
func (c *call) cached() bool {
	w := &c.route.When
	if c.route.Protocol == protocol.Gemini && !repeatable(c.target.path) {
		return false
	}
	if w.When == (policy.When{}) && len(w.Without) == 0 {
		return true
	}
	if c.body.spool != nil {
		return false // too large to be read for it
	}
	if hasAny(c.body.bytes, w.Without) {
		return false
	}
	if w.When == (policy.When{}) {
		return true
	}
	r := protocol.ReadRequest(c.route.Protocol, string(c.target.path), c.body.bytes)
	return w.Holds(r.HasTemperature, r.Temperature, r.HasSeed)
}

// repeatable says whether a path of the Gemini API names an operation that asks
// and answers, and not one that begins a job or changes something.
func repeatable(path []byte) bool {
	_, operation, _ := bytes.Cut(path[bytes.LastIndexByte(path, '/')+1:], []byte{':'})
	switch string(operation) {
	case "generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents", "generateText", "embedText", "batchEmbedText":
		return true
	}
	return false
}

// hasAny says whether a JSON text has one of the members, other than as null or
// false. One that cannot be read may have any.
func hasAny(body []byte, pointers []string) bool {
	if len(pointers) == 0 || len(body) == 0 {
		return false
	}
	d := jsontext.NewDecoder(bytes.NewReader(body))
	for d.StackDepth() > 0 || d.InputOffset() == 0 {
		t, err := d.ReadToken()
		if err != nil {
			return true
		}
		if kind, length := d.StackIndex(d.StackDepth()); kind == '{' && length%2 == 1 && t.Kind() == '"' {
			continue // a name
		}
		if k := t.Kind(); k != 'n' && k != 'f' && k != '}' && k != ']' && slices.Contains(pointers, string(d.StackPointer())) {
			return true
		}
	}
	return false
}
