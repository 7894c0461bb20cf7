package redis

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/store"
)

// Fills is a store.Fills in the Redis of a Store, with whose breaker it leaves
// a Redis alone that fails. It is safe for concurrent use.
//
// # What is in Redis
//
// All names of one key lie in one slot of a cluster, that of its entry. NAME is
// what the entry goes by, NODE a process, TOKEN an attempt to fetch.
//
//	jaegis:fill:{NAME}              the lease: the token of its holder or, for a while
//	                                after the answer has been stored, "done:" and that
//	jaegis:fill:{NAME}:TOKEN        the stream: the answer as it comes, if anybody follows
//	jaegis:fill:{NAME}:TOKEN:NONCE  what the holder answers to one who knocks
//	jaegis:fill:{NAME}:TOKEN:read   that somebody follows, and how far each has come
//	jaegis:fill:{NAME}:by:DIGEST    who is about to write this entry, under another key's lease
//	jaegis:fill:@NODE               the door: who wants to follow knocks here
//
// # How it goes
//
//	claim    take the lease, or learn who holds it
//	knock    at the holder's door, and wait for its answer: whether one may follow
//	publish  the holder, once somebody follows: what has come so far, then live
//	follow   read the stream, each item as it is added, and say so now and then: a
//	         fetch that is only for others ends when nobody follows any more, and what
//	         is at hand faster than it can be read is published no faster
//	release  the holder, when the answer is in the store or will not be
//	ask      who has had a part, hears nothing more and does not find the lease: knock
//	         again, for the rest
//
// A lease that is not kept up runs out: followers who hear nothing look whether
// it is there. So an answer that nobody follows costs one round trip before it
// is asked for and one after it was stored, and nothing of it is in a stream.
//
// # When Redis is away
//
// It may come back without what it had: emptied by a restart, or as a replica
// that had not got all. Items have numbers, so that who follows goes on where it
// was, whatever has become of the stream meanwhile.
//
//	holder    keeps its lease in mind for as long as others wait for it, takes it
//	          again if nobody else has, and adds to the stream what that lacks; so
//	          it does for one who asks, also when it has lost the lease or given it
//	          back, for as long as somebody may have waited for Redis
//	follower  that has had nothing gives up at once; else it waits for Redis for
//	          awayTime, and then for the holder's word for resumeTime
//
// The user needs SET, GET, DEL, UNLINK, EXISTS, PEXPIRE, TIME, HSET, HDEL, HGETALL,
// RPUSH, BLPOP, XADD, XREAD, XREVRANGE, XTRIM, EVAL and EVALSHA on jaegis:*.
type Fills struct {
	s        *Store
	node     string
	maxBytes int64
	talk     goredis.UniversalClient // for all that is answered at once
	beating  goredis.UniversalClient // for the heart, which waits for nobody
	blocked  goredis.UniversalClient // for the door and for followers
	slots    chan struct{}           // one for each follower that there may be
	sealing  sealing
	counts   fillCounts

	ctx     context.Context // of the heart, the door and the publishers
	stop    context.CancelFunc
	running sync.WaitGroup
	begun   chan struct{} // wakes the heart; holds one
	refused atomic.Bool   // that the user may not do this has been logged

	lingering  atomic.Int64  // bytes of answers that have ended and are at hand still
	closing    chan struct{} // closed when they are not to be any more
	mu         sync.Mutex
	leases     map[string]*lease    // by token
	deaf       map[string]time.Time // nodes that did not answer a knock, until when they are not asked
	publishing sync.WaitGroup       // the publishers
	closed     bool                 // nothing more is published
}

// FillOptions bound a Fills.
type FillOptions struct {
	// MaxBytes bounds what is kept of one answer for followers, who may be that
	// far behind; 16 MiB if not positive.
	MaxBytes int64

	// MaxConnections bounds the connections together, which come on top of those
	// of the Store: a quarter of them, minTalkers to maxTalkers, for what is
	// answered at once, beaters for the heart, one for the door, and one for each
	// answer of another node that is followed. 64 if not positive; fewer than
	// minTalkers+4 count as that.
	MaxConnections int
}

const (
	minTalkers = 8
	maxTalkers = 32
	beaters    = 2

	// leaseTime is how long a lease lasts that is not renewed, and beat how often
	// it is. A follower that hears nothing for quietTime looks whether
	// it is there. So a lease passes on within leaseTime and quietTime together.
	leaseTime = 1200 * time.Millisecond
	beat      = 300 * time.Millisecond
	quietTime = 250 * time.Millisecond

	// awayTime is how long an answer that has begun waits for a Redis that is away:
	// longer than a failover takes, and shorter than clients wait for a next byte.
	// resumeTime is how long it then waits for the holder, which has to notice that
	// Redis is back; heartbeats and probes of the breaker are a fraction of it.
	awayTime   = 6 * time.Second
	resumeTime = 2 * time.Second

	// holdTime is how long a lease is kept in mind that cannot be renewed.
	holdTime = awayTime + resumeTime

	// streamTime is how long a stream stays that nothing is added to and nobody
	// keeps up; landedTime how long it is remembered that an answer was stored,
	// for nodes that looked just before, and for one that takes its lease again:
	// it is longer than holdTime.
	streamTime = 5 * time.Second
	landedTime = 10 * time.Second

	// signTime is how long a sign lasts that somebody follows, and signEvery how
	// often it is given.
	signTime  = holdTime + signEvery
	signEvery = time.Second

	// maxTries bounds how often one Claim meets a holder that is gone.
	maxTries = 5
)

// NewFills makes it, for nodes that share s's Redis. It holds connections and
// goroutines until Close, which comes before that of s.
func NewFills(s *Store, o FillOptions) (*Fills, error) {
	if o.MaxBytes <= 0 {
		o.MaxBytes = 16 << 20
	}
	if o.MaxConnections <= 0 {
		o.MaxConnections = 64
	}
	talkers := min(max(o.MaxConnections/4, minTalkers), maxTalkers)
	followers := max(1, o.MaxConnections-talkers-beaters-1)
	f := &Fills{
		s: s, node: randomHex(8), maxBytes: o.MaxBytes, sealing: plainly{}, slots: make(chan struct{}, followers),
		begun: make(chan struct{}, 1), leases: map[string]*lease{}, deaf: map[string]time.Time{}, closing: make(chan struct{}),
	}
	if s.sealer.on() {
		f.sealing = encrypted{s.sealer}
	}
	var err error
	if err = f.open(talkers, followers); err != nil {
		return nil, errors.Join(err, f.closeClients())
	}
	f.ctx, f.stop = context.WithCancel(context.Background())
	f.running.Go(f.heart)
	f.running.Go(f.door)
	return f, nil
}

// open makes the clients. Each blocking call has a time of its own, in its
// context.
func (f *Fills) open(talkers, followers int) (err error) {
	o := f.s.opts
	turn, reply := o.Budget/2, patience(o)
	for client, p := range map[*goredis.UniversalClient]purpose{
		&f.talk:    {conns: talkers, pipes: -1, turn: turn, reply: reply, singly: true},
		&f.beating: {conns: beaters, pipes: -1, turn: turn, reply: reply, singly: true, eager: true},
		&f.blocked: {conns: followers + 1, pipes: -1, turn: turn, reply: doorTime + reply},
	} {
		if *client, err = o.client(p); err != nil {
			return err
		}
	}
	return nil
}

func (f *Fills) closeClients() error {
	var errs []error
	for _, c := range []goredis.UniversalClient{f.talk, f.beating, f.blocked} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

// patience is how long Redis may take for what no request waits for.
func patience(opts Options) time.Duration { return max(4*opts.Budget, 200*time.Millisecond) }

// randomHex gives that many random bytes as text.
func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// closeTime is how long Close waits for what is published to come to its end.
const closeTime = time.Second

// Close ends the goroutines and connections, when what has come of answers is
// with those who follow. Leases that are held run out, and who follows what is
// still to come gets an error.
func (f *Fills) Close() error {
	f.mu.Lock()
	if !f.closed {
		f.closed = true
		close(f.closing)
	}
	f.mu.Unlock()
	ended := make(chan struct{})
	go func() { // ends with the publishers, and those end at the latest with f.ctx
		defer close(ended)
		f.publishing.Wait()
	}()
	t := time.NewTimer(closeTime)
	defer t.Stop()
	select {
	case <-ended:
	case <-t.C:
	}
	f.stop()
	<-ended
	err := f.closeClients()
	f.running.Wait()
	return err
}

// Claim implements store.Fills. It takes no longer than the budget, unless it
// waits for a holder's answer.
func (f *Fills) Claim(ctx context.Context, key cachekey.Key, want store.Want) (store.Claim, error) {
	over := "" // a holder that is known to be none any more
	for range maxTries {
		l := f.newLease(key, want.Answer)
		holder, err := f.take(ctx, l, want.Seen, over)
		switch {
		case err != nil:
			f.counts.failed.Add(1)
			return store.Claim{}, err
		case holder == "":
			f.counts.led.Add(1)
			return store.Claim{Lease: l}, nil
		case strings.HasPrefix(holder, landedMark):
			f.counts.landed.Add(1)
			return store.Claim{Landed: holder}, nil
		case want.OnlyLead:
			f.counts.left.Add(1)
			return store.Claim{Held: true}, nil
		}
		claim, err := f.join(ctx, key, holder)
		if !errors.Is(err, store.ErrHolderGone) {
			return claim, err
		}
		over = holder
	}
	f.counts.alone.Add(1)
	return store.Claim{}, nil
}

// take takes the lease for l, or says who holds it.
func (f *Fills) take(ctx context.Context, l *lease, seen, over string) (holder string, err error) {
	f.enter(l) // before others can know of it
	before, at := time.Now(), int64(0)
	err = f.call(ctx, l.name, f.s.opts.Budget, func(ctx context.Context) error {
		got, err := claimScript.Run(ctx, f.talk, []string{l.name}, l.token, leaseTime.Milliseconds(), seen, over).Result()
		at, _ = got.(int64)
		holder, _ = got.(string)
		return err
	})
	if err != nil || holder != "" {
		f.over(l)
		f.endPublishing(l) // Redis may have given it to us and not been able to say so
		return holder, err
	}
	f.mark(l, before, at)
	select {
	case f.begun <- struct{}{}:
	default:
	}
	return "", nil
}

// claimScript takes a lease that nobody holds, or one of those named, and gives
// the time; else it gives the holder.
var claimScript = goredis.NewScript(`
local now = redis.call('TIME')
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[3] and holder ~= ARGV[4] then return holder end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return now[1] * 1000 + math.floor(now[2] / 1000)`)

// call lets one call through to the server where name is, in the time given, and
// tells its breaker how it went. It does not end with ctx: a call given up in the middle leaves a
// connection to be thrown away.
func (f *Fills) call(ctx context.Context, name string, limit time.Duration, do func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	var refused error
	closed := false
	err := f.s.on(bounded, name, false, func(*node) error {
		err := do(bounded)
		if closed = err != nil && f.ctx.Err() != nil; closed {
			return nil // that says nothing of Redis
		}
		if isRefusal(err) { // nor this: answers may be stored all the same
			refused, err = err, nil
		}
		return err
	})
	switch {
	case closed:
		return goredis.ErrClosed
	case err == nil && refused != nil:
		err = refused
		if !f.refused.Swap(true) {
			f.s.opts.Logger.Warn("redis refuses what sharing fetches with other nodes needs: this node may fetch what another is fetching", "error", explain(err))
		}
	}
	return f.s.end(opFill, err)
}

// pop takes from a list, and waits for there to be something; it gives nothing
// when the time is over. (The library's own BLPop waits for a second at least.)
func (f *Fills) pop(ctx context.Context, limit time.Duration, list string) (string, error) {
	got, err := f.blocked.Do(ctx, "blpop", list, strconv.FormatFloat(limit.Seconds(), 'f', 3, 64)).StringSlice()
	if errors.Is(err, goredis.Nil) || err == nil && len(got) != 2 {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return got[1], nil
}

// await waits until the server where name is may be in use again, and says
// whether to go on: not when limit is over.
func (f *Fills) await(ctx context.Context, name string, limit time.Duration) bool {
	return f.s.await(ctx, name, limit, minPause)
}

// pause waits, and says whether to go on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
