package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"jaegis-proxy/store"
)

const (
	// batch is how many chunks are written in one round trip: 2 MiB. It bounds
	// the memory of a write, and what is under way on one connection.
	batch = 4

	// grace is how long chunks are kept that nothing names any more: a client
	// may be in the midst of them.
	grace = 5 * time.Minute
)

// errNoChunk says that a chunk is not there.
var errNoChunk = fmt.Errorf("%w: a chunk is not there", store.ErrGone)

// chunkPool holds memory for chunks. Each has one owner at a time, who gives it
// back when nobody reads from it any more. It keeps no more than it has room for:
// a pool of the runtime's would keep all that slow readers ever had at the same
// time, and let go of it in the midst of new ones.
type chunkPool chan *buffer

// get gives room for a chunk of a manifest.
func (p chunkPool) get(m manifest) *buffer {
	size := m.chunk + m.proof
	select {
	case b := <-p:
		if cap(b.b) >= size {
			return b
		}
	default:
	}
	return &buffer{make([]byte, 0, max(size, chunkSize+tagSize))}
}

func (p chunkPool) put(b *buffer) {
	select {
	case p <- b:
	default:
	}
}

// readChunk reads a chunk into buf and checks it, within a time.
func (s *Store) readChunk(ctx context.Context, name string, p *prover, n int, buf *buffer, limit time.Duration) ([]byte, error) {
	// Detached from the caller's: one that leaves would cost a connection. A
	// reply that is late has nowhere to go: it is read on this goroutine.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	room := buf.b[:p.m.size(n)+p.m.proof]
	got := 0
	err := s.on(ctx, name, false, func(node *node) (err error) {
		got, err = node.bulk.GetToBuffer(ctx, p.m.name(name, n), room).Result()
		switch {
		case isTooSmall(err):
			return errNoProof
		case errors.Is(readError(err), store.ErrNotFound):
			return errNoChunk
		}
		return err
	})
	s.counts.read.Add(int64(got))
	if err != nil {
		return nil, err
	}
	return p.check(room[:got], n)
}

// isTooSmall says that a reply did not fit. The library has no name for it.
func isTooSmall(err error) bool {
	return err != nil && strings.Contains(err.Error(), "buffer too small")
}

// writeChunks writes the body of e in chunks, batch by batch. They are kept
// longer than the manifest, which is written later and may be read to its last
// moment.
func (s *Store) writeChunks(ctx context.Context, name string, p *prover, e *store.Entry) error {
	body := e.Open(ctx, 0, e.BodySize())
	defer body.Close()
	var bufs [batch]*buffer
	for i := range bufs {
		bufs[i] = s.chunks.get(p.m)
		defer s.chunks.put(bufs[i])
	}
	var rest []byte
	for from := 0; from < p.m.chunks(); from += batch {
		to := min(from+batch, p.m.chunks())
		chunks := make([][]byte, to-from)
		for i := range chunks {
			b, err := fill(bufs[i].b[:0:cap(bufs[i].b)], p.m.size(from+i), body, &rest)
			if err != nil {
				return err
			}
			chunks[i] = p.prove(b, from+i)
		}
		if err := s.writeBatch(ctx, name, p.m, from, chunks, s.chunkTTL(s.ttl(e))); err != nil {
			return err
		}
	}
	return nil
}

// fill appends the next n bytes of body to dst. rest is what was read too much.
func fill(dst []byte, n int, body store.Reader, rest *[]byte) ([]byte, error) {
	for {
		k := min(n, len(*rest))
		dst, *rest = append(dst, (*rest)[:k]...), (*rest)[k:]
		if n -= k; n == 0 {
			return dst, nil
		}
		var err error
		if *rest, err = body.Next(); err != nil {
			return nil, fmt.Errorf("the body to be stored: %w", err)
		}
	}
}

// writeBatch writes some chunks, of which from is the first, in the time that a
// write has.
func (s *Store) writeBatch(ctx context.Context, name string, m manifest, from int, chunks [][]byte, ttl time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := s.writeContext(ctx)
	defer cancel()
	return s.on(ctx, name, true, func(n *node) error {
		pipe := n.bulk.Pipeline()
		for i, chunk := range chunks {
			s.counts.written.Add(int64(len(chunk)))
			pipe.Set(ctx, m.name(name, from+i), chunk, ttl)
		}
		_, err := pipe.Exec(ctx)
		return err
	})
}

// dropChunks frees the room of chunks that nobody has ever been told of, in the
// time that ctx leaves. That it fails is no harm: they expire.
func (s *Store) dropChunks(ctx context.Context, name string, m manifest) {
	s.onChunks(ctx, name, m, func(ctx context.Context, pipe goredis.Pipeliner, chunk string) { pipe.Unlink(ctx, chunk) })
}

// leaveChunks has chunks go once those who read them have had their time. That
// it fails is no harm either.
func (s *Store) leaveChunks(ctx context.Context, name string, m manifest) {
	s.onChunks(ctx, name, m, func(ctx context.Context, pipe goredis.Pipeliner, chunk string) { pipe.PExpire(ctx, chunk, grace) })
}

func (s *Store) onChunks(ctx context.Context, name string, m manifest, do func(ctx context.Context, pipe goredis.Pipeliner, chunk string)) {
	_ = s.on(ctx, name, true, func(n *node) error {
		pipe := n.bulk.Pipeline()
		for _, chunk := range m.names(name) {
			do(ctx, pipe, chunk)
		}
		_, err := pipe.Exec(ctx)
		return err
	})
}
