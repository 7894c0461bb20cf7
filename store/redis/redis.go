// Package redis is the store that many machines share: in one Redis server, in
// one that sentinels watch and replace, or in a cluster.
//
// It is built to be of no harm: a read takes no longer than its budget whatever
// Redis does, a Redis that fails is left alone until it answers again (see
// breaker), and a value that is not exactly what was stored under that key is a
// miss. Starting without Redis works.
//
// # What is in Redis
//
// An entry whose stored form is at most 1 MiB is one string, under the name
// that cachekey.Key.String gives. The body of a larger one is cut into chunks of
// 512 KiB named
//
//	{name}:{{name}}:{fill}:{number of the chunk, from 0}
//
// where the name is that of the key, in braces the second time, and the fill is
// 32 random hexadecimal digits, drawn anew for each body; the string under the
// key's own name is then a manifest, which has all of the entry but the body and
// says which fill that is and how long. Chunks are written first, the manifest
// last, so that there is never a manifest whose chunks are still to come, and two
// writers at the same time cannot mix theirs. Each chunk proves itself. Chunks
// that are not named any more are kept for some minutes, for those who are in the
// midst of reading them. See value.go for the bytes, and large.go for how they
// are read.
//
// In a cluster all that belongs to one entry has the slot of its name.
//
// The user needs GET, GETRANGE, SET, PEXPIRE, UNLINK, WATCH, UNWATCH, MULTI, EXEC,
// EVAL, EVALSHA, XADD, XRANGE, XREVRANGE and XREAD on jaegis:*, WAIT where there are
// replicas, and CLUSTER SLOTS, CLUSTER NODES, READONLY, ASKING and COMMAND in a
// cluster; and nothing else: neither INFO nor CONFIG, KEYS or channels. What nodes
// that fetch for each other need comes on top: see Fills.
package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/store"
)

// Source is the Source of the entries that this store returns.
const Source = "redis"

// ErrBusy is what a call returns when all connections, or the queue of reads,
// are taken. It says nothing about Redis and does not open the circuit.
var ErrBusy = errors.New("redis: too many calls at the same time")

// Store is a store.Store in Redis. It is safe for concurrent use.
type Store struct {
	opts      Options
	servers   servers
	follower  goredis.UniversalClient // follows the ledger: its reads block; nil with witnesses
	witnesses *witnesses              // know where the ledger is; nil but for sentinels
	node      string                  // tells this process's own deletions from others'
	counts    counts
	buffers   bufferPool
	chunks    chunkPool
	ahead     chan struct{} // has one for each chunk that is read ahead
	turns     chan struct{} // and one for each that is being read
	deleted   *recent       // nil where no replicas are read
	sealer    *sealer
	unopened  unopened
	alone     atomic.Bool // the last purge found no replicas at all
	closed    atomic.Bool
}

// servers finds the server for a name: alone or a cluster.
type servers interface {
	shard(ctx context.Context, name string) (*shard, error)
	redirect() *node // who follows redirects, nil if nobody; told that there was one
	changed()        // a call has failed: it may be time to look around
	state() State
	close() error
}

// New makes a store. The error is about the options alone: whether Redis is
// there is for State to say. It holds connections and goroutines until Close.
func New(opts Options) (*Store, error) {
	s := &Store{opts: withDefaults(opts), node: rand.Text()}
	s.opts.Reserve += journalConns
	s.unopened.log = s.opts.Logger
	e, err := s.opts.endpoint()
	if err != nil {
		return nil, err
	}
	if s.sealer, err = newSealer(opts.EncryptionKeys); err != nil {
		return nil, err
	}
	if s.sealer.on() {
		ids := s.sealer.ids()
		s.opts.Logger.Info("values are encrypted", "key", ids[0], "older_keys", ids[1:])
	}
	// Half of the connections for large values: writes are not to wait for
	// reads, however many there are.
	s.chunks = make(chunkPool, mostAhead)
	s.ahead, s.turns = make(chan struct{}, mostAhead), make(chan struct{}, max(s.opts.lanes().bulk/2, 1))
	quiet()
	if s.opts.Mode == Sentinel {
		s.witnesses = openWitnesses(&s.opts, e)
	} else if s.follower, err = s.opts.client(journalPurpose); err != nil {
		return nil, err
	}
	if s.opts.ReadReplicas {
		s.deleted = newRecent(s.opts.MaxReplicaLag, time.Now())
	}
	if s.opts.Mode == Cluster {
		s.servers, err = openCluster(&s.opts, e, &s.counts.opens)
	} else {
		s.servers, err = openAlone(&s.opts, &s.counts.opens)
	}
	if err != nil {
		return nil, errors.Join(err, s.closeFollower())
	}
	return s, nil
}

// quiet silences the library, which logs every failed dial to standard error,
// through a logger that it has only one of. What failed is in our errors and in
// State. Once: clients that are there already may be reading it.
var quiet = sync.OnceFunc(func() { goredis.SetLogger(silence{}) })

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// Get returns the entry, with a Content if its body is in chunks,
// store.ErrNotFound, or an error that says why Redis
// could not be asked: ErrOpen at once while it is left alone, ErrBusy, or what
// went wrong. It returns within the budget; that ctx has ended is noticed then.
func (s *Store) Get(ctx context.Context, key cachekey.Key) (*store.Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.closed.Load() {
		return nil, goredis.ErrClosed
	}
	e, err := s.read(ctx, key)
	if err == nil && !s.opts.Now().Before(e.Lifetime.Expiry()) {
		err = store.ErrNotFound // clocks differ: ours decides
	}
	if err = s.end(opGet, err); err != nil {
		return nil, err
	}
	e.Source = Source
	return e, nil
}

// Put stores e in place of what is there, until e's expiry. An entry that is
// over already is not stored. It returns within the socket timeout, or twice
// that if what timed out is to be tried again; a large body has as much for each
// 2 MiB, and ends early when ctx does. Of an entry whose Content is what the
// store has under that key already, no body is written: that it has not any more
// is store.ErrGone.
func (s *Store) Put(ctx context.Context, key cachekey.Key, e *store.Entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if e.Lifetime.Expiry().Sub(s.opts.Now()) < time.Millisecond {
		return nil
	}
	if e.BodySize() > MaxBody {
		return store.ErrTooLarge
	}
	if s.closed.Load() {
		return goredis.ErrClosed
	}
	return s.end(opPut, s.write(ctx, key, e))
}

// Delete removes the entry, and tells the processes that
// follow the ledger. That there is none is no error. It returns as soon as Put
// does.
func (s *Store) Delete(ctx context.Context, key cachekey.Key) error {
	return s.delete(ctx, key, true)
}

// Remove is Delete without telling anybody.
func (s *Store) Remove(ctx context.Context, key cachekey.Key) error {
	return s.delete(ctx, key, false)
}

func (s *Store) delete(ctx context.Context, key cachekey.Key, tell bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.closed.Load() {
		return goredis.ErrClosed
	}
	ctx, cancel := s.writeContext(ctx)
	defer cancel()
	return s.end(opDelete, s.remove(ctx, key.String(), tell))
}

// writeContext bounds a write. It does not end with the caller's context: a
// write given up in the middle leaves a connection to be thrown away.
func (s *Store) writeContext(ctx context.Context) (context.Context, context.CancelFunc) {
	limit := s.opts.SocketTimeout
	if s.opts.RetryOnTimeout {
		limit *= 2
	}
	return context.WithTimeout(context.WithoutCancel(ctx), limit)
}

// Close ends the store's goroutines and connections. Calls under way may fail.
func (s *Store) Close() error {
	s.closed.Store(true)
	return errors.Join(s.closeFollower(), s.servers.close())
}

func (s *Store) closeFollower() error {
	if s.witnesses != nil {
		return s.witnesses.close()
	}
	return s.follower.Close()
}
