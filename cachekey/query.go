package cachekey

import "bytes"

// effectiveQuery gives query without the pairs whose decoded name is ignored,
// all else byte for byte. A pair is what stands between "&"; one with a ";" in
// it is kept whatever its name, as some programs see several pairs there.
func (s *scratch) effectiveQuery(rule *Rule, query []byte) []byte {
	ignored := rule.prepared.queryIgnore
	if len(ignored) == 0 || len(query) == 0 {
		return query
	}
	out := s.query[:0]
	kept := 0
	for pair := range bytes.SplitSeq(query, []byte{'&'}) {
		if s.isIgnored(pair, ignored) {
			continue
		}
		if kept > 0 {
			out = append(out, '&')
		}
		out = append(out, pair...)
		kept++
	}
	s.query = out
	return out
}

func (s *scratch) isIgnored(pair []byte, ignored []string) bool {
	if bytes.IndexByte(pair, ';') >= 0 {
		return false
	}
	name, _, _ := bytes.Cut(pair, []byte{'='})
	var ok bool
	if s.pruned, ok = appendUnescaped(s.pruned[:0], name); !ok {
		return false
	}
	for _, n := range ignored {
		if n == string(s.pruned) {
			return true
		}
	}
	return false
}
