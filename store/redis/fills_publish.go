package redis

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"jaegis-proxy/store"
)

// publisher adds an answer to its stream as it comes, and once more what Redis
// has lost of it: also for a while after its end, for those who had not got that.
// It ends before when Redis does not take it for longer than anybody waits.
type publisher struct {
	f      *Fills
	l      *lease
	ctx    context.Context
	source store.Source

	pace  pace
	rests bool // guarded by f.mu: the source has been told that nobody follows

	oldest atomic.Uint64 // is first, for who does not wait for Redis; 0 before there is an item

	mu     sync.Mutex
	first  uint64      // number of the first item that is kept
	ends   []int64     // of the items from that on: where in the body each ends
	start  int64       // where in the body that one begins
	kept   int64       // what they take in Redis, about
	head   []byte      // of the answer, where the first item of all is one
	newest store.Piece // the last item, for as long as it is at hand; the end is always
	there  uint64      // number of the last item that is known to be in the stream
}

func (p *publisher) run() {
	defer p.f.endPublishing(p.l)
	defer p.source.Close()
	if p.all() {
		p.linger()
	}
}

// all publishes the whole answer, and says whether there was an end to it.
func (p *publisher) all() bool {
	for {
		piece, err := p.source.Next()
		if err != nil {
			return false
		}
		for rest := piece.Data; ; {
			n := len(rest)
			if piece.Kind == store.PieceBody {
				n = min(n, maxItem)
			}
			if !p.add(store.Piece{Kind: piece.Kind, Data: rest[:n]}) {
				p.f.unpublish(p.l)
				return false
			}
			if rest = rest[n:]; len(rest) == 0 {
				break
			}
		}
		if piece.Kind.Last() {
			return true
		}
	}
}

// maxLingering bounds, in bytes, what is kept for so long of answers that have
// ended.
const maxLingering = 32 << 20

// linger keeps the answer at hand for as long as somebody may wait for Redis to
// bring the end of it.
func (p *publisher) linger() {
	p.mu.Lock()
	kept := p.kept
	p.mu.Unlock()
	defer p.f.lingering.Add(-kept)
	if p.f.lingering.Add(kept) > maxLingering {
		return
	}
	t := time.NewTimer(holdTime)
	defer t.Stop()
	select {
	case <-t.C:
	case <-p.ctx.Done():
	case <-p.f.closing:
	}
}

// add adds an item. It tries again while there may still be somebody who waits:
// those who fetch and store the answer, and its clients here, wait for nobody.
func (p *publisher) add(piece store.Piece) bool {
	p.await(len(piece.Data))
	p.note(piece)
	defer p.noted()
	began := time.Now()
	for {
		switch err := p.bring(); {
		case err == nil:
			return true
		case isRefusal(err), errors.Is(err, errForgotten), !p.f.await(p.ctx, p.l.name, holdTime-time.Since(began)):
			return false
		}
	}
}

// mend has the stream looked at, and what it lacks added.
func (p *publisher) mend() {
	p.mu.Lock()
	p.there = 0
	p.mu.Unlock()
	_ = p.bring() // where it fails, the next item is added no sooner either
}

// rest tells the source that nobody follows, or that somebody does again.
func (p *publisher) rest(rests bool) {
	if p.rests != rests {
		p.rests = rests
		p.source.Rest(rests)
	}
}

// keeps says whether an item can be brought, when it has come.
func (p *publisher) keeps(number uint64) bool { return number >= p.oldest.Load() }

// note counts an item, and of those before it forgets the oldest that are too
// many. From then on nobody can follow from the beginning.
func (p *publisher) note(piece store.Piece) {
	p.mu.Lock()
	defer p.mu.Unlock()
	end := p.start
	if n := len(p.ends); n > 0 {
		end = p.ends[n-1]
	}
	switch piece.Kind {
	case store.PieceHead:
		p.head = append([]byte{}, piece.Data...)
	case store.PieceBody:
		end += int64(len(piece.Data))
	default:
		piece.Data = append([]byte{}, piece.Data...)
	}
	p.newest, p.ends, p.kept = piece, append(p.ends, end), p.kept+int64(len(piece.Data))+itemOverhead
	for p.kept > p.f.maxBytes && len(p.ends) > 1 {
		p.l.closed.Store(true)
		size := p.ends[0] - p.start
		if p.first == 1 {
			size += int64(len(p.head))
		}
		p.kept -= size + itemOverhead
		p.first, p.start, p.ends = p.first+1, p.ends[0], p.ends[1:]
	}
	p.oldest.Store(p.first)
	p.source.Keep(p.start)
}

// noted says that the newest item is not at hand any more.
func (p *publisher) noted() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.newest.Kind.Last() {
		p.newest = store.Piece{}
	}
}

// errForgotten says that the stream lacks what is not kept any more.
var errForgotten = errors.New("what the stream lacks of an answer is not kept any more")

// bring adds what the stream lacks, as far as it is kept.
func (p *publisher) bring() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for last := p.first + uint64(len(p.ends)) - 1; p.there < last; {
		number := max(p.there+1, p.first)
		pieces, err := p.itemsLocked(number, last)
		if err != nil {
			return err
		}
		if p.there, err = p.send(number, p.first, pieces); err != nil {
			return err
		}
	}
	return nil
}

// What is added in one go, at most: one item, or so many that are small.
const (
	maxTogether   = maxItem
	itemsTogether = 512
)

// itemsLocked gives the items from a number on that are added in one go.
func (p *publisher) itemsLocked(number, last uint64) (pieces []store.Piece, err error) {
	for size := 0; number <= last && len(pieces) < itemsTogether; number++ {
		piece, err := p.itemLocked(number)
		if err != nil {
			return nil, err
		}
		if size += len(piece.Data) + itemOverhead; size > maxTogether && len(pieces) > 0 {
			break
		}
		pieces = append(pieces, piece)
	}
	return pieces, nil
}

// itemLocked gives an item that is kept.
func (p *publisher) itemLocked(number uint64) (store.Piece, error) {
	i := int(number - p.first)
	switch {
	case i == len(p.ends)-1 && p.newest.Kind != 0:
		return p.newest, nil
	case number == 1 && p.head != nil:
		return store.Piece{Kind: store.PieceHead, Data: p.head}, nil
	}
	start := p.start
	if i > 0 {
		start = p.ends[i-1]
	}
	b := make([]byte, p.ends[i]-start)
	if err := p.source.Again(b, start); err != nil {
		return store.Piece{}, errors.Join(errForgotten, err)
	}
	return store.Piece{Kind: store.PieceBody, Data: b}, nil
}

// send adds items, takes out what is before the first one that is kept, and
// keeps the stream for a while more. It gives the number of the last item that
// is there: a smaller one when some before them are missing.
func (p *publisher) send(number, first uint64, pieces []store.Piece) (there uint64, err error) {
	stream, followed := p.l.stream(), false
	args := []any{number, first, streamTime.Milliseconds()}
	for i, piece := range pieces {
		args = append(args, p.f.sealItem(stream, number+uint64(i), piece))
	}
	err = p.f.call(p.ctx, stream, patience(p.f.s.opts), func(ctx context.Context) error {
		got, err := addScript.Run(ctx, p.f.talk, []string{stream, readName(stream)}, args...).Int64Slice()
		if err == nil && len(got) == 2 {
			there, followed = uint64(max(got[0], 0)), got[1] == 1
		}
		return err
	})
	if err == nil {
		p.f.heed(p.l, followed)
	}
	return there, err
}

// addScript adds items behind the one before them, or as the first ones that are
// kept. What was added before, with nobody told of it, is there once.
var addScript = goredis.NewScript(`
local top, last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1), 0
if top[1] then last = tonumber(string.match(top[1][1], '^%d+')) end
local number, first, count = tonumber(ARGV[1]), tonumber(ARGV[2]), #ARGV - 3
local followed = redis.call('EXISTS', KEYS[2])
if last >= number + count - 1 or last < number - 1 and number > first then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return {last, followed}
end
for i = 1, count do
  if number + i - 1 > last then redis.call('XADD', KEYS[1], string.format('%.0f-0', number + i - 1), '` + itemField + `', ARGV[3 + i]) end
end
if first > 1 then redis.call('XTRIM', KEYS[1], 'MINID', first) end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {number + count - 1, followed}`)
