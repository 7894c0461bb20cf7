package store_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"jaegis-proxy/store"
	"jaegis-proxy/store/storetest"
)

// tape is a journal whose records a test can take away, and whose replies it
// can hold back: what happens in Redis between two moments that cannot be told
// apart from outside.
type tape struct {
	mu      sync.Mutex
	records []store.Record
	changed chan struct{}
	hold    chan struct{} // Append replies after a receive from it; nil: at once
	blind   bool          // Read fails
	asOf    time.Time     // what Read says
	seq     uint64
}

func (j *tape) Append(ctx context.Context, r store.Record) (store.Record, error) {
	r = j.add(r)
	j.mu.Lock()
	hold := j.hold
	j.mu.Unlock()
	if hold != nil && r.Label != "" {
		select {
		case <-hold:
		case <-ctx.Done():
		}
	}
	return r, nil
}

func (j *tape) add(r store.Record) store.Record {
	j.mu.Lock()
	defer j.mu.Unlock()
	if n := len(j.records); n > 0 {
		switch last := j.records[n-1]; {
		case r.Label != "":
			r.Epoch = last.Epoch
		case last.Epoch != r.After:
			return last
		}
	}
	j.seq++
	r.Seq.Time = j.seq
	j.change(append(j.records, r))
	return r
}

// change replaces what there is; with the tape locked.
func (j *tape) change(records []store.Record) {
	j.records = records
	if j.changed != nil {
		close(j.changed)
	}
	j.changed = make(chan struct{})
}

func (j *tape) Read(ctx context.Context, after store.Position) (b store.Batch, err error) {
	for range 2 {
		j.mu.Lock()
		if j.blind {
			j.mu.Unlock()
			return b, errors.New("blind")
		}
		b = store.Batch{To: after, AsOf: j.asOf}
		isAt := func(r store.Record) bool { return r.Seq == after.Records }
		b.Lost = after.Records != (store.Seq{}) && !slices.ContainsFunc(j.records, isAt)
		for _, r := range j.records {
			if after.Records.Before(r.Seq) {
				b.Records, b.To.Records = append(b.Records, r), r.Seq
			}
		}
		if j.changed == nil {
			j.changed = make(chan struct{})
		}
		changed := j.changed
		j.mu.Unlock()
		if b.Lost || len(b.Records) > 0 {
			return b, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return b, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return b, nil
}

func followTape(t *testing.T, j *tape) *store.Ledger {
	t.Helper()
	l := store.NewLedger(store.LedgerOptions{Journal: j, MaxDisconnected: time.Hour})
	t.Cleanup(func() { _ = l.Close() })
	if err := l.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	return l
}

func stamped(l *store.Ledger) *store.Entry {
	e := storetest.Entry(time.Now(), []byte("body"))
	e.Asked, e.Stamp = time.Now(), l.Stamp()
	return e
}

// The reply to a purge comes when the epoch that it was written in is over. It
// must not lead back there, where nothing of what was purged before is known.
func TestAPurgeThatComesBackLateDoesNotLeadBack(t *testing.T) {
	j := &tape{}
	l := followTape(t, j)
	key := storetest.Key("k")
	old := stamped(l)
	if l.Judge(key, old) != store.Good {
		t.Fatal("does not count")
	}
	if err := l.Purge(t.Context(), store.LabelAll, false); err != nil {
		t.Fatal(err)
	}
	hold := make(chan struct{})
	j.mu.Lock()
	j.hold = hold
	j.mu.Unlock()
	done := make(chan error)
	go func() { done <- l.Purge(t.Context(), store.LabelTag+"x", false) }()
	storetest.Eventually(t, 10*time.Second, "the purge is in the journal", func() bool {
		j.mu.Lock()
		defer j.mu.Unlock()
		return len(j.records) == 3
	})
	began := j.add(store.Record{Epoch: 77, After: old.Stamp.Epoch})
	storetest.Eventually(t, 10*time.Second, "the new epoch", func() bool { return l.Stamp().Epoch == began.Epoch })
	new := stamped(l)
	hold <- struct{}{}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if v := l.Judge(key, old); v != store.Purged {
			t.Fatalf("what was purged in the last epoch: %v", v)
		}
		if l.Judge(key, new) == store.Good && l.Stamp().Epoch == began.Epoch {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it is never in the new epoch again")
		}
	}
}

// A journal is set back to before a purge that was acknowledged here, and that
// nobody has read: neither those who have read up to what is still there, nor
// this process, which has it from the reply alone.
func TestAPurgeThatNobodyHasReadIsMissed(t *testing.T) {
	for _, goesOn := range []bool{false, true} {
		j := &tape{}
		a, b := followTape(t, j), followTape(t, j)
		key := storetest.Key("k")
		old := stamped(b)
		storetest.Eventually(t, 10*time.Second, "one epoch", func() bool { return a.Judge(key, old) == store.Good })
		j.mu.Lock()
		j.blind = true
		was := slices.Clone(j.records)
		j.mu.Unlock()
		if err := a.Purge(t.Context(), store.LabelAll, false); err != nil {
			t.Fatal(err)
		}
		j.mu.Lock()
		j.change(was)
		j.blind = false
		j.mu.Unlock()
		if goesOn { // somebody purges something else after that
			j.add(store.Record{Label: store.LabelTag + "else"})
		}
		storetest.Eventually(t, 10*time.Second, "purged everywhere", func() bool {
			if a.Judge(key, old) != store.Purged {
				t.Fatal("it came back where it was acknowledged")
			}
			return b.Judge(key, old) == store.Purged
		})
	}
}

// Another journal may have taken the place of one that answers as ever.
func TestWhatIsReadCountsAsOfWhenItIsKnownToBeTheOne(t *testing.T) {
	j := &tape{}
	l := followTape(t, j)
	key := storetest.Key("k")
	old := stamped(l)
	if l.Judge(key, old) != store.Good {
		t.Fatal("does not count")
	}
	replaced := time.Now()
	j.mu.Lock()
	j.asOf = replaced
	j.mu.Unlock()
	time.Sleep(100 * time.Millisecond) // readings that tell nothing
	asOf, ok := l.Following()
	if !ok || asOf.After(replaced) {
		t.Errorf("as of %v after it was replaced, %v", asOf.Sub(replaced), ok)
	}
	j.mu.Lock()
	j.asOf = replaced.Add(-2 * time.Hour)
	j.mu.Unlock()
	time.Sleep(100 * time.Millisecond)
	if back, _ := l.Following(); back.Before(asOf) {
		t.Errorf("what was known as of %v is now known as of %v", asOf, back)
	}
	l2 := followTape(t, j)
	if _, ok := l2.Following(); ok {
		t.Error("it follows a journal that was replaced two hours ago")
	}
}
