// Package encoding knows the content codings of HTTP: which of them a client
// accepts, which media types are worth one, and how to make and undo gzip,
// zstd and deflate. It knows no headers and no cache.
package encoding

import "strings"

// Accepts says whether an Accept-Encoding value (its lines joined by commas)
// accepts a coding; "identity" is no coding at all. The value is that of a
// field that was sent: without the field, RFC 9110 calls every coding
// acceptable and says nothing of whether the client can decode it, so that
// case is the caller's.
//
// Names are compared without regard to case, and x-gzip is gzip. What is
// malformed counts against the coding: a member without a proper name is
// ignored, one with a malformed weight is not acceptable, and of several
// members for one coding the least weight counts.
func Accepts(acceptEncoding, coding string) bool {
	return weigh(acceptEncoding, coding) > 0
}

// Prefer gives the offer with the greatest weight, the first of equal ones, or
// "" when none is acceptable. "identity" may be among the offers; where the
// client does not mention it, any coding that it names is better.
func Prefer(acceptEncoding string, offers ...string) string {
	best, most := "", 0
	for _, offer := range offers {
		if w := weigh(acceptEncoding, offer); w > most {
			best, most = offer, w
		}
	}
	return best
}

const (
	unset    = 1 << 30
	implicit = 1 // the weight of identity where nothing is said of it: less than any that is said
)

// weigh is the weight of a coding in half thousandths; 0 is not acceptable
// (RFC 9110, section 12.5.3).
func weigh(acceptEncoding, coding string) int {
	if !isToken(coding) {
		return 0
	}
	named, others := unset, unset
	for rest := acceptEncoding; rest != ""; {
		var member string
		member, rest, _ = strings.Cut(rest, ",")
		name, params, _ := strings.Cut(member, ";")
		name = trim(name)
		switch {
		case !isToken(name):
		case name == "*":
			others = min(others, weight(params))
		case same(name, coding):
			named = min(named, weight(params))
		}
	}
	switch {
	case named != unset:
		return named
	case others != unset:
		return others
	case same(coding, "identity"):
		return implicit
	}
	return 0
}

// weight is the least weight among a member's parameters; other parameters say
// nothing to us.
func weight(params string) int {
	w := 2000
	for rest := params; rest != ""; {
		var param string
		param, rest, _ = strings.Cut(rest, ";")
		name, value, ok := strings.Cut(trim(param), "=")
		if t := trim(name); t != "q" && t != "Q" {
			continue
		}
		if !ok || len(name) != 1 {
			return 0
		}
		w = min(w, 2*qvalue(value))
	}
	return w
}

// qvalue is a weight in thousandths, 0 where it is malformed (RFC 9110,
// section 12.4.2).
func qvalue(s string) int {
	if s == "" || len(s) > 5 || s[0] != '0' && s[0] != '1' || len(s) > 1 && s[1] != '.' {
		return 0
	}
	q, unit := int(s[0]-'0')*1000, 100
	for i := 2; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0
		}
		q += int(s[i]-'0') * unit
		unit /= 10
	}
	if q > 1000 {
		return 0
	}
	return q
}

// same compares two codings (RFC 9110, sections 8.4.1.1 and 8.4.1.3).
func same(a, b string) bool { return strings.EqualFold(plain(a), plain(b)) }

// plain is a coding's name without the x- that RFC 9110 has as an alias.
func plain(coding string) string {
	if len(coding) > 2 && coding[1] == '-' && (coding[0] == 'x' || coding[0] == 'X') {
		if c := coding[2:]; strings.EqualFold(c, "gzip") || strings.EqualFold(c, "compress") {
			return c
		}
	}
	return coding
}

func trim(s string) string { return strings.Trim(s, " \t") }

// isToken says whether s is a token (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}
