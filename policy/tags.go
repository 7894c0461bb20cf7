package policy

import (
	"slices"
	"strings"
)

// TagSource says which value of a JSON body is a tag.
type TagSource struct {
	Prefix  string // put before the value
	Pointer string // JSON pointer; the elements of an array are a tag each
}

// MaxTags is how many tags one answer has at most, and MaxTag how long each is,
// in bytes.
const (
	MaxTags = 256
	MaxTag  = 256
)

func validTag(tag string) bool { return tag != "" && len(tag) <= MaxTag }

// HeaderTags gives the tags in header fields: those of Cache-Tag, with commas
// between, those of Surrogate-Key, with blanks between, and the values of the
// fields that names lists, with commas between.
func HeaderTags(values func(name string) []string, names []string) []string {
	var tags []string
	split := func(name string, isBetween func(rune) bool) {
		for _, line := range values(name) {
			for tag := range strings.FieldsFuncSeq(line, isBetween) {
				tag = strings.Trim(tag, " \t")
				if tag != "" && !slices.Contains(tags, tag) && len(tags) <= MaxTags {
					tags = append(tags, tag)
				}
			}
		}
	}
	split("Surrogate-Key", func(c rune) bool { return c == ' ' || c == '\t' })
	for _, name := range append([]string{"Cache-Tag"}, names...) {
		split(name, func(c rune) bool { return c == ',' })
	}
	return tags
}

// CheckTags says why an answer with these tags must not be stored.
func CheckTags(tags []string) Reason {
	switch {
	case len(tags) > MaxTags:
		return ReasonTags
	case slices.ContainsFunc(tags, func(tag string) bool { return !validTag(tag) }):
		return ReasonTag
	}
	return ""
}
