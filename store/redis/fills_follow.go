package redis

import (
	"context"
	"errors"
	"strconv"
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
	if !ok || node == f.node { // what this node fetches itself, and cannot be joined here, is for nobody
		f.counts.alone.Add(1)
		return store.Claim{}, nil
	}
	select {
	case f.slots <- struct{}{}:
	default:
		f.counts.busy.Add(1)
		return store.Claim{}, nil
	}
	w := &follower{f: f, ctx: ctx, lease: leaseName(key.String()), token: holder}
	age, may, err := w.knock(node)
	switch {
	case err != nil:
		if !errors.Is(err, store.ErrHolderGone) {
			f.counts.failed.Add(1)
		}
	case !may:
		f.counts.alone.Add(1)
	default:
		f.counts.followed.Add(1)
		return store.Claim{Follow: w, Age: age}, nil
	}
	w.Close()
	return store.Claim{}, err
}

// follower is another node's answer as it comes: store.Pieces.
type follower struct {
	f      *Fills
	ctx    context.Context
	lease  string
	token  string
	fault  time.Time // when Redis first failed it since a sign of the holder; zero: it has not
	free   time.Time // when it first found the lease to be free, likewise
	last   uint64    // number of the item that was given last
	items  []goredis.XMessage
	begun  bool // a piece has been given
	ended  bool // the last one has
	closed bool
}

// Close gives up the connection.
func (w *follower) Close() {
	if !w.closed {
		w.closed = true
		<-w.f.slots
	}
}

// knock asks the holder, and waits for its answer for as long as it keeps its
// lease up.
func (w *follower) knock(node string) (age time.Duration, may bool, err error) {
	nonce := randomHex(8)
	for range maxKnocks {
		if err := w.f.push(w.ctx, w.f.s.opts.Budget, doorName(node), w.token+" "+nonce+" "+w.lease); err != nil {
			return 0, false, err
		}
		reply, err := w.reply(nonce)
		switch ms, yes := strings.CutPrefix(reply, replyYes); {
		case err != nil:
			return 0, false, err
		case reply == replyGone:
			return 0, false, store.ErrHolderGone
		case reply == replyNo:
			return 0, false, nil
		case yes:
			n, err := strconv.ParseInt(ms, 10, 64)
			return time.Duration(n) * time.Millisecond, err == nil && n >= 0, nil
		}
		if err := w.look(); err != nil {
			return 0, false, err
		}
	}
	return 0, false, nil
}

// reply waits for the answer to a knock; it is empty when there is none yet.
func (w *follower) reply(nonce string) (reply string, err error) {
	err = w.wait(func(ctx context.Context) error {
		reply, err = w.f.pop(ctx, quietTime, streamName(w.lease, w.token)+":"+nonce)
		return err
	})
	return reply, err
}

// wait lets a call through that Redis answers within quietTime. What
// the library itself allows a blocking call is ten seconds more.
func (w *follower) wait(do func(context.Context) error) error {
	return w.f.call(w.ctx, w.lease, quietTime+patience(w.f.s.opts), do)
}

// look looks whether the holder has its lease. When its answer has landed it may
// still be publishing. One that has not is gone (store.ErrHolderGone), unless it
// is Redis that has lost the lease: then the answer may go on, for whoever has
// its beginning, as soon as the holder has taken the lease again, or has said that
// it lives while another node has it.
func (w *follower) look() error {
	var holder string
	streamed, alive := false, false
	err := w.f.call(w.ctx, w.lease, patience(w.f.s.opts), func(ctx context.Context) error {
		pipe := w.f.talk.Pipeline()
		get, exists, sign := pipe.Get(ctx, w.lease), pipe.Exists(ctx, w.stream()), pipe.Exists(ctx, aliveName(w.stream()))
		_, _ = pipe.Exec(ctx)
		holder, streamed, alive = get.Val(), exists.Val() == 1, sign.Val() == 1
		if err := get.Err(); err != nil && !errors.Is(err, goredis.Nil) {
			return err
		}
		return errors.Join(exists.Err(), sign.Err())
	})
	switch held := strings.TrimPrefix(holder, landedMark) == w.token; {
	case err != nil && w.begun:
		return w.bear(err)
	case err != nil:
		return err
	case held, alive && w.begun:
		w.fault, w.free = time.Time{}, time.Time{}
		return nil
	case w.begun && w.mayReturn():
		return nil
	case !w.fault.IsZero(), holder == "" && w.begun && !streamed:
		return errNotBrought
	}
	w.f.counts.passed.Add(1)
	return store.ErrHolderGone
}

// errNotBrought is what who follows gets when it is not the holder that has
// failed, or nobody knows.
var errNotBrought = errors.New("redis does not bring what another node fetches")

// mayReturn says whether a holder that has lost its lease may still take it again.
// Nothing may have been seen of what happened to Redis: two heartbeats are waited
// for anyhow.
func (w *follower) mayReturn() bool {
	if w.free.IsZero() {
		w.free = time.Now()
	}
	if w.fault.IsZero() {
		return time.Since(w.free) < 2*beat
	}
	return time.Since(w.free) < resumeTime
}

// bear waits where Redis has failed who is in the midst of an answer, and gives
// the error when that is too long.
func (w *follower) bear(err error) error {
	if w.fault.IsZero() {
		w.fault = time.Now()
	}
	w.free = time.Time{}
	if isRefusal(err) || !w.f.await(w.ctx, w.lease, awayTime-time.Since(w.fault)) {
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
	if item.ID != itemID(w.last) { // more came than is kept
		return store.Piece{}, store.ErrHolderGone
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
	return piece, nil
}

func (w *follower) stream() string { return streamName(w.lease, w.token) }

// itemsAtOnce bounds what is read in one go.
const itemsAtOnce = 16

// read waits for items. When there are none for a while it looks whether the
// holder is alive.
func (w *follower) read() error {
	err := w.wait(func(ctx context.Context) error {
		got, err := w.f.blocked.XRead(ctx, &goredis.XReadArgs{
			Streams: []string{w.stream(), itemID(w.last)}, Count: itemsAtOnce, Block: quietTime,
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
		w.fault, w.free = time.Time{}, time.Time{}
		return nil
	case err == nil:
		return w.look()
	case w.ctx.Err() != nil:
		return context.Cause(w.ctx)
	case w.begun:
		return w.bear(err)
	}
	w.fault = time.Now()
	return w.look() // late, on a busy machine, is not away
}
