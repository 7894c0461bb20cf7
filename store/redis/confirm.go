package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"jaegis-proxy/store"
)

const (
	// waitTime is how long a replica has to say that it has a purge; aloneTime is
	// that where last time there was none at all.
	waitTime  = time.Second
	aloneTime = 20 * time.Millisecond

	// purgeTime bounds one try to write a purge, and purgeAgain is the pause
	// before the next one: nobody says when a failover is over.
	purgeTime  = 2 * time.Second
	purgeAgain = 100 * time.Millisecond
)

// appendPurge has the ledger's server run the script for a purge. Where another
// server may take its place, that is done only once a replica has the purge too,
// and tried again for as long as ctx says: while there is no primary there will
// be one soon. A purge that is there twice does no harm.
func (s *Store) appendPurge(ctx context.Context, argv []any) ([]string, error) {
	var unconfirmed error // says more than the timeout that may follow it
	for {
		reply, err := s.tryPurge(ctx, argv)
		if errors.Is(err, store.ErrUnconfirmed) {
			unconfirmed = err
		}
		if err == nil || s.opts.Mode == Single || !passes(err) || errors.Is(err, errNoWord) {
			return reply, err
		}
		s.servers.changed()
		select {
		case <-ctx.Done():
			return nil, cmp.Or(unconfirmed, err)
		case <-time.After(purgeAgain):
		}
	}
}

func (s *Store) tryPurge(ctx context.Context, argv []any) ([]string, error) {
	if s.opts.Mode == Single {
		return s.appendRecord(ctx, argv)
	}
	ctx, cancel := context.WithTimeout(ctx, purgeTime)
	defer cancel()
	sh, err := s.servers.shard(ctx, recordsName)
	if err != nil {
		return nil, err
	}
	pipe := sh.primary.bulk.Pipeline() // of one connection: WAIT is about what that has written
	reply := appendRecord.Eval(ctx, pipe, []string{recordsName}, argv...)
	wait := waitTime
	if s.alone.Load() {
		wait = aloneTime
	}
	replicas := goredis.NewIntCmd(ctx, "wait", 1, wait.Milliseconds())
	_ = pipe.Process(ctx, replicas)
	_, _ = pipe.Exec(ctx)
	switch {
	case reply.Err() != nil:
		return nil, reply.Err()
	case replicas.Err() != nil:
		return nil, fmt.Errorf("%w (%w)", store.ErrUnconfirmed, replicas.Err())
	case replicas.Val() == 0:
		if err := s.standsAlone(ctx, sh.primary); err != nil {
			s.alone.Store(false)
			return nil, err
		}
		if !s.alone.Swap(true) {
			s.opts.Logger.Warn("the primary that has the ledger has no replica: purges are in its memory alone")
		}
	default:
		s.alone.Store(false)
	}
	if err := s.witnesses.doubt(ctx); err != nil { // it may have been written where nobody will find it
		return nil, fmt.Errorf("%w (%w)", store.ErrUnconfirmed, err)
	}
	return reply.StringSlice()
}

// standsAlone says whether the ledger's server has no replica at all: nothing
// can take its place then, and it alone is enough. Replicas that are down count.
func (s *Store) standsAlone(ctx context.Context, n *node) error {
	has := s.hasReplicas
	if s.opts.Mode == Cluster {
		has = n.hasReplicas
	}
	switch yes, err := has(ctx); {
	case err != nil:
		return fmt.Errorf("%w (whether there are any could not be told: %w)", store.ErrUnconfirmed, err)
	case yes:
		return errNoReplica
	}
	return nil
}

var errNoReplica = fmt.Errorf("%w (no replica said in time that it has it too)", store.ErrUnconfirmed)

// hasReplicas asks the cluster who is the node's replica.
func (n *node) hasReplicas(ctx context.Context) (bool, error) {
	said, err := n.bulk.ClusterNodes(ctx).Result()
	if err != nil {
		return false, err
	}
	self := ""
	for line := range strings.Lines(said) {
		if f := strings.Fields(line); len(f) > 3 && strings.Contains(f[2], "myself") {
			self = f[0]
		}
	}
	for line := range strings.Lines(said) {
		if f := strings.Fields(line); len(f) > 3 && f[3] == self {
			return true, nil
		}
	}
	if self == "" {
		return false, errors.New("it does not know itself")
	}
	return false, nil
}

// hasReplicas asks the sentinels, of which any that answers knows.
func (s *Store) hasReplicas(ctx context.Context) (bool, error) {
	e, err := s.opts.endpoint()
	for _, addr := range e.addrs {
		c := s.opts.sentinelClient(&e, addr)
		var known []map[string]string
		known, err = c.Replicas(ctx, s.opts.MasterName).Result()
		_ = c.Close()
		if err == nil {
			return len(known) > 0, nil
		}
	}
	return false, err
}

// passes says that an error is one of those that a failover brings about, and
// ends.
func passes(err error) bool {
	var reply goredis.Error
	if !errors.As(err, &reply) || isRedirect(err) {
		return !errors.Is(err, goredis.ErrClosed)
	}
	for _, prefix := range []string{"READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS", "UNBLOCKED"} {
		if goredis.HasErrorPrefix(err, prefix) {
			return true
		}
	}
	return false
}
