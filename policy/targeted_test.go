package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestRFC9213TargetedFieldsStandForCacheControlAndExpires(t *testing.T) {
	j := newJudge()
	f := func(want State, pairs ...string) { t.Helper(); j.want(t, want, 200, pairs...) }
	for _, n := range []string{"3600", "2147483648", "99999999999", "999999999999999"} {
		f(Fresh, "CDN-Cache-Control", "max-age="+n)
	}
	f(Expired, "CDN-Cache-Control", "max-age=3600", "Age", "7200")
	f(Expired, "CDN-Cache-Control", "max-age=0")
	f(Expired, "CDN-Cache-Control", "max-age=-5")
	f(Fresh, "CDN-Cache-Control", "foobar, max-age=3600")
	f(Fresh, "CDN-Cache-Control", "max-age=3600;parameter=1")
	f(Fresh, "CDN-Cache-Control", "max-age=1, max-age=3600") // the last of a dictionary's members counts
	f(Fresh, "CDN-Cache-Control", "foobar", "CDN-Cache-Control", "max-age=3600")
	f(Fresh, "CDN-Cache-Control", "max-age=3600", "Expires", "0")
	f(Expired, "CDN-Cache-Control", "max-age=0", "Expires", "Sun, 21 Nov 2286 04:46:39 GMT")
	f(Expired, "CDN-Cache-Control", "foobar", "Expires", "Sun, 21 Nov 2286 04:46:39 GMT")
	f(Fresh, "CDN-Cache-Control", "max-age=3600", "Cache-Control", "max-age=1")
	f(Expired, "CDN-Cache-Control", "max-age=1", "Cache-Control", "max-age=3600")
	f(Fresh, "CDN-Cache-Control", "max-age=10000", "Cache-Control", "no-store")
	for _, no := range []string{"private", "no-cache", "no-store", `private="x"`, `no-cache="x"`, `no-store="x"`, "no-store=(1 2)", "max-age=60, no-store=?1"} {
		f(Expired, "CDN-Cache-Control", no, "Cache-Control", "max-age=10000")
	}
	f(Fresh, "CDN-Cache-Control", "max-age=60, no-store=?0")
	f(Validate, "CDN-Cache-Control", "no-cache", "ETag", `"a"`)
	f(StaleOnError, "CDN-Cache-Control", "max-age=1, stale-if-error=60")
	f(Validate, "CDN-Cache-Control", "max-age=1, must-revalidate, stale-if-error=60", "ETag", `"a"`)
}

func TestRFC9213InvalidOrEmptyTargetedFieldsAreIgnored(t *testing.T) {
	j := newJudge()
	f := func(bad string) {
		t.Helper()
		j.want(t, Expired, 200, "CDN-Cache-Control", bad, "Cache-Control", "no-store")
		j.want(t, Fresh, 200, "CDN-Cache-Control", bad, "Cache-Control", "max-age=3600")
		j.want(t, Fresh, 200, "Jaegis-Cache-Control", bad, "CDN-Cache-Control", "max-age=3600", "Cache-Control", "no-store")
	}
	for _, bad := range []string{
		"", " ", ",", "no-store,", "no-store, &&&&&", "max-age=10000, &&&&&", `max-age="10000"`, "max-age", "max-age=?1", "max-age=1.5", "max-age=token",
		"max-age=(1)", "No-Store", "MaX-aGe=3600", "max-age =100", "max-age= 100", "no-store;;", "max-age=1000000000000000", "no-store max-age=5", "no-store=",
	} {
		f(bad)
	}
}

func TestRFC9213TheNearestTargetedFieldCounts(t *testing.T) {
	j := newJudge()
	j.want(t, Fresh, 200, "Jaegis-Cache-Control", "max-age=60", "CDN-Cache-Control", "no-store", "Cache-Control", "no-store")
	j.want(t, Expired, 200, "Jaegis-Cache-Control", "no-store", "CDN-Cache-Control", "max-age=60", "Cache-Control", "max-age=60")
}

func TestRouteFreshnessHeedsWhatTargetedFieldsForbid(t *testing.T) {
	rule := Rule{Freshness: FreshnessRoute, TTL: time.Hour}
	f := func(want Reason, pairs ...string) {
		t.Helper()
		d := Decide(&rule, &Request{Method: "GET"}, ok(pairs...), noon)
		if d.Reason != want || d.Store && d.Lifetime.TTL != time.Hour {
			t.Errorf("%q: %+v, want %q", pairs, d, want)
		}
	}
	f(ReasonNoStore, "CDN-Cache-Control", "no-store")
	f(ReasonNoStore, "Jaegis-Cache-Control", "no-store", "Cache-Control", "max-age=60")
	f(ReasonPrivate, "CDN-Cache-Control", "private")
	f(ReasonNoStore, "CDN-Cache-Control", "max-age=60", "Cache-Control", "no-store")
	f(ReasonPrivate, "CDN-Cache-Control", "max-age=60", "Cache-Control", "private")
	f("", "CDN-Cache-Control", "no-cache, max-age=0")
	f("", "CDN-Cache-Control", "no-store, &&&")
	rule.OverrideNoStore = true
	f("", "CDN-Cache-Control", "no-store")
}

func TestRFC9875Groups(t *testing.T) {
	f := func(want []string, lines ...string) {
		t.Helper()
		h := header()
		for _, l := range lines {
			h.Add("Cache-Groups", l)
			h.Add("Cache-Group-Invalidation", l)
		}
		if got := Groups(h); !slices.Equal(got, want) {
			t.Errorf("Groups of %q: %q, want %q", lines, got, want)
		}
		if got := GroupInvalidation(h); !slices.Equal(got, want) {
			t.Errorf("GroupInvalidation of %q: %q, want %q", lines, got, want)
		}
	}
	f(nil)
	f(nil, "")
	f([]string{"scripts"}, `"scripts"`)
	f([]string{"a", "A", "", `q"\`}, `"a", "A";x=1,"a"`, `"", "q\"\\"`)
	for _, bad := range []string{"scripts", `"a", b`, `("a")`, `"a",`, `"a`, `"a" "b"`, "1", "?1", "\"\xc3\xa9\""} {
		f(nil, bad)
	}
	long := strings.Repeat("x", 128)
	f([]string{long, "b"}, fmt.Sprintf("%q, %q, \"b\"", long, long+"x"))
	var names, want []string
	for i := range 40 {
		names = append(names, fmt.Sprintf("%q", fmt.Sprintf("g%d", i)))
		want = append(want, fmt.Sprintf("g%d", i))
	}
	f(want[:32], strings.Join(names, ", "))
}

func FuzzTargeted(f *testing.F) {
	f.Add("max-age=60, no-store;a=1")
	f.Add(`private="a", x=(1 "b");c`)
	f.Fuzz(func(t *testing.T, s string) {
		d, ok := parseTargeted([]string{s})
		if !ok && d != (Directives{}) {
			t.Errorf("%q is invalid, and still says %+v", s, d)
		}
		for _, v := range []Seconds{d.MaxAge, d.SMaxAge, d.StaleIfError} {
			if v.D < 0 || v.D > maxSeconds*time.Second {
				t.Errorf("%q: %v", s, v)
			}
		}
		if ok {
			if got, ok := parseTargeted([]string{s, "no-store"}); !ok || !got.NoStore {
				t.Errorf("%q hides the no-store of the next line", s)
			}
		}
	})
}
