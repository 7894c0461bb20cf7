package redis

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// node is one server, or whichever server the sentinels say: the connections to
// it, and the breaker that keeps calls away from it when it fails. It is safe
// for concurrent use.
//
// There are two clients, so that large values do not stand before small ones:
// fast reads what is expected to be small, bulk does everything else.
type node struct {
	addr      string // as the cluster names it; empty outside of one
	inCluster bool   // a redirect is an answer like any other
	fast      goredis.UniversalClient
	bulk      goredis.UniversalClient // nil where nothing but fast is asked
	batch     *goredis.AutoPipeliner  // of fast: reads of many callers in one round trip; nil: none
	plain     atomic.Int64            // reads in flight, those in batches included
	lanes     int64                   // how many of them go out on connections of their own
	budget    time.Duration

	breaker *breaker
	stop    context.CancelFunc // of the prober
	running sync.WaitGroup
}

// lanes are the connections to one server, by what they are for.
type lanes struct {
	reads int // at a time, each on a connection of its own
	pipes int // batches at a time, each on a connection of its own
	bulk  int // for all else
}

// fast is what a client for small reads has, one connection for the probe
// included.
func (l lanes) fast() int { return l.reads + 1 + l.pipes }

// followers is how many connections to each node of a cluster are for calls
// that a node has sent elsewhere.
const followers = 1

// lanes shares MaxConnections out. Replicas that sentinels name have a client
// of their own, and any of them may be the primary tomorrow.
func (o *Options) lanes() lanes {
	own, clients := o.MaxConnections-o.Reserve, 1
	switch {
	case o.Mode == Cluster:
		own -= followers
	case o.Mode == Sentinel && o.ReadReplicas:
		clients = 2
	}
	n := min(max(o.MaxConnections/5/clients, 1), mostReads)
	for {
		l := lanes{reads: n, pipes: n}
		l.bulk = own - clients*l.fast()
		if n--; n == 0 || l.bulk > 1 {
			return l
		}
	}
}

// open makes what a node needs of its two clients and begins to probe it. It
// closes them when it cannot.
func (n *node) open(o *Options, l lanes, opens *atomic.Int64) error {
	n.lanes, n.budget = int64(l.reads), o.Budget
	var err error
	n.batch, err = n.fast.(batcher).AsyncAutoPipelineWithOptions(&goredis.AutoPipelineOptions{
		MaxBatchSize:         300,
		MaxConcurrentBatches: l.pipes,
		Unordered:            true, // they are reads
		MaxQueuedCommands:    maxQueuedReads,
	})
	if err != nil {
		return errors.Join(err, n.closeClients())
	}
	log := o.Logger
	if n.addr != "" {
		log = log.With(slog.String("server", n.addr))
	}
	ctx, stop := context.WithCancel(context.Background())
	n.stop, n.breaker = stop, newBreaker(log, opens)
	n.running.Go(func() { n.breaker.run(ctx, n.probe) })
	return nil
}

// batcher is what all clients are that batch.
type batcher interface {
	AsyncAutoPipelineWithOptions(*goredis.AutoPipelineOptions) (*goredis.AutoPipeliner, error)
}

// close ends the prober and the connections. Calls under way may fail.
func (n *node) close() error {
	n.stop()
	n.running.Wait()
	return n.closeClients()
}

func (n *node) closeClients() error {
	err := n.fast.Close()
	if n.bulk != nil {
		err = errors.Join(err, n.bulk.Close())
	}
	return err
}

// readHead reads the first bytes of a value, alone or with those of others. No
// buffer is shared or used again: each reply has memory of its own, which the
// entry then keeps, so that a late one has nowhere to do harm.
func (n *node) readHead(ctx context.Context, name string) ([]byte, error) {
	defer n.plain.Add(-1)
	cmd := goredis.NewStringCmd(ctx, "getrange", name, 0, headSize-1)
	if n.plain.Add(1) <= n.lanes || n.batch == nil {
		_ = n.fast.Process(ctx, cmd)
	} else if err := n.batch.Submit(ctx, cmd).WaitContext(ctx); err != nil && ctx.Err() != nil {
		return nil, err // cmd is still the batch's: not to be touched
	}
	return cmd.Bytes()
}

// probe asks Redis what a request would ask, in the time that a request has. A
// first read without haste makes the connection. The error is a refusal if
// Redis would not do the write and all else is well.
func (n *node) probe(ctx context.Context, write bool) error {
	const name = "jaegis:probe" // no key: those have a second colon
	patient, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	if err := n.answered(n.fast.GetRange(patient, name, 0, 0).Err()); err != nil {
		return err
	}
	var declined error
	if n.bulk != nil {
		if err := n.answered(n.bulk.GetRange(patient, name, 0, 0).Err()); err != nil {
			return err
		}
		if write {
			declined = n.answered(n.bulk.Set(patient, name, "", time.Second).Err())
		}
	}
	if declined != nil && !isRefusal(declined) {
		return declined
	}
	hasty, cancel := context.WithTimeout(ctx, n.budget)
	defer cancel()
	if err := n.answered(n.fast.GetRange(hasty, name, 0, 0).Err()); err != nil || declined == nil {
		return err
	}
	return refusal{explain(declined)}
}

// answered makes none of an error that a working node of a cluster gives.
func (n *node) answered(err error) error {
	if n.inCluster && isRedirect(err) {
		return nil
	}
	return err
}

// isRedirect says that the node has sent the call to another one.
func isRedirect(err error) bool {
	return err != nil && (goredis.HasErrorPrefix(err, "MOVED ") || goredis.HasErrorPrefix(err, "ASK "))
}

// shard is who holds the same keys: a primary, and the replicas that reads may
// go to.
type shard struct {
	primary  *node
	replicas []*node
	turn     atomic.Uint32
}

// replica gives one that is in use, each in turn, or nil.
func (s *shard) replica() *node {
	if len(s.replicas) == 0 {
		return nil
	}
	first := int(s.turn.Add(1))
	for i := range s.replicas {
		r := s.replicas[(first+i)%len(s.replicas)]
		if _, ok := r.breaker.enter(); ok {
			return r
		}
	}
	return nil
}
