package policy

import (
	"net/http"
	"strings"
	"time"
)

// parseDate reads an HTTP-date as caches have to (RFC 9110, section 5.6.7 and
// RFC 9111, section 4.2): the three forms, whatever the case of their letters,
// and nothing that only looks like them: no other zone, no missing digits, no
// additional spaces. A day of the week that does not fit the date is passed
// over. now resolves years of two digits; without it they are 1969 to 2068.
func parseDate(s string, now time.Time) (time.Time, bool) {
	if n := len(s) - len("GMT"); n > 0 && strings.EqualFold(s[n:], "GMT") {
		s = s[:n] + "GMT"
	}
	const rfc850 = "Monday, 02-Jan-06 15:04:05 GMT"
	for _, layout := range [...]string{http.TimeFormat, rfc850, time.ANSIC} {
		t, err := time.Parse(layout, s)
		if err != nil || !sameAfterDay(s, t.Format(layout)) {
			continue
		}
		if layout == rfc850 && !now.IsZero() {
			t = inCentury(t, now)
		}
		return t, true
	}
	return time.Time{}, false
}

// sameAfterDay compares two dates but for the day of the week. Parsing is
// laxer than formatting: what it was too lax about shows here.
func sameAfterDay(a, b string) bool {
	_, a, _ = strings.Cut(a, " ")
	_, b, _ = strings.Cut(b, " ")
	return strings.EqualFold(a, b)
}

// inCentury puts a date whose year had two digits into the hundred years of
// which now is the middle.
func inCentury(t, now time.Time) time.Time {
	switch {
	case t.After(now.AddDate(50, 0, 0)):
		return t.AddDate(-100, 0, 0)
	case t.Before(now.AddDate(-50, 0, 0)):
		return t.AddDate(100, 0, 0)
	}
	return t
}

// dateOf is when an answer was made: its Date, or now when it does not say.
func dateOf(h http.Header, now time.Time) time.Time {
	if t, ok := parseDate(h.Get("Date"), now); ok {
		return t
	}
	return now
}
