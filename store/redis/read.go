package redis

import (
	"context"
	"errors"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/store"
)

const (
	// headSize is how much of a value the first read takes. Most values are no
	// longer; of those that are it says how to read them. It bounds what one
	// caller's value can hold up the others' in a batch.
	headSize = 128 << 10

	// mostReads is how many reads at a time go out to a server on connections of
	// their own, at most. More are handed to the batcher: that costs a wait of
	// its own, but carries many in one round trip. As many batches may be under
	// way at the same time, each on a connection of its own: with one alone, a
	// reply that is held up would hold up all reads behind it.
	mostReads = 4

	// maxQueuedReads bounds the memory of reads that nobody waits for any more,
	// should Redis hang.
	maxQueuedReads = 8 << 10
)

// read is Get: the head of the value, then what the head says is left to read.
// A value that is not as it was written is removed, and a miss. One for which
// there is no key here is a miss too.
func (s *Store) read(ctx context.Context, key cachekey.Key) (*store.Entry, error) {
	name := key.String()
	// Detached from the caller's: one that leaves would cost a connection.
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.Budget)
	defer cancel()
	head, err := s.readHead(bounded, name)
	if err != nil {
		return nil, err
	}
	e, raw, err := s.readRest(bounded, key, name, head)
	switch {
	case errors.Is(err, store.ErrCorrupt):
		s.counts.corrupt.Add(1)
		s.discard(bounded, name, 0, raw)
		if placed, ok := placeOf(raw); ok {
			s.leaveChunks(bounded, name, placed.m)
		}
		return nil, store.ErrNotFound
	case s.unopened.note(err):
		return nil, store.ErrNotFound // and left there: others may well read it
	}
	return e, err
}

// readHead reads the first bytes of a value: from a replica if that is wanted
// and one is in use, else from the primary. So it does what a replica does not
// have, as it may only not have it yet.
func (s *Store) readHead(ctx context.Context, name string) (b []byte, err error) {
	head := func(n *node) (err error) {
		b, err = n.readHead(ctx, name)
		s.counts.read.Add(int64(len(b)))
		if err == nil && len(b) == 0 {
			err = store.ErrNotFound
		}
		return readError(err)
	}
	sh, err := s.servers.shard(ctx, name)
	if err != nil {
		return nil, err
	}
	if r := sh.replica(); r != nil && !s.deleted.has(name, time.Now()) {
		if err = s.at(r, false, head); err == nil || ctx.Err() != nil {
			return b, err
		}
	}
	err = s.at(sh.primary, false, head)
	return b, err
}

// readRest makes an entry of a value whose head is here. raw is what was read
// under the key's own name, or enough of it, for discard to compare.
func (s *Store) readRest(ctx context.Context, key cachekey.Key, name string, head []byte) (e *store.Entry, raw []byte, err error) {
	raw = head
	v, err := s.sealer.openValue(raw, key)
	if err != nil {
		return nil, raw, err
	}
	if v.length > len(raw) && len(raw) == headSize && v.length <= maxString {
		if raw, err = s.readWhole(ctx, name); err != nil {
			return nil, raw, err
		}
		if v, err = s.sealer.openValue(raw, key); err != nil {
			return nil, raw, err
		}
	}
	if v.kind != kindLarge && v.kind != kindSealedLarge {
		return s.sealer.decode(raw, v)
	}
	placed, _ := placeOf(raw)
	kept := raw[:min(len(raw), max(placed.end, v.head))] // opening overwrites what is behind
	e, p, err := s.sealer.decodeLarge(raw, v)
	if err == nil {
		e.Content = &large{s, name, placed.fillAt, p}
	}
	return e, kept, err
}

func (s *Store) readWhole(ctx context.Context, name string) ([]byte, error) {
	var b []byte
	err := s.on(ctx, name, false, func(n *node) (err error) {
		b, err = n.bulk.Get(ctx, name).Bytes()
		return readError(err)
	})
	s.counts.read.Add(int64(len(b)))
	return b, err
}

// readError makes a miss of the replies that are one.
func readError(err error) error {
	if errors.Is(err, goredis.Nil) || goredis.HasErrorPrefix(err, "WRONGTYPE") {
		return store.ErrNotFound
	}
	return err
}
