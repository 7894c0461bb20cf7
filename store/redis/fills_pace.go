package redis

import (
	"context"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

const (
	// stallTime is how long a follower may come no further before nobody waits for
	// it, and paceEvery how often it is looked whether it has.
	stallTime = 1500 * time.Millisecond
	paceEvery = 50 * time.Millisecond

	// followRate is how many bytes of an answer a second are published at least, on
	// the whole: one slow node holds up the others no longer, after stallTime once.
	followRate = 8 << 20

	// signShare is the part of what is kept, one in so many, after which a follower
	// says how far it has come.
	signShare = 8
)

// pace has an answer that is at hand wait for those who follow, who could not get
// any more what is not kept. It waits for nobody who stands still.
type pace struct {
	far    map[string]progress // of those who follow, by their names
	waited time.Duration
}

type progress struct {
	last uint64    // number of the item that was given last
	at   time.Time // when that was seen to change
}

// await returns when what is to come may take the place of what is kept the
// longest: all who follow have that, or are not waited for.
func (p *publisher) await(coming int) {
	for {
		last, published := p.full(coming)
		most := stallTime + time.Duration(float64(published)/followRate*float64(time.Second))
		p.pace.waited = max(p.pace.waited, most-2*stallTime) // what went fast is no credit for long
		began := time.Now()
		if last == 0 || p.pace.waited > most || !p.lags(last) {
			return
		}
		select {
		case <-time.After(paceEvery):
			p.pace.waited += time.Since(began)
		case <-p.f.closing:
			return
		case <-p.ctx.Done():
			return
		}
	}
}

// full gives the number of the last item that would go, 0 if there is room for
// what comes, and how much of the answer has been published.
func (p *publisher) full(coming int) (last uint64, published int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	start, kept := p.start, p.kept+int64(coming)+itemOverhead
	for i, end := range p.ends {
		if kept <= p.f.maxBytes {
			break
		}
		last, published = p.first+uint64(i), p.ends[len(p.ends)-1]
		start, kept = end, kept-(end-start)-itemOverhead
	}
	return last, published
}

// lags says whether somebody who comes on does not have an item yet. Who has just
// been told that it may follow has not said so yet.
func (p *publisher) lags(item uint64) bool {
	p.f.mu.Lock()
	joined := p.l.joined
	p.f.mu.Unlock()
	if time.Since(joined) < signEvery/2 {
		return true
	}
	var far map[string]string
	err := p.f.call(p.ctx, p.l.name, p.f.s.opts.Budget, func(ctx context.Context) (err error) {
		far, err = p.f.talk.HGetAll(ctx, readName(p.l.stream())).Result()
		return err
	})
	if err != nil {
		return false
	}
	now, seen := time.Now(), map[string]progress{}
	lags := false
	for name, text := range far {
		last, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			continue // nobody's of this version
		}
		of, known := p.pace.far[name]
		if !known || of.last != last {
			of = progress{last, now}
		}
		seen[name] = of
		lags = lags || last < item && now.Sub(of.at) < stallTime
	}
	p.pace.far = seen
	return lags
}

// sign says now and then that this one follows, and how far it has come. Where
// that fails it is said again.
func (w *follower) sign() {
	if time.Since(w.signed) < signEvery && w.unsigned < w.f.maxBytes/signShare {
		return
	}
	w.signed, w.unsigned = time.Now(), 0
	_ = w.f.call(w.ctx, w.lease, w.f.s.opts.Budget, func(ctx context.Context) error {
		return signScript.Run(ctx, w.f.talk, []string{readName(w.stream())}, w.id, w.last, signTime.Milliseconds()).Err()
	})
}

// unsign takes the sign back. That it fails is no harm: it expires.
func (w *follower) unsign() {
	_ = w.f.call(w.f.ctx, w.lease, w.f.s.opts.Budget, func(ctx context.Context) error {
		return w.f.talk.HDel(ctx, readName(w.stream()), w.id).Err()
	})
}

var signScript = goredis.NewScript(`
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1`)
