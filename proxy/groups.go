package proxy

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/policy"
	"jaegis-proxy/store"
)

// Cache groups (RFC 9875): answers of one origin that become untrue together.
// For each group the store has a mark with a random epoch. An answer in groups
// carries a digest of their epochs, and counts while that is what the marks
// say: invalidating a group is one write however many answers it has, and a
// mark that was lost brings no answer back.

// groupTag stands before the names of groups among an entry's tags.
const groupTag = "group:"

// groupsOf are the tags that stand for the groups of an answer.
func groupsOf(fields []store.Field) []string {
	if field(fields, "Cache-Groups") == "" {
		return nil
	}
	var tags []string
	for _, name := range policy.Groups(toHeader(fields)) {
		tags = append(tags, groupTag+name)
	}
	return tags
}

func grouped(tags []string) bool {
	return slices.ContainsFunc(tags, func(tag string) bool { return strings.HasPrefix(tag, groupTag) })
}

// origin names the origin whose groups are meant.
type origin struct{ upstream, host string }

func (c *call) origin() origin {
	return origin{c.route.Upstream.identity, string(c.route.upstreamHost(&c.target))}
}

// mark is the key of a group's mark.
func (o origin) mark(tag string) cachekey.Key {
	return cachekey.Variant(cachekey.Key{Namespace: "groups"}, []string{"@group"}, shown(toBytes([]string{o.upstream, o.host, tag})))
}

// markTTL is longer than any answer is kept.
const markTTL = 2 * 365 * 24 * time.Hour

// groupEpoch gives the digest of what the marks of the tags say. With create,
// marks that are missing are made. It is false where the store fails or,
// without create, a mark is missing.
func (p *Proxy) groupEpoch(ctx context.Context, o origin, tags []string, create bool) (uint64, bool) {
	h := sha256.New()
	for _, tag := range tags {
		if !strings.HasPrefix(tag, groupTag) {
			continue
		}
		key := o.mark(tag)
		if p.owed.has(key) {
			return 0, false
		}
		e, err := p.store.Get(ctx, key)
		if errors.Is(err, store.ErrNotFound) && create {
			e, err = p.markOnce(ctx, key)
		}
		if err != nil {
			return 0, false
		}
		_ = binary.Write(h, binary.BigEndian, e.Epoch) // a hash takes all
	}
	return binary.BigEndian.Uint64(h.Sum(nil)), true
}

// mark begins a new epoch of a group.
func (p *Proxy) mark(ctx context.Context, key cachekey.Key) (*store.Entry, error) {
	e := &store.Entry{Status: 204, Lifetime: policy.Lifetime{StoredAt: p.now(), TTL: markTTL}, Epoch: rand.Uint64()}
	return e, p.store.Put(ctx, key, e)
}

// markOnce gives a group's mark, and makes it where there is none: answers that
// come together must agree on it.
func (p *Proxy) markOnce(ctx context.Context, key cachekey.Key) (*store.Entry, error) {
	p.marking.Lock()
	defer p.marking.Unlock()
	e, err := p.store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return p.mark(ctx, key)
	}
	return e, err
}

// regrouped says whether a group of the entry was invalidated since it was
// stored. What cannot be known counts as invalidated.
func (p *Proxy) regrouped(c *call, e *store.Entry) bool {
	if !grouped(e.Tags) {
		return false
	}
	if p.anyUntrue(c.origin(), e.Tags, e.Asked) {
		return true
	}
	epoch, ok := p.groupEpoch(p.ctx, c.origin(), e.Tags, false)
	return !ok || epoch != e.Epoch
}

// group gives the entry the epoch of its groups; false when one of them was
// invalidated since the leader's request came, or that cannot be known. The
// epochs are read first: what happens later leaves the entry without effect.
func (l *leader) group(ctx context.Context, e *store.Entry) (*store.Entry, bool) {
	if !grouped(e.Tags) {
		return e, true
	}
	epoch, ok := l.p.groupEpoch(ctx, l.origin, e.Tags, true)
	if !ok {
		return nil, false
	}
	if l.p.anyUntrue(l.origin, e.Tags, l.asked) {
		return nil, false
	}
	in := *e
	in.Epoch = epoch
	return &in, true
}

// anyUntrue says whether one of the groups was invalidated at that time or
// later.
func (p *Proxy) anyUntrue(o origin, tags []string, since time.Time) bool {
	return slices.ContainsFunc(tags, func(tag string) bool { return p.untrue(o.mark(tag), since) })
}

// invalidateGroups makes the answers in the groups untrue that an answer to an
// unsafe request names.
func (l *leader) invalidateGroups(resp *Response) {
	groups := policy.GroupInvalidation(resp.Header)
	if len(groups) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(l.p.ctx, forgetTime)
	defer cancel()
	for _, name := range groups {
		key := l.origin.mark(groupTag + name)
		l.p.invalidated.note(key, l.p.now())
		defer func() { l.p.invalidated.note(key, l.p.now()) }() // as in forget
		if _, err := l.p.mark(ctx, key); err != nil {
			l.p.owed.add(key) // a mark that is gone makes its group cold as well
			l.p.log.Warn("a group of answers that are no longer true could not be taken out of the store; this process does not use them", "route", l.route.Name, "error", err)
		}
	}
}
