package cachekey

import (
	"crypto/sha256"
	"fmt"
	"hash"
)

// Content is what a body came to, as a key is made of it. It holds for the
// rules that read bodies alike and for requests whose headers say the same of
// the body; to other derivations it is nothing. The zero Content is none.
type Content struct {
	content content
	reading [sha256.Size]byte // of what it depends on besides the bytes
	known   bool
}

// Content reads a body, for several keys to be made of it.
func (d *Deriver) Content(rule *Rule, h Headers, body Body) (Content, error) {
	if !rule.prepared.ok {
		return Content{}, ErrNotPrepared
	}
	s := d.scratch()
	defer d.release(s)
	s.readHeaders(h)
	c, err := s.content(rule, d.Memo, body)
	return Content{c, s.readingDigest(rule), err == nil}, err
}

func (s *scratch) readingDigest(rule *Rule) [sha256.Size]byte {
	return sha256.Sum256(s.reading(rule, s.wants(rule.prepared.mode)))
}

// Digester reads a body while it is received. What it keeps of it is bounded,
// whatever the body. It is for one goroutine.
type Digester struct {
	s     *scratch
	rule  *Rule
	want  string
	split *splitter // nil unless the body is read as multipart
	sum   hash.Hash // of the bytes as they come; nil where they are read again
	coded bool      // the bytes are coded, in a way that is not undone
	n     int64
}

// Digest begins to read a body, of size bytes or, with -1, of unknown size.
func (d *Deriver) Digest(rule *Rule, h Headers, size int64) (*Digester, error) {
	if !rule.prepared.ok {
		return nil, ErrNotPrepared
	}
	g := &Digester{s: d.scratch(), rule: rule} // not given back: a body that does not come to its end ends here
	g.s.readHeaders(h)
	g.want = g.s.wants(rule.prepared.mode)
	switch codings := &g.s.contentCoding; {
	case codings.len() == 1 && knownCoding(codings.at(0)) != "":
		return g, nil // it is decoded when it is there
	case codings.len() > 0:
		g.coded, g.sum = true, sha256.New()
		return g, nil
	}
	boundary, ok := g.s.media.boundary()
	switch {
	case g.want == kindMultipart && ok:
		g.split = newSplitter(&rule.prepared.multipart, boundary, g.s.window())
	case (g.want == kindJSON || g.want == kindForm) && 0 <= size && size <= maxText:
		// It is put into order when it is there.
	default:
		g.sum = sha256.New()
	}
	return g, nil
}

// Write takes in the next bytes of the body. It does not fail.
func (g *Digester) Write(p []byte) (int, error) {
	g.n += int64(len(p))
	if g.split != nil {
		_, _ = g.split.Write(p)
	}
	if g.sum != nil {
		g.sum.Write(p)
	}
	return len(p), nil
}

// Content gives what the body came to, which is all that was written. It reads
// it once more where that could not be known before its end: JSON and form
// bodies up to a bound, bodies that are decoded, and those that were not what
// their Content-Type said.
func (g *Digester) Content(body Body) (Content, error) {
	if err := body.check(); err != nil {
		return Content{}, err
	}
	if body.Size != g.n {
		return Content{}, fmt.Errorf("cachekey: body of %d bytes, of which %d were read", body.Size, g.n)
	}
	c, err := g.content(body)
	return Content{c, g.s.readingDigest(g.rule), err == nil}, err
}

func (g *Digester) content(body Body) (content, error) {
	isText := g.want == kindJSON || g.want == kindForm
	switch {
	case g.n == 0:
		return content{kind: kindNone, coded: true}, nil
	case g.split != nil:
		if digest, ok := g.split.end(); ok {
			return content{kind: kindMultipart, digest: digest}, nil
		}
		return g.s.readRaw(source{body: body})
	case g.sum == nil, isText && !g.coded && g.n <= maxText:
		return g.s.read(g.rule, g.want, body)
	}
	return content{kind: kindRaw, coded: g.coded, digest: [sha256.Size]byte(g.sum.Sum(nil))}, nil
}
