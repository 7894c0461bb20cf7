package policy

import (
	"testing"
	"time"
)

func TestDirectivesAreReadCarefully(t *testing.T) {
	f := func(want Directives, lines ...string) {
		t.Helper()
		if got := ParseDirectives(lines); got != want {
			t.Errorf("%q:\n got %+v\nwant %+v", lines, got, want)
		}
	}
	sec := func(n int) Seconds { return Seconds{Set: true, D: time.Duration(n) * time.Second} }
	f(Directives{})
	f(Directives{}, "", ",,", " , ", "=", "=5", "unknown=1", "no-stores")
	f(Directives{NoStore: true}, "no-store")
	f(Directives{NoStore: true, Private: true}, "NO-Store,\tPrivate")
	f(Directives{NoStore: true, NoCache: true}, "no-store", "no-cache")
	f(Directives{Private: true, NoCache: true}, `private="set-cookie, no-store", no-cache=x`)
	f(Directives{Public: true}, `private-x="a\", no-store, ", public`)
	f(Directives{MaxAge: sec(60)}, "max-age=60")
	f(Directives{MaxAge: sec(60)}, `max-age="60"`)
	f(Directives{MaxAge: sec(60)}, "max-age= 60 ")
	f(Directives{MaxAge: sec(60), SMaxAge: sec(5)}, "Max-Age=60, s-maxage=5")
	f(Directives{MaxAge: sec(10)}, "max-age=10, max-age=20", "max-age=30")
	f(Directives{MaxAge: sec(1 << 31)}, "max-age=99999999999999999999999")
	f(Directives{MaxAge: sec(0)}, "max-age")
	f(Directives{MaxAge: sec(0)}, "max-age=")
	f(Directives{MaxAge: sec(0)}, "max-age=-1")
	f(Directives{MaxAge: sec(0)}, "max-age=1.5")
	f(Directives{MaxAge: sec(0)}, "max-age=abc, max-age=60")
	f(Directives{MaxAge: sec(0)}, "max-age=0x10")
	f(Directives{MaxStale: sec(1 << 31)}, "max-stale")
	f(Directives{MaxStale: sec(7), MinFresh: sec(3)}, "max-stale=7,min-fresh=3")
	f(Directives{StaleWhileRevalidate: sec(1), StaleIfError: sec(2)}, "stale-while-revalidate=1, stale-if-error=2")
	f(Directives{NoStore: true}, `x="unclosed, max-age=5`, "no-store")
	f(Directives{Public: true, MaxAge: sec(60), NoStore: true, Private: true}, `public, max-age=60, x="oops, no-store, private, s-maxage=9`)
	f(Directives{MaxAge: sec(9), NoCache: true}, `x="oops, no-cache`, "max-age=9")
	f(Directives{OnlyIfCached: true, NoTransform: true, MustRevalidate: true, ProxyRevalidate: true, MustUnderstand: true, Immutable: true},
		"only-if-cached, no-transform, must-revalidate, proxy-revalidate, must-understand, immutable")
}

func FuzzDirectives(f *testing.F) {
	f.Add(`max-age=60, private="a,b", no-store`)
	f.Add(`a="\`)
	f.Fuzz(func(t *testing.T, s string) {
		d := ParseDirectives([]string{s})
		if d.MaxAge.D < 0 || d.MaxAge.D > maxSeconds*time.Second || d.MaxAge.D != 0 && !d.MaxAge.Set {
			t.Errorf("%q: max-age %+v", s, d.MaxAge)
		}
		if got := ParseDirectives([]string{s, "no-store"}); !got.NoStore {
			t.Errorf("%q hides the no-store of the next line", s)
		}
		if got := ParseDirectives([]string{"no-store, " + s}); !got.NoStore {
			t.Errorf("%q hides the no-store before it", s)
		}
	})
}
