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
	err = f.call(f.ctx, doorName(f.node), doorTime+patience(f.s.opts), func(ctx context.Context) error {
		knock, err = f.pop(ctx, doorTime, doorName(f.node))
		return err
	})
	return knock, err
}

// A knock is a question to the node that fetches an answer.
type knock struct {
	token string // of the lease
	nonce string // by which the one who knocks knows the reply
	next  uint64 // number of the item that is to come next; 0 to begin to follow
	name  string // of the lease
}

func (k knock) String() string {
	return k.token + " " + k.nonce + " " + strconv.FormatUint(k.next, 10) + " " + k.name
}

func parseKnock(s string) (knock, bool) {
	parts := strings.SplitN(s, " ", 4)
	if len(parts) != 4 {
		return knock{}, false
	}
	next, err := strconv.ParseUint(parts[2], 10, 64)
	return knock{token: parts[0], nonce: parts[1], next: next, name: parts[3]}, err == nil
}

// list is where the reply goes.
func (k knock) list() string { return streamName(k.name, k.token) + ":" + k.nonce }

// What the holder replies to a knock: yes and, to one who begins, what store.Claim
// has of the answer; no, go alone; or that it has nothing of such an answer any
// more.
const (
	replyYes  = "yes"
	replyNo   = "no"
	replyGone = "gone"
)

// answer answers a knock, unless it is answered later.
func (f *Fills) answer(s string) {
	k, ok := parseKnock(s)
	if !ok {
		return
	}
	if reply := f.consider(k); reply != "" {
		f.reply(k, reply)
	}
}

// consider gives the reply to a knock; none when it is to wait.
func (f *Fills) consider(k knock) string {
	l := f.lease(k.token)
	switch {
	case l == nil || l.name != k.name:
		return replyGone
	case k.next > 0:
		return f.goOn(l, k.next)
	case f.wait(l, k):
		return ""
	case f.stateOf(l) == leaseOver:
		return replyGone
	case l.closed.Load():
		return replyNo
	}
	may, ok := l.answer.Admit()
	switch {
	case !ok && l.answer.Outdated():
		return replyGone
	case !ok:
		return replyNo
	}
	if !f.publish(l) {
		return replyGone
	}
	return replyYes + " " + admissionText(may)
}

// goOn has one who follows brought what the stream lacks, from the next item on.
func (f *Fills) goOn(l *lease, next uint64) string {
	f.mu.Lock()
	p := l.publisher
	f.mu.Unlock()
	if p == nil || !p.keeps(next) {
		return replyGone
	}
	f.sign(l)
	f.mend(l)
	return replyYes
}

// wait has a knock wait while the lease is being given back, and says whether it
// does.
func (f *Fills) wait(l *lease, k knock) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l.state != leaseGiving {
		return false
	}
	l.waiting = append(l.waiting, k)
	return true
}

// reply sends it. That it fails is no harm: who waits for it looks again.
func (f *Fills) reply(k knock, reply string) {
	_ = f.push(f.ctx, patience(f.s.opts), k.list(), reply)
}

// admissionText and parseAdmission are what is told of an answer to one who
// begins to follow it.
func admissionText(a store.Admission) string {
	return fmt.Sprintf("%d %d %d %d", a.Age.Milliseconds()+1, a.Stamp.Epoch, a.Stamp.Seq.Time, a.Stamp.Seq.N)
}

func parseAdmission(s string) (a store.Admission, ok bool) {
	var ms int64
	n, err := fmt.Sscanf(s, "%d %d %d %d", &ms, &a.Stamp.Epoch, &a.Stamp.Seq.Time, &a.Stamp.Seq.N)
	a.Age = time.Duration(ms) * time.Millisecond
	return a, err == nil && n == 4 && ms >= 0
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

// publish sets what publishes the lease's answer going, unless something does or
// has done. It is false when it is too late for that.
func (f *Fills) publish(l *lease) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	l.knocked = time.Now()
	l.joined = l.knocked
	switch {
	case l.state == leaseOver || f.closed:
		if l.end == nil { // nobody else gives back what Admit has taken
			l.end = func() {}
			l.answer.Pieces(f.ctx).Close()
		}
		return false
	case l.end != nil:
		if l.publisher != nil {
			l.publisher.rest(false)
		}
		return true
	}
	var ctx context.Context
	ctx, l.end = context.WithCancel(f.ctx)
	l.publisher = &publisher{f: f, l: l, ctx: ctx, source: l.answer.Pieces(ctx), first: 1}
	f.publishing.Go(l.publisher.run)
	return true
}
