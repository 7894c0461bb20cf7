package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
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

// readBatch reads chunks, each into its slot of b, in one round trip to each
// node that has some of them.
func (s *Store) readBatch(ctx context.Context, name string, m manifest, b []byte, from, to int) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.Budget)
	defer cancel()
	began := time.Now()
	err := s.onChunks(ctx, name, m, from, to, false, func(n *node, chunks []int) error {
		pipe := n.bulk.Pipeline()
		replies := make([]*goredis.ZeroCopyStringCmd, len(chunks))
		for i, chunk := range chunks {
			at, end := m.slot(chunk)
			// No longer than the slot: replies may come from several nodes at the
			// same time, and nothing of one may end up in the next one's.
			replies[i] = pipe.GetToBuffer(ctx, m.name(name, chunk), b[at:end:end])
		}
		_, _ = pipe.Exec(ctx)
		var failed error
		for i, reply := range replies {
			n, err := reply.Result()
			s.counts.read.Add(int64(n))
			at, end := m.slot(chunks[i])
			if failed == nil {
				failed = chunkError(n, end-at, err)
			}
		}
		return failed
	})
	s.pace.took(to-from, time.Since(began), s.opts.Budget)
	return err
}

// onChunks does something on each node that has some of the chunks, on all of
// them at the same time, and gives the first thing that went wrong.
func (s *Store) onChunks(ctx context.Context, name string, m manifest, from, to int, write bool, do func(n *node, chunks []int) error) error {
	var nodes []*node
	var chunks [][]int
	for i := from; i < to; i++ {
		sh, err := s.servers.shard(ctx, m.name(name, i))
		if err != nil {
			return err
		}
		at := slices.Index(nodes, sh.primary)
		if at < 0 {
			at, nodes, chunks = len(nodes), append(nodes, sh.primary), append(chunks, nil)
		}
		chunks[at] = append(chunks[at], i)
	}
	errs := make([]error, len(nodes))
	one := func(i int) {
		errs[i] = s.at(nodes[i], write, func(n *node) error { return do(n, chunks[i]) })
	}
	var others sync.WaitGroup
	for i := 1; i < len(nodes); i++ {
		others.Go(func() { one(i) })
	}
	if len(nodes) > 0 {
		one(0)
	}
	others.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
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
		to := min(from+maxBatch, m.chunks())
		err := s.onChunks(ctx, name, m, from, to, true, func(n *node, chunks []int) error {
			pipe := n.bulk.Pipeline()
			for _, chunk := range chunks {
				at, end := m.slot(chunk)
				pipe.Set(ctx, m.name(name, chunk), b[at:end], ttl)
			}
			_, err := pipe.Exec(ctx)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// dropChunks frees the room that chunks take. That it fails is no harm: they
// expire.
func (s *Store) dropChunks(ctx context.Context, name string, m manifest) {
	_ = s.onChunks(ctx, name, m, 0, m.chunks(), true, func(n *node, chunks []int) error {
		pipe := n.bulk.Pipeline()
		for _, chunk := range chunks {
			pipe.Unlink(ctx, m.name(name, chunk))
		}
		_, err := pipe.Exec(ctx)
		return err
	})
}
