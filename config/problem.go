package config

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Problem is one thing that is wrong, or only odd, about a configuration.
type Problem struct {
	Source string // a file name, "environment NAME", "flag --name" or "configuration"
	Line   int    // line in the file; 0 when there is none
	Key    string // for example "routes[0].match.path"; empty when the source as a whole is meant
	What   string // what is wrong
	Fix    string // what to do about it; may be empty
}

// String gives "file:line: key: what is wrong; what to do". The key is left
// out where the source already names it.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.Source)
	if p.Line > 0 {
		b.WriteString(":" + strconv.Itoa(p.Line))
	}
	if p.Key != "" && !p.namedBySource() {
		b.WriteString(": " + p.Key)
	}
	b.WriteString(": " + p.What)
	if p.Fix != "" {
		b.WriteString("; " + p.Fix)
	}
	return b.String()
}

func (p Problem) namedBySource() bool {
	return strings.HasPrefix(p.Source, "environment ") || strings.HasPrefix(p.Source, "flag ")
}

// Problems is everything that is wrong with a configuration, in the order of
// the file, then the environment, then the flags. As an error it prints one
// problem a line.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// sorted puts problems into the order in which they are reported and drops
// repetitions.
func (ps Problems) sorted() Problems {
	rank := func(p Problem) int {
		switch {
		case strings.HasPrefix(p.Source, "environment "):
			return 1
		case strings.HasPrefix(p.Source, "flag "):
			return 2
		}
		return 0
	}
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(rank(a), rank(b)),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Source, b.Source),
			cmp.Compare(a.Key, b.Key),
			cmp.Compare(a.What, b.What),
		)
	})
	return slices.Compact(ps)
}

// source is where a value came from.
type source struct {
	name string
	line int
}

// at makes a problem of the value that came from s.
func (s source) at(key, what, fix string) Problem {
	return Problem{Source: s.name, Line: s.line, Key: key, What: what, Fix: fix}
}

// sources remembers by key where each value came from.
type sources map[string]source

// of gives the source of key, or that of the nearest section around it that
// has one, or fallback.
func (ss sources) of(key string, fallback source) source {
	for key != "" {
		if s, ok := ss[key]; ok {
			return s
		}
		cut := strings.LastIndexAny(key, ".[")
		if cut < 0 {
			break
		}
		key = key[:cut]
	}
	return fallback
}

// findings is what the readers of all layers add to: where each value came
// from, and what is wrong or odd about it.
type findings struct {
	allowMasked bool
	sources     sources
	referenced  map[string]bool // variables that the file names in ${...}
	problems    Problems
	warnings    Problems
}

func newFindings(allowMasked bool) *findings {
	return &findings{allowMasked: allowMasked, sources: sources{}, referenced: map[string]bool{}}
}

// refuseMask reports a value that holds Mask in the place of a secret: as an
// error, but for those who only look at the tree.
func (f *findings) refuseMask(src source, key string, v any) {
	p := src.at(key, "is masked: check has printed it", "write the secret itself, or ${NAME} for a variable that holds it")
	switch {
	case !masked(v):
	case f.allowMasked:
		f.warnings = append(f.warnings, p)
	default:
		f.problems = append(f.problems, p)
	}
}

// masked says whether a value holds Mask where it should hold a secret.
func masked(v any) bool {
	switch v := v.(type) {
	case Secret:
		return v == Mask
	case SecretURL:
		return strings.Contains(string(v), Mask+"@")
	}
	return false
}
