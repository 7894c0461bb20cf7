package policy

import (
	"testing"
	"time"
)

func TestRFC9110Section5_6_7Dates(t *testing.T) {
	f := func(want, s string) {
		t.Helper()
		got := ""
		if at, ok := parseDate(s, noon); ok {
			got = at.UTC().Format(time.DateTime)
		}
		if got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
	f("2050-08-18 02:01:18", "Thu, 18 Aug 2050 02:01:18 GMT")
	f("2050-08-18 02:01:18", "Thursday, 18-Aug-50 02:01:18 GMT")
	f("2050-08-08 02:01:18", "Thu Aug  8 02:01:18 2050") // a wrong day of the week
	f("2050-08-18 02:01:18", "THU, 18 Aug 2050 02:01:18 GMT")
	f("2050-08-18 02:01:18", "Thu, 18 AUG 2050 02:01:18 GMT")
	f("2050-08-18 02:01:18", "Thu, 18 Aug 2050 02:01:18 gMT")
	f("2038-01-19 14:14:08", "Tue, 19 Jan 2038 14:14:08 GMT")
	f("2286-11-21 04:46:39", "Sun, 21 Nov 2286 04:46:39 GMT")
	// Two digits are a year less than fifty years away.
	f("2075-08-18 02:01:18", "Sunday, 18-Aug-75 02:01:18 GMT")
	f("1977-08-18 02:01:18", "Thursday, 18-Aug-77 02:01:18 GMT")
	f("1994-11-06 08:49:37", "Sunday, 06-Nov-94 08:49:37 GMT")
	early := time.Date(2010, 1, 1, 0, 0, 0, 0, time.UTC)
	if got, ok := parseDate("Thursday, 18-Aug-65 02:01:18 GMT", early); !ok || got.Year() != 1965 {
		t.Errorf("in 2010, 65 is %v", got)
	}
	for _, bad := range []string{
		"", "0", "-1", "GMT", "yesterday", "1798761600",
		"Thu, 18 Aug 2050 02:01:18 UTC", "Thu, 18 Aug 2050 02:01:18 AEST", "Thursday, 18-Aug-50 02:01:18 UTC", "Thu, 18 Aug 2050 02:01:18 +0000",
		"Thu, 18 Aug 50 02:01:18 GMT", "Thu 18 Aug 2050 02:01:18 GMT", "Thu, 18  Aug  2050 02:01:18 GMT", "Thu, 18-Aug-2050 02:01:18 GMT",
		"Thu, 18 Aug 2050 02.01.18 GMT", "Thu, 18 Aug 2050 2:01:18 GMT", "Thu, 8 Aug 2050 02:01:18 GMT", "Thu, 31 Feb 2050 02:01:18 GMT",
		"Thu, 18 Aug 2050 02:01:18", "18 Aug 2050 02:01:18 GMT", "Thu, 18 Aug 2050 25:01:18 GMT", "Thu, 18 Aug 2050 02:01:18.5 GMT",
		"Thu Aug 8 02:01:18 2050", "Thu, 18 Aug 2050 02:01:18 GMT, Thu, 18 Aug 2050 02:01:18 GMT", " Thu, 18 Aug 2050 02:01:18 GMT", "Thu, 18 Aug 2050 02:01:18  GMT",
	} {
		f("", bad)
	}
}

func FuzzDate(f *testing.F) {
	f.Add("Thu, 18 Aug 2050 02:01:18 GMT")
	f.Add("Sunday, 06-Nov-94 08:49:37 GMT")
	f.Add("Thu Aug  8 02:01:18 2050")
	f.Fuzz(func(t *testing.T, s string) {
		at, ok := parseDate(s, noon)
		if !ok {
			return
		}
		if again, ok := parseDate(at.Format("Mon, 02 Jan 2006 15:04:05 GMT"), noon); !ok || !again.Equal(at) {
			t.Errorf("%q is %v, which is then %v", s, at, again)
		}
	})
}
