package redis

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
)

// alone is the one server there is, or the primary that sentinels name, which
// is one at a time.
type alone struct{ one shard }

func openAlone(o *Options, opens *atomic.Int64) (*alone, error) {
	l := o.lanes()
	fast, bulk := o.purposes(l)
	primary := &node{}
	var err error
	if primary.fast, err = o.client(fast); err != nil {
		return nil, err
	}
	if primary.bulk, err = o.client(bulk); err != nil {
		return nil, errors.Join(err, primary.fast.Close())
	}
	if err := primary.open(o, l, opens); err != nil {
		return nil, err
	}
	a := &alone{shard{primary: primary}}
	if !o.ReadReplicas {
		return a, nil
	}
	fast.replicas = true
	replica := &node{}
	if replica.fast, err = o.client(fast); err != nil {
		return nil, errors.Join(err, a.close())
	}
	quiet := *o
	quiet.Logger = o.Logger.With(slog.String("server", "a replica"))
	if err := replica.open(&quiet, l, opens); err != nil {
		return nil, errors.Join(err, a.close())
	}
	a.one.replicas = []*node{replica}
	return a, nil
}

func (a *alone) shard(context.Context, string) (*shard, error) { return &a.one, nil }
func (a *alone) redirect() *node                               { return nil }
func (a *alone) changed()                                      {}
func (a *alone) state() State                                  { return a.one.primary.breaker.state() }

func (a *alone) close() error {
	err := a.one.primary.close()
	for _, r := range a.one.replicas {
		err = errors.Join(err, r.close())
	}
	return err
}
