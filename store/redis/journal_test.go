package redis_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/store"
	"jaegis-proxy/store/redis"
	"jaegis-proxy/store/storetest"
)

// member is a process that follows the ledger of a Redis.
type member struct {
	*store.Ledger
	redis   *redis.Store
	deleted chan cachekey.Key
	missed  chan struct{}
}

func startMember(t *testing.T, server *storetest.RedisServer, maxDisconnected time.Duration) *member {
	t.Helper()
	return startMemberOn(t, redis.Options{URL: server.URL, Budget: patient}, maxDisconnected)
}

func startMemberOn(t *testing.T, opts redis.Options, maxDisconnected time.Duration) *member {
	t.Helper()
	n := &member{redis: open(t, opts), deleted: make(chan cachekey.Key, 100), missed: make(chan struct{}, 10)}
	n.Ledger = store.NewLedger(store.LedgerOptions{
		Journal: n.redis, MaxDisconnected: maxDisconnected,
		Deleted: func(k cachekey.Key) { n.deleted <- k },
		Missed: func() {
			select {
			case n.missed <- struct{}{}:
			default: // few tests look
			}
		},
	})
	t.Cleanup(func() { _ = n.Close() })
	return n
}

func (n *member) following(t *testing.T) *member {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	if err := n.Await(ctx); err != nil {
		t.Fatal(err)
	}
	return n
}

// until waits until what holds is so: what the journal says comes by itself.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never %s", what)
		}
	}
}

// fetched is an entry that the member fetches now.
func (n *member) fetched(tags ...string) *store.Entry {
	e := storetest.Entry(time.Now(), []byte("body"))
	e.Asked, e.Stamp, e.Tags = time.Now(), n.Stamp(), tags
	return e
}

func (n *member) judge(e *store.Entry) store.Judgement { return n.Judge(storetest.Key("k"), e) }

func TestAPurgeReachesEveryNodeAndThoseThatComeLater(t *testing.T) {
	server := storetest.StartRedis(t)
	a := startMember(t, server, time.Hour).following(t)
	b := startMember(t, server, time.Hour).following(t)
	x, y := a.fetched(store.LabelTag+"x"), b.fetched(store.LabelTag+"y")
	if a.judge(x) != store.Good || b.judge(x) != store.Good || a.judge(y) != store.Good {
		t.Fatal("entries do not count at all")
	}
	if err := a.Purge(t.Context(), store.LabelTag+"x", false); err != nil {
		t.Fatal(err)
	}
	if a.judge(x) != store.Purged {
		t.Error("acknowledged, and not in force")
	}
	until(t, "purged elsewhere", func() bool { return b.judge(x) == store.Purged })
	if err := b.Purge(t.Context(), store.LabelTag+"y", true); err != nil {
		t.Fatal(err)
	}
	until(t, "purged softly", func() bool { return a.judge(y) == store.Soft })
	c := startMember(t, server, time.Hour).following(t)
	if c.judge(x) != store.Purged || c.judge(y) != store.Soft || c.judge(a.fetched(store.LabelTag+"x")) != store.Good {
		t.Error("a node that comes later knows other things")
	}
}

func TestADeletionReachesOtherNodes(t *testing.T) {
	server := storetest.StartRedis(t)
	a := startMember(t, server, time.Hour).following(t)
	b := startMember(t, server, time.Hour).following(t)
	keys := []cachekey.Key{storetest.Key("1"), storetest.Key("2")}
	for _, key := range keys {
		if err := a.redis.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		if got := <-b.deleted; got != key {
			t.Errorf("heard of %v, want %v", got, key)
		}
	}
	if err := errors.Join(b.redis.Remove(t.Context(), keys[0]), b.redis.Delete(t.Context(), keys[1])); err != nil {
		t.Fatal(err)
	}
	if got := <-a.deleted; got != keys[1] {
		t.Errorf("heard of %v", got)
	}
	if len(a.deleted)+len(b.deleted)+len(a.missed)+len(b.missed) != 0 {
		t.Error("a member heard of its own deletion, or missed one")
	}
}

// A ledger that is lost, set back or damaged makes everything cold, and brings
// nothing back: neither for who has followed it, nor for who comes later.
func TestALostLedgerMakesCold(t *testing.T) {
	const records = "jaegis:{ledger}:purges"
	f := func(what string, lose func(t *testing.T, raw *goredis.Client)) {
		t.Run(what, func(t *testing.T) {
			server := storetest.StartRedis(t)
			raw := rawClient(t, server)
			a := startMember(t, server, time.Hour).following(t)
			b := startMember(t, server, time.Hour).following(t)
			x, y := a.fetched(store.LabelTag+"x"), a.fetched()
			if err := a.Purge(t.Context(), store.LabelTag+"x", false); err != nil {
				t.Fatal(err)
			}
			until(t, "purged elsewhere", func() bool { return b.judge(x) == store.Purged })
			lose(t, raw)
			for _, n := range []*member{a, b} {
				until(t, "cold", func() bool {
					if n.judge(x) != store.Purged {
						t.Fatal("a purged entry came back")
					}
					return n.judge(y) == store.Purged
				})
			}
			c := startMember(t, server, time.Hour).following(t)
			if c.judge(x) != store.Purged || c.judge(y) != store.Purged {
				t.Error("not cold for a node that comes later")
			}
			until(t, "in one epoch", func() bool {
				return a.judge(b.fetched()) == store.Good && b.judge(c.fetched()) == store.Good && c.judge(a.fetched()) == store.Good
			})
		})
	}
	f("deleted", func(t *testing.T, raw *goredis.Client) { raw.Del(t.Context(), records) })
	f("flushed", func(t *testing.T, raw *goredis.Client) { raw.FlushAll(t.Context()) })
	f("set back", func(t *testing.T, raw *goredis.Client) {
		all, err := raw.XRange(t.Context(), records, "-", "+").Result()
		if err != nil || len(all) < 2 {
			t.Fatal(all, err)
		}
		raw.XDel(t.Context(), records, all[len(all)-1].ID)
	})
	f("set back, and used by others", func(t *testing.T, raw *goredis.Client) {
		all, err := raw.XRange(t.Context(), records, "-", "+").Result()
		if err != nil || len(all) < 2 {
			t.Fatal(all, err)
		}
		pipe := raw.TxPipeline()
		pipe.XDel(t.Context(), records, all[len(all)-1].ID)
		pipe.Do(t.Context(), "xadd", records, "*", "e", all[0].Values["e"], "l", "tag:other", "s", "0")
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// A member that is cut off uses nothing that was stored before, once a purge may
// have been acknowledged without it, and knows that; what it fetches itself it
// keeps for as long as a purge may take to reach it.
func TestANodeThatIsCutOffKnows(t *testing.T) {
	server := storetest.StartRedis(t)
	const limit = 2 * time.Second
	a := startMember(t, server, limit).following(t)
	old := a.fetched()
	if a.judge(old) != store.Good {
		t.Fatal("does not count")
	}
	server.Stop()
	until(t, "cut off", func() bool { _, ok := a.Following(); return !ok })
	if a.judge(old) != store.Purged {
		t.Error("what was stored before counts")
	}
	own := a.fetched()
	if a.judge(own) != store.Good {
		t.Error("what it fetches itself does not count")
	}
	own.Asked = own.Asked.Add(-limit - time.Millisecond)
	if a.judge(own) != store.Purged {
		t.Error("nor is that given up in time")
	}
	server.Cont()
	until(t, "following", func() bool { _, ok := a.Following(); return ok })
	until(t, "as it was", func() bool { return a.judge(old) == store.Good })
	own.Asked = time.Now()
	if a.judge(own) != store.Purged {
		t.Error("what was fetched while cut off, and may have been purged, counts")
	}
}

func TestALedgerStartsWithoutRedis(t *testing.T) {
	server := storetest.StartRedis(t)
	server.Kill()
	a := startMember(t, server, time.Hour)
	own := a.fetched()
	if a.judge(own) != store.Good {
		t.Error("what it fetches itself does not count")
	}
	if err := a.Purge(t.Context(), store.LabelAll, false); !errors.Is(err, store.ErrNotPurged) {
		t.Errorf("a purge that the journal does not have: %v", err)
	}
	server.Restart()
	a.following(t)
	if a.judge(own) != store.Purged || a.judge(a.fetched()) != store.Good {
		t.Error("not in the journal's epoch")
	}
	server.Kill()
	server.Restart() // empty
	until(t, "in a new epoch", func() bool {
		e := a.fetched()
		return startMember(t, server, time.Hour).following(t).judge(e) == store.Good
	})
}

// A purge costs the same however much is stored, and leaves that alone.
func TestAPurgeTouchesNoEntry(t *testing.T) {
	server := storetest.StartRedis(t)
	raw := rawClient(t, server)
	a := startMember(t, server, time.Hour).following(t)
	for i := range 1000 {
		putBody(t, a.redis, string(rune('a'+i%26))+time.Duration(i).String(), 20)
	}
	names := len(keysOf(t, raw, "jaegis:storetest:*"))
	before := commands(t, raw)
	if err := a.Purge(t.Context(), store.LabelNamespace+"storetest", false); err != nil {
		t.Fatal(err)
	}
	if n := commands(t, raw) - before; n > 25 { // the script, what it calls, and those that follow
		t.Errorf("%d commands", n)
	}
	if after := len(keysOf(t, raw, "jaegis:storetest:*")); after != names || names < 900 {
		t.Errorf("%d names, and %d before", after, names)
	}
}

// commands is how many commands the server has run.
func commands(t *testing.T, raw *goredis.Client) (n int) {
	t.Helper()
	info, err := raw.Info(t.Context(), "stats").Result()
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(info, "total_commands_processed:")
	if _, err := fmt.Sscan(rest, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// That nobody could say whether the position is still there does not mean that
// it is gone.
func TestAnUnansweredQuestionMakesNothingCold(t *testing.T) {
	server := storetest.StartRedis(t)
	raw := rawClient(t, server)
	a := startMember(t, server, time.Hour).following(t)
	old := a.fetched()
	allow := func(rule string) {
		t.Helper()
		if err := raw.Do(t.Context(), "acl", "setuser", "default", rule).Err(); err != nil {
			t.Fatal(err)
		}
	}
	asOf := func() time.Time { at, _ := a.Following(); return at }
	allow("-xrange")
	time.Sleep(2 * time.Second) // several readings that cannot tell
	if stopped := asOf(); time.Since(stopped) < time.Second {
		t.Errorf("it is followed as of %v ago", time.Since(stopped))
	}
	allow("+xrange")
	began := time.Now()
	until(t, "following again", func() bool { return asOf().After(began) })
	if a.judge(old) != store.Good {
		t.Error("the ledger began anew")
	}
}
