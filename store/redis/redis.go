// Package redis is the store that many machines share, in one Redis server.
//
// It is built to be of no harm: a read takes no longer than its budget whatever
// Redis does, a Redis that fails is left alone until it answers again (see
// breaker), and a value that is not exactly what was stored under that key is a
// miss. Starting without Redis works.
//
// # What is in Redis
//
// An entry whose stored form is at most 1 MiB is one string, under the name
// that cachekey.Key.String gives. A larger one is cut into chunks of 512 KiB
// named
//
//	{name of the key}:{fill}:{number of the chunk, from 0}
//
// where the fill is 32 random hexadecimal digits, drawn anew for each Put; the
// string under the key's own name is then a manifest that says which fill it is
// and how long. Chunks are written first, the manifest last, so that there is
// never a manifest whose chunks are still to come, and two writers at the same
// time cannot mix theirs. See value.go for the bytes.
//
// The user needs GET, GETRANGE, SET, UNLINK, WATCH, UNWATCH, MULTI, EXEC, EVAL,
// EVALSHA, XADD, XRANGE, XREVRANGE and XREAD on jaegis:*, and nothing else:
// neither INFO nor CONFIG, KEYS or channels.
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
//
// There are two clients, so that large values do not stand before small ones:
// fast reads what is expected to be small, bulk does everything else.
type Store struct {
	opts Options
	fast *goredis.Client
	bulk *goredis.Client

	follower *goredis.Client // follows the ledger: its reads block
	node     string          // tells this process's own deletions from others'

	batch *goredis.AutoPipeliner // of fast: reads of many callers in one round trip
	plain atomic.Int64           // reads in flight, those in batches included

	breaker *breaker
	counts  counts
	buffers bufferPool
	pace    pace // of reads of chunks

	sealer   *sealer
	unopened unopened

	closed  atomic.Bool
	stop    context.CancelFunc // of the prober
	running sync.WaitGroup
}

// New makes a store. The error is about the options alone: whether Redis is
// there is for State to say. It holds connections and a goroutine until Close.
func New(opts Options) (*Store, error) {
	opts = withDefaults(opts)
	base, err := clientOptions(opts)
	if err != nil {
		return nil, err
	}
	// The library logs every failed dial to standard error, through a logger
	// that it has only one of. What failed is in our errors and in State.
	goredis.SetLogger(silence{})

	s := &Store{opts: opts, unopened: unopened{log: opts.Logger}}
	if s.sealer, err = newSealer(opts.EncryptionKeys); err != nil {
		return nil, err
	}
	if s.sealer.on() {
		ids := s.sealer.ids()
		opts.Logger.Info("values are encrypted", "key", ids[0], "older_keys", ids[1:])
	}
	fast, bulk := *base, *base
	fast.PoolSize, fast.PipelinePoolSize = plainReads+1, batches // one for the probe
	fast.MaxRetries = -1
	// A read that is late is given up by its caller at the end of the budget,
	// while its connection may still deliver: others wait in the same batch,
	// and a connection is dear. What is later than this is dropped.
	fast.ReadTimeout, fast.WriteTimeout = 4*opts.Budget, 4*opts.Budget
	fast.PoolTimeout = opts.Budget / 2
	bulk.PoolSize, bulk.PipelinePoolSize = max(1, opts.MaxConnections-fast.PoolSize-fast.PipelinePoolSize), -1
	bulk.MaxRetries = -1
	if opts.RetryOnTimeout {
		bulk.MaxRetries = 1
	}
	bulk.ReadTimeout, bulk.WriteTimeout = opts.SocketTimeout, opts.SocketTimeout
	bulk.PoolTimeout = min(opts.SocketTimeout, opts.Budget) / 2

	follower := *base
	follower.PoolSize, follower.PipelinePoolSize, follower.MaxRetries = 1, -1, -1
	follower.ReadTimeout = 2 * blockTime // of a read that blocks

	s.fast, s.bulk, s.follower, s.node = goredis.NewClient(&fast), goredis.NewClient(&bulk), goredis.NewClient(&follower), rand.Text()
	s.batch, err = s.fast.AsyncAutoPipelineWithOptions(&goredis.AutoPipelineOptions{
		MaxBatchSize:         300,
		MaxConcurrentBatches: batches,
		Unordered:            true, // they are reads
		MaxQueuedCommands:    maxQueuedReads,
	})
	if err != nil {
		return nil, errors.Join(err, s.closeClients())
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.breaker = newBreaker(opts.Logger)
	s.running.Go(func() { s.breaker.run(ctx, s.probe) })
	return s, nil
}

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// Get returns the entry, store.ErrNotFound, or an error that says why Redis
// could not be asked: ErrOpen at once while it is left alone, ErrBusy, or what
// went wrong. It returns within the budget; that ctx has ended is noticed then.
func (s *Store) Get(ctx context.Context, key cachekey.Key) (*store.Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	pass, err := s.begin(opGet)
	if err != nil {
		return nil, err
	}
	e, err := s.read(ctx, key)
	if err == nil && !s.opts.Now().Before(e.Lifetime.Expiry()) {
		err = store.ErrNotFound // clocks differ: ours decides
	}
	if err = s.end(opGet, pass, err); err != nil {
		return nil, err
	}
	e.Source = Source
	return e, nil
}

// Put stores e in place of what is there, until e's expiry. An entry that is
// over already is not stored. It returns within the socket timeout.
func (s *Store) Put(ctx context.Context, key cachekey.Key, e *store.Entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ttl := e.Lifetime.Expiry().Sub(s.opts.Now()).Truncate(time.Millisecond)
	if ttl <= 0 {
		return nil
	}
	if e.Size() > maxEntry {
		return store.ErrTooLarge
	}
	pass, err := s.begin(opPut)
	if err != nil {
		return err
	}
	ctx, cancel := s.writeContext(ctx)
	defer cancel()
	return s.end(opPut, pass, s.write(ctx, key, e, ttl))
}

// Delete removes the entry, its chunks included, and tells the processes that
// follow the ledger. That there is none is no error. It returns within the
// socket timeout.
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
	pass, err := s.begin(opDelete)
	if err != nil {
		return err
	}
	ctx, cancel := s.writeContext(ctx)
	defer cancel()
	return s.end(opDelete, pass, s.remove(ctx, key.String(), tell))
}

// writeContext bounds a write. It does not end with the caller's context: a
// write given up in the middle leaves a connection to be thrown away.
func (s *Store) writeContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), s.opts.SocketTimeout)
}

// Close ends the store's goroutines and connections. Calls under way may fail.
func (s *Store) Close() error {
	s.closed.Store(true)
	s.stop()
	s.running.Wait()
	return s.closeClients()
}

func (s *Store) closeClients() error {
	return errors.Join(s.fast.Close(), s.bulk.Close(), s.follower.Close())
}
