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

// op is a kind of call.
type op int

const (
	opGet op = iota
	opPut
	opDelete
	opFill // all that Fills does
	opCount
)

func (o op) String() string { return [...]string{"get", "put", "delete", "fill"}[o] }

// Stats counts what a Store has done since it was made. Calls that found the
// breaker open are Bypassed and nothing else.
type Stats struct {
	Gets, Puts, Deletes                  int64 // calls let through
	Hits, Misses                         int64 // of Gets
	GetErrors, PutErrors, DeleteErrors   int64
	Refused                              int64 // writes that Redis answered and declined (out of memory, not allowed); among the errors
	Busy                                 int64 // calls that got no connection in time; among the errors
	Corrupt                              int64 // values found not to be as they were written; among Misses
	UnknownKey                           int64 // values encrypted with a key that is not here; among Misses
	NotSealed                            int64 // values in plain where all are to be encrypted; among Misses
	Bypassed                             int64 // calls that returned ErrOpen
	BytesRead, BytesWritten, BreakerOpen int64 // of values; times that the breaker opened
}

type counts struct {
	calls, errors                  [opCount]atomic.Int64
	hits, misses                   atomic.Int64
	refused, busy, corrupt, bypass atomic.Int64
	fenced                         atomic.Int64
	read, written, opens           atomic.Int64
}

// Stats gives the counts.
func (s *Store) Stats() Stats {
	c := &s.counts
	return Stats{
		Gets: c.calls[opGet].Load(), Puts: c.calls[opPut].Load(), Deletes: c.calls[opDelete].Load(),
		Hits: c.hits.Load(), Misses: c.misses.Load(),
		GetErrors: c.errors[opGet].Load(), PutErrors: c.errors[opPut].Load(), DeleteErrors: c.errors[opDelete].Load(),
		Refused: c.refused.Load(), Busy: c.busy.Load(), Corrupt: c.corrupt.Load(), UnknownKey: s.unopened.unknownKey.Load(), NotSealed: s.unopened.notSealed.Load(), Bypassed: c.bypass.Load(),
		BytesRead: c.read.Load(), BytesWritten: c.written.Load(), BreakerOpen: c.opens.Load(),
	}
}

// State says whether Redis is in use, and what last went wrong.
func (s *Store) State() State { return s.servers.state() }

// on does something where name is, unless the server there is left alone.
func (s *Store) on(ctx context.Context, name string, write bool, do func(*node) error) error {
	sh, err := s.servers.shard(ctx, name)
	if err != nil {
		return err
	}
	return s.at(sh.primary, write, do)
}

// at does something on a node, or wherever that sends it, and tells the node's
// breaker how it went. That something is done twice must do no harm.
func (s *Store) at(n *node, write bool, do func(*node) error) error {
	pass, ok := n.breaker.enter()
	if !ok {
		return ErrOpen
	}
	err := do(n)
	if isRedirect(err) {
		if follow := s.servers.redirect(); follow != nil {
			n.breaker.succeeded(pass)
			return do(follow)
		}
	}
	if !n.breaker.judge(pass, explain(err), write) {
		s.servers.changed()
	}
	return err
}

// inUse gives what is closed once the server where name is is in use again; nil
// while it is, or where none is known.
func (s *Store) inUse(ctx context.Context, name string) <-chan struct{} {
	sh, err := s.servers.shard(ctx, name)
	if err != nil {
		return nil
	}
	return sh.primary.breaker.inUse()
}

// await waits until the server where name is may be in use again, and says
// whether to go on: not when limit is over. Where only single calls fail nobody
// says when the next one will not: then it waits for retry.
func (s *Store) await(ctx context.Context, name string, limit, retry time.Duration) bool {
	if limit <= 0 {
		return false
	}
	back := s.inUse(ctx, name)
	if back == nil {
		limit = min(retry, limit)
	}
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-back:
	case <-t.C:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// end counts how a call went, and gives the error to return.
func (s *Store) end(o op, err error) error {
	c := &s.counts
	if errors.Is(err, ErrOpen) {
		c.bypass.Add(1)
		return ErrOpen
	}
	c.calls[o].Add(1)
	switch {
	case err == nil:
		if o == opGet {
			c.hits.Add(1)
		}
		return nil
	case errors.Is(err, store.ErrNotFound):
		c.misses.Add(1)
		return store.ErrNotFound
	case errors.Is(err, store.ErrFenced):
		c.fenced.Add(1)
		return err
	}
	c.errors[o].Add(1)
	switch {
	case isBusy(err):
		c.busy.Add(1)
		return ErrBusy
	case o != opGet && isRefusal(err):
		c.refused.Add(1)
	case errors.Is(err, context.DeadlineExceeded):
		err = fmt.Errorf("no answer in time: %w", err)
	}
	return fmt.Errorf("redis: %s: %w", o, explain(err))
}

// isBusy says that a call got no connection in time, which says nothing about
// Redis.
func isBusy(err error) bool {
	return errors.Is(err, goredis.ErrPoolTimeout) || errors.Is(err, goredis.ErrAutoPipelineQueueFull)
}

// explain says what to do about errors that do not say it themselves.
func explain(err error) error {
	switch {
	case err == nil:
		return nil
	case rule(err) != "":
		return fmt.Errorf("the user lacks a permission: add %s to its ACL rules (all of them are in deploy/redis/users.acl): %w", rule(err), err)
	case isRedirect(err):
		return fmt.Errorf("the server is a node of a cluster, for which mode cluster is: %w", err)
	}
	return err
}

// isRefusal says that Redis works but would not do this write: it is full,
// cannot persist, lacks replicas, or the user may not write. Reads go on.
func isRefusal(err error) bool {
	for _, prefix := range []string{"OOM", "MISCONF", "NOREPLICAS", "NOPERM"} {
		if goredis.HasErrorPrefix(err, prefix) {
			return true
		}
	}
	return err != nil && strings.Contains(err.Error(), scriptDenied)
}
