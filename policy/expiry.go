package policy

import (
	"encoding/base64"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Expiry says what of an answer ends how long it can be used.
type Expiry struct {
	SignedLinks bool     // links with a signature that expires: in Location, Content-Location and Link, and in JSON bodies
	Members     bool     // JSON members with the names expires_at, expiresAt, expires_in and expiresIn, wherever they are
	JSON        []string // JSON pointers: what lies there is a time, or a number of seconds from now
}

func (e *Expiry) reads() bool { return e.SignedLinks || e.Members || len(e.JSON) > 0 }

// Head gives the end of the first of the links in the head of an answer that
// came at the time of base; zero when none ends.
func (e *Expiry) Head(header http.Header, base time.Time) time.Time {
	var first time.Time
	if !e.SignedLinks {
		return first
	}
	for _, name := range []string{"Location", "Content-Location"} {
		for _, link := range header.Values(name) {
			first = earlier(first, linkEnd(link, base))
		}
	}
	for _, line := range header.Values("Link") {
		for rest := line; ; {
			_, after, begins := strings.Cut(rest, "<")
			link, behind, ends := strings.Cut(after, ">")
			if !begins || !ends {
				break
			}
			first, rest = earlier(first, linkEnd(link, base)), behind
		}
	}
	return first
}

// Base is the moment from which what an answer says of times is reckoned: by the
// clock of who made it, where that goes before ours, so that nothing is used
// for too long.
func Base(header http.Header, now time.Time) time.Time {
	date, err := http.ParseTime(header.Get("Date"))
	if err != nil || date.Before(now) || date.Sub(now) > 24*time.Hour {
		return now
	}
	return date
}

// earlier gives the earlier of two moments; the zero one is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// The bounds of the margin by which an answer ends before what it names: a tenth
// of the time that is left, so that who gets it last can still use it.
const (
	minMargin = time.Second
	maxMargin = 5 * time.Minute
	maxLeft   = 100 * 365 * 24 * time.Hour // more is as good, and durations have an end
)

// EndBefore shortens the lifetime of an answer that came now, stale windows
// and all, so that it is of no use from a margin before end on, where base is
// now by the clock that end is meant by. It is false when nothing is left then.
func (l Lifetime) EndBefore(end, base, now time.Time) (Lifetime, bool) {
	left := min(end.Sub(base), maxLeft)
	if left > 0 {
		left -= min(max(left/10, minMargin), maxMargin)
	}
	if left <= 0 {
		return l, false
	}
	span := left + max(0, now.Sub(l.StoredAt)) // a Lifetime counts from StoredAt
	if l.TTL > span {
		l.TTL = span
	}
	rest := span - max(0, l.TTL)
	if rest < max(l.StaleWhileRevalidate, l.StaleIfError, l.Keep) {
		l.AllowStale = false // a request could accept it for longer
	}
	l.StaleWhileRevalidate = min(l.StaleWhileRevalidate, rest)
	l.StaleIfError = min(l.StaleIfError, rest)
	l.Keep = min(l.Keep, rest)
	return l, true
}

// maxLink bounds the links that are looked at, in bytes; what is behind it of a
// longer one is not read.
const maxLink = 8 << 10

// linkEnd gives the moment at which the signature of a link expires; zero when
// it has none that says so. Known are the forms of S3 (and what speaks like
// it), of Google Cloud Storage, CloudFront and Azure.
func linkEnd(link string, base time.Time) time.Time {
	if len(link) > maxLink {
		link = link[:maxLink]
	}
	link, _, _ = strings.Cut(link, "#")
	_, query, ok := strings.Cut(link, "?")
	if !ok {
		return time.Time{}
	}
	var p signature
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(strings.TrimPrefix(pair, "amp;"), "=")
		p.note(unescaped(name), value)
	}
	return p.end(base)
}

// signature is what the parameters of a link say of its end.
type signature struct {
	begin, seconds map[string]string // by vendor, of X-Vendor-Date and X-Vendor-Expires
	ends           time.Time
}

func (s *signature) note(name, value string) {
	lower := strings.ToLower(name)
	if vendor, ok := strings.CutPrefix(lower, "x-"); ok {
		if vendor, ok := strings.CutSuffix(vendor, "-date"); ok {
			s.begin = with(s.begin, vendor, unescaped(value))
		} else if vendor, ok := strings.CutSuffix(vendor, "-expires"); ok {
			s.seconds = with(s.seconds, vendor, unescaped(value))
		}
		return
	}
	switch {
	case lower == "expires":
		if n, err := strconv.ParseInt(unescaped(value), 10, 64); err == nil && n >= smallestEpoch {
			s.ends = earlier(s.ends, epoch(float64(n)))
		}
	case lower == "se":
		s.ends = earlier(s.ends, sasTime(unescaped(value)))
	case name == "Policy":
		s.ends = earlier(s.ends, cannedEnd(unescaped(value)))
	}
}

// maxVendors bounds what is kept of one link.
const maxVendors = 8

func with(m map[string]string, name, value string) map[string]string {
	if m == nil {
		m = map[string]string{}
	}
	if len(m) < maxVendors {
		m[name] = value
	}
	return m
}

func (s *signature) end(base time.Time) time.Time {
	end := s.ends
	for vendor, text := range s.seconds {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n <= 0 || n > maxSeconds {
			continue
		}
		from, err := time.Parse("20060102T150405Z", s.begin[vendor])
		if err != nil {
			from = base // made for this answer
		}
		end = earlier(end, from.Add(time.Duration(n)*time.Second))
	}
	return end
}

func unescaped(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}

// sasTime reads the time of Azure's se.
func sasTime(s string) time.Time {
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04Z", "2006-01-02"} {
		if t, err := time.Parse(form, s); err == nil {
			return t
		}
	}
	return time.Time{}
}

// cannedEnd reads the end of a CloudFront policy: JSON in base64, of which some
// characters are written in another way.
func cannedEnd(s string) time.Time {
	text, err := base64.StdEncoding.DecodeString(strings.NewReplacer("-", "+", "_", "=", "~", "/").Replace(s))
	if err != nil {
		return time.Time{}
	}
	_, after, ok := strings.Cut(string(text), `"DateLessThan"`)
	_, after, found := strings.Cut(after, `"AWS:EpochTime":`)
	if !ok || !found {
		return time.Time{}
	}
	digits := strings.TrimLeft(after, " ")
	n := 0
	for n < len(digits) && n < 18 && digits[n] >= '0' && digits[n] <= '9' {
		n++
	}
	if v, err := strconv.ParseInt(digits[:n], 10, 64); err == nil && v >= smallestEpoch {
		return epoch(float64(v))
	}
	return time.Time{}
}

// smallestEpoch is the least number that is taken for seconds since 1970; less
// is a time to go.
const smallestEpoch = 100_000_000

// epoch reads seconds, milliseconds, microseconds or nanoseconds since 1970, by
// how many they are.
func epoch(n float64) time.Time {
	for n >= 1e11 {
		n /= 1000
	}
	return time.Unix(int64(n), 0)
}

// momentAt reads a value as a moment: a time in writing, seconds since 1970, or
// a number of seconds from base on. relative says that it can be no other than
// the last. It is zero when the value is none of these, and for what is not
// above 0: that is how "never" is said.
func momentAt(text string, relative bool, base time.Time) time.Time {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return writtenMoment(text, relative, base)
	}
	switch {
	case math.IsNaN(n) || n <= 0 || n > 1e19:
		return time.Time{}
	case relative || n < smallestEpoch:
		return base.Add(time.Duration(min(n, maxSeconds) * float64(time.Second)))
	}
	return epoch(n)
}

func writtenMoment(text string, relative bool, base time.Time) time.Time {
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return base.Add(d)
	}
	if relative {
		return time.Time{}
	}
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04:05Z07:00", "2006-01-02T15:04:05Z0700"} {
		if t, err := time.Parse(form, text); err == nil {
			return t
		}
	}
	if t, err := http.ParseTime(text); err == nil {
		return t
	}
	return time.Time{}
}
