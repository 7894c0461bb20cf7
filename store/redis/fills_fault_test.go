package redis_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"jaegis-proxy/store"
	"jaegis-proxy/store/redis"
	"jaegis-proxy/store/storetest"
)

func TestAHungRedisHoldsAClaimUpForTheBudgetAtMost(t *testing.T) {
	server := storetest.StartRedis(t)
	n := openNode(t, redis.Options{URL: server.URL, Budget: budget}, redis.FillOptions{})
	storetest.Eventually(t, closesWithin, "a lease", func() bool {
		c, err := n.Claim(t.Context(), storetest.Key("first"), store.Want{Answer: newAnswer()})
		if c.Lease != nil {
			c.Lease.Release(false)
		}
		return err == nil && c.Lease != nil
	})
	server.Stop()
	begin := time.Now()
	if c, err := n.Claim(t.Context(), storetest.Key("k"), store.Want{Answer: newAnswer()}); err == nil || time.Since(begin) > late {
		t.Errorf("%+v, %v after %v", c, err, time.Since(begin))
	}
	storetest.Eventually(t, opensWithin, "the breaker opens", isOpen(n.store))
	if _, err := n.Claim(t.Context(), storetest.Key("k"), store.Want{Answer: newAnswer()}); !errors.Is(err, redis.ErrOpen) {
		t.Errorf("Claim while open: %v", err)
	}
	server.Cont()
	storetest.Eventually(t, closesWithin, "a lease after Redis went on", func() bool {
		c, err := n.Claim(t.Context(), storetest.Key("k"), store.Want{Answer: newAnswer()})
		if c.Lease != nil {
			defer c.Lease.Release(false)
		}
		return err == nil && c.Lease != nil
	})
}

// What is past the time that an answer waits for Redis, with patience for a busy
// machine.
const givesUpWithin = 12 * time.Second

// A follower that has had nothing is told at once that Redis is away; one that
// has waits for it, but not for ever.
func TestAFaultOfRedisThatLastsEndsFollowing(t *testing.T) {
	faults := []struct {
		name string
		make func(*storetest.RedisServer)
	}{{"killed", (*storetest.RedisServer).Kill}, {"stopped", (*storetest.RedisServer).Stop}}
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			server := storetest.StartRedis(t)
			var n [3]*node
			for i := range n {
				n[i] = openNode(t, redis.Options{URL: server.URL, Budget: budget}, redis.FillOptions{})
			}
			a, b := newAnswer(), newAnswer()
			n[0].leads(t, storetest.Key("none yet"), a)
			n[0].leads(t, storetest.Key("begun"), b)
			none, begun := n[1].follows(t, storetest.Key("none yet")), n[2].follows(t, storetest.Key("begun"))
			b.give(head("h"))
			wantPiece(t, begun, head("h"))
			fault.make(server)
			begin := time.Now()
			if p, err := none.Next(); err == nil || time.Since(begin) > late {
				t.Errorf("the one that has had nothing: %c, %v after %v", p.Kind, err, time.Since(begin))
			}
			if p, err := begun.Next(); err == nil || isGone(err) || time.Since(begin) > givesUpWithin || time.Since(begin) < 5*time.Second {
				t.Errorf("the one that has begun: %c, %v after %v", p.Kind, err, time.Since(begin))
			}
			storetest.Eventually(t, givesUpWithin, "the leases count as lost", func() bool { return n[0].Stats().Held == 0 && n[0].Stats().Lost == 2 })
			storetest.Eventually(t, passesOnWithin, "what was published is let go", func() bool {
				_, one := a.counts()
				_, two := b.counts()
				return one == 1 && two == 1
			})
			if fault.name == "stopped" {
				server.Cont()
			}
		})
	}
}

// All connections break, and Redis is as it was: an answer goes on.
func TestBrokenConnectionsDoNotEndAnAnswer(t *testing.T) {
	server := storetest.StartRedis(t)
	raw := rawClient(t, server)
	n, key, a := nodesOf(t, server, 2), storetest.Key("k"), newAnswer()
	lease := n[0].leads(t, key, a)
	p := n[1].follows(t, key)
	a.give(head("h"))
	wantPiece(t, p, head("h"))
	for i := range 5 {
		if err := raw.Do(t.Context(), "client", "kill", "type", "normal", "skipme", "yes").Err(); err != nil {
			t.Fatal(err)
		}
		piece := body(strings.Repeat("x", 1+i))
		a.give(piece)
		wantPiece(t, p, piece)
	}
	a.give(end("e"))
	wantPiece(t, p, end("e"))
	lease.Release(true)
	if st := n[0].Stats(); st.Lost != 0 {
		t.Errorf("%+v", st)
	}
}

// A full Redis takes no piece: those who follow are not left waiting for more.
func TestARedisThatIsFullEndsTheSharing(t *testing.T) {
	server := storetest.StartRedis(t, "--maxmemory", "4mb", "--maxmemory-policy", "noeviction")
	n, key, a := nodesOf(t, server, 2), storetest.Key("k"), newAnswer()
	n[0].leads(t, key, a)
	p := n[1].follows(t, key)
	a.give(head("h"))
	wantPiece(t, p, head("h"))
	a.give(body(strings.Repeat("x", 8<<20)))
	begin := time.Now()
	if got, _, err := rest(p); err == nil || isGone(err) || time.Since(begin) > passesOnWithin { // it is not the node that has failed
		t.Errorf("%d bytes, %v after %v", len(got), err, time.Since(begin))
	}
	if st := n[0].Stats(); st.Lost != 0 || st.Held != 1 || n[0].store.State().Open { // what it fetches it may still store
		t.Errorf("%+v, %+v", st, n[0].store.State())
	}
}

func TestAUserWhoMayNotShareIsToldSoOnceAndIsNoOutage(t *testing.T) {
	server := storetest.StartRedis(t)
	raw := rawClient(t, server)
	for _, rules := range [][]any{{"-@all", "+get", "+getrange", "+set", "+unlink"}, {"+@all", "-time"}} { // the one is told by NOPERM, the other by its script
		if err := raw.Do(t.Context(), append([]any{"acl", "setuser", "app", "reset", "on", ">secret", "~jaegis:*"}, rules...)...).Err(); err != nil {
			t.Fatal(err)
		}
		var log syncBuffer
		n := openNode(t, redis.Options{
			URL: server.URL, Username: "app", Password: "secret", Logger: slog.New(slog.NewTextHandler(&log, nil)),
		}, redis.FillOptions{})
		for range 10 {
			if c, err := n.Claim(t.Context(), storetest.Key("k"), store.Want{Answer: newAnswer()}); err == nil || errors.Is(err, redis.ErrOpen) {
				t.Errorf("%+v, %v", c, err)
			}
		}
		putBody(t, n.store, "k", 100)
		if n.store.State().Open || strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), "shar") || strings.Contains(log.String(), "secret") {
			t.Errorf("%+v, said %q", n.store.State(), log.String())
		}
		storetest.Eventually(t, passesOnWithin, "no lease is left", func() bool { return len(keysOf(t, raw, "jaegis:fill:*")) == 0 })
	}
}

func TestAClaimOfOneWhoHasLeftIsNone(t *testing.T) {
	server := storetest.StartRedis(t)
	n, key := nodesOf(t, server, 2), storetest.Key("k")
	ctx, cancel := contextWithCause(t)
	n[0].leads(t, key, newAnswer())
	c, err := n[1].Claim(ctx, key, store.Want{Answer: newAnswer()})
	if err != nil || c.Follow == nil {
		t.Fatalf("%+v, %v", c, err)
	}
	cancel(store.ErrFenced) // any error will do
	if _, err := c.Follow.Next(); !errors.Is(err, store.ErrFenced) {
		t.Errorf("Next: %v; want why it left", err)
	}
	c.Follow.Close()
	if c, err := n[1].Claim(ctx, key, store.Want{Answer: newAnswer()}); err == nil {
		t.Errorf("%+v", c)
	}
}
