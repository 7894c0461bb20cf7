package redis

import (
	"fmt"
	"testing"
	"time"
)

func TestRecentKnowsWhatWasDeletedWithinTheLag(t *testing.T) {
	const lag = time.Minute
	begin := time.Now()
	at := func(after time.Duration) time.Time { return begin.Add(after) }
	r := newRecent(lag, begin)
	f := func(name string, after time.Duration, want bool) {
		t.Helper()
		if got := r.has(name, at(after)); got != want {
			t.Errorf("%s after %v: %v", name, after, got)
		}
	}
	f("a", 0, true) // nothing is known yet
	r.begun.Store(true)
	f("a", 0, false)
	r.note("a", at(50*time.Second))
	f("a", 51*time.Second, true)
	f("a", 109*time.Second, true)
	f("b", 109*time.Second, false)
	f("a", 240*time.Second, false)

	r.noteAll(at(300 * time.Second))
	f("b", 359*time.Second, true)
	f("b", 361*time.Second, false)

	// More than there is room for counts as all.
	r.capacity = 3
	for i := range 4 {
		r.note(fmt.Sprint(i), at(400*time.Second))
	}
	f("b", 459*time.Second, true)
	f("b", 461*time.Second, false)
	if len(r.newer)+len(r.older) > 2*r.capacity {
		t.Errorf("%d names are kept", len(r.newer)+len(r.older))
	}
}
