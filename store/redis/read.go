package redis

import (
	"bytes"
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
	if errors.Is(err, errGone) {
		// Most likely the value was overwritten, and its chunks dropped, while
		// we read: then there is another one now.
		e, raw, err = s.readAgain(bounded, key, name, raw, err)
	}
	switch {
	case errors.Is(err, store.ErrCorrupt):
		s.counts.corrupt.Add(1)
		s.discard(bounded, name, raw)
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
	if v.kind != kindManifest && v.kind != kindSealedManifest {
		return s.sealer.decode(raw, v)
	}
	m, chunks, err := s.sealer.openManifest(raw)
	if err != nil {
		return nil, raw, err
	}
	b, err := s.readChunks(ctx, name, m, chunks)
	if err != nil {
		return nil, raw, err
	}
	if chunks != nil {
		e, err = store.Decode(b)
	} else {
		e, err = decodeEntry(b, key)
	}
	return e, raw, err
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

// readAgain looks whether the value is still the one of which a chunk is gone
// (then that is the answer, gone) and reads the other one if it is not.
func (s *Store) readAgain(ctx context.Context, key cachekey.Key, name string, old []byte, gone error) (*store.Entry, []byte, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.Budget)
	defer cancel()
	var head []byte
	err := s.on(ctx, name, false, func(n *node) (err error) {
		head, err = n.bulk.GetRange(ctx, name, 0, headSize-1).Bytes()
		return readError(err)
	})
	if err != nil {
		return nil, nil, err
	}
	if len(head) == 0 {
		return nil, nil, store.ErrNotFound
	}
	if bytes.Equal(head, old) {
		return nil, old, gone
	}
	return s.readRest(ctx, key, name, head)
}

// discard removes a value that is of no use, if it is still the one that was
// read: not a good one that has been put there since. That it fails is no harm.
func (s *Store) discard(ctx context.Context, name string, bad []byte) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.Budget)
	defer cancel()
	_ = s.on(ctx, name, true, func(n *node) error {
		err := n.bulk.Watch(ctx, func(tx *goredis.Tx) error {
			now, err := tx.GetRange(ctx, name, 0, int64(max(len(bad), 1)-1)).Bytes()
			if err != nil || !bytes.Equal(now, bad) {
				return err
			}
			_, err = tx.TxPipelined(ctx, func(p goredis.Pipeliner) error {
				p.Unlink(ctx, name)
				return nil
			})
			return err
		}, name)
		if errors.Is(err, goredis.TxFailedErr) {
			return nil // there is another one now
		}
		return readError(err)
	})
	if m, err := decodeManifest(bad); err == nil {
		s.dropChunks(ctx, name, m)
	}
}

// readError makes a miss of the replies that are one.
func readError(err error) error {
	if errors.Is(err, goredis.Nil) || goredis.HasErrorPrefix(err, "WRONGTYPE") {
		return store.ErrNotFound
	}
	return err
}
