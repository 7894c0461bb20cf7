package config

import "strings"

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
