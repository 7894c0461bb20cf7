package policy

import "unicode/utf8"

// jsonScanner reads one JSON text (RFC 8259) that comes in pieces, and tells of
// what it meets. It keeps next to nothing of it, however long a string is: the
// answers of document services hold whole files in one, which every decoder
// that gives out tokens would have to take in first.
//
// It is lenient where that changes nothing for who looks for single values:
// bytes that are no UTF-8 are taken as they are, and lone surrogates for U+FFFD.
type jsonScanner struct {
	to      jsonEvents
	state   scanState
	open    []byte // '{' or '[' for each object and array that has begun and not ended
	isName  bool   // the string is the name of a member
	rest    string // what must follow of true, false or null
	number  numberState
	hex     int  // digits that are still to come of an escape
	code    rune // what they come to
	high    rune // a surrogate that wants its other half
	bad     bool
	kind    byte
	escaped [utf8.UTFMax]byte // what is given to text and is not in a piece as it is
}

// jsonEvents is told of a text in its order. Kinds are '{', '[', '"', '0' for
// any number, 't', 'f' and 'n'.
type jsonEvents interface {
	begin(kind byte) // a value begins
	name()           // the name of a member begins
	text(p []byte)   // more of a string, without its escapes, or of a number; good until it returns
	named()          // the name ends
	end(kind byte)   // the value ends
}

type scanState uint8

const (
	wantValue scanState = iota
	wantFirstElement
	wantFirstName
	wantName
	wantColon
	wantComma // or the end of what is open
	wantNothing
	inString
	inEscape
	inHex
	inNumber
	inLiteral
)

// maxJSONDepth bounds what is open at the same time.
const maxJSONDepth = 1000

// write reads on. After a fault it does nothing.
func (s *jsonScanner) write(p []byte) {
	for len(p) > 0 && !s.bad {
		n := 1
		switch s.state {
		case inString:
			n = s.string(p)
		case inEscape:
			s.escape(p[0])
		case inHex:
			s.hexDigit(p[0])
		case inNumber:
			n = s.digits(p)
		case inLiteral:
			s.literal(p[0])
		default:
			s.between(p[0])
		}
		p = p[n:]
	}
}

// whole says whether what came is one whole text, given that no more comes.
func (s *jsonScanner) whole() bool {
	if s.state == inNumber && len(s.open) == 0 && !s.bad {
		s.endNumber()
	}
	return !s.bad && s.state == wantNothing
}

// begun says whether anything but white space has come.
func (s *jsonScanner) begun() bool { return s.bad || s.state != wantValue || len(s.open) > 0 }

// between reads a byte that is not within a string, a number or a literal.
func (s *jsonScanner) between(c byte) {
	if c == ' ' || c == '\t' || c == '\n' || c == '\r' {
		return
	}
	switch {
	case s.state == wantFirstElement && c == ']', s.state == wantFirstName && c == '}':
		s.close(c)
	case s.state == wantValue || s.state == wantFirstElement:
		s.value(c)
	case (s.state == wantFirstName || s.state == wantName) && c == '"':
		s.isName, s.state = true, inString
		s.to.name()
	case s.state == wantColon && c == ':':
		s.state = wantValue
	case s.state == wantComma && c == ',':
		s.state = wantValue
		if s.open[len(s.open)-1] == '{' {
			s.state = wantName
		}
	case s.state == wantComma && (c == '}' || c == ']'):
		s.close(c)
	default:
		s.bad = true
	}
}

// value reads the first byte of a value.
func (s *jsonScanner) value(c byte) {
	switch {
	case c == '{' || c == '[':
		if len(s.open) == maxJSONDepth {
			s.bad = true
			return
		}
		s.to.begin(c)
		s.open = append(s.open, c)
		s.state = wantFirstName
		if c == '[' {
			s.state = wantFirstElement
		}
	case c == '"':
		s.to.begin(c)
		s.isName, s.state = false, inString
	case c == '-' || c >= '0' && c <= '9':
		s.to.begin('0')
		s.state, s.number = inNumber, numberBegins
		s.escaped[0] = c
		s.digits(s.escaped[:1])
	case c == 't' || c == 'f' || c == 'n':
		s.to.begin(c)
		s.kind, s.state = c, inLiteral
		s.rest = literal(c)[1:]
	default:
		s.bad = true
	}
}

// close ends an object or an array.
func (s *jsonScanner) close(c byte) {
	kind := s.open[len(s.open)-1]
	if c != kind+2 { // as ASCII has it
		s.bad = true
		return
	}
	s.open = s.open[:len(s.open)-1]
	s.ended(kind)
}

// ended is told that a value has ended.
func (s *jsonScanner) ended(kind byte) {
	s.to.end(kind)
	s.state = wantComma
	if len(s.open) == 0 {
		s.state = wantNothing
	}
}

// string reads within a string, and gives how much it took.
func (s *jsonScanner) string(p []byte) int {
	n := 0
	for n < len(p) && p[n] != '"' && p[n] != '\\' && p[n] >= ' ' {
		n++
	}
	if n > 0 {
		s.lone()
		s.to.text(p[:n])
	}
	if n == len(p) {
		return n
	}
	switch p[n] {
	case '\\':
		s.state = inEscape
	case '"':
		s.lone()
		if s.isName {
			s.to.named()
			s.state = wantColon
		} else {
			s.ended('"')
		}
	default:
		s.bad = true
	}
	return n + 1
}

// lone gives up waiting for the other half of a surrogate.
func (s *jsonScanner) lone() {
	if s.high != 0 {
		s.high = 0
		s.emit(utf8.RuneError)
	}
}

func (s *jsonScanner) emit(r rune) {
	s.to.text(s.escaped[:utf8.EncodeRune(s.escaped[:], r)])
}

// escape reads what stands behind a backslash.
func (s *jsonScanner) escape(c byte) {
	if c == 'u' {
		s.state, s.hex, s.code = inHex, 4, 0
		return
	}
	s.lone()
	s.state = inString
	switch c {
	case '"', '\\', '/':
		s.emit(rune(c))
	case 'b':
		s.emit('\b')
	case 'f':
		s.emit('\f')
	case 'n':
		s.emit('\n')
	case 'r':
		s.emit('\r')
	case 't':
		s.emit('\t')
	default:
		s.bad = true
	}
}

func (s *jsonScanner) hexDigit(c byte) {
	switch {
	case c >= '0' && c <= '9':
		s.code = s.code<<4 | rune(c-'0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		s.code = s.code<<4 | rune(c|0x20-'a'+10)
	default:
		s.bad = true
	}
	if s.hex--; s.hex > 0 {
		return
	}
	s.state = inString
	isLow := s.code >= 0xdc00 && s.code <= 0xdfff
	switch {
	case s.high != 0 && isLow:
		r := (s.high-0xd800)<<10 | (s.code - 0xdc00) + 0x10000
		s.high = 0
		s.emit(r)
	case s.code >= 0xd800 && s.code <= 0xdbff:
		s.lone()
		s.high = s.code
	default:
		s.lone()
		s.emit(s.code) // a lone half becomes U+FFFD
	}
}

// literal reads on in true, false or null.
func (s *jsonScanner) literal(c byte) {
	if c != s.rest[0] {
		s.bad = true
		return
	}
	if s.rest = s.rest[1:]; s.rest == "" {
		s.ended(s.kind)
	}
}

// numberState is how far a number has come.
type numberState uint8

const (
	numberBegins numberState = iota
	numberMinus
	numberZero
	numberInt
	numberPoint
	numberFraction
	numberE
	numberSign
	numberExponent
)

// digits reads on in a number, and gives how much it took.
func (s *jsonScanner) digits(p []byte) int {
	n := 0
	for n < len(p) && s.digit(p[n]) {
		n++
	}
	s.to.text(p[:n])
	if n < len(p) {
		s.endNumber()
	}
	return n
}

// digit says whether the number goes on with c.
func (s *jsonScanner) digit(c byte) bool {
	is, next := c >= '0' && c <= '9', s.number
	switch {
	case s.number == numberBegins && c == '-':
		next = numberMinus
	case s.number <= numberMinus && c == '0':
		next = numberZero
	case s.number <= numberMinus && is:
		next = numberInt
	case (s.number == numberZero || s.number == numberInt) && c == '.':
		next = numberPoint
	case (s.number == numberZero || s.number == numberInt || s.number == numberFraction) && c|0x20 == 'e':
		next = numberE
	case s.number == numberPoint && is:
		next = numberFraction
	case s.number == numberE && (c == '+' || c == '-'):
		next = numberSign
	case (s.number == numberE || s.number == numberSign) && is:
		next = numberExponent
	case is && (s.number == numberInt || s.number == numberFraction || s.number == numberExponent):
	default:
		return false
	}
	s.number = next
	return true
}

func (s *jsonScanner) endNumber() {
	switch s.number {
	case numberZero, numberInt, numberFraction, numberExponent:
		s.ended('0')
	default:
		s.bad = true
	}
}
