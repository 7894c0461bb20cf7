package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"jaegis-proxy/cachekey"
)

// A Ledger knows what was purged. A purge writes one record, however many
// entries it is about, and touches none of them: each entry carries a stamp,
// which says how much of the ledger was known when what brought it was asked
// for, and counts only if nothing it is labelled with was purged since.
//
// Where processes share a store they share its ledger, through a Journal. Each
// follows it; one that has not heard of it for MaxDisconnected is cut off:
//
//	state      entered by                      stamps            entries that count
//	following  a reading of the journal        epoch, position   of this epoch, not purged since
//	cut off    MaxDisconnected without one,    an epoch of       of that epoch, and asked for within
//	           or none yet                     its own           MaxDisconnected: a purge that it has not
//	                                                             heard of may take that long
//
// A journal that was lost, or has gone back to an earlier state, begins a new
// epoch: everything is cold then, and nothing comes back.
//
// It is safe for concurrent use. The zero Journal makes a ledger of this process
// alone, which is never cut off.
type Ledger struct {
	o       LedgerOptions
	now     func() time.Time
	known   atomic.Pointer[knowledge]
	synced  chan struct{} // closed by the first reading of the journal
	onClose context.CancelFunc
	running sync.WaitGroup

	mu     sync.RWMutex
	marks  map[string]marked // by label
	keys   int               // how many of the labels are keys'
	acked  []Record          // that the journal took from here and that were not read yet
	reread bool              // the journal is to be read from its beginning
}

// LedgerOptions are for NewLedger. All may be left out.
type LedgerOptions struct {
	Journal         Journal          // where it is kept; nil: here
	MaxDisconnected time.Duration    // how long a purge may take to reach a process that is cut off
	Now             func() time.Time // nil is time.Now
	Logger          *slog.Logger

	// Deleted is told of each key that another process, or this one, deleted in
	// the store, and Missed that some may have been missed. They are called from
	// one goroutine.
	Deleted func(cachekey.Key)
	Missed  func()
}

// knowledge is what the ledger knows but for the marks. It is immutable.
type knowledge struct {
	epoch  uint64
	last   Seq       // of the newest record
	floor  Seq       // what older entries were purged of is not known any more
	asOf   time.Time // what was written before this moment is known; zero: nothing
	adrift uint64    // epoch of what is fetched while cut off
}

// marked says when a label was last purged.
type marked struct{ hard, soft Seq }

// maxMarks bounds the marks in memory. Past it the ledger begins anew with what
// the journal has.
const maxMarks = 1 << 16

// NewLedger gives a ledger, which follows its journal until Close.
func NewLedger(o LedgerOptions) *Ledger {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	l := &Ledger{o: o, now: o.Now, synced: make(chan struct{}), marks: map[string]marked{}}
	k := &knowledge{adrift: newEpoch()}
	if o.Journal == nil {
		k.epoch = newEpoch()
		close(l.synced)
	}
	l.known.Store(k)
	ctx, cancel := context.WithCancel(context.Background())
	l.onClose = cancel
	if o.Journal != nil {
		l.running.Go(func() { l.follow(ctx) })
	}
	return l
}

func newEpoch() uint64 { return 1 + rand.Uint64N(1<<63) }

// Close ends the following of the journal.
func (l *Ledger) Close() error {
	l.onClose()
	l.running.Wait()
	return nil
}

// Await waits until the journal has been read once, or ctx ends.
func (l *Ledger) Await(ctx context.Context) error {
	select {
	case <-l.synced:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Following says whether the ledger knows what was purged up to
// MaxDisconnected ago, and as of when.
func (l *Ledger) Following() (asOf time.Time, ok bool) {
	k := l.known.Load()
	return k.asOf, l.current(k)
}

func (l *Ledger) current(k *knowledge) bool {
	return l.o.Journal == nil || !k.asOf.IsZero() && l.now().Sub(k.asOf) <= l.o.MaxDisconnected
}

// Stamp is for what is asked for from now on.
func (l *Ledger) Stamp() Stamp {
	k := l.known.Load()
	if !l.current(k) {
		return Stamp{Epoch: k.adrift}
	}
	return Stamp{Epoch: k.epoch, Seq: k.last}
}

// Judgement says what the ledger makes of an entry.
type Judgement int

// The judgements.
const (
	Good   Judgement = iota
	Soft             // purged softly: it counts as stale
	Purged           // it must not be used
)

// Judge says whether the entry under the key was purged. Of the entry it reads
// Stamp, Asked and Tags.
func (l *Ledger) Judge(key cachekey.Key, e *Entry) Judgement {
	verdict, _ := l.judge(key, e)
	return verdict
}

func (l *Ledger) judge(key cachekey.Key, e *Entry) (Judgement, Seq) {
	k := l.known.Load()
	switch {
	case !l.current(k):
		if e.Stamp.Epoch == k.adrift && l.now().Sub(e.Asked) <= l.o.MaxDisconnected {
			return Good, Seq{}
		}
		return Purged, Seq{}
	case e.Stamp.Epoch != k.epoch, e.Stamp.Seq.Before(k.floor):
		return Purged, Seq{}
	case !e.Stamp.Seq.Before(k.last):
		return Good, Seq{}
	}
	return l.search(key, e)
}

// search looks for marks that are newer than the entry. They are of one epoch:
// which one that is is looked at again, since it may have changed until they can
// be read, and the marks of the one before are gone then.
func (l *Ledger) search(key cachekey.Key, e *Entry) (verdict Judgement, since Seq) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if k := l.known.Load(); e.Stamp.Epoch != k.epoch || e.Stamp.Seq.Before(k.floor) {
		return Purged, Seq{}
	}
	look := func(label string) bool {
		m := l.marks[label]
		if e.Stamp.Seq.Before(m.soft) && (verdict == Good || m.soft.Before(since)) {
			verdict, since = Soft, m.soft
		}
		return e.Stamp.Seq.Before(m.hard)
	}
	if look(LabelAll) || look(LabelNamespace+key.Namespace) || l.keys > 0 && look(LabelKey+key.String()) {
		return Purged, Seq{}
	}
	for _, tag := range e.Tags {
		if look(tag) {
			return Purged, Seq{}
		}
	}
	return verdict, since
}

// ErrNotPurged is what Purge returns, wrapped with the reason, when the journal
// does not have the purge: other processes will not know of it.
var ErrNotPurged = errors.New("the purge could not be written to the ledger")

// ErrUnconfirmed is what Purge returns, wrapped, when the journal has the purge,
// so that it holds for all who are connected, but may lose it again. It counts as
// ErrNotPurged too.
var ErrUnconfirmed error = unconfirmed{}

type unconfirmed struct{}

func (unconfirmed) Error() string {
	return "the primary has the purge, but it is not confirmed that a failover would not undo it: see to the replicas and sentinels, and purge again"
}

// Is says what else it counts as.
func (unconfirmed) Is(target error) bool { return target == ErrNotPurged }

// Purge makes everything that has the label untrue that was asked for until
// now, or stale when it is soft. It returns once the journal has it; then it
// holds in this process.
func (l *Ledger) Purge(ctx context.Context, label string, soft bool) error {
	if l.o.Journal == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		k := *l.known.Load()
		seq := Seq{Time: max(uint64(l.now().UnixMilli()), k.last.Time), N: k.last.N + 1}
		l.noteLocked(&k, []Record{{Seq: seq, Epoch: k.epoch, Label: label, Soft: soft}})
		if len(l.marks) > maxMarks { // what went before them is given up
			l.clearLocked()
			k.floor = seq
		}
		l.known.Store(&k)
		return nil
	}
	r, err := l.o.Journal.Append(ctx, Record{Epoch: newEpoch(), Label: label, Soft: soft})
	if err != nil {
		if !errors.Is(err, ErrUnconfirmed) {
			err = fmt.Errorf("%w: %w", ErrNotPurged, err)
		}
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	k := *l.known.Load()
	switch r.Epoch {
	case k.epoch:
		l.noteLocked(&k, []Record{r})
		l.acked = append(l.acked, r)
	default: // an epoch that has not been heard of yet, or one that is over by now: the journal will tell
		l.doubtLocked(&k)
	}
	k.adrift = newEpoch() // what was fetched while cut off knows no position: all of it goes
	l.known.Store(&k)
	return nil
}

// doubtLocked has nothing count until the journal was read from its beginning.
func (l *Ledger) doubtLocked(k *knowledge) {
	l.begin(k, newEpoch())
	k.asOf, l.reread = time.Time{}, true
}

// noteLocked takes down records.
func (l *Ledger) noteLocked(k *knowledge, records []Record) {
	for _, r := range records {
		if r.Label == "" {
			continue
		}
		m, known := l.marks[r.Label]
		if !known && strings.HasPrefix(r.Label, LabelKey) {
			l.keys++
		}
		if at := &m.hard; r.Soft {
			m.soft = later(m.soft, r.Seq)
		} else {
			*at = later(*at, r.Seq)
		}
		l.marks[r.Label] = m
	}
	for _, r := range records {
		k.last = later(k.last, r.Seq)
	}
}

func (l *Ledger) clearLocked() { l.marks, l.keys = map[string]marked{}, 0 }

// begin begins an epoch: what is known of the one before is of no use.
func (l *Ledger) begin(k *knowledge, epoch uint64) {
	l.clearLocked()
	k.epoch, k.last, k.floor = epoch, Seq{}, Seq{}
}

// Labels under which entries can be purged. An entry has those of its key and
// its namespace by itself; the others are among its Tags.
const (
	LabelAll       = "all"
	LabelKey       = "key:"
	LabelNamespace = "namespace:"
	LabelRoute     = "route:"
	LabelTag       = "tag:"
	LabelTenant    = "tenant:"
	LabelModel     = "model:"
)

// Seq is a position in a ledger: milliseconds, and a count within one.
type Seq struct{ Time, N uint64 }

// Before says whether s comes before o.
func (s Seq) Before(o Seq) bool { return s.Time < o.Time || s.Time == o.Time && s.N < o.N }

func later(a, b Seq) Seq {
	if a.Before(b) {
		return b
	}
	return a
}

// Stamp says how much of the ledger was known when what brought an entry was
// asked for. The zero value is older than every ledger.
type Stamp struct {
	Epoch uint64
	Seq   Seq
}
