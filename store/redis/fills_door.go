package redis

import (
	"context"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
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
	err = f.call(f.ctx, doorName(f.node), doorTime+patience(f.s.opts), func(ctx context.Context) error {
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
	return f.call(ctx, list, limit, func(ctx context.Context) error {
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
	if l.lose != nil || f.closed {
		return
	}
	var ctx context.Context
	ctx, l.lose = context.WithCancel(f.ctx)
	l.publisher = &publisher{f: f, l: l, ctx: ctx, source: l.answer.Pieces(ctx), first: 1}
	f.publishing.Go(l.publisher.run)
}
