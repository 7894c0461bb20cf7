package redis

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	goredis "github.com/redis/go-redis/v9"

	"jaegis-proxy/store"
)

// op is a kind of call.
type op int

const (
	opGet op = iota
	opPut
	opDelete
	opCount
)

func (o op) String() string { return [...]string{"get", "put", "delete"}[o] }

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
	read, written                  atomic.Int64
}

// Stats gives the counts.
func (s *Store) Stats() Stats {
	c := &s.counts
	return Stats{
		Gets: c.calls[opGet].Load(), Puts: c.calls[opPut].Load(), Deletes: c.calls[opDelete].Load(),
		Hits: c.hits.Load(), Misses: c.misses.Load(),
		GetErrors: c.errors[opGet].Load(), PutErrors: c.errors[opPut].Load(), DeleteErrors: c.errors[opDelete].Load(),
		Refused: c.refused.Load(), Busy: c.busy.Load(), Corrupt: c.corrupt.Load(), UnknownKey: s.unopened.unknownKey.Load(), NotSealed: s.unopened.notSealed.Load(), Bypassed: c.bypass.Load(),
		BytesRead: c.read.Load(), BytesWritten: c.written.Load(), BreakerOpen: s.breaker.opens.Load(),
	}
}

// State says whether Redis is in use, and what last went wrong.
func (s *Store) State() State { return s.breaker.state() }

// begin lets a call in.
func (s *Store) begin(o op) (pass uint64, err error) {
	if s.closed.Load() {
		return 0, goredis.ErrClosed
	}
	pass, ok := s.breaker.enter()
	if !ok {
		s.counts.bypass.Add(1)
		return 0, ErrOpen
	}
	s.counts.calls[o].Add(1)
	return pass, nil
}

// end counts how a call went, tells the breaker, and gives the error to return.
// It is the one place that says what each error means.
func (s *Store) end(o op, pass uint64, err error) error {
	c := &s.counts
	switch {
	case err == nil:
		s.breaker.succeeded(pass)
		if o == opGet {
			c.hits.Add(1)
		}
		return nil
	case errors.Is(err, store.ErrNotFound):
		s.breaker.succeeded(pass)
		c.misses.Add(1)
		return store.ErrNotFound
	}
	c.errors[o].Add(1)
	switch {
	case errors.Is(err, goredis.ErrPoolTimeout), errors.Is(err, goredis.ErrAutoPipelineQueueFull):
		c.busy.Add(1)
		return ErrBusy
	case o != opGet && isRefusal(err):
		s.breaker.succeeded(pass)
		c.refused.Add(1)
	case errors.Is(err, context.DeadlineExceeded):
		err = fmt.Errorf("no answer in time: %w", err)
		s.breaker.failed(pass, err, o != opGet)
	default:
		s.breaker.failed(pass, err, o != opGet)
	}
	return fmt.Errorf("redis: %s: %w", o, err)
}

// isRefusal says that Redis works but would not do this write: it is full,
// cannot persist, lacks replicas, or the user may not write. Reads go on.
func isRefusal(err error) bool {
	for _, prefix := range []string{"OOM", "MISCONF", "NOREPLICAS", "NOPERM"} {
		if goredis.HasErrorPrefix(err, prefix) {
			return true
		}
	}
	return false
}
