package cachekey

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	maxText = 8 << 20 // JSON and form bodies, decoded, above this are hashed as they are
)

// The kinds of body. Each is a set of its own: a body of one kind never has
// the key of a body of another.
const (
	kindNone      = "none"
	kindJSON      = "json"
	kindMultipart = "multipart"
	kindForm      = "form"
	kindRaw       = "raw"
)

// content is what a body comes to.
type content struct {
	kind   string
	coded  bool // hashed as it came: its Content-Encoding tells what it is
	digest [sha256.Size]byte
}

// content gives what the body of a request comes to, whose Content-Type and
// Content-Encoding have been read into s.
func (s *scratch) content(rule *Rule, memo *Memo, body Body) (content, error) {
	if err := body.check(); err != nil {
		return content{}, err
	}
	if body.Size == 0 {
		return content{kind: kindNone, coded: true}, nil
	}
	want := s.wants(rule.prepared.mode)
	if s.told != nil { // which needs the parts themselves
		return s.read(rule, want, body)
	}
	if k := &body.Content; k.known && k.reading == s.readingDigest(rule) {
		return k.content, nil
	}
	if body.File != nil || !worthRemembering(want, len(body.Bytes)) || !memo.takes(len(body.Bytes)) {
		return s.read(rule, want, body)
	}
	reading := s.reading(rule, want)
	c, id, ok := memo.find(body.Bytes, reading)
	if ok {
		return c, nil
	}
	c, err := s.read(rule, want, body)
	if err == nil {
		memo.offer(id, body.Bytes, reading, c)
	}
	return c, err
}

// worthRemembering tells whether finding a body again is cheaper than reading
// it again. Hashing a short one is; bringing JSON into order is not.
func worthRemembering(kind string, n int) bool {
	return n >= 1024 || kind == kindJSON && n >= 64
}

// wants gives the kind that a body should be of by the rule and by its
// Content-Type, of which there must not be several.
func (s *scratch) wants(mode BodyMode) string {
	switch {
	case s.contentType.len() > 1:
		return kindRaw
	case mode != BodyAuto:
		return string(mode)
	case !s.media.known:
		return kindRaw
	case bytes.HasPrefix(s.media.essence, []byte("multipart/")):
		return kindMultipart
	case string(s.media.essence) == "application/x-www-form-urlencoded":
		return kindForm
	case string(s.media.essence) == "application/json", string(s.media.essence) == "text/json",
		bytes.HasSuffix(s.media.essence, []byte("+json")):
		return kindJSON
	}
	return kindRaw
}

// reading is all that a body's content depends on besides its bytes.
func (s *scratch) reading(rule *Rule, want string) []byte {
	b := appendField(s.readingBuf[:0], tagBodyKind, want)
	for _, p := range rule.prepared.ignores(want) {
		b = appendField(b, tagBodyIgnore, p)
	}
	b = s.contentType.appendFields(b, tagContentType)
	b = s.contentCoding.appendFields(b, tagContentCoding)
	s.readingBuf = b
	return b
}

// read reads a body as one of the kind it should be of and, where it is not,
// as the bytes that it is; decoded, if its one coding is known and it really
// has it.
func (s *scratch) read(rule *Rule, want string, body Body) (content, error) {
	if s.contentCoding.len() == 0 {
		return s.readAs(rule, want, source{body: body})
	}
	if s.contentCoding.len() == 1 {
		if coding := knownCoding(s.contentCoding.at(0)); coding != "" {
			c, err := s.readAs(rule, want, source{body: body, coding: coding})
			if !errors.Is(err, errUndecodable) {
				return c, err
			}
		}
	}
	c, err := s.readRaw(source{body: body})
	c.coded = true
	return c, err
}

func (s *scratch) readAs(rule *Rule, want string, src source) (c content, err error) {
	ok := false
	switch want {
	case kindJSON:
		c, ok, err = s.readJSON(rule, src)
	case kindMultipart:
		c, ok, err = s.readMultipart(rule, src)
	case kindForm:
		c, ok, err = s.readForm(src)
	}
	if ok || err != nil {
		return c, err
	}
	return s.readRaw(src)
}

// readJSON reads a JSON text. False means that it is none, or one that
// programs may read in different ways (RFC 7493): names that occur twice, bytes
// that are not UTF-8, halves of surrogate pairs.
func (s *scratch) readJSON(rule *Rule, src source) (content, bool, error) {
	text, ok, err := s.readText(src)
	if !ok || err != nil {
		return content{}, false, err
	}
	// RFC 8785, but for numbers: they keep the text they came with, as 1 and
	// 1.0 are not the same to everyone, nor are large integers.
	s.canonical, err = jsontext.AppendFormat(s.canonical[:0], text, jsontext.ReorderRawObjects(true))
	if err != nil {
		return content{}, false, nil
	}
	canonical := s.canonical
	if rule.prepared.prune != nil {
		if s.pruned, err = rule.prepared.prune.prune(s.pruned[:0], canonical); err != nil {
			return content{}, false, fmt.Errorf("cachekey: BUG: canonical JSON: %w", err)
		}
		canonical = s.pruned
	}
	return content{kind: kindJSON, digest: sha256.Sum256(canonical)}, true, nil
}

func (s *scratch) readForm(src source) (content, bool, error) {
	text, ok, err := s.readText(src)
	if !ok || err != nil {
		return content{}, false, err
	}
	s.canonical, s.pruned, ok = appendForm(s.canonical[:0], s.pruned, text)
	return content{kind: kindForm, digest: sha256.Sum256(s.canonical)}, ok, nil
}

// readText gives the whole of src, valid until the next call, and false where
// it is above maxText.
func (s *scratch) readText(src source) ([]byte, bool, error) {
	if b, ok := src.inMemory(); ok {
		return b, len(b) <= maxText, nil
	}
	r, err := src.open()
	if err != nil {
		return nil, false, err
	}
	s.text.Reset()
	n, err := s.text.ReadFrom(io.LimitReader(r, maxText+1))
	return s.text.Bytes(), n <= maxText, err
}

func (s *scratch) readMultipart(rule *Rule, src source) (content, bool, error) {
	boundary, ok := s.media.boundary()
	if !ok {
		return content{}, false, nil
	}
	split := newSplitter(&rule.prepared.multipart, boundary, s.window())
	split.told = s.told
	if b, ok := src.inMemory(); ok {
		_, _ = split.Write(b) // does not fail
	} else {
		r, err := src.open()
		if err != nil {
			return content{}, false, err
		}
		if _, err := io.Copy(split, r); err != nil {
			return content{}, false, err
		}
	}
	digest, ok := split.end()
	return content{kind: kindMultipart, digest: digest}, ok, nil
}

func (s *scratch) readRaw(src source) (content, error) {
	if b, ok := src.inMemory(); ok {
		return content{kind: kindRaw, digest: sha256.Sum256(b)}, nil
	}
	r, err := src.open()
	if err != nil {
		return content{}, err
	}
	s.sum.Reset()
	if _, err := io.CopyBuffer(s.sum, r, s.window()); err != nil {
		return content{}, err
	}
	return content{kind: kindRaw, digest: [sha256.Size]byte(s.sum.Sum(nil))}, nil
}

// check finds bodies that were put together wrongly: a key made from part of a
// body would be the key of other requests.
func (b *Body) check() error {
	switch {
	case b.Size < 0:
		return errors.New("cachekey: body of negative size")
	case b.File != nil && len(b.Bytes) > 0:
		return errors.New("cachekey: body both in memory and in a file")
	case b.File == nil && int64(len(b.Bytes)) != b.Size:
		return fmt.Errorf("cachekey: body of %d bytes said to have %d", len(b.Bytes), b.Size)
	}
	return nil
}
