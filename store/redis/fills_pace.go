package redis

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"time"
)

const (
	// stallTime is how long a follower may come no further before nobody waits for
	// it, and paceEvery how often it is looked whether it has.
	stallTime = 2 * time.Second
	paceEvery = 50 * time.Millisecond

	// followRate is how many bytes of an answer a second are published at least, on
	// the whole: one slow node holds up the others no longer, after stallTime once.
	followRate = 8 << 20

	// signShare is the part of what is kept, one in so many, after which a follower
	// says how far it has come.
	signShare = 4
)

// pace has an answer that is at hand wait for those who follow, who could not get
// any more what is not kept. It waits for nobody who stands still.
type pace struct {
	far    map[string]progress // of those who follow, by their names
	waited time.Duration
}

type progress struct {
	last string    // number of the item that was given last
	at   time.Time // when that was seen to change
}

// await returns when what is to come may take the place of what is kept the
// longest: all who follow have that, or are not waited for.
func (p *publisher) await(coming int) {
	for {
		oldest, published := p.full(coming)
		most := stallTime + time.Duration(float64(published)/followRate*float64(time.Second))
		if oldest == 0 || p.pace.waited > most || !p.lags(oldest) || !pause(p.ctx, paceEvery) {
			return
		}
		select {
		case <-p.f.closing:
			return
		default:
			p.pace.waited += paceEvery
		}
	}
}

// full gives the number of the item that would go, 0 if there is room for what
// comes, and how much of the answer has been published.
func (p *publisher) full(coming int) (oldest uint64, published int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.ends) == 0 || p.kept+int64(coming)+itemOverhead <= p.f.maxBytes {
		return 0, 0
	}
	return p.first, p.ends[len(p.ends)-1]
}

// lags says whether somebody who comes on does not have an item yet. Who has just
// been told that it may follow has not said so yet.
func (p *publisher) lags(item uint64) bool {
	p.f.mu.Lock()
	knocked := p.l.knocked
	p.f.mu.Unlock()
	if time.Since(knocked) < signEvery/2 {
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
	for name, last := range far {
		was, known := p.pace.far[name]
		if !known || was.last != last {
			was = progress{last, now}
		}
		seen[name] = was
	}
	p.pace.far = seen
	return slices.ContainsFunc(slices.Collect(maps.Values(seen)), func(of progress) bool {
		last, err := strconv.ParseUint(of.last, 10, 64)
		return err == nil && last < item && now.Sub(of.at) < stallTime
	})
}

// sign says now and then that this one follows, and how far it has come. Where
// that fails it is said again.
func (w *follower) sign() {
	if time.Since(w.signed) < signEvery && w.unsigned < w.f.maxBytes/signShare {
		return
	}
	w.signed, w.unsigned = time.Now(), 0
	_ = w.f.call(w.ctx, w.lease, w.f.s.opts.Budget, func(ctx context.Context) error {
		name, pipe := readName(w.stream()), w.f.talk.Pipeline()
		pipe.HSet(ctx, name, w.id, w.last)
		pipe.PExpire(ctx, name, signTime)
		_, err := pipe.Exec(ctx)
		return err
	})
}
