package redis

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"
	goredis "github.com/redis/go-redis/v9"

	"jaegis-proxy/store"
)

// A write under a lease is one that Redis itself makes dependent on the lease:
// a process that was stopped after it had looked would write all the same.
//
// Where the lease lies in the slot of what is written, one script does both.
// Elsewhere, in a cluster, no script can see the two, and this stands in:
//
//	arm     put our token where only writers under this lease look, in the slot of
//	        what is to be written
//	verify  that the lease is ours
//	write   if the token is still ours
//
// Whoever takes the lease over writes the same way, and its token has replaced
// ours before it writes: what we send after that is refused. If we arm after it
// we find that the lease is not ours, and it tries again.

// setIfScript sets a value while a token is what is expected, and gives what was
// there before, as far as the place in a manifest; false when it is not.
const setIfScript = `
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return false end
local old = redis.call('GETRANGE', KEYS[1], 0, ARGV[4])
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return old`

// setIf is replace while guard, in the same slot, has the token.
func (s *Store) setIf(ctx context.Context, guard, token, name string, value []byte, ttl time.Duration) error {
	var old *goredis.StringCmd
	fenced := false
	err := s.on(ctx, name, true, func(n *node) error {
		old = goredis.NewStringCmd(ctx, "eval", setIfScript, 2, name, guard, token, value, ttl.Milliseconds(), placeWithin-1)
		old.SetFirstKeyPos(3)
		_ = n.bulk.Process(ctx, old)
		fenced = errors.Is(old.Err(), goredis.Nil)
		return unlessNil(old.Err())
	})
	switch {
	case err != nil:
		return err
	case fenced:
		return store.ErrFenced
	}
	s.leaveOld(ctx, name, old, value)
	return nil
}

// unlessNil makes none of the error that says that there is nothing.
func unlessNil(err error) error {
	if errors.Is(err, goredis.Nil) {
		return nil
	}
	return err
}

// maxArms bounds how often one tries to write what lies in another slot than
// the lease.
const maxArms = 3

// armTime is longer than a write may take after it was armed.
func (s *Store) armTime() time.Duration { return s.opts.SocketTimeout + time.Second }

// apart has something written to name under a lease in another slot: set writes
// while a guard, in the slot of name, has the lease's token.
func (s *Store) apart(ctx context.Context, lease, token, name string, set func(guard string) error) error {
	guard := leaseName(name) + ":by:" + strconv.FormatUint(xxhash.Sum64String(lease), 16)
	for range maxArms {
		err := s.on(ctx, guard, true, func(n *node) error { return n.bulk.Set(ctx, guard, token, s.armTime()).Err() })
		if err != nil {
			return err
		}
		holder := ""
		err = s.on(ctx, lease, false, func(n *node) (err error) {
			holder, err = n.bulk.Get(ctx, lease).Result()
			return unlessNil(err)
		})
		if err != nil {
			return err
		}
		if holder != token {
			return store.ErrFenced
		}
		if err = set(guard); !errors.Is(err, store.ErrFenced) {
			return err
		}
	}
	return store.ErrFenced
}
