package policy

import (
	"testing"
	"time"
)

func TestUsableHeedsTheClient(t *testing.T) {
	l := Lifetime{StoredAt: noon, TTL: 10 * time.Second, StaleIfError: 20 * time.Second}
	f := func(want State, cc string, after time.Duration) {
		t.Helper()
		d := ParseDirectives([]string{cc})
		if got := Usable(l, &d, noon.Add(after)); got != want {
			t.Errorf("%s, %v after: %v, want %v", cc, after, got, want)
		}
	}
	f(Fresh, "", 5*time.Second)
	f(Expired, "no-cache", 0)
	f(StaleOnError, "max-age=0", 0)
	f(Fresh, "max-age=5", 5*time.Second)
	f(StaleOnError, "max-age=5", 6*time.Second)
	f(Fresh, "min-fresh=5", 5*time.Second)
	f(StaleOnError, "min-fresh=5", 5*time.Second+1)
	f(StaleOnError, "", 12*time.Second)
	f(Revalidate, "max-stale", 12*time.Second)
	f(Revalidate, "max-stale=2", 12*time.Second)
	f(StaleOnError, "max-stale=2", 13*time.Second)
	f(Expired, "max-stale", 31*time.Second)
	f(Fresh, "max-stale", time.Second)
}

func TestUsableAsksForValidationOnlyWhereThatCanBe(t *testing.T) {
	l := Lifetime{StoredAt: noon, TTL: 10 * time.Second, Keep: time.Hour}
	f := func(want State, cc string, after time.Duration) {
		t.Helper()
		d := ParseDirectives([]string{cc})
		if got := Usable(l, &d, noon.Add(after)); got != want {
			t.Errorf("%s, %v after: %v, want %v", cc, after, got, want)
		}
	}
	f(Validate, "no-cache", 0)
	f(Validate, "no-cache, max-stale", 20*time.Second)
	f(Expired, "no-cache", 2*time.Hour)
	f(StaleOnError, "max-age=0", 0)
	f(Validate, "max-age=5", 20*time.Second)
	f(Validate, "min-fresh=5", 20*time.Second)

	// What forbids stale use does so whatever a request asks for.
	f(Validate, "max-stale", 20*time.Second)
	f(Validate, "stale-if-error=100", 20*time.Second)
	l.AllowStale = true
	f(Revalidate, "max-stale", 20*time.Second)
	f(Revalidate, "max-stale=10", 20*time.Second)
	f(Validate, "max-stale=9", 20*time.Second)
	f(Expired, "max-stale", 2*time.Hour)
	f(StaleOnError, "stale-if-error=10", 20*time.Second)
	f(Validate, "stale-if-error=9", 20*time.Second)
	f(Fresh, "stale-if-error=0", 5*time.Second)
	f(Expired, "stale-if-error=9999", 2*time.Hour)
	l.StaleIfError = time.Minute
	f(StaleOnError, "", 20*time.Second)
	f(Validate, "stale-if-error=0", 20*time.Second)
	l.Keep = 0
	f(Expired, "stale-if-error=0", 20*time.Second)
	l.StaleWhileRevalidate = time.Minute
	f(Revalidate, "stale-if-error=0", 20*time.Second)
}

func TestRFC9111Section5_4PragmaCountsWithoutCacheControl(t *testing.T) {
	f := func(want bool, pairs ...string) {
		t.Helper()
		if got := RequestDirectives(header(pairs...)["Cache-Control"], header(pairs...)["Pragma"]); got.NoCache != want {
			t.Errorf("%q: %+v", pairs, got)
		}
	}
	f(false)
	f(true, "Pragma", "No-Cache")
	f(true, "Pragma", "x, no-cache")
	f(false, "Pragma", "x-no-cache")
	f(false, "Pragma", "no-cache", "Cache-Control", "max-age=5")
	f(true, "Cache-Control", "no-cache")
	if d := RequestDirectives(nil, []string{"no-store, max-age=0, only-if-cached"}); d != (Directives{}) {
		t.Errorf("%+v", d)
	}
}
