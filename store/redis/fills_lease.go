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
	renewed time.Time          // just before it was last taken or renewed; zero while it is asked for
	lose    context.CancelFunc // ends what publishes it; nil while nothing does
}

// The first character of a token is the version of what is published.
const (
	tokenVersion = "1"
	landedMark   = "done:"
)

func leaseName(entry string) string { return "jaegis:fill:{" + entry + "}" }

func doorName(node string) string { return "jaegis:fill:@" + node }

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

// resign gives up a lease while its answer is still coming, for who follows is
// not to wait for it.
func (f *Fills) resign(l *lease) {
	if f.leave(l) {
		f.counts.lost.Add(1)
		l.release("")
	}
}

func (l *lease) release(mark string) {
	f := l.f
	_ = f.call(f.ctx, f.s.opts.Budget, func(ctx context.Context) error {
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
	if f.leave(l) {
		f.counts.lost.Add(1)
	}
	f.endPublishing(l)
}

func (f *Fills) endPublishing(l *lease) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l.lose != nil {
		l.lose()
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
		}
		f.renew(f.held())
	}
}

// renewScript is EVAL's: in a pipeline there is no second try for a script that
// the server does not know by its digest.
const renewScript = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return 1`

// renew renews the leases, and drops those that are lost: another's by now, or
// not renewed in time.
func (f *Fills) renew(all []*lease) {
	now := time.Now()
	results := make([]*goredis.Cmd, len(all))
	_ = f.call(f.ctx, beat, func(ctx context.Context) error {
		pipe := f.talk.Pipeline()
		for i, l := range all {
			results[i] = pipe.Eval(ctx, renewScript, []string{l.name, l.stream()}, l.token, leaseTime.Milliseconds(), streamTime.Milliseconds())
		}
		_, err := pipe.Exec(ctx)
		return err
	})
	for i, l := range all {
		lost := false
		if results[i] != nil {
			n, err := results[i].Int()
			if err == nil && n == 1 {
				f.mark(l, now)
				continue
			}
			lost = err == nil
		}
		if lost || time.Since(f.lastRenewed(l)) > leaseTime {
			f.drop(l)
		}
	}
}

func (f *Fills) mark(l *lease, at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l.renewed = at
}

func (f *Fills) lastRenewed(l *lease) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return l.renewed
}
