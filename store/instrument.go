package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"jaegis-proxy/cachekey"
)

// inProcess is the name of the store whose operations are not timed: they take
// less time than timing them does.
const inProcess = "memory"

// Instrument wraps s so that its operations are counted in
// jaegis_store_operations_total{store,op,result} and, unless name is "memory",
// timed in jaegis_store_operation_seconds{store,op}. op is get, put or delete;
// result is hit or miss (get), ok (put, delete), too_large or fenced (put), or
// error. Stores of different names may share one registerer.
func Instrument(s Store, name string, reg prometheus.Registerer) (Store, error) {
	counts, err := register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "jaegis_store_operations_total",
		Help: "Operations on a store, by result.",
	}, []string{"store", "op", "result"}))
	if err != nil {
		return nil, err
	}
	times, err := register(reg, prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "jaegis_store_operation_seconds",
		Help:    "Time that operations on a store took, in seconds.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5},
	}, []string{"store", "op"}))
	if err != nil {
		return nil, err
	}
	op := func(op, ok string) operation {
		o := operation{
			ok:       counts.WithLabelValues(name, op, ok),
			miss:     counts.WithLabelValues(name, op, "error"),
			tooLarge: counts.WithLabelValues(name, op, "error"),
			fenced:   counts.WithLabelValues(name, op, "error"),
			failed:   counts.WithLabelValues(name, op, "error"),
		}
		if name != inProcess {
			o.seconds = times.WithLabelValues(name, op)
		}
		return o
	}
	i := &instrumented{store: s, get: op("get", "hit"), put: op("put", "ok"), delete: op("delete", "ok")}
	i.get.miss = counts.WithLabelValues(name, "get", "miss")
	i.put.tooLarge = counts.WithLabelValues(name, "put", "too_large")
	if name != inProcess {
		i.put.fenced = counts.WithLabelValues(name, "put", "fenced")
	}
	return i, nil
}

// register adds c to reg, or gives the collector of that name that is there.
func register[C prometheus.Collector](reg prometheus.Registerer, c C) (C, error) {
	err := reg.Register(c)
	var already prometheus.AlreadyRegisteredError
	if errors.As(err, &already) {
		if there, ok := already.ExistingCollector.(C); ok {
			return there, nil
		}
	}
	if err != nil {
		return c, fmt.Errorf("store metrics: %w", err)
	}
	return c, nil
}

// operation is one kind of call on one store, with its counters already chosen.
type operation struct {
	ok, miss, tooLarge, fenced, failed prometheus.Counter
	seconds                            prometheus.Observer // nil: not timed
}

func (o *operation) start() time.Time {
	if o.seconds == nil {
		return time.Time{}
	}
	return time.Now()
}

func (o *operation) end(start time.Time, err error) {
	if o.seconds != nil {
		o.seconds.Observe(time.Since(start).Seconds())
	}
	switch {
	case err == nil:
		o.ok.Inc()
	case errors.Is(err, ErrNotFound):
		o.miss.Inc()
	case errors.Is(err, ErrTooLarge):
		o.tooLarge.Inc()
	case errors.Is(err, ErrFenced):
		o.fenced.Inc()
	default:
		o.failed.Inc()
	}
}

type instrumented struct {
	store            Store
	get, put, delete operation
}

func (i *instrumented) Get(ctx context.Context, key cachekey.Key) (*Entry, error) {
	start := i.get.start()
	e, err := i.store.Get(ctx, key)
	i.get.end(start, err)
	return e, err
}

func (i *instrumented) Put(ctx context.Context, key cachekey.Key, e *Entry) error {
	start := i.put.start()
	err := i.store.Put(ctx, key, e)
	i.put.end(start, err)
	return err
}

func (i *instrumented) Delete(ctx context.Context, key cachekey.Key) error {
	start := i.delete.start()
	err := i.store.Delete(ctx, key)
	i.delete.end(start, err)
	return err
}
