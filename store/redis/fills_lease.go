package redis

import (
	"context"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/store"
)

// lease is a store.Lease. It is in Fills.leases from before it is asked for
// until it is released or lost.
type lease struct {
	f      *Fills
	key    cachekey.Key
	name   string // of the lease in Redis
	token  string
	answer store.Answer

	closed atomic.Bool // to further followers: its beginning is not kept any more

	// Guarded by f.mu:
	renewed   time.Time // just before it was last taken or renewed; zero while it is asked for
	at        int64     // when that was, by Redis' clock, in milliseconds
	shaky     bool      // it could not be renewed since
	lost      bool      // another node has it; what is published goes on for those who have its beginning
	publisher *publisher
	lose      context.CancelFunc // ends that; nil while there is none
}

// The first character of a token is the version of what is published.
const (
	tokenVersion = "1"
	landedMark   = "done:"
)

func leaseName(entry string) string { return "jaegis:fill:{" + entry + "}" }

func doorName(node string) string { return "jaegis:fill:@" + node }

// aliveName is where the holder of a lost lease says that it lives.
func aliveName(stream string) string { return stream + ":alive" }

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

// leave says whether the lease was held until now.
func (f *Fills) leave(l *lease) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, held := f.leases[l.token]
	delete(f.leases, l.token)
	return held
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
		if !l.renewed.IsZero() {
			all = append(all, l)
		}
	}
	return all
}

// Fence implements store.Lease.
func (l *lease) Fence(ctx context.Context) context.Context {
	return store.WithFence(ctx, store.Fence{Key: l.key, Token: l.token})
}

// Release implements store.Lease. What is being published goes on to its end.
// That it fails is no harm: the lease runs out.
func (l *lease) Release(landed bool) {
	if !l.f.leave(l) {
		return
	}
	mark := ""
	if landed {
		mark = landedMark + l.token
	}
	l.release(mark)
}

// resign gives up a lease while its answer is still coming, because Redis does
// not take it. Who follows finds neither lease nor stream, and knows.
func (f *Fills) resign(l *lease) {
	if f.leave(l) {
		f.counts.lost.Add(1)
		l.release("")
	}
	_ = f.call(f.ctx, l.name, f.s.opts.Budget, func(ctx context.Context) error { return f.talk.Unlink(ctx, l.stream()).Err() })
}

func (l *lease) release(mark string) {
	f := l.f
	_ = f.call(f.ctx, l.name, f.s.opts.Budget, func(ctx context.Context) error {
		return releaseScript.Run(ctx, f.talk, []string{l.name}, l.token, mark, landedTime.Milliseconds()).Err()
	})
}

// releaseScript leaves a mark in the place of the lease, or nothing.
var releaseScript = goredis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1`)

// drop gives up a lease that is lost: what is fetched under it is of no use to
// others.
func (f *Fills) drop(l *lease) {
	if f.leave(l) && !f.isLost(l) {
		f.counts.lost.Add(1)
	}
	f.endPublishing(l)
}

func (f *Fills) endPublishing(l *lease) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l.lose != nil {
		l.lose()
		l.publisher = nil
	}
}

// heart keeps the leases up that this node holds, all of them in one round
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

// renewScript renews a lease, or takes it again if nobody has it, and nobody can
// have had it and be forgotten: so little time has passed, by Redis' own clock,
// since it was renewed. It is EVAL's: in a pipeline there is no second try for a
// script that the server does not know by its digest.
//
// A lease that is lost while its answer is published leaves a sign that its holder
// lives: another node may have it because Redis has lost it, and those who have
// the beginning of an answer can only be given the rest of the same one.
const renewScript = `
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] or not holder and math.abs(ms - ARGV[4]) > tonumber(ARGV[5]) then
	if ARGV[6] == '' then return {0, ms} end
	redis.call('SET', KEYS[3], '1', 'PX', ARGV[2])
	return {-redis.call('PEXPIRE', KEYS[2], ARGV[3]), ms}
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local whole = redis.call('PEXPIRE', KEYS[2], ARGV[3])
if not holder then whole = 0 end
return {1 + whole, ms}`

// What renewScript gives first.
const (
	renewAlive = iota - 1 // as the next one, and what is published is there
	renewLost             // another node has the lease, or may have had it
	renewTorn             // it is ours, but Redis has not all that it had, if only an answer that is not published
	renewWhole            // it is ours, and its stream is there
)

// renew renews leases that one server has, and drops those that are lost: another's by now, or
// not renewed for too long.
func (f *Fills) renew(all []*lease) {
	now := time.Now()
	results := make([]*goredis.Cmd, len(all))
	_ = f.call(f.ctx, all[0].name, beat, func(ctx context.Context) error {
		pipe := f.talk.Pipeline()
		for i, l := range all {
			_, at := f.lastRenewed(l)
			results[i] = pipe.Eval(ctx, renewScript, []string{l.name, l.stream(), aliveName(l.stream())}, l.token, leaseTime.Milliseconds(), streamTime.Milliseconds(), at, holdTime.Milliseconds(), f.publishes(l))
		}
		_, err := pipe.Exec(ctx)
		return err
	})
	for i, l := range all {
		var got []int64
		if results[i] != nil {
			got, _ = results[i].Int64Slice() // an error is as good as no answer
		}
		switch renewed, _ := f.lastRenewed(l); {
		case len(got) == 2 && got[0] > renewLost && !f.isLost(l):
			if shaky := f.mark(l, now, got[1]); shaky || got[0] == renewTorn {
				f.mend(l)
			}
		case len(got) == 2 && f.lose(l):
			if got[0] != renewAlive {
				f.mend(l)
			}
		case len(got) == 2, time.Since(renewed) > holdTime:
			f.drop(l)
		default:
			f.doubt(l)
		}
	}
}

// publishes says, for renewScript, whether something of the answer is published.
func (f *Fills) publishes(l *lease) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l.publisher == nil {
		return ""
	}
	return "1"
}

func (f *Fills) isLost(l *lease) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return l.lost
}

// lose notes that another node has the lease, and says whether what is published
// under it is to go on: nobody else may begin to follow.
func (f *Fills) lose(l *lease) (goesOn bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l.closed.Store(true)
	if l.publisher == nil {
		return false
	}
	if !l.lost {
		l.lost = true
		f.counts.lost.Add(1)
	}
	l.renewed, l.at = time.Now(), 0 // it is not taken again
	return true
}

// mark notes a renewal, and says whether one before it has failed.
func (f *Fills) mark(l *lease, when time.Time, at int64) (shaky bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	shaky = l.shaky
	l.renewed, l.at, l.shaky = when, at, false
	return shaky
}

func (f *Fills) doubt(l *lease) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l.shaky = true
}

func (f *Fills) lastRenewed(l *lease) (when time.Time, at int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return l.renewed, l.at
}

// mend has what is published looked after: the stream may lack some of it.
func (f *Fills) mend(l *lease) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := l.publisher; p != nil && !f.closed {
		f.publishing.Go(p.mend)
	}
}
