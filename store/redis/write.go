package redis

import (
	"context"
	"errors"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/store"
)

// write is Put: the chunks, if there are any, then the value under the key's own
// name. It names the chunks and must not be there before all of them are.
func (s *Store) write(ctx context.Context, key cachekey.Key, e *store.Entry, ttl time.Duration) error {
	buf := s.buffers.get()
	defer s.buffers.put(buf)
	name, v := key.String(), s.sealer.encode(buf, key, e)
	if v.chunks == nil {
		s.counts.written.Add(int64(len(v.value)))
		return s.replace(ctx, name, v.value, ttl)
	}
	s.counts.written.Add(int64(len(v.chunks)))
	err := s.writeChunks(ctx, name, v.manifest, v.chunks, ttl)
	if err == nil {
		err = s.replace(ctx, name, v.value, ttl)
	}
	if err != nil {
		s.dropChunks(ctx, name, v.manifest) // nothing will ever name them
	}
	return err
}

// replace sets the value under a key's own name. If it was a manifest, nothing
// names its chunks any more: they need not wait for their expiry. A reader in
// the midst of them finds the new value.
func (s *Store) replace(ctx context.Context, name string, value []byte, ttl time.Duration) error {
	f, fenced := store.FenceOf(ctx)
	if lease := leaseName(f.Key.String()); fenced && f.Key.String() != name {
		return s.replaceApart(ctx, lease, f.Token, name, value, ttl)
	} else if fenced {
		return s.setIf(ctx, lease, f.Token, name, value, ttl)
	}
	var old *goredis.StringCmd
	err := s.on(ctx, name, true, func(n *node) error {
		pipe := n.bulk.Pipeline()
		old = pipe.GetRange(ctx, name, 0, maxManifest-1)
		set := pipe.Set(ctx, name, value, ttl)
		_, _ = pipe.Exec(ctx)
		return set.Err()
	})
	if err == nil {
		s.dropOld(ctx, name, old)
	}
	return err
}

// remove is Delete, and Remove where others are not told. They are told after
// it is gone, or together with that where the node is the same.
func (s *Store) remove(ctx context.Context, name string, tell bool) error {
	var old *goredis.StringCmd
	if s.deleted != nil {
		s.deleted.note(name, time.Now())
	}
	together := tell && s.opts.Mode != Cluster
	err := s.on(ctx, name, true, func(n *node) error {
		pipe := n.bulk.Pipeline()
		old = pipe.GetRange(ctx, name, 0, maxManifest-1)
		unlink, told := pipe.Unlink(ctx, name), &goredis.StringCmd{}
		if together {
			told = s.tellDeleted(ctx, pipe, name)
		}
		_, _ = pipe.Exec(ctx)
		return errors.Join(unlink.Err(), told.Err())
	})
	if err == nil && tell && !together {
		err = s.on(ctx, deletionsName, true, func(n *node) error { return s.tellDeleted(ctx, n.bulk, name).Err() })
	}
	if err == nil {
		s.dropOld(ctx, name, old)
	}
	return err
}

func (s *Store) dropOld(ctx context.Context, name string, old *goredis.StringCmd) {
	b, err := old.Bytes()
	if err != nil {
		return
	}
	if m, err := decodeManifest(b); err == nil {
		s.dropChunks(ctx, name, m)
	}
}

// bufferPool holds the memory in which values are encoded before they are sent.
// A write runs on its caller's goroutine to its end, so nothing holds on to the
// buffer after it.
type bufferPool struct{ pool sync.Pool }

type buffer struct{ b []byte }

// maxPooled keeps the buffers of rare large values out of the pool.
const maxPooled = 256 << 10

func (p *bufferPool) get() *buffer {
	if b, ok := p.pool.Get().(*buffer); ok {
		return b
	}
	return &buffer{}
}

func (p *bufferPool) put(b *buffer) {
	if cap(b.b) <= maxPooled {
		b.b = b.b[:0]
		p.pool.Put(b)
	}
}
