package redis_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"jaegis-proxy/store"
	"jaegis-proxy/store/storetest"
)

// purgeOn writes a purge where the primary is, as a process on that side does,
// and says whether a replica has it too.
func purgeOn(t *testing.T, server *storetest.Server, label string) (confirmed bool) {
	t.Helper()
	c := to(t, server)
	last, err := c.XRevRangeN(t.Context(), ledgerName, "+", "-", 1).Result()
	if err != nil || len(last) != 1 {
		t.Fatal(last, err)
	}
	pipe := c.Pipeline()
	pipe.Do(t.Context(), "xadd", ledgerName, "*", "e", last[0].Values["e"], "l", label, "s", "0")
	wait := pipe.Do(t.Context(), "wait", 1, 5000)
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	n, err := wait.Int()
	return err == nil && n > 0
}

// A process that is cut off together with a primary hears nothing of what is
// purged at that one's successor, however well it speaks to the old one.
func TestWhoIsCutOffWithAnOldPrimaryKnows(t *testing.T) {
	t.Parallel() // it waits, mostly
	sentinel := storetest.StartSentinel(t, storetest.SentinelOptions{Divisible: true})
	const limit = 8 * time.Second
	opts := sentinelOptions(sentinel)
	n := startMemberOn(t, opts, limit).following(t)
	until(t, "following", func() bool { _, ok := n.Following(); return ok })
	old := n.fetched("tag:x")
	if n.judge(old) != store.Good {
		t.Fatal("does not count at all")
	}
	for _, server := range sentinel.Servers { // any of them may succeed
		c := to(t, server)
		storetest.Eventually(t, 10*time.Second, "the ledger is everywhere", func() bool { return c.XLen(t.Context(), ledgerName).Val() > 0 })
	}
	sentinel.Divide(true)
	var successor *storetest.Server
	storetest.Eventually(t, 30*time.Second, "a successor", func() bool {
		far := primaryOf(t, sentinel.Sentinels[1], sentinel.MasterName)
		for _, server := range sentinel.Servers[1:] {
			if sentinel.Known(server) == far {
				successor = server
			}
		}
		return successor != nil
	})
	storetest.Eventually(t, 10*time.Second, "a purge that is acknowledged", func() bool { return purgeOn(t, successor, "tag:x") })
	purged := time.Now()
	for n.judge(old) == store.Good {
		if late := time.Since(purged); late > limit+2*time.Second {
			t.Fatalf("%v after a purge was acknowledged it counts still", late)
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Logf("it knew after %v", time.Since(purged))
	if _, ok := n.Following(); ok {
		t.Error("it is cut off and does not know that")
	}
	if err := n.redis.Put(t.Context(), storetest.Key("k"), old); err != nil {
		t.Errorf("the old primary is not there any more: %v", err) // then this says nothing
	}
	sentinel.Divide(false)
	until(t, "following again", func() bool { _, ok := n.Following(); return ok })
	if n.judge(old) != store.Purged {
		t.Error("what was purged came back")
	}
}

// primaryOf gives who the sentinel takes for the primary.
func primaryOf(t *testing.T, sentinel *storetest.Server, name string) string {
	t.Helper()
	c := to(t, sentinel)
	addr, err := c.Do(t.Context(), "sentinel", "get-master-addr-by-name", name).StringSlice()
	if err != nil || len(addr) != 2 {
		t.Fatal(addr, err)
	}
	return addr[0] + ":" + addr[1]
}

// Where a replica has a purge, and nobody says that the primary is one still, it
// may have been written where it will be lost.
func TestNoPurgeIsAcknowledgedWithoutTheSentinels(t *testing.T) {
	t.Parallel() // it waits, mostly
	sentinel := storetest.StartSentinel(t, storetest.SentinelOptions{})
	n := startMemberOn(t, sentinelOptions(sentinel), time.Minute).following(t)
	if err := n.Purge(t.Context(), "tag:a", false); err != nil {
		t.Fatal(err)
	}
	for _, one := range sentinel.Sentinels[:2] {
		if err := one.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	storetest.Eventually(t, 30*time.Second, "a purge that is not acknowledged", func() bool {
		err = n.Purge(t.Context(), "tag:b", false)
		return err != nil
	})
	if !errors.Is(err, store.ErrUnconfirmed) || !strings.Contains(err.Error(), "no sentinel that hears from most of the others") {
		t.Error(err)
	}
	for _, one := range sentinel.Sentinels[:2] {
		if err := one.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	storetest.Eventually(t, 30*time.Second, "purges", func() bool { return n.Purge(t.Context(), "tag:c", false) == nil })
}

// A user who may not ask the sentinels for each other is told so.
func TestWhatASentinelRefusesIsSaid(t *testing.T) {
	t.Parallel() // it waits, mostly
	sentinel := storetest.StartSentinel(t, storetest.SentinelOptions{})
	for _, one := range sentinel.Sentinels {
		if err := to(t, one).Do(t.Context(), "acl", "setuser", "default", "-sentinel|sentinels").Err(); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, sentinelOptions(sentinel))
	storetest.Eventually(t, 20*time.Second, "the rule is named", func() bool {
		_, err := s.Read(t.Context(), store.Position{})
		return err != nil && strings.Contains(err.Error(), "add +sentinel|sentinels to its ACL rules")
	})
}
