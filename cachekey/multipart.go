package cachekey

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"strings"
)

const (
	maxParts   = 10_000
	windowSize = 64 << 10 // of what is looked at in one piece; more than maxPartHeader
)

// splitter takes a multipart body (RFC 2046, section 5.1.1) apart while it
// comes in, and hashes what its parts are: what the header of each says (see
// partHeader) and its bytes, in order. A part whose header is not understood
// counts with every byte, its header included, so that whatever an upstream
// makes of it, it makes of every part with the same digest. What is within a
// part, parts of its own perhaps, is bytes.
//
// It accepts only bodies in which programs can have no two opinions on what is
// a delimiter: no preamble, the delimiter's text nowhere but in delimiters,
// these followed by CRLF or "--" at once, after the last one CRLF or nothing.
//
//	place      is left when there is    for
//	opening    a delimiter              delimited
//	delimited  CRLF                     heading
//	           "--"                     closed
//	heading    the end of a header      within
//	within     a delimiter              delimited
//	closed     -
//	lost       -                        (from any place, by what is not accepted)
type splitter struct {
	delim  []byte // "--" and the boundary
	rule   *multipartRule
	window []byte // backing array of windowSize bytes
	ahead  []byte // come and not yet used; part of window
	place  place
	parts  int

	whole hash.Hash
	part  hash.Hash
	size  int64  // of the part so far, in bytes
	asIs  bool   // the header is among them
	head  []byte // what the header says, where it is understood
	skip  bool   // the part is left out
	about partHeader
	told  func(p *partHeader, size int64, digest []byte) // of each part; may be nil
	out   []byte
}

type place int

const (
	opening place = iota
	delimited
	heading
	within
	closed
	lost
)

func newSplitter(rule *multipartRule, boundary, window []byte) *splitter {
	return &splitter{
		delim: append([]byte("--"), boundary...), rule: rule, window: window,
		whole: sha256.New(), part: sha256.New(),
	}
}

// Write takes in more of the body. It never fails; once the body is not as
// described, the rest does not matter.
func (s *splitter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 && s.place != lost {
		have := copy(s.window, s.ahead)
		k := copy(s.window[have:], p)
		s.ahead, p = s.window[:have+k], p[k:]
		s.advance(false)
	}
	return n, nil
}

// end says that the body has come to its end, and gives its digest; false
// where the body is not as described.
func (s *splitter) end() (digest [sha256.Size]byte, ok bool) {
	s.advance(true)
	if s.place != closed || len(s.ahead) == 1 {
		return digest, false
	}
	return [sha256.Size]byte(s.whole.Sum(nil)), true
}

// advance goes on as far as the bytes that have come allow.
func (s *splitter) advance(eof bool) {
	for more := true; more; {
		switch s.place {
		case opening:
			more = s.open()
		case delimited:
			more = s.delimiter()
		case heading:
			more = s.heading(eof)
		case within:
			more = s.bytes()
		case closed:
			if !strings.HasPrefix("\r\n", string(s.ahead[:min(len(s.ahead), 3)])) {
				s.place = lost
			}
			more = false
		case lost:
			more = false
		}
	}
}

// open takes the first delimiter.
func (s *splitter) open() bool {
	if len(s.ahead) < len(s.delim) {
		return false
	}
	s.place = delimited
	if !bytes.HasPrefix(s.ahead, s.delim) {
		s.place = lost
	}
	s.ahead = s.ahead[len(s.delim):]
	return true
}

// delimiter takes what follows a delimiter.
func (s *splitter) delimiter() bool {
	if len(s.ahead) < 2 {
		return false
	}
	switch {
	case bytes.HasPrefix(s.ahead, []byte("--")):
		s.place = closed
	case bytes.HasPrefix(s.ahead, []byte("\r\n")) && s.parts < maxParts:
		s.place = heading
	default:
		s.place = lost
	}
	s.ahead = s.ahead[2:]
	s.parts++
	return true
}

// heading reads the header of a part, up to the empty line.
func (s *splitter) heading(eof bool) bool {
	const crlf = "\r\n"
	end := 0 // of the header's lines
	if !bytes.HasPrefix(s.ahead, []byte(crlf)) {
		if end = bytes.Index(s.ahead, []byte(crlf+crlf)); end >= 0 {
			end += len(crlf)
		}
	}
	start := end + len(crlf) // of the bytes
	at := bytes.Index(s.ahead, s.delim)
	if !eof && at < 0 && s.mayGrow(end, start) {
		return false
	}
	s.part.Reset()
	s.place, s.size, s.asIs, s.skip, s.about = within, 0, true, false, partHeader{shown: s.told != nil}
	switch {
	case s.rule.exact, end < 0, start > maxPartHeader, at >= 0 && at < start+len(crlf):
		return true // the empty line is missing, or late
	}
	var ok bool
	if s.head, ok = s.about.read(s.head[:0], s.ahead[:end], s.rule); !ok {
		return true
	}
	s.asIs, s.skip = false, s.about.leftOut
	s.ahead = s.ahead[start:]
	return true
}

// mayGrow says whether what is still to come can tell where the header ends, or
// that it is cut short by a delimiter.
func (s *splitter) mayGrow(end, start int) bool {
	if end < 0 {
		return len(s.ahead) <= maxPartHeader
	}
	return start <= maxPartHeader && len(s.ahead) < start+len("\r\n")+len(s.delim)
}

// bytes takes the bytes of a part, and the delimiter after it.
func (s *splitter) bytes() bool {
	const crlf = "\r\n"
	at := bytes.Index(s.ahead, s.delim)
	if at < 0 {
		// What may be the beginning of CRLF and a delimiter stays.
		s.take(max(0, len(s.ahead)-len(crlf)-len(s.delim)+1))
		return false
	}
	if at < len(crlf) || string(s.ahead[at-len(crlf):at]) != crlf {
		s.place = lost
		return true
	}
	s.take(at - len(crlf))
	s.ahead = s.ahead[len(crlf)+len(s.delim):]
	s.place = delimited
	s.finish()
	return true
}

func (s *splitter) take(n int) {
	if !s.skip {
		s.part.Write(s.ahead[:n])
	}
	s.ahead = s.ahead[n:]
	s.size += int64(n)
}

// finish puts a part that has come whole into the digest.
func (s *splitter) finish() {
	var sum [8 + sha256.Size]byte
	binary.BigEndian.PutUint64(sum[:], uint64(s.size))
	s.part.Sum(sum[:8])
	switch {
	case s.skip:
	case s.asIs:
		s.out = appendField(s.out[:0], tagPartAsItCame, sum[:])
		s.whole.Write(s.out)
	default:
		s.out = appendField(s.out[:0], tagPart, s.head)
		s.out = appendField(s.out, tagBody, sum[:])
		s.whole.Write(s.out)
	}
	if s.told != nil {
		s.about.asIs = s.asIs
		s.told(&s.about, s.size, sum[8:])
	}
}
