package policy

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestRFC9110Section14_2Ranges(t *testing.T) {
	f := func(field string, size int64, want ...ByteRange) {
		t.Helper()
		got, satisfiable, ok := ParseRange(field, size)
		if !ok || !satisfiable || !slices.Equal(got, want) {
			t.Errorf("%q of %d: %v, %v, %v, want %v", field, size, got, satisfiable, ok, want)
		}
	}
	f("bytes=0-1", 11, ByteRange{0, 1})
	f("bytes=1-", 11, ByteRange{1, 10})
	f("bytes=-1", 11, ByteRange{10, 10})
	f("bytes=-50", 11, ByteRange{0, 10})
	f("bytes=0-99", 11, ByteRange{0, 10})
	f("bytes=10-99999999999999999999999", 11, ByteRange{10, 10})
	f("Bytes=0-0", 1, ByteRange{0, 0})
	f("bytes=0-1,\t500-600 , -1", 1000, ByteRange{0, 1}, ByteRange{500, 600}, ByteRange{999, 999})
	f("bytes=500-600,0-1", 1000, ByteRange{500, 600}, ByteRange{0, 1}) // in the order asked for
	f("bytes=,0-1,,", 11, ByteRange{0, 1})
	f("bytes=0-1,5000-6000", 1000, ByteRange{0, 1}) // one that has no bytes is left out
	f("bytes=0-9223372036854775807", math.MaxInt64, ByteRange{0, math.MaxInt64 - 1})

	// Section 17.15: what overlaps or nearly touches is sent once.
	f("bytes=-65535,-9223372036854710273", 70000, ByteRange{0, 69999})
	f("bytes=500-600,0-550", 1000, ByteRange{0, 600})
	f("bytes=0-1,3-4,6-7", 1000, ByteRange{0, 7})
	f("bytes=0-1,81-90", 1000, ByteRange{0, 90})
	f("bytes=0-1,82-90", 1000, ByteRange{0, 1}, ByteRange{82, 90})
	f("bytes="+strings.Repeat("0-,", 15)+"0-", 1000, ByteRange{0, 999})
}

func TestRangeFieldsThatCannotBeMetOrMeant(t *testing.T) {
	f := func(wantOK bool, field string, size int64) {
		t.Helper()
		got, satisfiable, ok := ParseRange(field, size)
		if ok != wantOK || satisfiable || len(got) > 0 {
			t.Errorf("%q of %d: %v, %v, %v", field, size, got, satisfiable, ok)
		}
	}
	unsatisfiable, ignored := true, false
	for _, field := range []string{"bytes=11-", "bytes=11-20", "bytes=-0", "bytes=99999999999999999999-", "bytes=20-30,40-50"} {
		f(unsatisfiable, field, 11)
	}
	f(unsatisfiable, "bytes=0-", 0)
	f(ignored, "bytes=-5", 0)
	f(ignored, "bytes=0-1", -1)
	for _, field := range []string{
		"", "bytes", "bytes=", "bytes=,", "lines=0-1", "bytes 0-1", "bytes=-", "bytes=5", "bytes=5-1", "bytes=a-b", "bytes=0-1,x", "bytes=0-1;5-6",
		"bytes=+0-1", "bytes=0 - 1", "bytes=--1", "bytes=0-1-2", "bytes=0x1-2", "bytes=0-1,5-1", " bytes=0-1", "bytes=99999999999999999999-1", "bytes=1.0-2",
	} {
		f(ignored, field, 11)
	}
	f(ignored, "bytes="+strings.Repeat("0-,", 16)+"0-", 1000)
}

func FuzzRange(f *testing.F) {
	f.Add("bytes=-65535,-9223372036854710273", int64(70000))
	f.Add("bytes=0-1,500-,-0", int64(1000))
	f.Fuzz(func(t *testing.T, field string, size int64) {
		ranges, satisfiable, ok := ParseRange(field, size)
		if satisfiable != (len(ranges) > 0) || satisfiable && !ok || len(ranges) > maxRanges {
			t.Fatalf("%q of %d: %v, %v, %v", field, size, ranges, satisfiable, ok)
		}
		total := int64(0)
		for _, r := range ranges {
			if r.First < 0 || r.First > r.Last || r.Last >= size {
				t.Fatalf("%q of %d: %v", field, size, ranges)
			}
			total += r.Last - r.First + 1
		}
		if satisfiable && (total > size || total <= 0) {
			t.Fatalf("%q of %d: %d bytes", field, size, total)
		}
	})
}

func TestRFC9110Section14_4ContentRange(t *testing.T) {
	f := func(want ContentRange, field string) {
		t.Helper()
		if got, ok := ParseContentRange(field); got != want || ok != (want != ContentRange{}) {
			t.Errorf("%q: %+v, %v", field, got, ok)
		}
	}
	f(ContentRange{4, 9, 10}, "bytes 4-9/10")
	f(ContentRange{0, 0, 1}, "Bytes 0-0/1")
	f(ContentRange{0, 4, -1}, "bytes 0-4/*")
	for _, bad := range []string{
		"", "bytes", "bytes */10", "bytes 4-9", "bytes 4-9/", "bytes 9-4/10", "bytes 4-10/10", "bytes 4-/10", "bytes -4/10", "lines 4-9/10", "bytes=4-9/10",
		"bytes  4-9/10", "bytes 4-9/10 ", "bytes 4-9/10/11", "bytes 4-9-10/20", "bytes +4-9/10", "bytes 4-9/-10", "bytes 0-99999999999999999999/*", "bytes 0-1/x",
	} {
		f(ContentRange{}, bad)
	}
}

func FuzzContentRange(f *testing.F) {
	f.Add("bytes 4-9/10")
	f.Fuzz(func(t *testing.T, s string) {
		c, ok := ParseContentRange(s)
		if !ok {
			return
		}
		size := "*"
		if c.Size >= 0 {
			size = fmt.Sprint(c.Size)
		}
		if again, ok := ParseContentRange(fmt.Sprintf("bytes %d-%d/%s", c.First, c.Last, size)); !ok || again != c || c.Last-c.First+1 <= 0 {
			t.Errorf("%q: %+v, then %+v", s, c, again)
		}
	})
}

func TestRFC9110Section13_1_5IfRange(t *testing.T) {
	f := func(want bool, field, etag, lastModified, date string) {
		t.Helper()
		if got := IfRange(field, etag, lastModified, date); got != want {
			t.Errorf("If-Range %s against %s, %s, %s: %v", field, etag, lastModified, date, got)
		}
	}
	f(true, `"a"`, `"a"`, "", "")
	f(true, ` "a" `, `"a"`, "", "")
	f(false, `"b"`, `"a"`, monday, tuesday)
	f(false, `W/"a"`, `W/"a"`, "", "")
	f(false, `W/"a"`, `"a"`, "", "")
	f(false, `"a"`, `W/"a"`, "", "")
	f(false, `"a", "b"`, `"a"`, "", "")
	f(false, `"a", "b"`, `"a", "b"`, "", "")
	f(false, `*`, `"a"`, "", "")
	f(false, ``, ``, "", "")
	f(true, monday, `"a"`, monday, tuesday)
	f(false, monday, "", tuesday, tuesday)
	f(false, tuesday, "", monday, tuesday)  // later is not the same
	f(false, tuesday, "", tuesday, tuesday) // not a strong validator
	f(false, monday, "", monday, "")
	f(false, monday, "", "", tuesday)
	f(false, "yesterday", "", "yesterday", tuesday)
}
