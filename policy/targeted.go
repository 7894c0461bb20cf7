package policy

import (
	"net/http"
	"time"

	"github.com/dunglas/httpsfv"
)

// targetedFields are the fields by which an upstream speaks to this cache
// alone, the nearest first (RFC 9213, section 2.2).
func targetedFields() [2]string {
	return [...]string{"Jaegis-Cache-Control", "CDN-Cache-Control"}
}

// targeted reads the first targeted field that is valid and not empty; false
// when there is none. Such a field stands in the place of Cache-Control and
// Expires; one that is not valid counts as if it had not come.
func targeted(h http.Header) (Directives, bool) {
	for _, name := range targetedFields() {
		if d, ok := parseTargeted(h[http.CanonicalHeaderKey(name)]); ok {
			return d, true
		}
	}
	return Directives{}, false
}

// parseTargeted reads a dictionary of directives (RFC 9213, section 2.1). A
// number of seconds that is no integer makes the field invalid; a negative one
// counts as zero, as it does in Cache-Control.
func parseTargeted(lines []string) (Directives, bool) {
	var d Directives
	if len(lines) == 0 {
		return d, false
	}
	dict, err := httpsfv.UnmarshalDictionary(lines)
	if err != nil || len(dict.Names()) == 0 {
		return d, false
	}
	for _, name := range dict.Names() {
		member, _ := dict.Get(name)
		item, _ := member.(httpsfv.Item) // the zero Item for an inner list: its value is nil
		if flag := d.flag(name); flag != nil {
			*flag = item.Value != false // with a list of fields it counts as without
			continue
		}
		s := d.seconds(name)
		if s == nil {
			continue
		}
		n, ok := item.Value.(int64)
		if !ok {
			return Directives{}, false
		}
		*s = Seconds{Set: true, D: time.Duration(min(max(n, 0), maxSeconds)) * time.Second}
	}
	return d, true
}

// answerDirectives are those that hold for an answer, and whether they come
// from a targeted field.
func answerDirectives(h http.Header) (d Directives, isTargeted bool) {
	if d, ok := targeted(h); ok {
		return d, true
	}
	return ParseDirectives(h.Values("Cache-Control")), false
}
