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

// write is Put.
func (s *Store) write(ctx context.Context, key cachekey.Key, e *store.Entry, ttl time.Duration) error {
	buf := s.buffers.get()
	defer s.buffers.put(buf)
	buf.b = encodeEntry(buf.b, key, e)
	name, value := key.String(), buf.b
	s.counts.written.Add(int64(len(value)))
	if len(value) <= maxString {
		return s.replace(ctx, name, value, ttl)
	}
	m := newManifest(len(value))
	err := s.writeChunks(ctx, name, m, value, ttl)
	if err == nil {
		err = s.replace(ctx, name, encodeManifest(key, m), ttl)
	}
	if err != nil {
		s.dropChunks(ctx, name, m) // nothing will ever name them
	}
	return err
}

// writeChunks writes the chunks of value. Redis counts their time from when it
// gets them, and the manifest's from later: the margin keeps them longer.
func (s *Store) writeChunks(ctx context.Context, name string, m manifest, value []byte, ttl time.Duration) error {
	ttl += s.opts.SocketTimeout + time.Second
	for n := range m.chunks() {
		chunk := value[n*m.chunk : min((n+1)*m.chunk, len(value))]
		if err := s.bulk.Set(ctx, m.name(name, n), chunk, ttl).Err(); err != nil {
			return err
		}
	}
	return nil
}

// replace sets the value under a key's own name. If it was a manifest, nothing
// names its chunks any more: they need not wait for their expiry. A reader in
// the midst of them finds the new value.
func (s *Store) replace(ctx context.Context, name string, value []byte, ttl time.Duration) error {
	pipe := s.bulk.Pipeline()
	old := pipe.GetRange(ctx, name, 0, headSize-1)
	set := pipe.Set(ctx, name, value, ttl)
	_, _ = pipe.Exec(ctx)
	if err := set.Err(); err != nil {
		return err
	}
	s.dropOld(ctx, name, old)
	return nil
}

// remove is Delete, and Remove where others are not told.
func (s *Store) remove(ctx context.Context, name string, tell bool) error {
	pipe := s.bulk.Pipeline()
	old := pipe.GetRange(ctx, name, 0, headSize-1)
	unlink := pipe.Unlink(ctx, name)
	told := &goredis.StringCmd{}
	if tell {
		told = s.tellDeleted(ctx, pipe, name)
	}
	_, _ = pipe.Exec(ctx)
	if err := errors.Join(unlink.Err(), told.Err()); err != nil {
		return err
	}
	s.dropOld(ctx, name, old)
	return nil
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

// dropChunks frees the room that chunks take. That it fails is no harm: they
// expire.
func (s *Store) dropChunks(ctx context.Context, name string, m manifest) {
	pipe := s.bulk.Pipeline()
	for n := range m.chunks() {
		pipe.Unlink(ctx, m.name(name, n))
	}
	_, _ = pipe.Exec(ctx)
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
