package redis_test

import (
	"strings"
	"testing"
	"time"

	"jaegis-proxy/store"
	"jaegis-proxy/store/redis"
	"jaegis-proxy/store/storetest"
)

// Nobody follows any more of an answer of which nothing has come yet: it is told.
func TestAnAnswerRestsBeforeItHasBegun(t *testing.T) {
	t.Parallel()
	server := storetest.StartRedis(t)
	n, key, a := nodesOf(t, server, 2), storetest.Key("k"), newAnswer()
	n[0].leads(t, key, a)
	p := n[1].follows(t, key)
	got := make(chan error, 1)
	go func() { _, err := p.Next(); got <- err }() // gives its signs, and ends with its node
	storetest.Eventually(t, patient, "a sign", func() bool { return len(keysOf(t, rawClient(t, server), "*:read")) == 1 })
	if err := n[1].Close(); err != nil {
		t.Fatal(err)
	}
	<-got
	p.Close()
	storetest.Eventually(t, 3*goesWithin, "it rests", a.isResting)
}

// followedLong is followed for so long that the knock is no sign any more.
func followedLong(t *testing.T) *begun {
	t.Helper()
	b := begin(t, redis.Options{})
	for began := time.Now(); time.Since(began) < 10*time.Second; time.Sleep(500 * time.Millisecond) {
		b.more(t, 1)
	}
	ended := make(chan struct{})
	go func() { // ends with the test, before it is closed
		defer close(ended)
		for {
			if _, err := b.pieces.Next(); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { <-ended })
	return b
}

func (b *begun) wantNoRest(t *testing.T, within time.Duration) {
	t.Helper()
	for began := time.Now(); time.Since(began) < within; time.Sleep(2 * time.Millisecond) {
		if b.answer.isResting() {
			t.Fatalf("after %v it was told that nobody follows, while somebody does", time.Since(began))
		}
	}
}

// A lease that is lost says nothing of who follows.
func TestAnAnswerGoesOnForThoseWhoFollowItsLostLease(t *testing.T) {
	t.Parallel()
	b := followedLong(t)
	b.raw.FlushAll(t.Context())
	b.raw.Set(t.Context(), "jaegis:fill:{"+storetest.Key("k").String()+"}", "1"+strings.Repeat("a", 16)+"-another", time.Minute)
	b.wantNoRest(t, 3*time.Second)
}

// Nor does a sign that Redis has let go of: it is given again.
func TestAnAnswerGoesOnForThoseWhoseSignIsGone(t *testing.T) {
	t.Parallel()
	b := followedLong(t)
	b.raw.Unlink(t.Context(), b.stream(t)+":read")
	for range 10 {
		b.give(body("x"))
		b.wantNoRest(t, 200*time.Millisecond)
	}
}

// What Redis has lost of many small pieces is added again many at a time.
func TestManySmallPiecesAreAddedAgainTogether(t *testing.T) {
	t.Parallel()
	const many = 2000
	b := begin(t, redis.Options{})
	b.more(t, many)
	b.raw.FlushAll(t.Context())
	before := callsOf(t, b.raw, "evalsha")
	b.more(t, 1)
	if n := callsOf(t, b.raw, "evalsha") - before; n > many/10 {
		t.Errorf("%d calls for %d pieces", n, many)
	}
}

// What an answer is to was made untrue: one node fetches anew, for all, the one
// that has fetched before among them.
func TestAnOutdatedAnswerIsFetchedAnewByOneNodeForAll(t *testing.T) {
	t.Parallel()
	for first := range 3 {
		n, key, a := nodesOf(t, storetest.StartRedis(t), 3), storetest.Key("k"), newAnswer()
		n[0].leads(t, key, a)
		a.mu.Lock()
		a.no = true
		a.mu.Unlock()
		if c, err := n[1].Claim(t.Context(), key, store.Want{Answer: newAnswer()}); err != nil || c.Lease != nil || c.Follow != nil {
			t.Fatalf("of one that is for nobody else: %+v, %v", c, err)
		}
		a.outdated.Store(true)
		another := newAnswer()
		n[first].leads(t, key, another)
		for i := range 3 {
			if i != first {
				n[i].follows(t, key).Close()
			}
		}
	}
}

// A heartbeat that is on its way while the lease is given back leaves the mark of what
// has landed there.
func TestAHeartbeatLeavesTheMarkOfWhatHasLanded(t *testing.T) {
	t.Parallel()
	server := storetest.StartRedis(t)
	raw := rawClient(t, server)
	addr, renewal := holdUp(t, server.Addr, renewMark)
	addr, release := holdUp(t, addr, releaseMark)
	holder := openNode(t, redis.Options{URL: "redis://" + addr}, redis.FillOptions{})
	lease := holder.leads(t, storetest.Key("k"), newAnswer())
	<-renewal.held
	done := make(chan struct{})
	go func() { lease.Release(true); close(done) }()
	<-release.held
	renewal.let()
	time.Sleep(50 * time.Millisecond)
	release.let()
	<-done
	name := "jaegis:fill:{" + storetest.Key("k").String() + "}"
	if got := raw.Get(t.Context(), name).Val(); !strings.HasPrefix(got, landed) {
		t.Errorf("%q is left in the place of the lease; want the mark of what has landed", got)
	}
}
