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

// write is Put: in one string if that is no longer than a string may be, else
// the chunks, then the manifest. That names the chunks and must not be there
// before all of them are.
func (s *Store) write(ctx context.Context, key cachekey.Key, e *store.Entry) error {
	name := key.String()
	if l, ok := e.Content.(*large); ok && l.s == s && l.name == name {
		value := s.sealer.encodeLarge(key, e, l.p)
		if len(value) > maxString {
			return store.ErrTooLarge
		}
		return s.rewrite(ctx, l, value, e)
	}
	if e.BodySize() > maxString {
		return s.writeLarge(ctx, key, e)
	}
	loaded, err := e.Load(ctx)
	if err != nil {
		return err
	}
	buf := s.buffers.get()
	defer s.buffers.put(buf)
	if value := s.sealer.encode(buf, key, loaded); len(value) <= maxString {
		s.counts.written.Add(int64(len(value)))
		return s.replace(ctx, name, value, e)
	}
	return s.writeLarge(ctx, key, e)
}

func (s *Store) writeLarge(ctx context.Context, key cachekey.Key, e *store.Entry) error {
	name, p := key.String(), s.sealer.newProver(int(e.BodySize()))
	value := s.sealer.encodeLarge(key, e, p)
	if len(value) > maxString || p.m.length == 0 {
		return store.ErrTooLarge
	}
	err := s.writeChunks(ctx, name, p, e)
	unnamed := err != nil // and nothing will ever name them
	if !unnamed {
		s.counts.written.Add(int64(len(value)))
		err = s.replace(ctx, name, value, e, p.m.names(name)...)
		unnamed = errors.Is(err, store.ErrFenced)
	}
	if err == nil {
		return nil
	}
	ctx, cancel := s.writeContext(ctx)
	defer cancel()
	if unnamed {
		s.dropChunks(ctx, name, p.m)
	} else { // the manifest may have been written all the same
		s.leaveChunks(ctx, name, p.m)
	}
	return err
}

// ttl is how long an entry is kept from now on.
func (s *Store) ttl(e *store.Entry) time.Duration {
	return max(e.Lifetime.Expiry().Sub(s.opts.Now()).Truncate(time.Millisecond), time.Millisecond)
}

// chunkTTL is how long chunks are kept whose manifest is kept for a time: that is
// written later, and may be read to its last moment.
func (s *Store) chunkTTL(manifest time.Duration) time.Duration {
	return manifest + s.opts.SocketTimeout + grace
}

// replace sets the value of e under a key's own name, which names chunks. If what
// was there was a manifest, nothing names its chunks any more: they need not wait
// for their expiry. A write that is sent again may come behind that of another,
// who has left these chunks: they are kept anew.
func (s *Store) replace(ctx context.Context, name string, value []byte, e *store.Entry, chunks ...string) error {
	ctx, cancel := s.writeContext(ctx)
	defer cancel()
	ttl := s.ttl(e)
	f, fenced := store.FenceOf(ctx)
	if lease := leaseName(f.Key.String()); fenced && f.Key.String() != name {
		return s.apart(ctx, lease, f.Token, name, func(guard string) error { return s.setIf(ctx, guard, f.Token, name, value, ttl) })
	} else if fenced {
		return s.setIf(ctx, lease, f.Token, name, value, ttl)
	}
	var old *goredis.StringCmd
	err := s.on(ctx, name, true, func(n *node) error {
		pipe := n.bulk.Pipeline()
		old = pipe.GetRange(ctx, name, 0, placeWithin-1)
		set := pipe.Set(ctx, name, value, ttl)
		for _, chunk := range chunks {
			pipe.PExpire(ctx, chunk, s.chunkTTL(ttl))
		}
		_, _ = pipe.Exec(ctx)
		return set.Err()
	})
	if err == nil {
		s.leaveOld(ctx, name, old, value)
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
		old = pipe.GetRange(ctx, name, 0, placeWithin-1)
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
		s.leaveOld(ctx, name, old, nil)
	}
	return err
}

// leaveOld leaves the chunks of what was there, if it had some. They may be those
// of what is there now: of a write whose reply was lost, and that was sent again.
func (s *Store) leaveOld(ctx context.Context, name string, old *goredis.StringCmd, now []byte) {
	b, err := old.Bytes()
	if err != nil {
		return
	}
	is, _ := placeOf(now[:min(len(now), placeWithin)])
	if placed, ok := placeOf(b); ok && placed.m.fill != is.m.fill {
		s.leaveChunks(ctx, name, placed.m)
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
