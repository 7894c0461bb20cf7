package cachekey

import (
	"bytes"
	"encoding/binary"
	"hash"
	"io"
)

const (
	maxParts   = 10_000
	windowSize = 64 << 10 // read ahead while looking for delimiters
)

// splitter walks over a multipart body (RFC 2046, section 5.1.1) and hashes
// what stands between its delimiters. A part counts with every byte, those of
// its header included: nothing but the boundary is left out, so whatever an
// upstream makes of a part, it makes of every part with the same digest.
//
// It accepts only bodies in which programs can have no two opinions on what is
// a delimiter: no preamble, the delimiter's text nowhere but in delimiters,
// these followed by CRLF or "--" at once, after the last one only white space.
type splitter struct {
	r      io.Reader
	delim  []byte // "--" and the boundary
	window []byte // backing array of windowSize bytes
	ahead  []byte // read and not yet used; part of window
	eof    bool

	whole hash.Hash // over the length and digest of each part
	part  hash.Hash
	sum   [8 + 32]byte
}

// run feeds the body to whole. It returns false where the body is not as
// described, and an error where it cannot be read.
func (s *splitter) run() (bool, error) {
	if err := s.fill(len(s.delim)); err != nil {
		return false, err
	}
	if !bytes.HasPrefix(s.ahead, s.delim) {
		return false, nil
	}
	s.ahead = s.ahead[len(s.delim):]
	for range maxParts + 1 {
		if err := s.fill(2); err != nil {
			return false, err
		}
		switch {
		case bytes.HasPrefix(s.ahead, []byte("--")):
			s.ahead = s.ahead[2:]
			return s.end()
		case !bytes.HasPrefix(s.ahead, []byte("\r\n")):
			return false, nil
		}
		s.ahead = s.ahead[2:]
		if ok, err := s.hashPart(); !ok || err != nil {
			return false, err
		}
	}
	return false, nil
}

// hashPart takes one part and the delimiter after it.
func (s *splitter) hashPart() (bool, error) {
	const crlf = "\r\n"
	s.part.Reset()
	size := uint64(0)
	take := func(n int) {
		s.part.Write(s.ahead[:n])
		s.ahead = s.ahead[n:]
		size += uint64(n)
	}
	for {
		if at := bytes.Index(s.ahead, s.delim); at >= 0 {
			if at < len(crlf) || string(s.ahead[at-len(crlf):at]) != crlf {
				return false, nil
			}
			take(at - len(crlf))
			s.ahead = s.ahead[len(crlf)+len(s.delim):]
			binary.BigEndian.PutUint64(s.sum[:8], size)
			s.whole.Write(s.part.Sum(s.sum[:8]))
			return true, nil
		}
		if s.eof {
			return false, nil
		}
		// What may be the beginning of CRLF and a delimiter stays.
		take(max(0, len(s.ahead)-len(crlf)-len(s.delim)+1))
		if err := s.fill(windowSize); err != nil {
			return false, err
		}
	}
}

// end checks what follows the closing delimiter.
func (s *splitter) end() (bool, error) {
	for {
		if len(bytes.Trim(s.ahead, " \t\r\n")) > 0 {
			return false, nil
		}
		if s.eof {
			return true, nil
		}
		s.ahead = nil
		if err := s.fill(windowSize); err != nil {
			return false, err
		}
	}
}

// fill reads until n bytes are ahead or the body ends.
func (s *splitter) fill(n int) error {
	if s.eof || len(s.ahead) >= n {
		return nil
	}
	have := copy(s.window, s.ahead)
	for have < n {
		m, err := s.r.Read(s.window[have:])
		have += m
		if err == io.EOF {
			s.eof = true
			break
		}
		if err != nil {
			return err
		}
	}
	s.ahead = s.window[:have]
	return nil
}
