package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"jaegis-proxy/store"
)

// maxBatch is how many chunks at most are asked for, or written, in one round
// trip: 4 MiB. It bounds what is under way on one connection.
const maxBatch = 8

// errGone says that a chunk of a value is not there, or not of its length.
var errGone = fmt.Errorf("%w: a chunk is gone", store.ErrCorrupt)

// readChunks puts what is in chunks together, in memory of their size. open is
// nil for chunks in plain. Each batch has the budget anew: what counts is that
// Redis keeps delivering.
func (s *Store) readChunks(ctx context.Context, name string, m manifest, open *chunkSealer) ([]byte, error) {
	b := make([]byte, m.size())
	for from := 0; from < m.chunks(); {
		to := min(from+s.pace.chunks(), m.chunks())
		if err := s.readBatch(ctx, name, m, b, from, to); err != nil {
			return nil, err
		}
		if open != nil {
			if err := open.openAll(b, m, from, to); err != nil {
				return nil, err
			}
		}
		from = to
	}
	return b[:m.length:m.length], nil
}

// readBatch reads chunks, each into its slot of b, in one round trip (one to
// each node that has some of them).
func (s *Store) readBatch(ctx context.Context, name string, m manifest, b []byte, from, to int) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.Budget)
	defer cancel()
	began := time.Now()
	pipe := s.bulk.Pipeline()
	replies := make([]*goredis.ZeroCopyStringCmd, to-from)
	for i := range replies {
		at, end := m.slot(from + i)
		// No longer than the slot: replies may come from several nodes at the
		// same time, and nothing of one may end up in the next one's.
		replies[i] = pipe.GetToBuffer(ctx, m.name(name, from+i), b[at:end:end])
	}
	_, _ = pipe.Exec(ctx)
	var failed error
	for i, reply := range replies {
		n, err := reply.Result()
		s.counts.read.Add(int64(n))
		at, end := m.slot(from + i)
		if failed == nil {
			failed = chunkError(n, end-at, err)
		}
	}
	s.pace.took(len(replies), time.Since(began), s.opts.Budget)
	return failed
}

// chunkError says what is wrong with a reply of n bytes where size are wanted.
func chunkError(n, size int, err error) error {
	switch {
	case errors.Is(err, goredis.Nil), isTooSmall(err), err == nil && n != size:
		return errGone
	}
	if err = readError(err); errors.Is(err, store.ErrNotFound) {
		return errGone
	}
	return err
}

// isTooSmall says that a reply did not fit. The library has no name for it.
func isTooSmall(err error) bool {
	return err != nil && strings.Contains(err.Error(), "buffer too small")
}

// pace is how many chunks are asked for at a time: as many as Redis delivers in
// good time. A batch has the budget that a single chunk has; on a slow network,
// or a busy one, batches of maxBatch would be late where single chunks are not.
// The zero value is full pace. It is safe for concurrent use.
type pace struct{ less atomic.Int64 } // chunks less than maxBatch

func (p *pace) chunks() int { return maxBatch - int(p.less.Load()) }

// took says how long a batch of n chunks took.
func (p *pace) took(n int, took, budget time.Duration) {
	now := p.chunks()
	next := now
	switch {
	case took >= budget:
		next = n / 4
	case took > budget/2:
		next = n / 2
	case took < budget/8 && n == now:
		next = now * 2
	}
	if next = min(max(next, 1), maxBatch); next != now {
		p.less.Store(int64(maxBatch - next))
	}
}

// writeChunks writes what is in chunks already, b, in batches. Redis counts
// their time from when it gets them, and the manifest's from later: the margin
// keeps them longer.
func (s *Store) writeChunks(ctx context.Context, name string, m manifest, b []byte, ttl time.Duration) error {
	ttl += s.opts.SocketTimeout + time.Second
	for from := 0; from < m.chunks(); from += maxBatch {
		pipe := s.bulk.Pipeline()
		for n := from; n < min(from+maxBatch, m.chunks()); n++ {
			at, end := m.slot(n)
			pipe.Set(ctx, m.name(name, n), b[at:end], ttl)
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return err
		}
	}
	return nil
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
