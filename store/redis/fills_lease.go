package redis

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/store"
)

// lease is a store.Lease. It is in Fills.leases from before it is asked for
// until it is over and nothing of its answer is at hand for those who follow.
type lease struct {
	f      *Fills
	key    cachekey.Key
	name   string // of the lease in Redis
	token  string
	answer store.Answer

	closed atomic.Bool // to further followers: its beginning is not kept any more

	// Guarded by f.mu:
	state     leaseState
	renewed   time.Time // just before it was last taken or renewed
	at        int64     // when that was, by Redis' clock, in milliseconds
	shaky     bool      // it could not be renewed since
	knocked   time.Time // when somebody was last told that it may follow
	joined    time.Time // when somebody last began to
	followed  time.Time // when there was last a sign that somebody does
	retaken   bool      // Redis may have been given back the lease before it was renewed
	waiting   []knock   // of those who are to be told once it is given back
	publisher *publisher
	end       context.CancelFunc // ends that; nil until there is one
}

// leaseState is how far a lease has come. Those who follow may be brought the
// answer, from where they are, in each of them.
type leaseState int

const (
	leaseAsked  leaseState = iota // Redis has not said yet whether it is ours
	leaseHeld                     // it is, and is kept up
	leaseGiving                   // it is being given back; Redis may not know yet
	leaseOver                     // it was given back or is lost
)

// The first character of a token is the version of what is published.
const (
	tokenVersion = "1"
	landedMark   = "done:"
)

func leaseName(entry string) string { return "jaegis:fill:{" + entry + "}" }

func doorName(node string) string { return "jaegis:fill:@" + node }

// readName is where those who follow say so.
func readName(stream string) string { return stream + ":read" }

func streamName(lease, token string) string { return lease + ":" + token }

// newToken draws one for an attempt of this node.
func (f *Fills) newToken() string { return tokenVersion + f.node + "-" + randomHex(12) }

// nodeOf gives the node whose token it is; false for a version that is not
// understood here.
func nodeOf(token string) (node string, ok bool) {
	if len(token) < 1+16+1 || token[:1] != tokenVersion || token[17] != '-' {
		return "", false
	}
	return token[1:17], true
}

func (f *Fills) newLease(key cachekey.Key, answer store.Answer) *lease {
	return &lease{f: f, key: key, name: leaseName(key.String()), token: f.newToken(), answer: answer}
}

func (l *lease) stream() string { return streamName(l.name, l.token) }

func (f *Fills) enter(l *lease) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leases[l.token] = l
}

// over ends a lease, and says whether it had not ended before. What is published
// goes on for those who have its beginning.
func (f *Fills) over(l *lease) (ends bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ends = l.state != leaseOver
	l.state = leaseOver
	l.closed.Store(true)
	f.forgetLocked(l)
	return ends
}

// forgetLocked takes a lease that is over out of the list once nothing of its
// answer is at hand.
func (f *Fills) forgetLocked(l *lease) {
	if l.state == leaseOver && l.publisher == nil {
		delete(f.leases, l.token)
	}
}

// lost is over for a lease that Redis has given to another or not kept.
func (f *Fills) lost(l *lease) {
	if f.over(l) {
		f.counts.lost.Add(1)
	}
}

func (f *Fills) lease(token string) *lease {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.leases[token]
}

// held are the leases that this node has and must keep up.
func (f *Fills) held() []*lease {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]*lease, 0, len(f.leases))
	for _, l := range f.leases {
		if l.state == leaseHeld {
			all = append(all, l)
		}
	}
	return all
}

func (f *Fills) stateOf(l *lease) leaseState {
	f.mu.Lock()
	defer f.mu.Unlock()
	return l.state
}

// Fence implements store.Lease.
func (l *lease) Fence(ctx context.Context) context.Context {
	return store.WithFence(ctx, store.Fence{Key: l.key, Token: l.token})
}

// Release implements store.Lease. What is being published goes on to its end.
// That it fails is no harm: the lease runs out.
func (l *lease) Release(landed bool) {
	mark := ""
	if landed {
		mark = landedMark + l.token
	}
	l.giveBack(mark)
}

// giveBack ends a lease that is held. Whoever knocks meanwhile is answered once
// Redis knows: told before, it would take the lease and not see what it leaves.
func (l *lease) giveBack(mark string) {
	f := l.f
	f.mu.Lock()
	held := l.state == leaseHeld
	if held {
		l.state = leaseGiving
	}
	f.mu.Unlock()
	if !held {
		return
	}
	l.release(mark)
	f.over(l)
	f.mu.Lock()
	waiting, retaken := l.waiting, l.retaken
	l.waiting = nil
	f.mu.Unlock()
	if retaken && mark == "" {
		l.release("")
	}
	for _, k := range waiting {
		f.reply(k, replyGone)
	}
}

// giveBackAgain gives a lease back that may have been taken again by a heartbeat.
// While it is being given back, that is left to who does it: it may leave a mark.
func (f *Fills) giveBackAgain(l *lease) {
	f.mu.Lock()
	over := l.state == leaseOver
	l.retaken = true
	f.mu.Unlock()
	if over {
		l.release("")
	}
}

// unpublish ends what is published of an answer that is still coming, because
// Redis does not take it. Who follows hears nothing more, asks and is told.
func (f *Fills) unpublish(l *lease) {
	l.closed.Store(true)
	_ = f.call(f.ctx, l.name, f.s.opts.Budget, func(ctx context.Context) error { return f.talk.Unlink(ctx, l.stream()).Err() })
}

// release has Redis leave a mark in the place of the lease, or nothing.
func (l *lease) release(mark string) {
	f := l.f
	_ = f.call(f.ctx, l.name, f.s.opts.Budget, func(ctx context.Context) error {
		return releaseScript.Run(ctx, f.talk, []string{l.name}, l.token, mark, landedTime.Milliseconds()).Err()
	})
}

var releaseScript = goredis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1`)

// endPublishing ends what publishes the lease's answer, if anything does.
func (f *Fills) endPublishing(l *lease) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l.end != nil {
		l.end()
	}
	l.publisher = nil
	f.forgetLocked(l)
}

// heart keeps the leases up that this node holds, many of them in one round
// trip. It ends with Close.
func (f *Fills) heart() {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		all := f.held()
		if len(all) == 0 {
			select {
			case <-f.ctx.Done():
				return
			case <-f.begun:
			}
		}
		select {
		case <-f.ctx.Done():
			return
		case <-tick.C:
		case <-f.back(all):
		}
		for _, together := range f.byServer(f.held()) {
			f.renew(together)
		}
	}
}

// back gives what is closed once a server of these leases is in use again; nil
// where none of them is left alone.
func (f *Fills) back(all []*lease) <-chan struct{} {
	for _, l := range all {
		if back := f.s.inUse(f.ctx, l.name); back != nil {
			return back
		}
	}
	return nil
}

// byServer puts leases together that one server has: what one server does not do
// is nothing to the others.
func (f *Fills) byServer(all []*lease) map[*shard][]*lease {
	servers := map[*shard][]*lease{}
	for _, l := range all {
		sh, _ := f.s.servers.shard(f.ctx, l.name) // nil: nobody is known to have it
		servers[sh] = append(servers[sh], l)
	}
	return servers
}

// renewSource renews a lease, or takes it again if nobody has it, and nobody can
// have had it and be forgotten: so little time has passed, by Redis' own clock,
// since it was renewed. It says whether anybody follows, too.
const renewSource = `
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] or not holder and math.abs(ms - ARGV[4]) > tonumber(ARGV[5]) then return {0, ms, 0} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local whole = redis.call('PEXPIRE', KEYS[2], ARGV[3])
if not holder then whole = 0 end
return {1 + whole, ms, redis.call('EXISTS', KEYS[3])}`

var renewScript = goredis.NewScript(renewSource)

// What renewSource gives first.
const (
	renewLost = iota // another node has the lease, or may have had it
	renewTorn        // it is ours, but Redis has not all that it had, if only an answer that is not published
	_                // it is ours, and its stream is there
)

// maxRenewed bounds how many leases are renewed in one round trip.
const maxRenewed = 128

// renew renews leases that one server has. Those that it does not renew are lost:
// another's by now, or not renewed for too long.
func (f *Fills) renew(all []*lease) {
	var running sync.WaitGroup
	turns := make(chan struct{}, beaters)
	for some := range slices.Chunk(all, maxRenewed) {
		turns <- struct{}{}
		running.Go(func() {
			defer func() { <-turns }()
			f.renewSome(some)
		})
	}
	running.Wait()
}

// renewSome renews those in one round trip.
func (f *Fills) renewSome(some []*lease) {
	now := time.Now()
	results := f.askRenewed(some, goredis.Pipeliner.EvalSha, renewScript.Hash())
	if slices.ContainsFunc(results, isUnknown) {
		results = f.askRenewed(some, goredis.Pipeliner.Eval, renewSource)
	}
	for i, result := range results {
		var got []int64
		if result != nil {
			got, _ = result.Int64Slice() // an error is as good as no answer
		}
		if len(got) == 3 {
			f.renewed(some[i], now, got[0], got[1])
			if got[0] != renewLost { // of which nothing else is told
				f.heed(some[i], got[2] == 1)
			}
		} else {
			f.doubt(some[i])
		}
	}
}

// isUnknown says that a server does not know a script by its digest. In a pipeline
// the library does not send it then.
func isUnknown(c *goredis.Cmd) bool { return c != nil && goredis.HasErrorPrefix(c.Err(), "NOSCRIPT") }

// askRenewed asks for that, and gives what Redis says of each.
func (f *Fills) askRenewed(all []*lease, eval evaluation, script string) []*goredis.Cmd {
	results := make([]*goredis.Cmd, len(all))
	_ = f.call(f.ctx, all[0].name, beat, func(ctx context.Context) error {
		pipe := f.beating.Pipeline()
		for i, l := range all {
			results[i] = eval(pipe, ctx, script, []string{l.name, l.stream(), readName(l.stream())}, l.token, leaseTime.Milliseconds(), streamTime.Milliseconds(), f.renewedAt(l), holdTime.Milliseconds())
		}
		_, err := pipe.Exec(ctx)
		if slices.ContainsFunc(results, isUnknown) {
			return nil // it is asked once more
		}
		return err
	})
	return results
}

// evaluation is how a pipeline is told a script: by its digest or as it is.
type evaluation = func(pipe goredis.Pipeliner, ctx context.Context, script string, keys []string, args ...any) *goredis.Cmd

// heed hears whether anybody follows, and has what is published rest while nobody
// does: so its fetch may end. Who has just knocked has given no sign yet, and one
// that Redis has let go of is given again.
func (f *Fills) heed(l *lease, followed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if followed {
		l.followed = time.Now()
	}
	if p := l.publisher; p != nil {
		p.rest(!followed && time.Since(l.knocked) > signTime && time.Since(l.followed) > 2*signEvery)
	}
}

// sign is as good as one of those who follow.
func (f *Fills) sign(l *lease) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l.knocked = time.Now()
}

// publishes says whether anything of the answer has been published.
func (f *Fills) publishes(l *lease) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return l.publisher != nil && l.publisher.oldest.Load() > 0
}

// renewed heeds what Redis says of a lease, asked at a time of ours and at one of
// its own.
func (f *Fills) renewed(l *lease, when time.Time, result, at int64) {
	switch held := f.stateOf(l) == leaseHeld; {
	case !held && result != renewLost: // it was given back meanwhile, and Redis may have taken that first
		f.giveBackAgain(l)
	case !held:
	case result == renewLost:
		f.lost(l)
	default:
		if shaky := f.mark(l, when, at); shaky || result == renewTorn && f.publishes(l) {
			f.sign(l) // that of those who follow may be lost, too
			f.mend(l)
		}
	}
}

// doubt notes that it is not known whether a lease was renewed. For too long, and
// nobody waits any more for what is published.
func (f *Fills) doubt(l *lease) {
	f.mu.Lock()
	l.shaky = true
	late := l.state == leaseHeld && time.Since(l.renewed) > holdTime
	f.mu.Unlock()
	if late {
		f.lost(l)
		f.endPublishing(l)
	}
}

// mark notes that a lease is ours, and says whether a renewal before that has
// failed.
func (f *Fills) mark(l *lease, when time.Time, at int64) (shaky bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	shaky = l.shaky
	l.renewed, l.at, l.shaky = when, at, false
	if l.state == leaseAsked {
		l.state = leaseHeld
	}
	return shaky
}

func (f *Fills) renewedAt(l *lease) (at int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return l.at
}

// mend has what is published looked after: the stream may lack some of it.
func (f *Fills) mend(l *lease) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := l.publisher; p != nil && !f.closed {
		f.publishing.Go(p.mend)
	}
}
