package redis

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"jaegis-proxy/store"
)

const (
	// mostAhead is how many chunks at a time may be read before they are asked
	// for: 32 MiB. Readers that get no part in it do without, so that each slow
	// one has few chunks in memory, and all together that much more.
	mostAhead = 64

	// wholeChunks is how many chunks a body, or the part of it that is asked for,
	// may have to be read before its first byte is given: 4 MiB. A Redis that is
	// lost then cuts nobody.
	wholeChunks = 8

	// turnBudgets is how many budgets of a read a chunk may wait for its turn.
	turnBudgets = 10

	// pieceOfChunk is how much of a chunk is handed out at a time.
	pieceOfChunk = 64 << 10
)

// large is a body in chunks. It implements store.Content.
type large struct {
	s      *Store
	name   string
	fillAt int // where in the manifest the fill is
	p      *prover
}

// Size implements store.Content.
func (l *large) Size() int64 { return int64(l.p.m.length) }

// Open implements store.Content. The reader reads the chunks that it needs and
// no others, one of them ahead.
//
// A chunk that is gone, or not what was written, takes the value with it. Until
// the first byte an outage is what it is for Get; from then on the reader is
// patient with Redis, for as long as a write would be: somebody has half of the
// body.
func (l *large) Open(ctx context.Context, off, n int64) store.Reader {
	r := &chunkReader{l: l, next: int(off / int64(l.p.m.chunk)), off: off, end: off + n}
	r.ctx, r.cancel = context.WithCancel(ctx)
	return r
}

// chunkReader implements store.Reader.
type chunkReader struct {
	l      *large
	ctx    context.Context
	cancel context.CancelFunc

	next     int   // the chunk that comes next
	off, end int64 // of the body, what is still to be given
	begun    bool
	current  *buffer // the chunk that rest is of
	rest     []byte
	ahead    chan fetched // of the chunk that is read ahead; nil: none is
	ready    []fetched    // the chunks that come next, where all were read at once
	err      error        // what ended it
}

// fetched is a chunk that was read.
type fetched struct {
	buf   *buffer
	bytes []byte
	err   error
}

// Next implements store.Reader.
func (r *chunkReader) Next() ([]byte, error) {
	if len(r.rest) == 0 && r.err == nil {
		r.err = r.advance()
	}
	if r.err != nil {
		return nil, r.err
	}
	b := r.rest[:min(len(r.rest), pieceOfChunk)]
	r.rest = r.rest[len(b):]
	r.off += int64(len(b))
	return b, nil
}

// advance takes the next chunk up, and has the one behind it read.
func (r *chunkReader) advance() error {
	r.release()
	if r.off == r.end {
		return io.EOF
	}
	if !r.begun {
		r.readWhole()
	}
	got := r.take()
	if r.current = got.buf; got.err != nil {
		if errors.Is(got.err, store.ErrGone) {
			r.l.lost()
		}
		return got.err
	}
	at := int64(r.next) * int64(r.l.p.m.chunk)
	r.rest = got.bytes[r.off-at : min(int64(len(got.bytes)), r.end-at)]
	r.next, r.begun = r.next+1, true
	if len(r.ready) == 0 && r.off+int64(len(r.rest)) < r.end {
		r.readAhead()
	}
	return nil
}

// readWhole reads all chunks that are needed, if these are few and there is room
// for them. One that is gone takes them all with it; from one that is late on they
// are read as they are needed.
func (r *chunkReader) readWhole() {
	s, first := r.l.s, r.next
	n := int((r.end-1)/int64(r.l.p.m.chunk)) - first + 1
	if n < 2 || n > wholeChunks {
		return
	}
	for got := range n {
		select {
		case s.ahead <- struct{}{}:
		default:
			s.letGo(got)
			return
		}
	}
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	all := make([]fetched, n)
	var running sync.WaitGroup
	for i := range all {
		all[i].buf = s.chunks.get(r.l.p.m)
	}
	// The first decides on all: it has its turn before the others, who need not
	// wait for theirs where it fails.
	all[0].bytes, all[0].err = r.try(ctx, first, all[0].buf, s.opts.Budget, func() {
		for i := range all[1:] {
			running.Go(func() {
				i := i + 1
				all[i].bytes, all[i].err = r.try(ctx, first+i, all[i].buf, 4*s.opts.Budget, nil)
			})
		}
	})
	if all[0].err != nil {
		cancel()
	}
	running.Wait()
	r.ready = all
	for _, got := range all {
		if errors.Is(got.err, store.ErrGone) {
			all[0].err = got.err
			return
		}
	}
	for i, got := range all {
		if i > 0 && got.err != nil {
			for _, late := range all[i:] {
				s.chunks.put(late.buf)
			}
			s.letGo(n - i)
			r.ready = all[:i]
			return
		}
	}
}

// letGo gives back the room of some chunks that were read ahead.
func (s *Store) letGo(n int) {
	for range n {
		<-s.ahead
	}
}

// take gives the next chunk, which may be on its way.
func (r *chunkReader) take() fetched {
	if len(r.ready) > 0 {
		got := r.ready[0]
		r.ready = r.ready[1:]
		r.l.s.letGo(1)
		return got
	}
	if r.ahead == nil {
		return r.fetch(r.next)
	}
	got := <-r.ahead
	r.ahead = nil
	r.l.s.letGo(1)
	return got
}

// readAhead begins to read the next chunk, if there is room for that. Close, or
// who takes it, waits for the end.
func (r *chunkReader) readAhead() {
	select {
	case r.l.s.ahead <- struct{}{}:
	default:
		return
	}
	ahead := make(chan fetched, 1)
	r.ahead = ahead
	n := r.next
	go func() {
		ahead <- r.fetch(n)
	}()
}

// fetch reads a chunk.
func (r *chunkReader) fetch(n int) (got fetched) {
	s := r.l.s
	got.buf = s.chunks.get(r.l.p.m)
	deadline, limit := time.Now().Add(s.opts.SocketTimeout), s.opts.Budget
	if r.begun {
		limit = max(limit, s.opts.SocketTimeout/4)
	}
	for {
		got.bytes, got.err = r.try(r.ctx, n, got.buf, limit, nil)
		if got.err == nil || errors.Is(got.err, store.ErrGone) || !r.begun || time.Now().After(deadline) {
			return got
		}
		if s.await(r.ctx, r.l.name, time.Until(deadline), s.opts.Budget); r.ctx.Err() != nil {
			got.err = context.Cause(r.ctx)
			return got
		}
	}
}

// try reads a chunk once. Only so many are read at the same time: they
// wait here for each other, and nobody else waits for them. While Redis is well a
// crowd is better off with that than with the upstream, and if it is not each
// turn ends soon. begun, if there is one, is called when it has its turn.
func (r *chunkReader) try(ctx context.Context, n int, buf *buffer, limit time.Duration, begun func()) ([]byte, error) {
	s := r.l.s
	turn := time.NewTimer(max(limit, turnBudgets*s.opts.Budget))
	defer turn.Stop()
	select {
	case s.turns <- struct{}{}:
		defer func() { <-s.turns }()
	case <-turn.C:
		return nil, ErrBusy
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if begun != nil {
		begun()
	}
	return s.readChunk(ctx, r.l.name, r.l.p, n, buf, limit)
}

// release gives back the memory of the chunk that was read to its end.
func (r *chunkReader) release() {
	if r.current != nil {
		r.l.s.chunks.put(r.current)
		r.current, r.rest = nil, nil
	}
}

// Close implements store.Reader.
func (r *chunkReader) Close() {
	r.cancel()
	r.release()
	if r.ahead != nil {
		r.current = r.take().buf
	}
	for _, got := range r.ready {
		r.l.s.chunks.put(got.buf)
	}
	r.l.s.letGo(len(r.ready))
	r.ready = nil
	r.release()
}

// lost takes the value out of Redis whose body is not to be had, if it is still
// there: there may be a good one in its place by now.
func (l *large) lost() {
	ctx, cancel := context.WithTimeout(context.Background(), l.s.opts.Budget)
	defer cancel()
	l.s.counts.corrupt.Add(1)
	l.s.discard(ctx, l.name, l.fillAt, l.p.m.fill[:])
	l.s.leaveChunks(ctx, l.name, l.p.m)
}

// rewrite is write for an entry whose body is in chunks under this very name
// already: the manifest alone is written, and the chunks are kept for as long as
// it. That is all Redis' own work, and none if the value is another by now or a
// chunk is gone: then it is store.ErrGone.
func (s *Store) rewrite(ctx context.Context, l *large, value []byte, e *store.Entry) error {
	ctx, cancel := s.writeContext(ctx)
	defer cancel()
	s.counts.written.Add(int64(len(value)))
	f, fenced := store.FenceOf(ctx)
	set := func(guard string) error {
		names := append([]string{l.name, guard}, l.p.m.names(l.name)...)
		ttl := s.ttl(e)
		args := []any{f.Token, l.fillAt, l.p.m.fill[:], value, ttl.Milliseconds(), s.chunkTTL(ttl).Milliseconds()}
		said := 0
		err := s.on(ctx, l.name, true, func(n *node) (err error) {
			said, err = n.bulk.Eval(ctx, rewriteScript, names, args...).Int()
			return err
		})
		switch {
		case err != nil:
			return err
		case said < 0:
			return store.ErrFenced
		case said == 0:
			return errNoChunk
		}
		return nil
	}
	switch lease := leaseName(f.Key.String()); {
	case !fenced:
		return set(l.name)
	case f.Key.String() == l.name:
		return set(lease)
	default:
		return s.apart(ctx, lease, f.Token, l.name, set)
	}
}

// rewriteScript sets a manifest whose chunks are there, if what is there now is
// one of the same chunks, and a token, where there is one, what is expected.
const rewriteScript = `
if ARGV[1] ~= '' and redis.call('GET', KEYS[2]) ~= ARGV[1] then return -1 end
if redis.call('GETRANGE', KEYS[1], ARGV[2], ARGV[2] + 15) ~= ARGV[3] then return 0 end
for i = 3, #KEYS do
  if redis.call('PEXPIRE', KEYS[i], ARGV[6]) == 0 then return 0 end
end
redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[5])
return 1`

// discard removes a value that is of no use, if it is still the one that was
// read: not a good one that has been put there since. bad is what it has at a
// place where no two have the same. It has the time that ctx leaves; that it
// fails is no harm.
func (s *Store) discard(ctx context.Context, name string, at int, bad []byte) {
	_ = s.on(ctx, name, true, func(n *node) error {
		err := n.bulk.Watch(ctx, func(tx *goredis.Tx) error {
			now, err := tx.GetRange(ctx, name, int64(at), int64(at+max(len(bad), 1)-1)).Bytes()
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
}
