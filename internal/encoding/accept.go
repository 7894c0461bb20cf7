// Package encoding is HTTP's content codings: what a client accepts, and the
// coders themselves, pooled. It knows nothing of caching.
package encoding

import (
	"strings"
)

// Accepts says whether an Accept-Encoding field, its lines joined by commas,
// admits a coding (RFC 9110, section 12.5.3). Names compare without regard to
// case, x-gzip is gzip. A malformed member is ignored, and one whose weight is
// malformed admits nothing. identity is admitted unless it is ruled out.
func Accepts(field, coding string) bool {
	any := verdict(0)
	for field != "" {
		var member string
		member, field, _ = strings.Cut(field, ",")
		name, weight, _ := strings.Cut(member, ";")
		name = strings.Trim(name, " \t")
		switch {
		case same(name, coding):
			return admits(weight) == admitted
		case name == "*":
			any = admits(weight)
		}
	}
	if same(coding, "identity") {
		return any != refused
	}
	return any == admitted
}

// verdict is what a member says of its coding.
type verdict int

const (
	admitted verdict = iota + 1
	refused
)

func same(name, coding string) bool {
	if len(name) > 2 && strings.EqualFold(name[:2], "x-") && (strings.EqualFold(name[2:], "gzip") || strings.EqualFold(name[2:], "compress")) {
		name = name[2:]
	}
	return name != "" && strings.EqualFold(name, coding)
}

// admits reads a weight: absent, or "q=" and a number from 0 to 1 with up to
// three decimals.
func admits(weight string) verdict {
	weight = strings.Trim(weight, " \t")
	if weight == "" {
		return admitted
	}
	if len(weight) < 3 || weight[0]|0x20 != 'q' || weight[1] != '=' {
		return refused
	}
	q := weight[2:]
	if len(q) > 5 || len(q) > 1 && q[1] != '.' || q[0] != '0' && q[0] != '1' {
		return refused
	}
	zero := q[0] == '0'
	for i := 2; i < len(q); i++ {
		if q[i] < '0' || q[i] > '9' || q[0] == '1' && q[i] != '0' {
			return refused
		}
		zero = zero && q[i] == '0'
	}
	if zero {
		return refused
	}
	return admitted
}

// Compressible says whether bodies of a media type are likely to shrink.
func Compressible(contentType string) bool {
	essence, _, _ := strings.Cut(contentType, ";")
	essence = strings.ToLower(strings.Trim(essence, " \t"))
	if strings.HasPrefix(essence, "text/") || strings.HasSuffix(essence, "+json") || strings.HasSuffix(essence, "+xml") {
		return true
	}
	switch essence {
	case "application/json", "application/xml", "application/javascript", "application/x-javascript",
		"application/x-ndjson", "application/jsonl", "application/json-seq", "application/graphql",
		"application/wasm", "application/rtf", "application/x-yaml", "application/yaml",
		"application/toml", "application/sql", "application/xhtml", "image/bmp", "font/ttf", "font/otf":
		return true
	}
	return false
}
