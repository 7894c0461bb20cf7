package redis

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"jaegis-proxy/store"
)

// door answers those who knock, one after another. It ends with Close.
func (f *Fills) door() {
	wait := minPause
	for f.ctx.Err() == nil {
		knock, err := f.listen()
		switch {
		case err != nil:
			if !pause(f.ctx, wait) {
				return
			}
			wait = min(2*wait, maxPause)
			continue
		case knock != "":
			f.answer(knock)
		}
		wait = minPause
	}
}

const (
	// doorTime is how long one call waits for somebody to knock, doorKept how
	// long a knock is kept for a node that does not listen.
	doorTime = 2 * time.Second
	doorKept = 3 * time.Second

	// minPause and maxPause are how long the door waits before it tries again to
	// listen.
	minPause = 50 * time.Millisecond
	maxPause = time.Second
)

// listen waits for a knock; there may be none.
func (f *Fills) listen() (knock string, err error) {
	err = f.call(f.ctx, doorTime+patience(f.s.opts), func(ctx context.Context) error {
		knock, err = f.pop(ctx, doorTime, doorName(f.node))
		return err
	})
	return knock, err
}

// What the holder answers to a knock: yes and how many milliseconds ago the
// answer was asked for; no, go alone; or that it holds no such lease any more.
const (
	replyYes  = "yes "
	replyNo   = "no"
	replyGone = "gone"
)

// answer answers a knock, which is a token, a nonce and the name of the lease.
func (f *Fills) answer(knock string) {
	parts := strings.SplitN(knock, " ", 3)
	if len(parts) != 3 {
		return
	}
	token, nonce, name := parts[0], parts[1], parts[2]
	reply := replyGone
	if l := f.lease(token); l != nil && l.name == name {
		if reply = replyNo; !l.closed.Load() {
			if age, ok := l.answer.Admit(); ok {
				f.publish(l)
				reply = replyYes + strconv.FormatInt(age.Milliseconds()+1, 10)
			}
		}
	}
	_ = f.push(f.ctx, patience(f.s.opts), streamName(name, token)+":"+nonce, reply) // who waits for it looks again
}

// push adds to a list that goes away by itself.
func (f *Fills) push(ctx context.Context, limit time.Duration, list, what string) error {
	return f.call(ctx, limit, func(ctx context.Context) error {
		return pushScript.Run(ctx, f.talk, []string{list}, what, doorKept.Milliseconds()).Err()
	})
}

var pushScript = goredis.NewScript(`
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1`)

// publish sets what publishes the lease's answer going, unless something does.
func (f *Fills) publish(l *lease) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l.lose != nil {
		return
	}
	var ctx context.Context
	ctx, l.lose = context.WithCancel(f.ctx)
	p := &publisher{f: f, l: l, ctx: ctx, pieces: l.answer.Pieces(ctx)}
	f.running.Go(p.run)
}

// publisher adds an answer to its stream as it comes. It ends with the answer,
// when the lease is lost, or when Redis does not take it.
type publisher struct {
	f      *Fills
	l      *lease
	ctx    context.Context
	pieces store.Pieces

	last   uint64 // number of the item that was added last
	window []int64
	kept   int64 // bytes of window, which is of the last items
}

func (p *publisher) run() {
	defer p.f.endPublishing(p.l)
	defer p.pieces.Close()
	for {
		piece, err := p.pieces.Next()
		if err != nil {
			return
		}
		for rest := piece.Data; ; {
			n := len(rest)
			if piece.Kind == store.PieceBody {
				n = min(n, maxItem)
			}
			if !p.add(store.Piece{Kind: piece.Kind, Data: rest[:n]}) {
				p.f.resign(p.l)
				return
			}
			if rest = rest[n:]; len(rest) == 0 {
				break
			}
		}
		if piece.Kind.Last() {
			return
		}
	}
}

// add adds an item. It tries again while there may still be somebody who
// follows: a short trouble is no harm, for the answer itself waits for nobody.
func (p *publisher) add(piece store.Piece) bool {
	number := p.last + 1
	item := p.f.sealItem(p.l.stream(), number, piece)
	p.makeRoom(int64(len(item)) + itemOverhead)
	began := time.Now()
	for {
		err := p.f.call(p.ctx, patience(p.f.s.opts), func(ctx context.Context) error { return p.send(ctx, number, item) })
		switch {
		case err == nil:
			p.last = number
			return true
		case isRefusal(err), time.Since(began) > leaseTime, !pause(p.ctx, minPause):
			return false
		}
	}
}

// makeRoom counts an item, and of those before it forgets the oldest that are
// too many. From then on nobody can follow from the beginning.
func (p *publisher) makeRoom(size int64) {
	p.window, p.kept = append(p.window, size), p.kept+size
	for p.kept > p.f.maxBytes && len(p.window) > 1 {
		p.l.closed.Store(true)
		p.kept -= p.window[0]
		p.window = p.window[1:]
	}
}

// send adds the item, takes out what is forgotten, and keeps the stream for a
// while more.
func (p *publisher) send(ctx context.Context, number uint64, item []byte) error {
	stream := p.l.stream()
	pipe := p.f.talk.TxPipeline()
	add := pipe.XAdd(ctx, &goredis.XAddArgs{Stream: stream, ID: itemID(number), Values: []any{itemField, item}})
	if first := number + 1 - uint64(len(p.window)); first > 1 {
		pipe.XTrimMinID(ctx, stream, itemID(first))
	}
	pipe.PExpire(ctx, stream, streamTime)
	_, err := pipe.Exec(ctx)
	if isThere(add.Err()) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("xadd: %w", err)
	}
	return nil
}

// isThere says that an item has been added before, with nobody told of it.
func isThere(err error) bool {
	return err != nil && strings.Contains(err.Error(), "equal or smaller than the target stream top item")
}
