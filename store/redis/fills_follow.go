package redis

import (
	"context"
	"errors"
	"maps"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/store"
)

// maxKnocks bounds how often one knocks at the door of a holder that keeps its
// lease up and does not answer.
const maxKnocks = 8

// join asks the holder whether one may follow. The error is ErrHolderGone when
// there is no such holder any more.
func (f *Fills) join(ctx context.Context, key cachekey.Key, holder string) (store.Claim, error) {
	node, ok := nodeOf(holder)
	if l := f.lease(holder); l != nil && l.answer.Outdated() {
		return store.Claim{}, store.ErrHolderGone
	}
	if !ok || node == f.node || f.isDeaf(node) { // what this node fetches itself, and cannot be joined here, is for nobody
		f.counts.alone.Add(1)
		return store.Claim{}, nil
	}
	select {
	case f.slots <- struct{}{}:
	default:
		f.counts.busy.Add(1)
		return store.Claim{}, nil
	}
	w := &follower{f: f, ctx: ctx, lease: leaseName(key.String()), token: holder, node: node, id: randomHex(8), count: itemsAtOnce}
	of, may, err := w.knock()
	switch {
	case err != nil:
		if !errors.Is(err, store.ErrHolderGone) {
			f.counts.failed.Add(1)
		}
	case !may:
		f.counts.alone.Add(1)
	default:
		f.counts.followed.Add(1)
		return store.Claim{Follow: w, Admission: of}, nil
	}
	w.Close()
	return store.Claim{}, err
}

// follower is another node's answer as it comes: store.Pieces.
type follower struct {
	f        *Fills
	ctx      context.Context
	lease    string
	token    string
	node     string    // that holds it
	id       string    // by which the holder knows how far it has come
	signed   time.Time // when it last said that it follows
	heard    time.Time // when it last heard from the holder
	count    int64     // of items that are read in one go
	fault    time.Time // when Redis first failed it since a sign of the holder; zero: it has not
	asked    time.Time // when it first asked the holder for the rest, likewise
	last     uint64    // number of the item that was given last
	unsigned int64     // bytes that were given since it last said that
	items    []goredis.XMessage
	may      bool // the holder has said yes
	begun    bool // a piece has been given
	ended    bool // the last one has
	closed   bool
}

// Close gives up the connection.
func (w *follower) Close() {
	if !w.closed {
		w.closed = true
		if !w.ended && !w.signed.IsZero() {
			w.unsign()
		}
		<-w.f.slots
	}
}

// knock asks the holder whether one may follow, and waits for its reply for as
// long as it keeps its lease up.
func (w *follower) knock() (of store.Admission, may bool, err error) {
	k := w.newKnock()
	for range maxKnocks {
		reply, err := w.send(k, w.f.s.opts.Budget)
		switch text, yes := strings.CutPrefix(reply, replyYes+" "); {
		case err != nil:
			return of, false, err
		case reply == replyGone:
			return of, false, store.ErrHolderGone
		case reply == replyNo:
			return of, false, nil
		case yes:
			of, w.may = parseAdmission(text)
			w.heard = time.Now()
			return of, w.may, nil
		}
		if err := w.look(); err != nil {
			return of, false, err
		}
	}
	w.f.takeForDeaf(w.node)
	return of, false, nil
}

// deafTime is how long a node is not asked that keeps its leases up and does not
// answer: perhaps the server where its door is is away.
const deafTime = 2 * time.Second

func (f *Fills) takeForDeaf(node string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(f.deaf, func(_ string, until time.Time) bool { return now.After(until) })
	f.deaf[node] = now.Add(deafTime)
}

func (f *Fills) isDeaf(node string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Now().Before(f.deaf[node])
}

func (w *follower) newKnock() knock {
	k := knock{token: w.token, nonce: randomHex(8), name: w.lease}
	if w.may {
		k.next = w.last + 1
	}
	return k
}

// send knocks, and waits for the reply for a while; there may be none.
func (w *follower) send(k knock, limit time.Duration) (reply string, err error) {
	if err := w.f.push(w.ctx, limit, doorName(w.node), k.String()); err != nil {
		return "", err
	}
	return w.reply(k)
}

// reply waits for the answer to a knock; it is empty when there is none yet.
func (w *follower) reply(k knock) (reply string, err error) {
	err = w.wait(func(ctx context.Context) error {
		reply, err = w.f.pop(ctx, quietTime, k.list())
		return err
	})
	return reply, err
}

// wait lets a call through that Redis answers within quietTime. What
// the library itself allows a blocking call is ten seconds more. A reply that is
// late may be on its way over a thin line: that is told to this caller alone, not
// to the breaker, which hears of a server that hangs from all other calls.
func (w *follower) wait(do func(context.Context) error) error {
	var late error
	err := w.f.call(w.ctx, w.lease, quietTime+patience(w.f.s.opts), func(ctx context.Context) error {
		err := do(ctx)
		if err != nil && ctx.Err() != nil {
			late, err = errors.Join(errLate, err), goredis.ErrPoolTimeout
		}
		return err
	})
	if late != nil {
		return late
	}
	return err
}

// look looks whether the holder has its lease. Where it has not, one who follows
// asks for the rest: the lease may have been given back a moment ago, or it is
// Redis that has lost it.
func (w *follower) look() error {
	var holder string
	err := w.f.call(w.ctx, w.lease, patience(w.f.s.opts), func(ctx context.Context) (err error) {
		holder, err = w.f.talk.Get(ctx, w.lease).Result()
		return unlessNil(err)
	})
	switch {
	case err != nil && w.begun:
		return w.bear(err)
	case err != nil:
		return err
	case holder == w.token && !w.begun && !w.fault.IsZero() && time.Since(w.fault) > lateTime:
		return errNotBrought
	case holder == w.token:
		return w.attend()
	case !w.begun && !w.fault.IsZero():
		return errNotBrought
	case w.may && w.begun && holder != "" && !strings.HasPrefix(holder, landedMark): // it may well go on
		if time.Since(w.heard) < attendTime {
			return nil
		}
		w.heard = time.Now()
		return w.ask()
	case w.may:
		return w.ask()
	case !strings.HasPrefix(holder, landedMark):
		w.f.counts.passed.Add(1)
	}
	return store.ErrHolderGone
}

// errLate is what a follower's own calls say that took too long.
var errLate = errors.New("redis: what another node fetches is late")

// attend is for one who hears nothing while the holder has its lease. Now and
// then it asks, for what is published may have come to an end.
func (w *follower) attend() error {
	w.asked = time.Time{}
	if w.begun {
		w.fault = time.Time{}
	}
	if !w.may || time.Since(w.heard) < attendTime {
		return nil
	}
	w.heard = time.Now()
	if reply, err := w.send(w.newKnock(), patience(w.f.s.opts)); err == nil && reply == replyGone {
		return errNotBrought
	}
	return nil
}

const (
	// attendTime is how long one who follows hears nothing before it asks.
	attendTime = time.Second

	// lateTime is how long one who has had nothing waits where the holder has its
	// lease and what it has published does not come.
	lateTime = time.Second
)

// errNotBrought is what who follows gets when it is not the holder that has
// failed, or nobody knows.
var errNotBrought = errors.New("redis does not bring what another node fetches")

// ask asks the holder to bring the rest. A node that does not answer is gone: at
// once for one who has had nothing, for whom somebody else is to fetch; else after
// a while, and after a longer one where Redis has failed, of which the holder must
// have noticed that it is back.
func (w *follower) ask() error {
	if w.asked.IsZero() {
		w.asked = time.Now()
	}
	reply, err := w.send(w.newKnock(), patience(w.f.s.opts))
	limit := time.Duration(0)
	switch {
	case w.begun && !w.fault.IsZero():
		limit = resumeTime
	case w.begun:
		limit = 2 * beat
	}
	switch {
	case err != nil && w.begun:
		return w.bear(err)
	case err != nil:
		return err
	case reply == replyGone:
		return errNotBrought
	case reply == replyYes:
		w.fault, w.asked = time.Time{}, time.Time{}
		return nil
	case time.Since(w.asked) < limit:
		return nil
	case !w.fault.IsZero():
		return errNotBrought
	}
	w.f.counts.passed.Add(1)
	return store.ErrHolderGone
}

// bear waits where Redis has failed who is in the midst of an answer, and gives
// the error when that is too long.
func (w *follower) bear(err error) error {
	if w.fault.IsZero() {
		w.fault = time.Now()
	}
	w.asked = time.Time{}
	if isRefusal(err) || errors.Is(err, goredis.ErrClosed) || !w.f.await(w.ctx, w.lease, awayTime-time.Since(w.fault)) {
		return err
	}
	return nil
}

// Next implements store.Pieces. Until it has given a piece it gives up when
// Redis does not answer; afterwards it waits for Redis and for the holder.
func (w *follower) Next() (store.Piece, error) {
	if w.ended {
		return store.Piece{}, store.ErrHolderGone
	}
	for len(w.items) == 0 {
		if err := w.read(); err != nil {
			return store.Piece{}, err
		}
	}
	item := w.items[0]
	w.items = w.items[1:]
	w.last++
	if item.ID != itemID(w.last) {
		return store.Piece{}, errBehind
	}
	sealed, ok := item.Values[itemField].(string)
	if !ok {
		return store.Piece{}, errItem
	}
	piece, err := w.f.openItem(w.stream(), w.last, []byte(sealed))
	if err != nil {
		return store.Piece{}, err
	}
	w.begun, w.ended = true, piece.Kind.Last()
	w.unsigned += int64(len(piece.Data))
	return piece, nil
}

// errBehind is what who follows gets when more has come than is kept.
var errBehind = errors.New("more has come of the answer of another node than is kept")

func (w *follower) stream() string { return streamName(w.lease, w.token) }

// itemsAtOnce bounds what is read in one go, at first. Over a line on which that
// takes too long it is less; where it comes promptly, more.
const (
	itemsAtOnce = 4
	maxAtOnce   = 16
	promptly    = 20 * time.Millisecond
)

// read waits for items. When there are none for a while it looks whether the
// holder is alive.
func (w *follower) read() error {
	w.sign()
	began := time.Now()
	err := w.wait(func(ctx context.Context) error {
		got, err := w.f.blocked.XRead(ctx, &goredis.XReadArgs{
			Streams: []string{w.stream(), itemID(w.last)}, Count: w.count, Block: quietTime,
		}).Result()
		if errors.Is(err, goredis.Nil) {
			return nil
		}
		if err == nil && len(got) == 1 {
			w.items = got[0].Messages
		}
		return err
	})
	switch {
	case err == nil && len(w.items) > 0:
		if int64(len(w.items)) == w.count && time.Since(began) < promptly {
			w.count = min(2*w.count, maxAtOnce)
		}
		w.fault, w.asked, w.heard = time.Time{}, time.Time{}, time.Now()
		return nil
	case err == nil:
		if !w.begun {
			w.fault = time.Time{}
		}
		return w.look()
	case w.ctx.Err() != nil:
		return context.Cause(w.ctx)
	}
	if errors.Is(err, errLate) {
		w.count = max(1, w.count/2)
	}
	if w.begun {
		return w.bear(err)
	}
	if w.fault.IsZero() {
		w.fault = time.Now()
	}
	return w.look() // late, on a busy machine, is not away
}
