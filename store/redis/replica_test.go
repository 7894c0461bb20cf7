package redis_test

import (
	"errors"
	"testing"
	"time"

	"jaegis-proxy/store"
	"jaegis-proxy/store/redis"
	"jaegis-proxy/store/storetest"
)

// lagging gives the replicas, which from now on have only what they are given by
// hand: a replica that is behind has what was there before, and this makes it
// so, whenever and for as long as the test wants.
type lagging struct {
	primary *storetest.Server
	behind  []*storetest.Server
}

func lag(t *testing.T, sentinel *storetest.Sentinel) lagging {
	t.Helper()
	primary, err := sentinel.Primary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	replicas := lagging{primary: primary}
	for _, s := range sentinel.Servers {
		if s != primary {
			if err := to(t, s).ConfigSet(t.Context(), "replica-read-only", "no").Err(); err != nil {
				t.Fatal(err)
			}
			replicas.behind = append(replicas.behind, s)
		}
	}
	return replicas
}

// have puts a value into all of them, as it was; an empty one takes it out.
func (l lagging) have(t *testing.T, name, value string) {
	t.Helper()
	// What the primary still has under way would undo it.
	pipe := to(t, l.primary).Pipeline()
	pipe.Set(t.Context(), "settled", "", time.Hour)
	have := pipe.Do(t.Context(), "wait", len(l.behind), 20_000)
	if _, err := pipe.Exec(t.Context()); err != nil || have.Val() != int64(len(l.behind)) {
		t.Fatalf("%v replicas have all that the primary has: %v", have.Val(), err)
	}
	for _, s := range l.behind {
		c, err := to(t, s), error(nil)
		if value == "" {
			err = c.Del(t.Context(), name).Err()
		} else {
			err = c.Set(t.Context(), name, value, time.Hour).Err()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestReplicasThatAreBehindBringNothingBack(t *testing.T) {
	t.Parallel() // it waits, mostly
	sentinel := storetest.StartSentinel(t, storetest.SentinelOptions{DownAfter: time.Minute})
	replicas := lag(t, sentinel)
	opts := sentinelOptions(sentinel)
	opts.ReadReplicas, opts.MaxReplicaLag = true, 5*time.Second
	n := startMemberOn(t, opts, time.Minute).following(t)
	other := startMemberOn(t, opts, time.Minute).following(t)
	guard := func(n *member) *store.Guard { return &store.Guard{Store: n.redis, Ledger: n.Ledger} }
	key := storetest.Key("k")
	name := key.String()
	raw := to(t, mustPrimary(t, sentinel))

	put := func() (value string) {
		t.Helper()
		e := storetest.Entry(time.Now(), storetest.Body(key, 1, 1000))
		if err := guard(n).Put(t.Context(), key, e); err != nil {
			t.Fatal(err)
		}
		value, err := raw.Get(t.Context(), name).Result()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	miss := func(what string) {
		t.Helper()
		for who, n := range map[string]*member{"the process itself": n, "another": other} {
			if _, err := guard(n).Get(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s, %s: %v", what, who, err)
			}
		}
	}

	replicas.have(t, name, put())
	if err := other.Purge(t.Context(), store.LabelNamespace+key.Namespace, false); err != nil {
		t.Fatal(err)
	}
	until(t, "the purge was heard of", func() bool {
		_, err := guard(n).Get(t.Context(), key)
		return errors.Is(err, store.ErrNotFound)
	})
	miss("purged")

	old := put()
	replicas.have(t, name, old)
	if err := n.redis.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	<-other.deleted
	replicas.have(t, name, old)
	miss("deleted")

	// What replicas do not have yet is read from the primary.
	put()
	replicas.have(t, name, "")
	if _, err := guard(n).Get(t.Context(), key); err != nil {
		t.Errorf("what the primary has: %v", err)
	}

	// Later they are read again, and that is what this test would not be without.
	if err := raw.Del(t.Context(), name).Err(); err != nil {
		t.Fatal(err)
	}
	fresh := put()
	if err := raw.Del(t.Context(), name).Err(); err != nil {
		t.Fatal(err)
	}
	replicas.have(t, name, fresh)
	until(t, "a read from a replica", func() bool {
		_, err := guard(n).Get(t.Context(), key)
		return err == nil
	})
	if err := other.Purge(t.Context(), store.LabelAll, false); err != nil {
		t.Fatal(err)
	}
	replicas.have(t, name, fresh)
	until(t, "the purge was heard of", func() bool {
		_, err := guard(n).Get(t.Context(), key)
		return errors.Is(err, store.ErrNotFound)
	})
	miss("purged, and read from a replica")
	if e, err := n.redis.Get(t.Context(), key); err != nil {
		t.Errorf("%v, %v: the replicas were to have it, and to be read", e, err)
	}
}

func mustPrimary(t *testing.T, sentinel *storetest.Sentinel) *storetest.Server {
	t.Helper()
	primary, err := sentinel.Primary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return primary
}

// The modes in which there are no replicas to read from say so.
func TestReplicasOfASingleServerAreRefused(t *testing.T) {
	if _, err := redis.New(redis.Options{URL: "redis://h", ReadReplicas: true}); err == nil {
		t.Error("accepted")
	}
}

// What was deleted shortly before a process came is not read from a replica by
// it; all else is, from the beginning.
func TestWhatWasDeletedBeforeTheStartIsNotReadFromAReplica(t *testing.T) {
	sentinel := storetest.StartSentinel(t, storetest.SentinelOptions{DownAfter: time.Minute})
	replicas := lag(t, sentinel)
	opts := sentinelOptions(sentinel)
	first := startMemberOn(t, opts, time.Minute).following(t)
	raw := to(t, mustPrimary(t, sentinel))
	values := map[string]string{}
	for _, name := range []string{"deleted", "there"} {
		putBody(t, first.redis, name, 1000)
		value, err := raw.Get(t.Context(), storetest.Key(name).String()).Result()
		if err != nil {
			t.Fatal(err)
		}
		values[name] = value
	}
	if err := first.redis.Delete(t.Context(), storetest.Key("deleted")); err != nil {
		t.Fatal(err)
	}
	if err := raw.Del(t.Context(), storetest.Key("there").String()).Err(); err != nil {
		t.Fatal(err)
	}
	for name, value := range values {
		replicas.have(t, storetest.Key(name).String(), value)
	}
	opts.ReadReplicas = true
	late := startMemberOn(t, opts, time.Minute).following(t)
	until(t, "a read from a replica", func() bool { return hits(t, late.redis, "there") })
	if hits(t, late.redis, "deleted") {
		t.Error("a replica brought back what was deleted")
	}
}
