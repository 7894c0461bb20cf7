package proxy

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"time"

	"jaegis-proxy/internal/protocol"
	"jaegis-proxy/policy"
	"jaegis-proxy/store"
)

// join puts the items' entries together to the answer to the request; nil when
// they are no one answer. It is as old as the oldest of them and fresh for as
// long as all are.
//
// Its usage is the sum of what the provider counted for the items when they
// were fetched, an item that comes twice counted twice as the provider does: a
// batch reports the same numbers however much of it was cached, and not what
// was paid this time (see economics).
func (b *batch) join() *store.Entry {
	if len(b.at) == 1 {
		return b.items[0].entry
	}
	vectors := make([]protocol.Vector, len(b.at))
	oldest, until := b.items[0].entry, b.items[0].freshUntil()
	out := &store.Entry{Status: oldest.Status, Source: oldest.Source}
	known := true
	for i, it := range b.at {
		e := it.entry
		vectors[i] = it.vector
		out.Usage.In += e.Usage.In
		out.Usage.Out += e.Usage.Out
		known = known && e.Usage != (store.Usage{})
		out.UpstreamTime = max(out.UpstreamTime, e.UpstreamTime)
		if t := it.freshUntil(); t.Before(until) {
			until = t
		}
		if e.Lifetime.StoredAt.Before(oldest.Lifetime.StoredAt) {
			oldest = e
		}
		if e.Source != out.Source {
			out.Source = "mixed"
		}
	}
	out.Usage.Model = vectors[0].Model
	usage := protocol.Usage{Known: known, Input: out.Usage.In, Output: out.Usage.Out}
	out.Body = b.split.Join(vectors, usage)
	out.Length = int64(len(out.Body))
	out.Header = oldest.Header
	stored := oldest.Lifetime.StoredAt
	out.Lifetime = policy.Lifetime{StoredAt: stored, TTL: until.Sub(stored)}
	if out.Body == nil {
		return nil
	}
	return out
}

// freshUntil is the moment up to which the item's entry is fresh.
func (it *item) freshUntil() time.Time {
	return it.entry.Lifetime.StoredAt.Add(max(0, it.entry.Lifetime.TTL))
}

// count tells how many positions are answered from there.
func (b *batch) count(from origination) (n int) {
	for _, it := range b.at {
		if it.from == from {
			n++
		}
	}
	return n
}

// detail says how much was cached, for Cache-Status.
func (b *batch) detail() string {
	if b.c.detail == "" && b.c.outage {
		return "store-unavailable"
	}
	if cached := b.count(fromStore); b.c.detail == "" && cached > 0 {
		return fmt.Sprintf("items-%d-of-%d-cached", cached, len(b.at))
	}
	return b.c.detail
}

// economics tells what the items that were fetched for this request were
// counted at, and the rest: what was cached, fetched for others, or comes more
// than once.
func (b *batch) economics() (saved, spent store.Usage) {
	for i, it := range b.at {
		u := it.entry.Usage
		to := &saved
		if it.from == fromUpstream && it.index == i {
			to = &spent
		}
		to.Model = u.Model
		to.In += u.In
		to.Out += u.Out
	}
	return saved, spent
}

// ofJoined are the fields of an answer to other bytes than those of its own
// body.
func ofJoined(fields []store.Field) []store.Field {
	return slices.DeleteFunc(slices.Clone(fields), func(f store.Field) bool {
		switch f.Name {
		case "Etag", "Content-Encoding", "Content-Range", "Last-Modified":
			return true
		}
		return digestField(f.Name)
	})
}

// apportion divides a total, which is not negative, among parts in proportion
// to their weights, which are positive. The shares add up to it exactly: what
// is left over by rounding down goes to those that lost most by it.
func apportion(total int64, weights []int) []int64 {
	var sum uint64
	for _, w := range weights {
		sum += uint64(w)
	}
	shares := make([]int64, len(weights))
	order := make([]int, len(weights)) // of those that lost most
	lost := make([]uint64, len(weights))
	left := total
	for i, w := range weights {
		hi, lo := bits.Mul64(uint64(total), uint64(w))
		share, rest := bits.Div64(hi, lo, sum)
		shares[i], lost[i], order[i] = int64(share), rest, i
		left -= shares[i]
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(lost[j], lost[i]) })
	for _, i := range order[:left] {
		shares[i]++
	}
	return shares
}
