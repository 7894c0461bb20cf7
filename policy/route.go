// Package policy gives verdicts: which route a request belongs to, whether an
// answer may be stored and for how long, whether a stored one may be used. It
// is pure: no clock, no I/O, no knowledge of where things come from.
package policy

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// Match says which requests a route takes. An empty list takes any.
type Match struct {
	Methods []string // upper case; GET takes HEAD too
	Hosts   []string // host names without port; "*.example.com" takes any name below example.com
	Path    string   // an exact path, or a prefix when it ends in "*"; empty takes any
}

// Matcher finds the first of a list of matches that takes a request. It is
// safe for concurrent use.
type Matcher struct{ rules []matchRule }

type matchRule struct {
	methods []string
	hosts   []string
	path    []byte
	prefix  bool
}

// NewMatcher checks the matches and makes them ready for use.
func NewMatcher(matches []Match) (*Matcher, error) {
	m := &Matcher{rules: make([]matchRule, 0, len(matches))}
	for i, match := range matches {
		r, err := newMatchRule(match)
		if err != nil {
			return nil, fmt.Errorf("match %d: %w", i, err)
		}
		m.rules = append(m.rules, r)
	}
	return m, nil
}

func newMatchRule(match Match) (matchRule, error) {
	path, prefix := strings.CutSuffix(match.Path, "*")
	if match.Path == "" {
		prefix = true
	}
	if strings.Contains(path, "*") {
		return matchRule{}, fmt.Errorf("path %q: \"*\" may only stand at the end", match.Path)
	}
	if match.Path != "" && !strings.HasPrefix(match.Path, "/") && match.Path != "*" {
		return matchRule{}, fmt.Errorf("path %q: must begin with \"/\"", match.Path)
	}
	r := matchRule{path: []byte(path), prefix: prefix}
	for _, method := range match.Methods {
		if method == "" || method != strings.ToUpper(method) {
			return matchRule{}, fmt.Errorf("method %q: must be in upper case", method)
		}
		r.methods = append(r.methods, method)
	}
	if slices.Contains(r.methods, "GET") && !slices.Contains(r.methods, "HEAD") {
		r.methods = append(r.methods, "HEAD")
	}
	for _, h := range match.Hosts {
		r.hosts = append(r.hosts, strings.ToLower(h))
	}
	return r, nil
}

// Find gives the index of the first match that takes the request, or -1. The
// host may carry a port, which does not count.
func (m *Matcher) Find(method, host, path []byte) int {
	for i := range m.rules {
		if m.rules[i].takes(method, host, path) {
			return i
		}
	}
	return -1
}

func (r *matchRule) takes(method, host, path []byte) bool {
	if r.prefix && !bytes.HasPrefix(path, r.path) || !r.prefix && !bytes.Equal(path, r.path) {
		return false
	}
	return r.takesMethod(method) && r.takesHost(host)
}

func (r *matchRule) takesMethod(method []byte) bool {
	for _, m := range r.methods {
		if string(method) == m {
			return true
		}
	}
	return len(r.methods) == 0
}

func (r *matchRule) takesHost(host []byte) bool {
	if len(r.hosts) == 0 {
		return true
	}
	name := hostName(host)
	for _, h := range r.hosts {
		if suffix, wild := strings.CutPrefix(h, "*"); wild {
			if len(name) > len(suffix) && bytes.EqualFold(name[len(name)-len(suffix):], []byte(suffix)) {
				return true
			}
		} else if bytes.EqualFold(name, []byte(h)) {
			return true
		}
	}
	return false
}

// hostName is host without its port.
func hostName(host []byte) []byte {
	if i := bytes.LastIndexByte(host, ':'); i >= 0 && bytes.IndexByte(host[i:], ']') < 0 {
		return host[:i]
	}
	return host
}
