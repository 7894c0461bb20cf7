package policy

import (
	"cmp"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"
)

// ByteRange is a range of a body: the positions of its first and last byte.
type ByteRange struct{ First, Last int64 }

// ContentRange says which part of a representation a body is. Size is that of
// the whole in bytes; -1 when it is not known.
type ContentRange struct{ First, Last, Size int64 }

const (
	maxRanges = 16 // more are many small ones, or meant to do harm (RFC 9110, section 17.15)
	maxGap    = 80 // about what the head of one more part takes: smaller gaps are sent too (section 14.2)
)

// ParseRange reads a Range field for a representation of size bytes (RFC 9110,
// section 14.2). With ok false the field is to be ignored; with satisfiable
// false the answer is 416. Ranges come in the order asked for, none empty;
// where some overlap or nearly touch they are joined and come in ascending
// order.
func ParseRange(field string, size int64) (ranges []ByteRange, satisfiable bool, ok bool) {
	unit, set, found := strings.Cut(field, "=")
	if !found || !strings.EqualFold(unit, "bytes") || size < 0 {
		return nil, false, false
	}
	members := 0
	for spec := range strings.SplitSeq(set, ",") {
		if spec = strings.Trim(spec, " \t"); spec == "" {
			continue
		}
		first, last, valid := parseSpec(spec, size)
		if members++; !valid || members > maxRanges {
			return nil, false, false
		}
		if first < size && first <= last {
			ranges = append(ranges, ByteRange{first, min(last, size-1)})
		}
	}
	return join(ranges), len(ranges) > 0, members > 0
}

// parseSpec reads one member of a range set; a range without bytes has its
// first position after its last. Of an empty representation no suffix can be
// described: such a field is not valid here, so that the whole is sent.
func parseSpec(spec string, size int64) (first, last int64, valid bool) {
	a, b, found := strings.Cut(spec, "-")
	switch {
	case !found:
		return 0, 0, false
	case a == "":
		n, ok := parsePosition(b)
		return max(0, size-n), size - 1, ok && (size > 0 || n == 0)
	}
	first, ok := parsePosition(a)
	last = math.MaxInt64
	if b != "" && ok {
		last, ok = parsePosition(b)
		ok = ok && first <= last
	}
	return first, last, ok
}

// parsePosition reads digits; what is too large counts as the largest number.
func parsePosition(s string) (int64, bool) {
	n := int64(0)
	for i := range len(s) {
		c := int64(s[i]) - '0'
		if c < 0 || c > 9 {
			return 0, false
		}
		if n > (math.MaxInt64-c)/10 {
			n = math.MaxInt64
			continue
		}
		n = n*10 + c
	}
	return n, s != ""
}

// join makes one of ranges that overlap or are close.
func join(ranges []ByteRange) []ByteRange {
	if len(ranges) < 2 {
		return ranges
	}
	sorted := slices.SortedFunc(slices.Values(ranges), func(a, b ByteRange) int { return cmp.Compare(a.First, b.First) })
	var out []ByteRange
	for _, r := range sorted {
		if n := len(out); n > 0 && r.First-out[n-1].Last <= maxGap {
			out[n-1].Last = max(out[n-1].Last, r.Last)
		} else {
			out = append(out, r)
		}
	}
	if len(out) == len(ranges) {
		return ranges
	}
	return out
}

// ParseContentRange reads a Content-Range field (RFC 9110, section 14.4). It
// is false for what describes no bytes ("bytes */10") or cannot be.
func ParseContentRange(field string) (ContentRange, bool) {
	unit, rest, _ := strings.Cut(field, " ")
	span, size, found := strings.Cut(rest, "/")
	a, b, dash := strings.Cut(span, "-")
	if !strings.EqualFold(unit, "bytes") || !found || !dash {
		return ContentRange{}, false
	}
	c := ContentRange{Size: -1}
	var ok1, ok2, ok3 bool
	c.First, ok1 = parsePosition(a)
	c.Last, ok2 = parsePosition(b)
	if ok3 = size == "*"; !ok3 {
		c.Size, ok3 = parsePosition(size)
	}
	if !ok1 || !ok2 || !ok3 || c.First > c.Last || c.Size >= 0 && c.Last >= c.Size || c.Last == math.MaxInt64 {
		return ContentRange{}, false
	}
	return c, true
}

// Part says which part of a representation the body of a 206 is. It is false
// where that cannot be told, or not what other parts belong to the same: then
// no other part or whole has anything to do with it (RFC 9111, section 3.4).
func Part(h http.Header, now time.Time) (ContentRange, bool) {
	lines := h.Values("Content-Range")
	if len(lines) != 1 || strongValidator(h, now) == "" {
		return ContentRange{}, false
	}
	part, ok := ParseContentRange(lines[0])
	if !ok || part.Size < 0 || !holds(h, part.Len()) {
		return ContentRange{}, false
	}
	return part, true
}

// Len is the length of the part in bytes.
func (c ContentRange) Len() int64 { return c.Last - c.First + 1 }

// String is the value of a Content-Range field.
func (c ContentRange) String() string {
	return fmt.Sprintf("bytes %d-%d/%d", c.First, c.Last, c.Size)
}

// IfRange says whether a Range field counts, given the request's If-Range and
// the validators and Date of the answer that it would be given (RFC 9110,
// section 13.1.5). Tags are compared strongly; a date must be that of the
// answer and at least a minute before its Date. An empty field is no
// condition that could hold.
func IfRange(field, etag, lastModified, date string) bool {
	field = strings.Trim(field, " \t")
	if strings.HasPrefix(field, `"`) {
		return validETag(field) && field == etag
	}
	since, ok1 := parseDate(field, time.Time{})
	modified, ok2 := parseDate(lastModified, time.Time{})
	made, ok3 := parseDate(date, time.Time{})
	return ok1 && ok2 && ok3 && since.Equal(modified) && made.Sub(modified) >= time.Minute
}
