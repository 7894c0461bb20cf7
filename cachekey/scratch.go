package cachekey

import (
	"bytes"
	"hash"
	"slices"
)

// scratch is what one derivation needs. It is used again, by one derivation at
// a time.
type scratch struct {
	out writer

	contentType   lines
	contentCoding lines
	media         mediaType // the one line of contentType

	sum        hash.Hash
	mac        hash.Hash // keyed with the secret
	macIn      []byte
	macLast    []byte // what macOut is of
	macOut     []byte
	readingBuf []byte
	canonical  []byte
	pruned     []byte
	query      []byte
	text       bytes.Buffer
	windowBuf  []byte

	told   func(p *partHeader, size int64, digest []byte) // of the parts of a multipart body; nil but in Explain
	pieces []Part                                         // that tell was told of
}

// maxKept is the most memory that one buffer of a scratch keeps for the next
// derivation, in bytes.
const maxKept = 1 << 20

func (d *Deriver) release(s *scratch) {
	if cap(s.canonical)+cap(s.pruned)+s.text.Cap() > maxKept {
		s.canonical, s.pruned, s.text = nil, nil, bytes.Buffer{}
	}
	s.out.parts, s.told, s.pieces = nil, nil, nil
	d.pool.Put(s)
}

// window gives a buffer of windowSize bytes.
func (s *scratch) window() []byte {
	if s.windowBuf == nil {
		s.windowBuf = make([]byte, windowSize)
	}
	return s.windowBuf
}

// tell notes a part of a multipart body.
func (s *scratch) tell(p *partHeader, size int64, digest []byte) {
	s.pieces = append(s.pieces, p.part(size, digest))
}

func values(h Headers, name string) [][]byte {
	if h == nil {
		return nil
	}
	return h.Values(name)
}

// lines are copies of header values, for the time of one derivation.
type lines struct {
	buf  []byte
	ends []int
}

func (l *lines) set(values [][]byte) {
	l.buf, l.ends = l.buf[:0], l.ends[:0]
	for _, v := range values {
		l.buf = append(l.buf, v...)
		l.ends = append(l.ends, len(l.buf))
	}
}

func (l *lines) len() int { return len(l.ends) }

func (l *lines) at(i int) []byte {
	start := 0
	if i > 0 {
		start = l.ends[i-1]
	}
	return slices.Clip(l.buf[start:l.ends[i]])
}

func (l *lines) appendFields(b []byte, t tag) []byte {
	for i := range l.len() {
		b = appendField(b, t, l.at(i))
	}
	return b
}
