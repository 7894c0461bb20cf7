package redis_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jaegis-proxy/store"
	"jaegis-proxy/store/redis"
	"jaegis-proxy/store/storetest"
)

func TestOneNodeLeadsAndAllOthersReadWhatItBringsAsItComes(t *testing.T) {
	server := storetest.StartRedis(t)
	n, key, a := nodesOf(t, server, 3), storetest.Key("k"), newAnswer()
	lease := n[0].leads(t, key, a)
	early := n[1].follows(t, key)
	a.give(head("the head"))
	wantPiece(t, early, head("the head"))
	a.give(body("one"), body(""), body("two"))
	wantPiece(t, early, body("one"))
	wantPiece(t, early, body(""))
	wantPiece(t, early, body("two"))
	late := n[2].follows(t, key) // reads from the first byte
	wantPiece(t, late, head("the head"))
	long := strings.Repeat("long ", 100_000)
	a.give(body(long), end("that's all"))
	for i, p := range []store.Pieces{early, late} {
		want := []string{"", "onetwo"}[i] + long
		if got, last, err := rest(p); got != want || string(last.Data) != "that's all" || err != nil {
			t.Errorf("follower %d: %d bytes, %q, %v", i, len(got), last.Data, err)
		}
		if _, err := p.Next(); !isGone(err) {
			t.Errorf("after the end: %v", err)
		}
	}
	afterEnd := n[1].follows(t, key) // the answer is not in the store yet
	if got, last, err := rest(afterEnd); got != "onetwo"+long || string(last.Data) != "that's all" || err != nil {
		t.Errorf("behind the end: %d bytes, %q, %v", len(got), last.Data, err)
	}
	lease.Release(true)
	a.wantReadOnce(t)
	wantNothingLeft(t, rawClient(t, server))
}

func TestWhatNobodyFollowsIsInNoStream(t *testing.T) {
	server := storetest.StartRedis(t)
	raw := rawClient(t, server)
	n, key, a := nodesOf(t, server, 1)[0], storetest.Key("k"), newAnswer()
	lease := n.leads(t, key, a)
	a.give(head("h"), body("b"), end(""))
	if got := leftOf(t, raw); len(got) != 1 || got[0] != "jaegis:fill:{"+key.String()+"}" {
		t.Errorf("%q are in Redis; want the lease", got)
	}
	lease.Release(false)
	if got := leftOf(t, raw); len(got) != 0 {
		t.Errorf("%q are in Redis after the release", got)
	}
	if opened, _ := a.counts(); opened != 0 {
		t.Error("the answer was read")
	}
}

// A node that looked into the store just before the answer came there is told
// to look again, once.
func TestAClaimBehindAnAnswerThatHasLandedIsToLookAgain(t *testing.T) {
	server := storetest.StartRedis(t)
	n, key := nodesOf(t, server, 2), storetest.Key("k")
	n[0].leads(t, key, newAnswer()).Release(true)
	c, err := n[1].Claim(t.Context(), key, store.Want{Answer: newAnswer()})
	if err != nil || c.Landed == "" || c.Lease != nil || c.Follow != nil {
		t.Fatalf("%+v, %v; want to look again", c, err)
	}
	again, err := n[1].Claim(t.Context(), key, store.Want{Seen: c.Landed, Answer: newAnswer()})
	if err != nil || again.Lease == nil {
		t.Fatalf("%+v, %v; want the lease", again, err)
	}
	again.Lease.Release(false)
	n[0].leads(t, key, newAnswer()).Release(false) // it was not stored: whoever comes next fetches
	n[1].leads(t, key, newAnswer()).Release(false)
}

func TestTheLeaseOfADeadNodePassesOn(t *testing.T) {
	server := storetest.StartRedis(t)
	n, key, a := nodesOf(t, server, 3), storetest.Key("k"), newAnswer()
	_ = n[0].leads(t, key, a)
	before := n[1].follows(t, key) // has had nothing
	a.give(head("h"))
	amid := n[2].follows(t, key)
	wantPiece(t, amid, head("h"))
	wantPiece(t, before, head("h"))
	time.Sleep(2 * time.Second) // far longer than a lease lasts by itself
	a.give(body("b"))
	wantPiece(t, amid, body("b"))
	wantPiece(t, before, body("b"))
	_ = n[0].Close() // lets what is published come to its end for a while
	died := time.Now()
	for i, p := range []store.Pieces{before, amid} {
		if _, err := p.Next(); !isGone(err) {
			t.Errorf("follower %d: %v; want that the holder is gone", i, err)
		}
	}
	n[1].leads(t, key, newAnswer())
	if took := time.Since(died); took > passesOnWithin {
		t.Errorf("the lease passed on after %v", took)
	} else {
		t.Logf("the lease passed on after %v", took)
	}
	if st := n[1].Stats(); st.Passed != 1 || st.Led != 1 || st.Followed != 1 {
		t.Errorf("%+v", st)
	}
}

// One claims at the very moment at which the holder is dead and its lease not
// yet over: nobody answers at its door.
func TestAClaimWaitsForTheLeaseOfADeadNodeToEnd(t *testing.T) {
	server := storetest.StartRedis(t)
	n, key := nodesOf(t, server, 2), storetest.Key("k")
	_ = n[0].leads(t, key, newAnswer())
	died := time.Now()
	_ = n[0].Close()
	n[1].leads(t, key, newAnswer()).Release(false)
	if took := time.Since(died); took > passesOnWithin || took < 500*time.Millisecond {
		t.Errorf("it got the lease after %v", took)
	} else {
		t.Logf("it got the lease after %v", took)
	}
	wantNothingLeft(t, rawClient(t, server))
}

// The reply to a claim may be lost: then a token lies there that its own node
// does not know.
func TestALeaseOfWhichItsOwnNodeKnowsNothingIsTakenAtOnce(t *testing.T) {
	server := storetest.StartRedis(t)
	raw := rawClient(t, server)
	n, key := nodesOf(t, server, 2), storetest.Key("k")
	lease := n[0].leads(t, key, newAnswer())
	name := "jaegis:fill:{" + key.String() + "}"
	token := raw.Get(t.Context(), name).Val()
	lease.Release(false)
	if err := raw.Set(t.Context(), name, token, time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	n[1].leads(t, key, newAnswer()).Release(false)

	// What a later version publishes is not for this one.
	if err := raw.Set(t.Context(), name, "2"+token[1:], time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	if c, err := n[1].Claim(t.Context(), key, store.Want{Answer: newAnswer()}); err != nil || c.Lease != nil || c.Follow != nil || c.Landed != "" {
		t.Errorf("%+v, %v; want to go alone", c, err)
	}
}

func TestTheHolderMaySayNo(t *testing.T) {
	server := storetest.StartRedis(t)
	n, key, a := nodesOf(t, server, 2), storetest.Key("k"), newAnswer()
	a.no = true
	lease := n[0].leads(t, key, a)
	for _, from := range n { // a node does not follow itself either
		if c, err := from.Claim(t.Context(), key, store.Want{Answer: newAnswer()}); err != nil || c.Lease != nil || c.Follow != nil || c.Landed != "" {
			t.Errorf("%+v, %v; want to go alone", c, err)
		}
	}
	if opened, _ := a.counts(); opened != 0 {
		t.Error("it was read all the same")
	}
	lease.Release(false)
}

func TestAFollowerLearnsWhenTheAnswerWasAskedForAndWhatWasKnownThen(t *testing.T) {
	server := storetest.StartRedis(t)
	n, key, a := nodesOf(t, server, 2), storetest.Key("k"), newAnswer()
	a.age, a.stamp = 90*time.Second, store.Stamp{Epoch: 1 << 63, Seq: store.Seq{Time: 5, N: 7}}
	n[0].leads(t, key, a)
	c, err := n[1].Claim(t.Context(), key, store.Want{Answer: newAnswer()})
	if err != nil || c.Follow == nil || c.Age < a.age || c.Age > a.age+time.Second || c.Stamp != a.stamp {
		t.Fatalf("%+v, %v", c, err)
	}
	c.Follow.Close()
}

func TestNoMoreAreFollowedThanThereAreConnections(t *testing.T) {
	server := storetest.StartRedis(t)
	a := newAnswer()
	lead := nodesOf(t, server, 1)[0]
	follow := openNode(t, redis.Options{URL: server.URL}, redis.FillOptions{MaxConnections: 13})
	for _, name := range []string{"1", "2", "3"} {
		lead.leads(t, storetest.Key(name), a)
	}
	one := follow.follows(t, storetest.Key("1"))
	_ = follow.follows(t, storetest.Key("2"))
	if c, err := follow.Claim(t.Context(), storetest.Key("3"), store.Want{Answer: newAnswer()}); err != nil || c.Follow != nil || c.Lease != nil {
		t.Errorf("%+v, %v; want to go alone", c, err)
	}
	one.Close()
	one.Close()
	_ = follow.follows(t, storetest.Key("3"))
	if st := follow.Stats(); st.Busy != 1 || st.Followed != 3 {
		t.Errorf("%+v", st)
	}
}

// What is kept of an answer is bounded. Who reads along gets all of it, who
// stays behind gets an error, and who comes later is turned away.
func TestAStreamIsBounded(t *testing.T) {
	const bound, size = 1 << 20, 300_000
	server := storetest.StartRedis(t)
	raw := rawClient(t, server)
	o := redis.FillOptions{MaxBytes: bound}
	lead, along := openNode(t, redis.Options{URL: server.URL}, o), openNode(t, redis.Options{URL: server.URL}, o)
	behind, later := openNode(t, redis.Options{URL: server.URL}, o), openNode(t, redis.Options{URL: server.URL}, o)
	key, a := storetest.Key("k"), newAnswer()
	lease := lead.leads(t, key, a)
	f, slow := along.follows(t, key), behind.follows(t, key)
	a.give(head("h"))
	wantPiece(t, f, head("h"))
	wantPiece(t, slow, head("h"))
	for i := range 10 {
		piece := strings.Repeat(fmt.Sprint(i), size)
		a.give(body(piece))
		for got := 0; got < size; {
			p, err := f.Next()
			if err != nil || p.Kind != store.PieceBody || strings.Trim(string(p.Data), fmt.Sprint(i)) != "" {
				t.Fatalf("piece %d: %v", i, err)
			}
			got += len(p.Data)
		}
		for _, name := range streamsOf(t, raw, "jaegis:fill:{*}") {
			if n := raw.MemoryUsage(t.Context(), name, 0).Val(); n > bound+bound/4 {
				t.Errorf("%d bytes are in the stream, the bound is %d", n, bound)
			}
		}
	}
	if c, err := later.Claim(t.Context(), key, store.Want{Answer: newAnswer()}); err != nil || c.Follow != nil || c.Lease != nil {
		t.Errorf("%+v, %v; want to go alone, for the beginning is not there any more", c, err)
	}
	a.give(end(""))
	if _, last, err := rest(f); err != nil || last.Kind != store.PieceEnd {
		t.Errorf("%c, %v", last.Kind, err)
	}
	if got, _, err := rest(slow); err == nil || isGone(err) {
		t.Errorf("the one that stayed behind got %d bytes, %v", len(got), err)
	}
	lease.Release(false)
	wantNothingLeft(t, raw)
}

func TestAnItemThatIsNotAsItWasWrittenIsNone(t *testing.T) {
	server := storetest.StartRedis(t)
	raw := rawClient(t, server)
	f := func(what string, damage func(stream, item string)) {
		t.Run(what, func(t *testing.T) {
			n, key, a := nodesOf(t, server, 3), storetest.Key(what), newAnswer()
			n[0].leads(t, key, a)
			one := n[1].follows(t, key)
			a.give(head("h"), body("b"))
			wantPiece(t, one, head("h"))
			wantPiece(t, one, body("b"))
			stream := streamsOf(t, raw, "jaegis:fill:{"+key.String()+"}")[0]
			items := raw.XRange(t.Context(), stream, "-", "+").Val()
			damage(stream, items[len(items)-1].Values["i"].(string))
			if p, err := one.Next(); err == nil {
				t.Errorf("it was taken for %c %q", p.Kind, p.Data)
			}
		})
	}
	add := func(stream, id, item string) {
		if err := raw.Do(t.Context(), "xadd", stream, id, "i", item).Err(); err != nil {
			t.Fatal(err)
		}
	}
	f("in the place of another", func(stream, item string) { add(stream, "3-0", item) })
	f("damaged", func(stream, item string) { add(stream, "3-0", item[:len(item)-1]+"x") })
	f("empty", func(stream, _ string) { add(stream, "3-0", "") })
	f("out of order", func(stream, item string) { add(stream, "4-0", item) })
}

// Many nodes claim few keys, and what each of them gets is what the one that
// had the lease at that time gave.
func TestWhoeverClaimsIsTheOnlyOneOrGetsWhatThatOneBrings(t *testing.T) {
	server := storetest.StartRedis(t)
	nodes := nodesOf(t, server, 4)
	var holders [3]atomic.Int64
	var led, followed, landed, alone atomic.Int64
	var wg sync.WaitGroup
	for _, n := range nodes {
		for w := range 3 {
			wg.Go(func() {
				var seen [len(holders)]string
				for i := range 60 {
					k := rand.IntN(len(holders))
					key, a := storetest.Key(fmt.Sprint(k)), newAnswer()
					c, err := n.Claim(t.Context(), key, store.Want{Seen: seen[k], Answer: a})
					switch {
					case err != nil:
						t.Error(err)
					case c.Lease != nil:
						led.Add(1)
						if holders[k].Add(1) != 1 {
							t.Error("two hold the lease")
						}
						what := strings.Repeat(fmt.Sprintf("%d of %d; ", i, w), 1+rand.IntN(5000))
						a.give(head(what[:10]), body(what), end(fmt.Sprint(len(what))))
						if i%2 == 0 {
							time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
						}
						holders[k].Add(-1)
						c.Lease.Release(i%3 == 0)
					case c.Follow != nil:
						followed.Add(1)
						got, last, err := rest(c.Follow)
						if err == nil && fmt.Sprint(len(got)) != string(last.Data) {
							t.Errorf("%d bytes of %s", len(got), last.Data)
						}
						if err != nil && !isGone(err) {
							t.Error(err)
						}
						c.Follow.Close()
					case c.Landed != "":
						landed.Add(1)
						seen[k] = c.Landed
					default:
						alone.Add(1)
					}
				}
			})
		}
	}
	wg.Wait()
	t.Logf("%d led, %d followed, %d landed, %d alone", led.Load(), followed.Load(), landed.Load(), alone.Load())
	if led.Load() == 0 || followed.Load() == 0 || landed.Load() == 0 {
		t.Error("not all was tested")
	}
	for _, n := range nodes {
		if st := n.Stats(); st.Lost != 0 || st.Failed != 0 || st.Held != 0 {
			t.Errorf("%+v", st)
		}
	}
	wantNothingLeft(t, rawClient(t, server))
}

func TestClosingEndsWhatWaits(t *testing.T) {
	server := storetest.StartRedis(t)
	n, key, a := nodesOf(t, server, 2), storetest.Key("k"), newAnswer()
	n[0].leads(t, key, a)
	p := n[1].follows(t, key)
	ended := make(chan error)
	go func() {
		_, err := p.Next()
		ended <- err
	}()
	begin := time.Now()
	_ = n[1].Close()
	if err := <-ended; err == nil {
		t.Error("the follower got a piece")
	}
	_ = n[0].Close()
	if took := time.Since(begin); took > late {
		t.Errorf("closing took %v", took)
	}
	if _, closed := a.counts(); closed != 1 {
		t.Errorf("the answer was closed %d times", closed)
	}
	if c, err := n[1].Claim(t.Context(), key, store.Want{Answer: newAnswer()}); err == nil {
		t.Errorf("%+v after Close", c)
	}
}

// A miss that nobody else wants pays for one call before its fetch and one after
// it, and a lease that is kept up for one in a while.
func TestALeaseCostsOneRoundTripBeforeAndOneAfter(t *testing.T) {
	server := storetest.StartRedis(t)
	raw, n := rawClient(t, server), nodesOf(t, server, 1)[0]
	n.leads(t, storetest.Key("first"), newAnswer()).Release(true) // Redis knows the scripts from now on
	calls := func() (sent, of int) {
		return callsOf(t, raw, "evalsha"), callsOf(t, raw, "rpush", "xadd", "xread", "multi")
	}
	const times = 10
	sent, of := calls()
	for i := range times {
		n.leads(t, storetest.Key(fmt.Sprint(i)), newAnswer()).Release(true)
	}
	if sent2, of2 := calls(); sent2-sent != 2*times || of2 != of {
		t.Errorf("%d calls for %d leases, and %d others", sent2-sent, times, of2-of)
	}
}
