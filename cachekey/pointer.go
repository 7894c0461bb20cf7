package cachekey

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// node is a place in JSON documents on the way to what is ignored, or (a leaf)
// such a place itself.
type node struct {
	leaf     bool
	members  map[string]*node // by name, as a JSON string in its canonical form
	elements map[int]*node    // by index in the document as it came
}

// parsePointers makes a tree of JSON pointers (RFC 6901); nil of none. What
// lies under an ignored place is ignored with it.
func parsePointers(pointers []string) (*node, error) {
	if len(pointers) == 0 {
		return nil, nil
	}
	root := &node{}
	for _, p := range pointers {
		if err := root.add(p); err != nil {
			return nil, fmt.Errorf("JSON pointer %q: %w", p, err)
		}
	}
	return root, nil
}

// add adds the place that pointer names.
func (n *node) add(pointer string) error {
	if !strings.HasPrefix(pointer, "/") {
		return errors.New("must begin with /")
	}
	for part := range strings.SplitSeq(pointer[1:], "/") {
		token, err := unescapeToken(part)
		if err != nil {
			return err
		}
		if n, err = n.child(token); err != nil {
			return err
		}
	}
	n.leaf = true
	return nil
}

// unescapeToken undoes ~0 and ~1.
func unescapeToken(s string) (string, error) {
	rest := strings.NewReplacer("~0", "", "~1", "").Replace(s)
	if strings.Contains(rest, "~") {
		return "", errors.New("~ must be written ~0")
	}
	if s == "-" {
		return "", errors.New("- names no element that exists")
	}
	return strings.NewReplacer("~0", "~", "~1", "/").Replace(s), nil
}

// child gives the node for a member or element, making it where it is missing.
// A number names an element of an array and a member of an object alike.
func (n *node) child(token string) (*node, error) {
	quoted, err := jsontext.AppendQuote(nil, token)
	if err != nil {
		return nil, err
	}
	if c := n.members[string(quoted)]; c != nil {
		return c, nil
	}
	if n.members == nil {
		n.members, n.elements = map[string]*node{}, map[int]*node{}
	}
	c := &node{}
	n.members[string(quoted)] = c
	if i, err := strconv.Atoi(token); err == nil && i >= 0 && strconv.Itoa(i) == token {
		n.elements[i] = c
	}
	return c, nil
}

// prune appends src, a canonical JSON document, to dst without what lies at or
// under the leaves of n. An error is one of the decoder's and cannot happen
// with a canonical document.
func (n *node) prune(dst, src []byte) ([]byte, error) {
	p := pruner{dec: jsontext.NewDecoder(bytes.NewBuffer(src)), dst: dst}
	p.value(n)
	return p.dst, p.err
}

// pruner copies a document from dec to dst. After an error it does nothing.
type pruner struct {
	dec *jsontext.Decoder
	dst []byte
	err error
}

// value copies the next value, less what n says.
func (p *pruner) value(n *node) {
	switch {
	case n != nil && p.dec.PeekKind() == '{':
		p.composite('}', func(int) *node {
			name := p.read() // the value of an object's name is its string
			p.dst = append(p.dst, name...)
			p.dst = append(p.dst, ':')
			return n.members[string(name)]
		})
	case n != nil && p.dec.PeekKind() == '[':
		p.composite(']', func(i int) *node { return n.elements[i] })
	default:
		p.dst = append(p.dst, p.read()...)
	}
}

// composite copies an object or array up to its end. next copies what stands
// before the i-th value and gives the node of that value.
func (p *pruner) composite(end jsontext.Kind, next func(i int) *node) {
	p.token()
	first := true
	for i := 0; p.err == nil && p.dec.PeekKind() != end; i++ {
		before := len(p.dst)
		if !first {
			p.dst = append(p.dst, ',')
		}
		child := next(i)
		if child != nil && child.leaf {
			p.dst = p.dst[:before]
			p.read()
			continue
		}
		p.value(child)
		first = false
	}
	p.token()
}

// token copies a delimiter.
func (p *pruner) token() {
	if p.err != nil {
		return
	}
	var t jsontext.Token
	if t, p.err = p.dec.ReadToken(); p.err == nil {
		p.dst = append(p.dst, byte(t.Kind()))
	}
}

// read gives the next value, valid until the next call of the decoder.
func (p *pruner) read() []byte {
	if p.err != nil {
		return nil
	}
	var v jsontext.Value
	v, p.err = p.dec.ReadValue()
	return v
}
