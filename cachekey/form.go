package cachekey

import (
	"bytes"
)

// appendForm appends the canonical form of an urlencoded body to dst: its
// pairs in order, decoded, each with its length. A name without "=" differs
// from one with an empty value. It returns false for what programs read in
// different ways: a broken escape, ";" (once a separator), bytes that should
// have been escaped.
func appendForm(dst, scratch, src []byte) (out, grown []byte, ok bool) {
	for len(src) > 0 {
		pair, rest, more := bytes.Cut(src, []byte{'&'})
		name, value, hasValue := bytes.Cut(pair, []byte{'='})
		if scratch, ok = appendUnescaped(scratch[:0], name); !ok {
			return dst, scratch, false
		}
		dst = appendField(dst, tagFormName, scratch)
		if hasValue {
			if scratch, ok = appendUnescaped(scratch[:0], value); !ok {
				return dst, scratch, false
			}
			dst = appendField(dst, tagFormValue, scratch)
		}
		if more && len(rest) == 0 { // "a&" has an empty pair at its end, "a" has not
			dst = appendField(dst, tagFormName, "")
		}
		src = rest
	}
	return dst, scratch, true
}

// appendUnescaped appends s to dst with %XX and "+" decoded. It returns false
// where s is not wholly well-formed.
func appendUnescaped(dst, s []byte) ([]byte, bool) {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '+':
			dst = append(dst, ' ')
		case c == '%':
			if i+2 >= len(s) {
				return dst, false
			}
			hi, lo := unhex(s[i+1]), unhex(s[i+2])
			if hi < 0 || lo < 0 {
				return dst, false
			}
			dst = append(dst, byte(hi<<4|lo))
			i += 2
		case c <= ' ' || c >= 0x7f || c == ';':
			return dst, false
		default:
			dst = append(dst, c)
		}
	}
	return dst, true
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
