// Package store says what a store of answers is: Store, Entry and the codec by
// which an Entry becomes bytes. The stores themselves live in packages of
// their own (store/memory, store/redis); Tiered puts one in front of another.
//
// A store never decides whether an answer may be used: it hands out what it
// has, and package policy reads the Lifetime.
package store

import (
	"context"
	"errors"
	"time"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/policy"
)

// ErrNotFound is what Get returns for a miss. Any other error is an outage.
var ErrNotFound = errors.New("not found")

// ErrTooLarge is what Put returns for an entry that the store will not hold.
var ErrTooLarge = errors.New("entry too large for this store")

// Store holds answers by key. It is safe for concurrent use. An entry is gone
// at its Lifetime's Expiry, or sooner when room is needed.
type Store interface {
	Get(ctx context.Context, key cachekey.Key) (*Entry, error)
	Put(ctx context.Context, key cachekey.Key, e *Entry) error
	Delete(ctx context.Context, key cachekey.Key) error
}

// Field is one header field line.
type Field struct{ Name, Value string }

// Entry is one stored answer. It is immutable once it has been given to Put or
// returned by Get: many requests read it at the same time.
type Entry struct {
	Status int
	Header []Field // end-to-end fields as the upstream sent them, in order; framing fields are not among them
	Tagged bool    // the Etag among them is of our own making: the upstream knows nothing of it

	Lifetime policy.Lifetime
	Asked    time.Time // when what brought it was asked for: it may be no older than that
	Stamp    Stamp     // what was known of purges then

	// Vary, when not empty, makes this entry a signpost and not an answer: what
	// is named of the request selects among variants, each stored under a key
	// that is made of this entry's, the request and Epoch. Once a signpost is
	// gone, so are its variants: the next one has another epoch.
	Vary  []string
	Epoch uint64

	// Coding is the content coding that Body has by our own doing ("gzip",
	// "zstd") on top of what the upstream's Content-Encoding says; empty when
	// Body is as the upstream sent it.
	Coding  string
	Body    []byte
	Content Content // the body where it is not in memory; Body is nil then
	Length  int64   // length of the body as the upstream sent it, before Coding

	Tags         []string      // labels under which it can be purged (see Ledger), beside those of its key
	UpstreamTime time.Duration // what the upstream took: the time a hit saves
	Usage        Usage         // what the upstream will have charged for
	Events       []Event       // when the body's events came, where they are replayed at their own pace

	// Source names the store that returned the entry ("memory", "redis"). It
	// is not part of the stored form.
	Source string
}

// Usage is what an AI answer took. The zero value is for what is none.
type Usage struct {
	Model  string
	In     int64 // tokens of the request, those in Cached included
	Out    int64
	Cached int64 // of In, those that the provider had in a cache of its own
}

// Event is one event of a stream.
type Event struct {
	Size  int64         // bytes, delimiter included
	After time.Duration // since the event before it, or the head
}

// BodySize is the length of the stored body, in bytes.
func (e *Entry) BodySize() int64 {
	if e.Content != nil {
		return e.Content.Size()
	}
	return int64(len(e.Body))
}

// Size is the memory that the entry takes, in bytes, near enough to bound a
// store by. A Content takes none.
func (e *Entry) Size() int64 {
	n := int64(256 + len(e.Body) + len(e.Coding))
	for _, f := range e.Header {
		n += int64(len(f.Name) + len(f.Value) + 32)
	}
	for _, s := range e.Vary {
		n += int64(len(s) + 16)
	}
	for _, s := range e.Tags {
		n += int64(len(s) + 16)
	}
	n += int64(len(e.Usage.Model) + 16*len(e.Events))
	return n
}
