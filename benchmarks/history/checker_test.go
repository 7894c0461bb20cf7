package main

import (
	"testing"
	"time"
)

const ms = int64(time.Millisecond)

// judged has one ask in two scopes, and two nodes.
type judged struct {
	t *testing.T
	c *checker
	a *ask
}

func newJudged(t *testing.T, shared bool) *judged {
	return &judged{t, newChecker(3, 2, rules{shared: shared, grace: 50 * ms, disconnected: 2000 * ms, slack: 100 * ms, settled: 60_000 * ms}),
		&ask{scopes: []int{0, 1}, lifetime: 10 * time.Second}}
}

// f judges an answer of a version, made at that time, that a node gave to what
// was asked then.
func (j *judged) f(want verdict, node int, asked, made, version int64, o outcome) {
	j.t.Helper()
	got, purge := j.c.judge(&answered{ask: j.a, node: node, asked: asked, came: asked + 5*ms, outcome: o, version: version, made: made, newest: 100})
	if got != want || (got == prePurge) != (purge != nil) {
		j.t.Errorf("node %d, asked at %d ms, version %d: %v, want %v", node, asked/ms, version, got, want)
	}
}

func TestWhatIsOlderThanAPurgeIsFound(t *testing.T) {
	j := newJudged(t, true)
	j.c.purged(mark{scope: 0, node: 0, version: 5, acked: 1000 * ms})
	j.c.purged(mark{scope: 2, node: 0, version: 50, acked: 1000 * ms}) // not of the ask
	j.f(good, 0, 1000*ms-1, 0, 4, hit)
	j.f(prePurge, 0, 1000*ms, 0, 4, hit)
	j.f(prePurge, 0, 1000*ms, 0, 4, stale)
	j.f(prePurge, 0, 1000*ms, 0, 4, fetched)
	j.f(good, 0, 1000*ms, 0, 5, hit)
	j.f(good, 1, 1050*ms, 0, 4, hit)
	j.f(prePurge, 1, 1051*ms, 0, 4, hit)
	j.f(good, 1, 1051*ms, 0, 5, hit)
	if j.c.late != 1 || j.c.lateness != 50*ms {
		t.Errorf("%d late, %d ms", j.c.late, j.c.lateness/ms)
	}
}

func TestPurgesAreFoundInWhateverOrderTheyWereNoted(t *testing.T) {
	j := newJudged(t, true)
	j.c.purged(mark{scope: 1, node: 1, version: 9, acked: 1010 * ms})
	j.c.purged(mark{scope: 1, node: 0, version: 7, acked: 1020 * ms})
	j.c.purged(mark{scope: 1, node: 1, version: 8, acked: 1000 * ms})
	j.f(prePurge, 1, 1005*ms, 0, 7, hit)
	j.f(good, 1, 1005*ms, 0, 8, hit)
	j.f(prePurge, 0, 1020*ms, 0, 6, hit)
	j.f(good, 0, 1020*ms, 0, 7, hit)
	j.f(prePurge, 0, 1061*ms, 0, 8, hit)
	j.f(prePurge, 0, 9000*ms, 0, 8, hit)
	j.f(good, 0, 9000*ms, 0, 9, hit)
}

func TestPurgesThatAreLongPastStillCount(t *testing.T) {
	j := newJudged(t, true)
	for i := range int64(1000) {
		j.c.purged(mark{scope: 0, node: 0, version: 10 + i%50, acked: i * 1000 * ms})
	}
	if n := len(j.c.marks[0].hard); n > 70 {
		t.Errorf("%d marks are kept", n)
	}
	j.a.lifetime = time.Hour
	j.f(prePurge, 1, 1_000_000*ms, 0, 58, hit)
	j.f(good, 1, 1_000_000*ms, 0, 59, hit)
}

func TestASoftPurgeForbidsWhatClaimsToBeFresh(t *testing.T) {
	j := newJudged(t, true)
	j.c.purged(mark{scope: 0, node: 0, version: 5, acked: 1000 * ms, soft: true})
	j.f(prePurge, 0, 1000*ms, 0, 4, hit)
	j.f(good, 0, 1000*ms, 0, 4, stale)
	j.f(good, 0, 1000*ms, 0, 4, fetched)
	j.f(good, 0, 1000*ms, 0, 5, hit)
}

func TestADisturbedNodeHasLonger(t *testing.T) {
	j := newJudged(t, true)
	j.c.disturb(1, 500*ms)
	j.c.purged(mark{scope: 0, node: 0, version: 5, acked: 1000 * ms})
	j.f(good, 1, 3000*ms, 0, 4, hit)
	j.f(prePurge, 1, 3001*ms, 0, 4, hit)
	j.f(prePurge, 0, 1000*ms, 0, 4, hit)
	j.c.undisturb(1, 2000*ms)
	j.c.purged(mark{scope: 0, node: 0, version: 6, acked: 2500 * ms})
	j.f(prePurge, 1, 2551*ms, 0, 5, hit)
	j.f(good, 1, 2551*ms, 0, 6, hit)
}

func TestANodeStartedAnewIsAsAnyOther(t *testing.T) {
	j := newJudged(t, true)
	j.c.purged(mark{scope: 0, node: 0, incarnation: 7, version: 5, acked: 1000 * ms})
	j.f(good, 0, 1050*ms, 0, 4, hit)
	j.f(prePurge, 0, 1051*ms, 0, 4, hit)
}

func TestWithoutALedgerAPurgeIsOfOneNode(t *testing.T) {
	j := newJudged(t, false)
	j.c.purged(mark{scope: 0, node: 0, version: 5, acked: 1000 * ms})
	j.f(prePurge, 0, 1000*ms, 0, 4, hit)
	j.f(good, 1, 9000*ms, 0, 4, hit)
	j = newJudged(t, true)
	j.c.purged(mark{scope: 0, node: 0, version: 5, acked: 1000 * ms, local: true})
	j.f(prePurge, 0, 9000*ms, 0, 4, hit)
	j.f(good, 1, 9000*ms, 0, 4, hit)
	for i := range int64(10 * maxLocal) {
		j.c.purged(mark{scope: 0, node: 1, version: 5, acked: 2000*ms + i, local: true})
	}
	if n := len(j.c.marks[0].hard); n > maxLocal+1 {
		t.Errorf("%d marks are kept", n)
	}
}

func TestWhatCannotBeIsFound(t *testing.T) {
	j := newJudged(t, true)
	j.f(tooNew, 0, 1000*ms, 0, 101, hit)
	j.f(tooNew, 0, 1000*ms, 1006*ms, 1, fetchedAlone)
	j.f(implausible, 0, 1000*ms, 999*ms, 1, fetchedAlone)
	j.f(good, 0, 1000*ms, 1001*ms, 1, fetchedAlone)
	j.f(good, 0, 1000*ms, 999*ms, 1, fetched)
	j.f(good, 0, 10_100*ms, 0, 1, hit)
	j.f(expired, 0, 10_101*ms, 0, 1, hit)
}
