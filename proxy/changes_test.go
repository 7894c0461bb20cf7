package proxy

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"jaegis-proxy/cachekey"
)

func TestChangesAreRememberedForAsLongAsAFetchTakes(t *testing.T) {
	c, key := newChanges(), func(n byte) cachekey.Key { return cachekey.Key{Digest: [32]byte{n}} }
	start := time.Unix(1_000_000, 0)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	f := func(want bool, k byte, since time.Duration) {
		t.Helper()
		if got := c.since(key(k), at(since)); got != want {
			t.Errorf("key %d since %v: %v, want %v", k, since, got, want)
		}
	}
	c.note(key(1), at(0))
	f(true, 1, 0)
	f(true, 1, -time.Hour)
	f(false, 1, 1)
	f(false, 2, -time.Hour)
	c.note(key(2), at(longestFetch+1))
	f(true, 1, 0) // in the old generation
	f(true, 2, longestFetch)
	c.note(key(3), at(2*longestFetch+2))
	f(false, 1, 0) // longer ago than any fetch
	f(true, 2, longestFetch)
}

func TestChangesThatFindNoRoomMakeAllThatOldUntrue(t *testing.T) {
	c := newChanges()
	at := time.Unix(1_000_000, 0)
	for i := range 2*maxChanges + 10 {
		at = at.Add(time.Microsecond)
		c.note(cachekey.Key{Digest: [32]byte{byte(i), byte(i >> 8), byte(i >> 16)}}, at)
	}
	if first := time.Unix(1_000_000, 1000); !c.since(cachekey.Key{}, first) {
		t.Error("the first change was forgotten, and what is older is trusted")
	}
	if c.since(cachekey.Key{Namespace: "other"}, at) {
		t.Error("what is younger than all changes is not trusted")
	}
	if n := len(c.now) + len(c.old); n > 2*maxChanges {
		t.Errorf("%d changes are kept", n)
	}
}

func TestWhatIsOwedIsTriedUntilItIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var there atomic.Bool
		var tries atomic.Int32
		ctx, cancel := context.WithCancel(t.Context())
		o := newOwed(ctx, func(cachekey.Key) error {
			if tries.Add(1); !there.Load() {
				return errBroken
			}
			return nil
		})
		o.add(cachekey.Key{})
		time.Sleep(3*retry + retry/2)
		synctest.Wait()
		if !o.has(cachekey.Key{}) || tries.Load() != 3 {
			t.Errorf("after %d tries: owed %v", tries.Load(), o.has(cachekey.Key{}))
		}
		there.Store(true)
		time.Sleep(retry)
		synctest.Wait()
		if o.has(cachekey.Key{}) {
			t.Error("it is done and still owed")
		}
		cancel()
		<-o.done
	})
}
