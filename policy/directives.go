package policy

import (
	"strings"
	"time"
)

// Seconds is the argument of a directive that counts seconds.
type Seconds struct {
	Set bool
	D   time.Duration
}

// maxSeconds is what larger numbers count as (RFC 9111, section 1.2.2).
const maxSeconds = 1 << 31

// Directives are the members of a Cache-Control field, request or response.
// A directive that came with a field list ("private=\"set-cookie\"") counts
// as if it came without: that is the stricter reading and always allowed.
type Directives struct {
	NoStore, NoCache, NoTransform, OnlyIfCached bool

	Private, Public, MustRevalidate, ProxyRevalidate, MustUnderstand, Immutable bool

	MaxAge, SMaxAge, MinFresh, MaxStale, StaleWhileRevalidate, StaleIfError Seconds
}

// ParseDirectives reads all Cache-Control lines of a message. It never fails:
// unknown directives and malformed members are ignored, and a malformed number
// counts as zero seconds, which is the careful reading (RFC 9111, section
// 4.2.1). Of a repeated directive the first occurrence counts. After a quoted
// string that does not end, only what forbids counts.
func ParseDirectives(lines []string) Directives {
	var d Directives
	for _, line := range lines {
		into := &d
		var doubtful Directives
		for line != "" {
			var name, arg string
			var closed bool
			if name, arg, line, closed = nextDirective(line); !closed {
				into = &doubtful
			}
			into.set(name, arg)
		}
		d.NoStore = d.NoStore || doubtful.NoStore
		d.NoCache = d.NoCache || doubtful.NoCache
		d.Private = d.Private || doubtful.Private
	}
	return d
}

func (d *Directives) set(name, arg string) {
	if flag := d.flag(name); flag != nil {
		*flag = true
		return
	}
	if s := d.seconds(name); s != nil && !s.Set {
		*s = parseSeconds(arg, name == "max-stale")
	}
}

func (d *Directives) flag(name string) *bool {
	switch name {
	case "no-store":
		return &d.NoStore
	case "no-cache":
		return &d.NoCache
	case "no-transform":
		return &d.NoTransform
	case "only-if-cached":
		return &d.OnlyIfCached
	case "private":
		return &d.Private
	case "public":
		return &d.Public
	case "must-revalidate":
		return &d.MustRevalidate
	case "proxy-revalidate":
		return &d.ProxyRevalidate
	case "must-understand":
		return &d.MustUnderstand
	case "immutable":
		return &d.Immutable
	}
	return nil
}

func (d *Directives) seconds(name string) *Seconds {
	switch name {
	case "max-age":
		return &d.MaxAge
	case "s-maxage":
		return &d.SMaxAge
	case "min-fresh":
		return &d.MinFresh
	case "max-stale":
		return &d.MaxStale
	case "stale-while-revalidate":
		return &d.StaleWhileRevalidate
	case "stale-if-error":
		return &d.StaleIfError
	}
	return nil
}

// nextDirective splits off one member: its lower-cased name and its argument
// without quotes. It is not closed when a quoted string does not end.
func nextDirective(s string) (name, arg, rest string, closed bool) {
	s = strings.TrimLeft(s, " \t,")
	end := strings.IndexAny(s, ",=")
	if end < 0 {
		return strings.ToLower(strings.Trim(s, " \t")), "", "", true
	}
	name = strings.ToLower(strings.Trim(s[:end], " \t"))
	if s[end] == ',' {
		return name, "", s[end+1:], true
	}
	s = s[end+1:]
	if inQuotes, open := strings.CutPrefix(s, `"`); open {
		if arg, s, closed = quoted(inQuotes); !closed {
			_, rest, _ = strings.Cut(inQuotes, ",")
			return name, "", rest, false
		}
		_, rest, _ = strings.Cut(s, ",")
		return name, arg, rest, true
	}
	arg, rest, _ = strings.Cut(s, ",")
	return name, strings.Trim(arg, " \t"), rest, true
}

// quoted reads a quoted-string whose opening quote is gone; false when it does
// not end.
func quoted(s string) (value, rest string, closed bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], true
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}

// parseSeconds reads delta-seconds. With open, no argument means no limit.
func parseSeconds(arg string, open bool) Seconds {
	if open && arg == "" {
		return Seconds{Set: true, D: maxSeconds * time.Second}
	}
	n := int64(0)
	for i := 0; i < len(arg); i++ {
		c := arg[i]
		if c < '0' || c > '9' {
			return Seconds{Set: true}
		}
		n = min(n*10+int64(c-'0'), maxSeconds)
	}
	return Seconds{Set: true, D: time.Duration(n) * time.Second}
}
