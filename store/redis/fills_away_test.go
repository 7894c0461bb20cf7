package redis_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"jaegis-proxy/store"
	"jaegis-proxy/store/redis"
	"jaegis-proxy/store/storetest"
)

// begun is an answer of which one node has had the beginning that another
// fetches.
type begun struct {
	*answer
	server         *storetest.RedisServer
	raw            *goredis.Client
	holder, reader *node
	lease          store.Lease
	pieces         store.Pieces
	sent           strings.Builder
}

func begin(t *testing.T, o redis.Options) *begun {
	t.Helper()
	server := storetest.StartRedis(t)
	o.URL, o.Budget = server.URL, 200*time.Millisecond
	b := &begun{answer: newAnswer(), server: server, raw: rawClient(t, server), holder: openNode(t, o, redis.FillOptions{}), reader: openNode(t, o, redis.FillOptions{})}
	b.lease = b.holder.leads(t, storetest.Key("k"), b.answer)
	b.pieces = b.reader.follows(t, storetest.Key("k"))
	b.give(head("h"))
	wantPiece(t, b.pieces, head("h"))
	b.more(t, 3)
	return b
}

// more gives some pieces, and each must arrive.
func (b *begun) more(t *testing.T, n int) {
	t.Helper()
	for range n {
		piece := fmt.Sprintf("piece at %d; ", b.sent.Len())
		b.sent.WriteString(piece)
		b.give(body(piece))
		wantPiece(t, b.pieces, body(piece))
	}
}

// ends gives the end, which must arrive, and has another node read the whole.
func (b *begun) ends(t *testing.T) {
	t.Helper()
	b.awaitLease(t)
	third := openNode(t, redis.Options{URL: b.server.URL}, redis.FillOptions{})
	late := third.follows(t, storetest.Key("k"))
	b.give(end("e"))
	wantPiece(t, b.pieces, end("e"))
	if got, last, err := rest(late); err != nil || got != b.sent.String() || last.Kind != store.PieceEnd {
		t.Errorf("one that comes later has %q, %c, %v", got, last.Kind, err)
	}
	b.lease.Release(true)
	if st := b.holder.Stats(); st.Lost != 0 || st.Held != 0 {
		t.Errorf("%+v", st)
	}
	b.wantReadOnce(t)
}

// awaitLease waits until the lease is in Redis.
func (b *begun) awaitLease(t *testing.T) {
	t.Helper()
	storetest.Eventually(t, passesOnWithin, "the holder has its lease", func() bool {
		return b.raw.Exists(t.Context(), "jaegis:fill:{"+storetest.Key("k").String()+"}").Val() == 1
	})
}

func (b *begun) stream(t *testing.T) string {
	t.Helper()
	return streamsOf(t, b.raw, "jaegis:fill:{*}")[0]
}

// Redis is away for a while in mid-answer, and comes back with nothing of what it
// had, or with all. The answer goes on for who has had its beginning, and whoever
// comes later gets it from there.
func TestAnAnswerGoesOnWhenRedisIsBack(t *testing.T) {
	faults := []struct {
		name         string
		break_, mend func(*storetest.RedisServer)
	}{
		{"restarted", (*storetest.RedisServer).Kill, (*storetest.RedisServer).Restart},
		{"stopped", (*storetest.RedisServer).Stop, (*storetest.RedisServer).Cont},
	}
	for _, fault := range faults {
		for _, given := range []string{"nothing", "something"} {
			t.Run(fault.name+", "+given+" comes meanwhile", func(t *testing.T) {
				t.Parallel()
				b := begin(t, redis.Options{})
				for range 2 {
					fault.break_(b.server)
					if given == "something" {
						b.sent.WriteString("meanwhile; ")
						b.give(body("meanwhile; "))
					}
					time.Sleep(1500 * time.Millisecond) // longer than a lease lasts
					fault.mend(b.server)
					if given == "something" {
						wantPiece(t, b.pieces, body("meanwhile; "))
					}
					b.more(t, 2)
				}
				b.ends(t)
			})
		}
	}
}

// A replica takes over that had not got the last of it, or the lease.
func TestAnAnswerGoesOnWhereAReplicaLacksTheLastOfIt(t *testing.T) {
	for _, kept := range []int{0, 1, 2, 3} {
		t.Run(fmt.Sprint(kept), func(t *testing.T) {
			t.Parallel()
			b := begin(t, redis.Options{})
			stream := b.stream(t)
			items := b.raw.XRange(t.Context(), stream, "-", "+").Val()
			pipe := b.raw.TxPipeline()
			pipe.Del(t.Context(), stream, "jaegis:fill:{"+storetest.Key("k").String()+"}")
			for _, item := range items[:kept] {
				pipe.XAdd(t.Context(), &goredis.XAddArgs{Stream: stream, ID: item.ID, Values: item.Values})
			}
			if _, err := pipe.Exec(t.Context()); err != nil {
				t.Fatal(err)
			}
			b.more(t, 2)
			b.ends(t)
		})
	}
}

// Nothing comes for a while, so that nothing tells the holder that Redis lacks
// something: whoever comes then gets all the same what there is.
func TestAStreamIsMendedWithoutAnyPieceComing(t *testing.T) {
	t.Parallel()
	b := begin(t, redis.Options{})
	if err := b.raw.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	b.awaitLease(t)
	late := openNode(t, redis.Options{URL: b.server.URL}, redis.FillOptions{}).follows(t, storetest.Key("k"))
	wantPiece(t, late, head("h"))
	for got := ""; got != b.sent.String(); {
		piece, err := late.Next()
		if err != nil || piece.Kind != store.PieceBody {
			t.Fatalf("after %q: %c, %v", got, piece.Kind, err)
		}
		got += string(piece.Data)
	}
	b.more(t, 1)
	b.ends(t)
}

// Redis comes back empty, and another node takes the lease before the holder has
// seen that: it is the other's. Who was in mid-answer gets the rest all the same,
// from the one that has it.
func TestWhatAnotherHasTakenMeanwhileIsNotTakenBack(t *testing.T) {
	b := begin(t, redis.Options{})
	b.server.Kill()
	storetest.Eventually(t, opensWithin, "both leave Redis alone", func() bool {
		return b.holder.store.State().Open && b.reader.store.State().Open
	})
	b.server.Restart()
	name := "jaegis:fill:{" + storetest.Key("k").String() + "}"
	storetest.Eventually(t, closesWithin, "the lease of another", func() bool {
		return b.raw.Set(t.Context(), name, "1another-node-16-hex", time.Minute).Err() == nil
	})
	b.more(t, 3)
	storetest.Eventually(t, givesUpWithin, "the lease is lost", func() bool { return b.holder.Stats().Lost == 1 })
	if got := b.raw.Get(t.Context(), name).Val(); got != "1another-node-16-hex" {
		t.Errorf("%s has the lease", got)
	}
	if err := putVersion(b.lease.Fence(t.Context()), b.holder.store, storetest.Key("k"), 1, 100); err == nil {
		t.Error("the holder wrote without the lease")
	}
	b.give(end("e"))
	wantPiece(t, b.pieces, end("e"))
	b.lease.Release(true)
	storetest.Eventually(t, passesOnWithin, "nothing is held any more", func() bool { return b.holder.Stats().Held == 0 })
	if got := b.raw.Get(t.Context(), name).Val(); got != "1another-node-16-hex" {
		t.Errorf("%s has the lease", got)
	}
}

// A renewal that was held up for long does not take a free lease: another node
// may have had it meanwhile, and stored a newer answer.
func TestALateRenewalTakesNoLease(t *testing.T) {
	t.Parallel()
	server := storetest.StartRedis(t)
	raw := rawClient(t, server)
	var once sync.Once
	goOn, held := make(chan struct{}), make(chan struct{})
	proxy := startLateProxy(t, server.Addr, func(b []byte) {
		if bytes.Contains(b, []byte("PEXPIRE', KEYS[2]")) {
			once.Do(func() {
				close(held)
				<-goOn
			})
		}
	})
	n := openNode(t, redis.Options{URL: "redis://" + proxy.addr}, redis.FillOptions{})
	n.leads(t, storetest.Key("k"), newAnswer())
	<-held
	storetest.Eventually(t, givesUpWithin, "the lease counts as lost", func() bool { return n.Stats().Lost == 1 })
	none := func() {
		t.Helper()
		if got := keysOf(t, raw, "jaegis:fill:*"); len(got) != 0 {
			t.Fatalf("%q are in Redis", got)
		}
	}
	none()
	seen := raw.Info(t.Context(), "commandstats").Val()
	close(goOn)
	storetest.Eventually(t, passesOnWithin, "the renewal has come", func() bool {
		return raw.Info(t.Context(), "commandstats").Val() != seen
	})
	for range 10 {
		none()
		time.Sleep(10 * time.Millisecond)
	}
}

// Where values are encrypted, so is what is on its way.
func TestWhatIsOnItsWayIsEncryptedToo(t *testing.T) {
	keys := []redis.EncryptionKey{{1}, {2}}
	b := begin(t, redis.Options{EncryptionKeys: keys[:1]})
	for _, item := range b.raw.XRange(t.Context(), b.stream(t), "-", "+").Val() {
		if strings.Contains(item.Values["i"].(string), "piece at") {
			t.Error("it lies there in plain")
		}
	}
	for name, with := range map[string][]redis.EncryptionKey{"in plain": nil, "another key": keys[1:]} {
		n := openNode(t, redis.Options{URL: b.server.URL, EncryptionKeys: with}, redis.FillOptions{})
		if piece, err := n.follows(t, storetest.Key("k")).Next(); err == nil {
			t.Errorf("%s: %c %q", name, piece.Kind, piece.Data)
		}
	}
	both := openNode(t, redis.Options{URL: b.server.URL, EncryptionKeys: []redis.EncryptionKey{{2}, {1}}}, redis.FillOptions{})
	wantPiece(t, both.follows(t, storetest.Key("k")), head("h"))
	b.more(t, 1)
	b.give(end(""))
	wantPiece(t, b.pieces, end(""))
	b.lease.Release(false)
}
