package policy

import (
	"cmp"
	"slices"
	"strings"
)

// NormalizeFieldLines gives one form for request header lines that differ only
// in what says nothing (RFC 9111, section 4.1): how a list is spread over
// lines, and white space around its commas. Within quoted strings nothing
// changes; a field whose quotes do not close is left as it is.
func NormalizeFieldLines(lines []string) string {
	joined := strings.Join(lines, ", ")
	members, ok := splitMembers(joined)
	if !ok {
		return joined
	}
	return strings.Join(members, ", ")
}

// splitMembers splits at the commas outside quoted strings; false when a
// quoted string does not end.
func splitMembers(s string) ([]string, bool) {
	var members []string
	start, quoted := 0, false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '\\' && quoted:
			i++
		case s[i] == ',' && !quoted:
			members = append(members, strings.Trim(s[start:i], " \t"))
			start = i + 1
		}
	}
	return append(members, strings.Trim(s[start:], " \t")), !quoted
}

// NormalizeLanguage gives one form for Accept-Language fields that mean the
// same (RFC 9110, section 12.5.4): lower case, no white space, the members in
// the order of their weights, those of one weight by name, for what order they
// came in is nothing that can be relied upon. A malformed field stays as it is.
func NormalizeLanguage(lines []string) string {
	joined := strings.Join(lines, ", ")
	type member struct {
		text   string
		weight int
	}
	var members []member
	for part := range strings.SplitSeq(joined, ",") {
		part = strings.ToLower(strings.Trim(part, " \t"))
		if part == "" {
			continue // an empty list member says nothing (section 5.6.1)
		}
		tag, param, weighted := strings.Cut(part, ";")
		tag = strings.TrimRight(tag, " \t")
		weight, ok := 1000, isLanguageRange(tag)
		if weighted && ok {
			weight, ok = parseWeight(strings.TrimLeft(param, " \t"))
		}
		if !ok {
			return joined
		}
		members = append(members, member{tag + formatWeight(weight), weight})
	}
	slices.SortFunc(members, func(a, b member) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), strings.Compare(a.text, b.text))
	})
	texts := make([]string, len(members))
	for i, m := range members {
		texts[i] = m.text
	}
	return strings.Join(texts, ",")
}

// PreferredLanguage gives the one language that an Accept-Language field
// prefers to all others, in lower case, and whether it names others at all;
// empty when there is none such.
func PreferredLanguage(lines []string) (tag string, others bool) {
	first, rest, others := strings.Cut(NormalizeLanguage(lines), ",")
	if others && !strings.Contains(first, ";") {
		if next, _, _ := strings.Cut(rest, ","); !strings.Contains(next, ";") {
			return "", true // another has the same weight
		}
	}
	if strings.ContainsAny(first, "*;") || !isLanguageRange(first) {
		return "", others
	}
	return first, others
}

func isLanguageRange(s string) bool {
	if s == "*" {
		return true
	}
	for sub := range strings.SplitSeq(s, "-") {
		if sub == "" || len(sub) > 8 || strings.Trim(sub, "abcdefghijklmnopqrstuvwxyz0123456789*") != "" {
			return false
		}
	}
	return true
}

// parseWeight reads "q=0.5" in thousandths (RFC 9110, section 12.4.2).
func parseWeight(s string) (int, bool) {
	s, ok := strings.CutPrefix(s, "q=")
	whole, digits, _ := strings.Cut(s, ".")
	if !ok || whole != "0" && whole != "1" || len(digits) > 3 || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	n := 0
	for _, c := range whole + (digits + "000")[:3] {
		n = n*10 + int(c-'0')
	}
	return n, n <= 1000
}

func formatWeight(n int) string {
	switch n {
	case 1000:
		return ""
	case 0:
		return ";q=0"
	}
	digits := string([]byte{'0' + byte(n/100), '0' + byte(n/10%10), '0' + byte(n%10)})
	return strings.TrimRight(";q=0."+digits, "0")
}
