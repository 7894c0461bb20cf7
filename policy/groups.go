package policy

import (
	"net/http"
	"slices"

	"github.com/dunglas/httpsfv"
)

// Bounds on groups (RFC 9875 asks for at least 32 of 32 characters).
const (
	maxGroups    = 32
	maxGroupName = 128
)

// Groups are the cache groups that an answer belongs to (RFC 9875, section 2),
// without repetition: the first 32, of at most 128 characters each. Groups
// are those of one origin.
func Groups(h http.Header) []string { return stringList(h.Values("Cache-Groups")) }

// GroupInvalidation are the groups whose members an answer makes invalid (RFC
// 9875, section 3), bounded as Groups is. It must be ignored in answers to
// requests with a safe method (see Safe).
func GroupInvalidation(h http.Header) []string {
	return stringList(h.Values("Cache-Group-Invalidation"))
}

// stringList reads a structured field that is a list of strings. One that is
// not is ignored as a whole.
func stringList(lines []string) []string {
	if len(lines) == 0 {
		return nil
	}
	list, err := httpsfv.UnmarshalList(lines)
	if err != nil {
		return nil
	}
	var names []string
	for _, member := range list {
		item, _ := member.(httpsfv.Item)
		name, ok := item.Value.(string)
		if !ok {
			return nil
		}
		if len(name) <= maxGroupName && len(names) < maxGroups && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}
