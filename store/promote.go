package store

import (
	"context"

	"jaegis-proxy/cachekey"
)

// maxPromotions is how many bodies at a time are put together on their way to
// somebody, each in memory of its size: a slow client takes its time.
const maxPromotions = 4

// A body of Far that is not in memory is promoted by whoever reads it from its
// first byte to its last, who has then seen that it is whole. Of those who read
// it at the same time, one does.

// promoting is such a body. Where it goes to Far again it is what it was there.
type promoting struct {
	Content
	t      *Tiered
	key    cachekey.Key
	e      *Entry // of Far
	before uint64 // changes of the key's shard, before Far was asked
}

// promotable gives e as Get returns it: with a body that is promoted, if it is
// small enough for that.
func (t *Tiered) promotable(key cachekey.Key, e *Entry, before uint64) *Entry {
	t.outdate(key, e)
	if e.Content.Size() > t.MaxPromoted {
		return e
	}
	p := *e
	p.Content = &promoting{e.Content, t, key, e, before}
	return &p
}

// Open implements Content.
func (p *promoting) Open(ctx context.Context, off, n int64) Reader {
	r := p.Content.Open(ctx, off, n)
	if n < p.Size() || !p.t.begin(p.key, p.e) {
		return r
	}
	return &promoter{Reader: r, p: p, body: make([]byte, 0, p.Size())}
}

// promoter puts together what it gives.
type promoter struct {
	Reader
	p     *promoting
	body  []byte
	ended bool
}

func (r *promoter) Next() ([]byte, error) {
	b, err := r.Reader.Next()
	if r.ended {
		return b, err
	}
	// Who knows the length does not ask for the end.
	if r.body = append(r.body, b...); int64(len(r.body)) == r.p.Size() {
		e := *r.p.e
		e.Content, e.Body = nil, r.body
		r.p.t.promoteLate(r.p.key, &e, r.p.before)
		r.end()
	}
	return b, err
}

func (r *promoter) Close() {
	r.Reader.Close()
	r.end()
}

func (r *promoter) end() {
	if !r.ended {
		r.ended = true
		r.p.t.ended(r.p.key)
	}
}

// promote puts e into Near if nothing of its shard has changed.
func (t *Tiered) promote(key cachekey.Key, e *Entry, before uint64) {
	s := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	t.promoteLocked(s, key, e, before)
}

// promoteLate is promote for what was got a while ago, unless Near has something
// newer by another promotion.
func (t *Tiered) promoteLate(key cachekey.Key, e *Entry, before uint64) {
	s := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	near, err := t.Near.Get(context.Background(), key)
	if err != nil || !near.Lifetime.StoredAt.After(e.Lifetime.StoredAt) {
		t.promoteLocked(s, key, e, before)
	}
}

func (t *Tiered) promoteLocked(s *shard, key cachekey.Key, e *Entry, before uint64) {
	if s.changes != before {
		return
	}
	// Near refusing it (too large) is no loss: the answer is here.
	_ = t.Near.Put(context.Background(), key, e)
}

// outdate has nothing that is older than e come into Near by a promotion that is
// under way.
func (t *Tiered) outdate(key cachekey.Key, e *Entry) {
	t.mu.Lock()
	of, under := t.promotions[key]
	t.mu.Unlock()
	if under && of.Lifetime.StoredAt.Before(e.Lifetime.StoredAt) {
		_ = t.shard(key).change(func() error { return nil })
	}
}

// begin says whether the caller is to promote what it reads of the key, which is e.
func (t *Tiered) begin(key cachekey.Key, e *Entry) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, already := t.promotions[key]; already || len(t.promotions) == maxPromotions {
		return false
	}
	if t.promotions == nil {
		t.promotions = map[cachekey.Key]*Entry{}
	}
	t.promotions[key] = e
	return true
}

func (t *Tiered) ended(key cachekey.Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.promotions, key)
}

// forNear gives what of e is put into Near: it with its body in memory.
func (t *Tiered) forNear(ctx context.Context, e *Entry) (*Entry, error) {
	if e.BodySize() > t.MaxPromoted && e.Content != nil {
		return nil, ErrTooLarge
	}
	return e.Load(ctx)
}

// forFar gives e as Far knows it.
func forFar(e *Entry) *Entry {
	p, ok := e.Content.(*promoting)
	if !ok {
		return e
	}
	far := *e
	far.Content = p.Content
	return &far
}
