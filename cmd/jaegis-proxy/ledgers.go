package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/proxy"
	"jaegis-proxy/store"
	"jaegis-proxy/store/memory"
	"jaegis-proxy/store/redis"
)

// ledgers are those of all places where answers are kept.
type ledgers struct {
	main  *store.Ledger
	named map[string]*store.Ledger // of the namespaces with a Redis of their own

	listener atomic.Pointer[listener]
}

// listener is told of what other processes have deleted.
type listener struct {
	proxy  *proxy.Proxy
	writes *store.Queue
}

// of is the ledger of a namespace.
func (l *ledgers) of(namespace string) *store.Ledger {
	if named, ok := l.named[namespace]; ok {
		return named
	}
	return l.main
}

// follow gives the ledger that is kept in r. What others delete there is taken
// out of the memory before it, which may be nil.
func (l *ledgers) follow(r *redis.Store, tiers *store.Tiered, m *memory.Store, maxDisconnected time.Duration, log *slog.Logger) *store.Ledger {
	return store.NewLedger(store.LedgerOptions{
		Journal: r, MaxDisconnected: maxDisconnected, Logger: log,
		Deleted: func(key cachekey.Key) {
			if m != nil {
				_ = tiers.Drop(context.Background(), key) // memory: it does not fail
			}
			to := l.listener.Load()
			if to == nil || !to.proxy.Deleted(key) {
				return
			}
			to.writes.Submit(0, func(ctx context.Context) {
				if err := r.Remove(ctx, key); err != nil {
					log.Warn("an answer that is no longer true may have been stored again, and could not be taken out", "error", err)
				}
			})
		},
		Missed: func() {
			if m != nil {
				m.Clear()
			}
			if to := l.listener.Load(); to != nil {
				to.proxy.Missed()
			}
		},
	})
}

func (l *ledgers) hear(p *proxy.Proxy, writes *store.Queue) { l.listener.Store(&listener{p, writes}) }

// ledgerTime is how long the start waits for the ledgers to be read: what is
// fetched before is not used once they are.
const ledgerTime = time.Second

func (l *ledgers) await(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, ledgerTime)
	defer cancel()
	for _, ledger := range l.all() {
		_ = ledger.Await(ctx) // it is followed as soon as it can be
	}
}

func (l *ledgers) all() []*store.Ledger {
	all := []*store.Ledger{l.main}
	for _, ledger := range l.named {
		all = append(all, ledger)
	}
	return all
}

// about lists the ledgers of the stores that may have something with the label.
func (l *ledgers) about(label string) []*store.Ledger {
	if namespace, ok := strings.CutPrefix(label, store.LabelNamespace); ok {
		return []*store.Ledger{l.of(namespace)}
	}
	if name, ok := strings.CutPrefix(label, store.LabelKey); ok {
		if key, err := cachekey.ParseKey(name); err == nil {
			return []*store.Ledger{l.of(key.Namespace)}
		}
	}
	return l.all()
}

// purge makes everything with the label untrue, wherever it is kept. It returns
// once all the ledgers have it of stores that may have such answers.
func (l *ledgers) purge(ctx context.Context, label string, soft bool) error {
	errs := make(chan error)
	all := l.about(label)
	for _, ledger := range all {
		go func() {
			err := ledger.Purge(ctx, label, soft)
			if err != nil {
				err = fmt.Errorf("%s: %w", l.nameOf(ledger), err)
			}
			errs <- err
		}()
	}
	var failed []error
	unwritten := false
	for range all {
		if err := <-errs; err != nil {
			failed = append(failed, err)
			unwritten = unwritten || !errors.Is(err, store.ErrUnconfirmed)
		}
	}
	if unwritten { // that others were not confirmed says too little then
		return errors.New(errors.Join(failed...).Error())
	}
	return errors.Join(failed...)
}

// nameOf gives the name of the store that has the ledger.
func (l *ledgers) nameOf(ledger *store.Ledger) string {
	for namespace, named := range l.named {
		if named == ledger {
			return namedPrefix + namespace
		}
	}
	return "redis"
}
