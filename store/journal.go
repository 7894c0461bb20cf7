package store

import (
	"context"
	"slices"
	"time"

	"jaegis-proxy/cachekey"
)

// Journal is where processes that share a store keep its ledger. It is safe for
// concurrent use.
type Journal interface {
	// Append writes a record and gives it back with its position, once the
	// journal has it. A record with a label gets the epoch that the journal is
	// in; its own is for a journal that has none. One without begins an epoch,
	// its own, unless the journal is in another than After by now: then the
	// record that began that one, or a later one of it, is given.
	Append(ctx context.Context, r Record) (Record, error)

	// Read gives what comes after the position. With nothing there it waits for
	// something to come, for some hundred milliseconds at most.
	Read(ctx context.Context, after Position) (Batch, error)
}

// Record is one entry of a ledger.
type Record struct {
	Seq   Seq
	Epoch uint64
	Label string // what was purged; empty: the epoch begins
	Soft  bool
	After uint64 // for Append: the epoch that is to end
}

// Position is how far a journal has been read. The zero value is its beginning.
type Position struct {
	Records   Seq
	Deletions Seq
}

// Batch is a piece of a journal.
type Batch struct {
	Records []Record
	Deleted []cachekey.Key
	To      Position

	// AsOf is until when the journal that was read is known to have been the one
	// that is written to: what was written since may be in another one. Zero: there
	// is no other.
	AsOf time.Time

	// Lost says that the record at the position is not there any more: what
	// follows it cannot be told. Missed says the same of the deletions. A read
	// from the beginning is neither.
	Lost, Missed bool
}

// journalRetry is the pause of a process whose journal fails. It is shorter than
// the time in which a purge is to reach the others: one that is acknowledged as
// soon as the journal is back is late where that is noticed late.
const journalRetry = 25 * time.Millisecond

// follow reads the journal until ctx ends.
func (l *Ledger) follow(ctx context.Context) {
	var at Position
	again := false // what was read came to be in doubt, and has not been read anew yet
	failing := false
	for ctx.Err() == nil {
		acked, doubt := l.before()
		if again = again || doubt; again {
			at = Position{}
		}
		sent := l.now()
		batch, err := l.o.Journal.Read(ctx, at)
		if !batch.AsOf.IsZero() && batch.AsOf.Before(sent) {
			sent = batch.AsOf
		}
		to := at
		if err == nil {
			batch.Lost = batch.Lost || l.lost(at.Records, &batch, acked)
			batch.Missed = batch.Missed || again // those that came since the last reading
			to, err = l.take(ctx, at, &batch, sent)
		}
		if err == nil {
			if failing {
				l.o.Logger.Info("the ledger of purges is followed again")
			}
			at, again, failing = to, false, false
			continue
		}
		if ctx.Err() == nil && !failing {
			l.o.Logger.Warn("the ledger of purges cannot be followed", "error", err)
		}
		failing = true
		select {
		case <-ctx.Done():
		case <-time.After(journalRetry):
		}
	}
}

// before says, before the journal is read, how many of the records in acked it
// has by now, and whether it is to be read from its beginning.
func (l *Ledger) before() (acked int, again bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if again, l.reread = l.reread, false; again {
		l.acked = nil
	}
	return len(l.acked), again
}

// lost says whether a record that the journal took from here is not there: it
// was set back to a state before that, of which nobody else need know. The first
// ones of acked were there before it was read. Of the others this can be told
// only once it has gone on behind them.
func (l *Ledger) lost(from Seq, b *Batch, before int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	lost := false
	var rest []Record
	for i, a := range l.acked {
		isIt := func(r Record) bool { return r.Seq == a.Seq }
		switch {
		case !from.Before(a.Seq), slices.ContainsFunc(b.Records, isIt):
		case len(b.Records) == 0 && i < before, len(b.Records) > 0 && !b.To.Records.Before(a.Seq):
			lost = true
		default:
			rest = append(rest, a)
		}
	}
	l.acked = rest
	return lost
}

// take takes in what was read and gives the position from which to go on. sent
// is when it was asked for: what came later need not be in it.
func (l *Ledger) take(ctx context.Context, from Position, b *Batch, sent time.Time) (Position, error) {
	switch {
	case b.Lost:
		return l.renew(ctx)
	case from.Records == (Seq{}) && len(b.Records) == 0: // a new journal, or one that was lost
		_, err := l.o.Journal.Append(ctx, Record{Epoch: newEpoch()})
		return Position{Deletions: from.Deletions}, err
	}
	if b.Missed {
		l.o.Logger.Warn("deletions in the shared store may have been missed; what this process keeps in memory is dropped")
		l.missed()
	}
	full, ok := l.apply(from, b, sent)
	for _, key := range b.Deleted {
		if l.o.Deleted != nil {
			l.o.Deleted(key)
		}
	}
	switch {
	case !ok:
		return Position{}, nil
	case full:
		return Position{Deletions: b.To.Deletions}, nil
	}
	return b.To, nil
}

func (l *Ledger) missed() {
	if l.o.Missed != nil {
		l.o.Missed()
	}
}

// apply takes the records in. It says whether there are too many of them by
// now, so that those that the journal has are to be read anew. Not ok: what was
// read has come to be in doubt meanwhile.
func (l *Ledger) apply(from Position, b *Batch, sent time.Time) (full, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reread {
		return false, false
	}
	k := *l.known.Load()
	was := l.current(&k)
	records := b.Records
	before := k.epoch
	for i, r := range records {
		if r.Epoch != k.epoch {
			l.begin(&k, r.Epoch)
			records = b.Records[i:]
		}
	}
	if before != 0 && before != k.epoch {
		l.o.Logger.Warn("the ledger of purges began anew: what is stored does not count any more")
	}
	if from.Records == (Seq{}) && len(b.Records) > 0 {
		l.clearLocked()
		k.floor = later(k.floor, b.Records[0].Seq)
	}
	l.noteLocked(&k, records)
	for _, a := range l.acked { // it is newer than what was read, and in force here
		if a.Epoch == k.epoch {
			l.noteLocked(&k, []Record{a})
		}
	}
	if !was { // what was fetched meanwhile may have been purged
		k.adrift = newEpoch()
	}
	if sent.After(k.asOf) {
		k.asOf = sent
	}
	l.known.Store(&k)
	select {
	case <-l.synced:
	default:
		close(l.synced)
	}
	return len(l.marks) > maxMarks, true
}

// renew begins a new epoch in a journal that has lost records which this
// process knows: others may not know them, and nothing they are about may come
// back.
func (l *Ledger) renew(ctx context.Context) (Position, error) {
	l.o.Logger.Warn("the ledger of purges was lost or set back: it begins anew, and what is stored does not count any more")
	_, err := l.o.Journal.Append(ctx, Record{Epoch: newEpoch(), After: l.known.Load().epoch})
	return Position{}, err
}
