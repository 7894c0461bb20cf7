package protocol

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// maxItems is how many inputs one embeddings request may have.
const maxItems = 2048

// Batch is an embeddings request taken apart into its inputs. It refers to the
// body that it was made from, which must not change. It is safe for concurrent
// use.
type Batch struct {
	body       []byte
	start, end int      // where the value of input stands in body
	items      [][]byte // as they stand in body
}

// SplitBatch takes an embeddings request apart: its input is a text, a list of
// texts, a list of tokens (one item) or a list of lists of tokens. It is false
// for all that is not plainly one of these: not this kind, malformed, repeated
// names, empty, more than 2048 items, an item that no model takes. Such a
// request is to be treated as a whole.
func SplitBatch(kind Kind, body []byte) (*Batch, bool) {
	if kind != OpenAIEmbeddings {
		return nil, false
	}
	b := &Batch{body: body}
	var input []byte
	var d doc
	d.begin(body)
	if d.kind() != '{' {
		return nil, false
	}
	d.members(func(name []byte) {
		if string(name) == "input" {
			input = d.raw()
			b.end = int(d.dec.InputOffset())
			b.start = b.end - len(input)
		}
	})
	if !d.end() || input == nil {
		return nil, false
	}
	b.items = splitInput(body[b.start:b.end])
	return b, len(b.items) > 0
}

// splitInput gives the items of a valid JSON value; nil when it cannot be an
// input.
func splitInput(input []byte) [][]byte {
	switch {
	case isText(input), isTokens(input):
		return [][]byte{input}
	case input[0] != '[':
		return nil
	}
	var items [][]byte
	var d doc
	good := true
	d.begin(input)
	d.elements(func(int64) {
		if !good {
			return
		}
		item := d.raw()
		good = len(items) < maxItems && (isText(item) || isTokens(item)) &&
			(len(items) == 0 || items[0][0] == item[0])
		if good {
			end := int(d.dec.InputOffset())
			items = append(items, input[end-len(item):end])
		}
	})
	if !good || !d.end() {
		return nil
	}
	return items
}

// isText says whether a valid JSON value is a text that is not empty.
func isText(v []byte) bool { return len(v) > len(`""`) && v[0] == '"' }

// isTokens says whether a valid JSON value is a list of token numbers.
func isTokens(v []byte) bool {
	if len(v) == 0 || v[0] != '[' {
		return false
	}
	n := 0
	for part := range bytes.SplitSeq(v[1:len(v)-1], []byte(",")) {
		part = bytes.TrimSpace(part)
		if len(part) == 0 || slices.ContainsFunc(part, func(c byte) bool { return c < '0' || c > '9' }) {
			return false
		}
		n++
	}
	return n > 0
}

// Len is the number of items.
func (b *Batch) Len() int { return len(b.items) }

// Item gives the body of a request for one item alone, to make a key of: all
// other members as they came, and the item as a plain text or list of tokens,
// whichever way it came.
func (b *Batch) Item(i int) []byte { return b.with(b.items[i]) }

// Request gives the body of one request for these items in this order, all
// other members as they came. For all items in their own order it is the body
// as it came, which must not be changed.
func (b *Batch) Request(items []int) []byte {
	all := len(items) == len(b.items)
	size := 2
	for i, item := range items {
		all = all && item == i
		size += len(b.items[item]) + 1
	}
	if all {
		return b.body
	}
	list := append(make([]byte, 0, size), '[')
	for i, item := range items {
		if i > 0 {
			list = append(list, ',')
		}
		list = append(list, b.items[item]...)
	}
	return b.with(append(list, ']'))
}

func (b *Batch) with(input []byte) []byte {
	return slices.Concat(b.body[:b.start], input, b.body[b.end:])
}

// Vector is the answer to one item.
type Vector struct {
	Embedding []byte // JSON as it came: a list of numbers, or a text in base64
	Model     string // as the answer names it
}

// errBatch is an answer that does not answer the request.
var errBatch = errors.New("not an answer to this batch")

// Take reads the answer to Request(items) and gives their vectors in the order
// of items. Each must be there exactly once; where they stand in the answer
// says nothing, their index does. The vectors do not refer to the answer.
func (b *Batch) Take(items []int, answer []byte) ([]Vector, error) {
	vectors := make([]Vector, len(items))
	var model string
	var fault error
	found := 0
	var d doc
	d.begin(answer)
	d.members(func(name []byte) {
		switch string(name) {
		case "error":
			if d.filled() {
				fault = fmt.Errorf("%w: it holds an error", errBatch)
			}
		case "model":
			model = d.word()
		case "data":
			d.elements(func(int64) {
				i, v := takeVector(&d)
				switch {
				case fault != nil:
				case i < 0 || i >= int64(len(items)) || v == nil:
					fault = fmt.Errorf("%w: an entry has no index or vector that fits", errBatch)
				case vectors[i].Embedding != nil:
					fault = fmt.Errorf("%w: index %d comes twice", errBatch, i)
				default:
					vectors[i].Embedding = v
					found++
				}
			})
		}
	})
	switch {
	case !d.end():
		return nil, fmt.Errorf("%w: not valid JSON", errBatch)
	case fault != nil:
		return nil, fault
	case found != len(items):
		return nil, fmt.Errorf("%w: %d vectors for %d items", errBatch, found, len(items))
	}
	for i := range vectors {
		vectors[i].Model = model
	}
	return vectors, nil
}

// takeVector takes an entry of data: its index, -1 without one, and a copy of
// its vector, nil when there is none.
func takeVector(d *doc) (index int64, vector []byte) {
	index = -1
	d.members(func(name []byte) {
		switch string(name) {
		case "index":
			if n, ok := d.count(); ok {
				index = n
			}
		case "embedding":
			if v := d.raw(); isText(v) || isNumbers(v) {
				vector = bytes.Clone(v)
			}
		}
	})
	return index, vector
}

// isNumbers says whether a valid JSON value is a list of numbers, not empty.
func isNumbers(v []byte) bool {
	return len(v) > 2 && v[0] == '[' && bytes.ContainsAny(v, "0123456789") &&
		!bytes.ContainsAny(v[1:], `["{tfn`)
}

// Join puts together the answer to the whole request from one vector for each
// item, in order. It is nil when the vectors cannot be one answer: too few or
// too many, of different models, or some in base64 and some not. A usage that is
// not known is left out.
func (b *Batch) Join(vectors []Vector, usage Usage) []byte {
	if len(vectors) != len(b.items) {
		return nil
	}
	size := 128
	for i := range vectors {
		v, first := &vectors[i], &vectors[0]
		if len(v.Embedding) == 0 || v.Model != first.Model || v.Embedding[0] != first.Embedding[0] {
			return nil
		}
		size += len(v.Embedding) + len(`{"object":"embedding","index":2047,"embedding":},`)
	}
	a := append(make([]byte, 0, size), `{"object":"list","data":[`...)
	for i := range vectors {
		if i > 0 {
			a = append(a, ',')
		}
		a = append(a, `{"object":"embedding","index":`...)
		a = strconv.AppendInt(a, int64(i), 10)
		a = append(a, `,"embedding":`...)
		a = append(append(a, vectors[i].Embedding...), '}')
	}
	a = append(a, `],"model":`...)
	a, err := jsontext.AppendQuote(a, vectors[0].Model)
	if err != nil {
		return nil // no text: no answer that we read names such a model
	}
	if !usage.Known {
		return append(a, '}')
	}
	a = append(a, `,"usage":{"prompt_tokens":`...)
	a = strconv.AppendInt(a, usage.Input, 10)
	a = append(a, `,"total_tokens":`...)
	a = strconv.AppendInt(a, usage.Input+usage.Output, 10)
	return append(a, `}}`...)
}

// TakeUsage reads what an embeddings answer says it cost; zero when it does
// not, or is not valid.
func TakeUsage(answer []byte) Usage {
	var o outcome
	var d doc
	d.begin(answer)
	o.embeddings(&d)
	if !d.end() {
		return Usage{}
	}
	return o.usage
}
