package redis_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"jaegis-proxy/store"
	"jaegis-proxy/store/redis"
	"jaegis-proxy/store/storetest"
)

const (
	renewMark   = "PEXPIRE', KEYS[2]" // what only the script that renews has in it
	releaseMark = landed + "1"        // what only a release of what has landed has
	landed      = "done:"
)

// holdUp starts a way to an address on which the first request with mark in it
// waits, once it is asked to. Such a way may lead to another.
func holdUp(t *testing.T, to, mark string) (addr string, h *heldUp) {
	t.Helper()
	h = &heldUp{held: make(chan struct{}), goOn: make(chan struct{})}
	proxy := startLateProxy(t, to, func(b []byte) {
		if bytes.Contains(b, []byte(mark)) {
			h.once.Do(func() {
				close(h.held)
				<-h.goOn
			})
		}
	})
	t.Cleanup(h.let)
	return proxy.addr, h
}

type heldUp struct {
	once, letOnce sync.Once
	held, goOn    chan struct{}
}

func (h *heldUp) let() { h.letOnce.Do(func() { close(h.goOn) }) }

// A heartbeat finds that the lease is not there, because it has just been given
// back: what is published goes on for those who have its beginning.
func TestAHeartbeatThatCrossesAReleaseEndsNothing(t *testing.T) {
	t.Parallel()
	server := storetest.StartRedis(t)
	addr, renewal := holdUp(t, server.Addr, renewMark)
	holder := openNode(t, redis.Options{URL: "redis://" + addr}, redis.FillOptions{})
	reader := openNode(t, redis.Options{URL: server.URL}, redis.FillOptions{})
	a := newAnswer()
	lease := holder.leads(t, storetest.Key("k"), a)
	p := reader.follows(t, storetest.Key("k"))
	a.give(head("h"))
	wantPiece(t, p, head("h"))
	<-renewal.held
	lease.Release(true)
	renewal.let()
	time.Sleep(600 * time.Millisecond) // two heartbeats
	a.give(body("b"), end("e"))
	wantPiece(t, p, body("b"))
	wantPiece(t, p, end("e"))
	if st := holder.Stats(); st.Lost != 0 || st.Held != 0 {
		t.Errorf("%+v", st)
	}
	a.wantReadOnce(t)
}

// A heartbeat that comes to Redis behind the release has taken the lease again: it
// is given back once more.
func TestAHeartbeatBehindAReleaseLeavesNoLease(t *testing.T) {
	t.Parallel()
	server := storetest.StartRedis(t)
	raw := rawClient(t, server)
	addr, renewal := holdUp(t, server.Addr, renewMark)
	n := openNode(t, redis.Options{URL: "redis://" + addr}, redis.FillOptions{})
	lease := n.leads(t, storetest.Key("k"), newAnswer())
	<-renewal.held
	lease.Release(false)
	renewal.let()
	storetest.Eventually(t, passesOnWithin, "the second release", func() bool {
		return callsOf(t, raw, "del") == 2
	})
	if left := leftOf(t, raw); len(left) != 0 {
		t.Errorf("%q are left", left)
	}
}

// One who knocks while the lease is being given back is told once Redis knows, so
// that it finds what has landed.
func TestWhoKnocksDuringAReleaseFindsWhatHasLanded(t *testing.T) {
	t.Parallel()
	server := storetest.StartRedis(t)
	addr, release := holdUp(t, server.Addr, releaseMark)
	holder := openNode(t, redis.Options{URL: "redis://" + addr}, redis.FillOptions{})
	other := openNode(t, redis.Options{URL: server.URL}, redis.FillOptions{})
	lease := holder.leads(t, storetest.Key("k"), newAnswer())
	var wg sync.WaitGroup
	wg.Go(func() { lease.Release(true) })
	<-release.held
	wg.Go(func() {
		time.Sleep(150 * time.Millisecond) // the other has knocked
		release.let()
	})
	c, err := other.Claim(t.Context(), storetest.Key("k"), store.Want{Answer: newAnswer()})
	if err != nil || c.Landed == "" {
		t.Errorf("%+v, %v; want what has landed", c, err)
	}
	wg.Wait()
}

// The end of an answer is in Redis, and its lease given back, when Redis loses all
// of it; or it has all gone because the one who follows came too late.
func TestTheEndIsBroughtOnceMore(t *testing.T) {
	ways := map[string]func(*begun){
		"Redis is emptied":  func(b *begun) { b.raw.FlushAll(t.Context()) },
		"Redis begins anew": func(b *begun) { b.server.Kill(); time.Sleep(time.Second); b.server.Restart() },
		"nobody reads":      func(b *begun) { time.Sleep(6 * time.Second) },
		"another fetches": func(b *begun) {
			b.raw.FlushAll(t.Context())
			b.raw.Set(t.Context(), "jaegis:fill:{"+storetest.Key("k").String()+"}", "1another-node-16-hex", time.Minute)
		},
	}
	for what, lose := range ways {
		for _, kept := range []bool{true, false} {
			t.Run(fmt.Sprint(what, ", landed ", kept), func(t *testing.T) {
				t.Parallel()
				b := begin(t, redis.Options{})
				stream := b.stream(t)
				b.give(body("the last; "), end("e"))
				storetest.Eventually(t, passesOnWithin, "the end is in Redis", func() bool {
					return b.raw.XLen(t.Context(), stream).Val() == 6
				})
				b.lease.Release(kept)
				lose(b)
				wantPiece(t, b.pieces, body("the last; "))
				wantPiece(t, b.pieces, end("e"))
			})
		}
	}
}

// The holder is alive and has nothing of the answer any more: it is not the node
// that has failed.
func TestAnAnswerThatIsNotAtHandAnyMoreIsNotBrought(t *testing.T) {
	t.Parallel()
	b := begin(t, redis.Options{})
	b.lease.Release(false)
	b.give(store.Piece{Kind: store.PieceEnd})
	b.wantReadOnce(t)
	if got, _, err := rest(b.pieces); err == nil || isGone(err) {
		t.Errorf("%q, %v", got, err)
	}
}

// A node that keeps its leases up and does not answer is not asked each time.
func TestADeafNodeIsNotAskedForAWhile(t *testing.T) {
	t.Parallel()
	server := storetest.StartRedis(t)
	raw := rawClient(t, server)
	n := openNode(t, redis.Options{URL: server.URL}, redis.FillOptions{})
	for _, key := range []string{"a", "b"} {
		name := "jaegis:fill:{" + storetest.Key(key).String() + "}"
		if err := raw.Set(t.Context(), name, "1"+strings.Repeat("a", 16)+"-1", time.Hour).Err(); err != nil {
			t.Fatal(err)
		}
	}
	knocks := func() int64 { return raw.LLen(t.Context(), "jaegis:fill:@"+strings.Repeat("a", 16)).Val() }
	for _, key := range []string{"a", "b", "b"} {
		before := knocks()
		if c, err := n.Claim(t.Context(), storetest.Key(key), store.Want{Answer: newAnswer()}); err != nil || c.Lease != nil || c.Follow != nil || c.Landed != "" {
			t.Errorf("%+v, %v; want to go alone", c, err)
		}
		if asked := knocks() > before; asked != (key == "a") {
			t.Errorf("%s: asked: %v", key, asked)
		}
	}
}

// More leases than are renewed in one round trip are kept up all the same.
func TestManyLeasesAreKeptUp(t *testing.T) {
	t.Parallel()
	server := storetest.StartRedis(t)
	raw := rawClient(t, server)
	n := openNode(t, redis.Options{URL: server.URL}, redis.FillOptions{})
	const many = 600
	for i := range many {
		n.leads(t, storetest.Key(fmt.Sprint(i)), newAnswer())
	}
	time.Sleep(3 * time.Second)
	if got := len(keysOf(t, raw, "jaegis:fill:*")); got != many || n.Stats().Lost != 0 {
		t.Errorf("%d of %d leases are there, %+v", got, many, n.Stats())
	}
}

// Over a line on which all that is published takes longer than Redis may be
// silent, it comes all the same, and Redis is not taken for broken.
func TestAnAnswerComesOverAThinLine(t *testing.T) {
	t.Parallel()
	server := storetest.StartRedis(t)
	line := startNetwork(t, server.Addr)
	line.worsen("bandwidth", map[string]any{"rate": 1000}) // KB/s
	holder := openNode(t, redis.Options{URL: server.URL}, redis.FillOptions{})
	reader := openNode(t, redis.Options{URL: "redis://" + line.addr, Budget: 100 * time.Millisecond}, redis.FillOptions{})
	a, want := newAnswer(), strings.Repeat("0123456789abcdef", 256<<10)
	holder.leads(t, storetest.Key("k"), a)
	var p store.Pieces
	storetest.Eventually(t, passesOnWithin, "it follows", func() bool { // a busy machine is late, too
		c, _ := reader.Claim(t.Context(), storetest.Key("k"), store.Want{Answer: newAnswer()})
		p = c.Follow
		return p != nil
	})
	defer p.Close()
	a.give(head("h"), body(want), end("e"))
	if got, last, err := rest(p); err != nil || got != want || last.Kind != store.PieceEnd {
		t.Errorf("%d of %d bytes, %c, %v", len(got), len(want), last.Kind, err)
	}
	if reader.store.State().Open {
		t.Error("Redis is left alone")
	}
}

// The answer hears when nobody follows any more, and when somebody does again.
func TestAnAnswerRestsWhileNobodyFollows(t *testing.T) {
	t.Parallel()
	server := storetest.StartRedis(t)
	n, key, a := nodesOf(t, server, 3), storetest.Key("k"), newAnswer()
	n[0].leads(t, key, a)
	p := n[1].follows(t, key)
	a.give(head("h"))
	wantPiece(t, p, head("h"))
	quiet := make(chan error, 1)
	go func() { // waits for more, for longer than a sign lasts
		_, err := p.Next()
		quiet <- err
	}()
	for begin := time.Now(); time.Since(begin) < 11*time.Second; time.Sleep(50 * time.Millisecond) {
		if a.isResting() {
			t.Fatal("it rests while somebody follows")
		}
	}
	a.give(body("b"))
	if err := <-quiet; err != nil {
		t.Fatal(err)
	}
	p.Close()
	storetest.Eventually(t, 9*time.Second+passesOnWithin, "it rests", a.isResting)
	again := n[2].follows(t, key)
	storetest.Eventually(t, passesOnWithin, "it goes on for somebody", func() bool { return !a.isResting() })
	wantPiece(t, again, head("h"))
	wantPiece(t, again, body("b"))
}

// Who wants no more than to be the one that fetches is told that another is.
func TestWhoOnlyWantsToLeadKnocksAtNoDoor(t *testing.T) {
	t.Parallel()
	server := storetest.StartRedis(t)
	n, key, a := nodesOf(t, server, 2), storetest.Key("k"), newAnswer()
	lease := n[0].leads(t, key, a)
	c, err := n[1].Claim(t.Context(), key, store.Want{Answer: newAnswer(), OnlyLead: true})
	if err != nil || !c.Held || c.Lease != nil || c.Follow != nil {
		t.Errorf("%+v, %v", c, err)
	}
	lease.Release(false)
	if opened, _ := a.counts(); opened != 0 {
		t.Error("the answer was read")
	}
	if c, err = n[1].Claim(t.Context(), key, store.Want{Answer: newAnswer(), OnlyLead: true}); err != nil || c.Lease == nil {
		t.Errorf("%+v, %v", c, err)
	}
}
