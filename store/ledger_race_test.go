package store

import (
	"testing"
	"time"

	"jaegis-proxy/cachekey"
)

// An epoch may end while a judgement waits for the marks: then they are those of
// the next one, which say nothing of what was purged before.
func TestAJudgementThatWaitsForTheNextEpochIsNotOfTheOneBefore(t *testing.T) {
	l := NewLedger(LedgerOptions{})
	defer l.Close()
	e := &Entry{Stamp: l.Stamp(), Asked: time.Now()}
	if err := l.Purge(t.Context(), LabelAll, false); err != nil {
		t.Fatal(err)
	}
	if got := l.Judge(cachekey.Key{}, e); got != Purged {
		t.Fatalf("purged: %v", got)
	}
	old := l.known.Load()
	l.mu.Lock()
	k := *old
	l.begin(&k, newEpoch())
	l.known.Store(&k)
	l.mu.Unlock()
	// This is where a judgement goes on that has seen the epoch before.
	if verdict, _ := l.search(cachekey.Key{}, e); verdict != Purged {
		t.Errorf("after the epoch has ended: %v", verdict)
	}
}
