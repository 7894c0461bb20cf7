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

// nearest gives the candidate that name was probably meant to be, or "".
func nearest(name string, candidates []string) string {
	best, bestDistance := "", 3
	bestDistance = min(bestDistance, (len(name)+2)/3) // short names need near matches
	for _, c := range candidates {
		if d := editDistance(fold(name), fold(c)); d < bestDistance || (d == bestDistance && best == "") {
			best, bestDistance = c, d
		}
	}
	return best
}

// didYouMean gives the advice for an unknown name.
func didYouMean(name string, candidates []string) string {
	if near := nearest(name, candidates); near != "" {
		return "did you mean " + near + "?"
	}
	if len(candidates) == 0 {
		return "there are none"
	}
	return "known are " + strings.Join(candidates, ", ")
}

// fold makes names comparable across the spellings of files and environment:
// lower case, with _ for everything that an environment name cannot hold.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(name))
}

// editDistance counts the insertions, deletions, substitutions and swaps of
// neighbours that lead from a to b.
func editDistance(a, b string) int {
	const far = 99
	if len(a) > 64 || len(b) > 64 {
		return far
	}
	var twoAgo, ago []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		twoAgo, ago, row = ago, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(ago[j]+1, row[j-1]+1, ago[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], twoAgo[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
