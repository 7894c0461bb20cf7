package storetest

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/policy"
	"jaegis-proxy/store"
)

// proofSize is what a self-proving body has before its pattern: version and
// length.
const proofSize = 16

// Body makes a body of size bytes that proves itself: every byte follows from
// the key, the version and the size. One shorter than 16 bytes proves less.
func Body(key cachekey.Key, version uint64, size int) []byte {
	var head [proofSize]byte
	binary.BigEndian.PutUint64(head[:], version)
	binary.BigEndian.PutUint64(head[8:], uint64(size))
	seed := sha256.Sum256(append(head[:], key.String()...))
	b := make([]byte, max(size, proofSize))
	copy(b, head[:])
	block, err := aes.NewCipher(seed[:16])
	if err != nil {
		panic("BUG: " + err.Error())
	}
	cipher.NewCTR(block, seed[16:]).XORKeyStream(b[proofSize:], b[proofSize:])
	return b[:size:size]
}

// Prove checks that body is one that Body made for key, whole and unmixed, and
// gives its version. It is for bodies of 16 bytes and more.
func Prove(key cachekey.Key, body []byte) (version uint64, err error) {
	if len(body) < proofSize {
		return 0, fmt.Errorf("%d bytes prove nothing", len(body))
	}
	version = binary.BigEndian.Uint64(body)
	if size := binary.BigEndian.Uint64(body[8:]); size != uint64(len(body)) {
		return 0, fmt.Errorf("body of %d bytes says it has %d", len(body), size)
	}
	if !bytes.Equal(body, Body(key, version, len(body))) {
		return 0, fmt.Errorf("body of version %d, %d bytes, is not that of key %s", version, len(body), key)
	}
	return version, nil
}

// Key makes a key that no other name makes.
func Key(name string) cachekey.Key {
	return cachekey.Key{Namespace: "storetest", Digest: sha256.Sum256([]byte(name))}
}

// Entry makes an entry that is stored now, fresh for an hour, with that body.
func Entry(now time.Time, body []byte) *store.Entry {
	return &store.Entry{
		Status:   200,
		Header:   []store.Field{{Name: "Content-Type", Value: "application/octet-stream"}},
		Lifetime: policy.Lifetime{StoredAt: now, TTL: time.Hour},
		Body:     body,
		Length:   int64(len(body)),
	}
}

// Get is s.Get with the body in memory. A body that is found not to be there, or
// not as it was stored, is store.ErrNotFound, as it is for those who have given
// nothing of it to anybody.
func Get(ctx context.Context, s store.Store, key cachekey.Key) (*store.Entry, error) {
	e, err := s.Get(ctx, key)
	if err == nil {
		e, err = e.Load(ctx)
	}
	if errors.Is(err, store.ErrGone) {
		err = store.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

// Pieces is a body that others get in pieces alone: a store.Content of bytes,
// and of as many bytes at a time.
type Pieces struct {
	Bytes []byte
	Piece int
}

// Size implements store.Content.
func (p *Pieces) Size() int64 { return int64(len(p.Bytes)) }

// Open implements store.Content.
func (p *Pieces) Open(_ context.Context, off, n int64) store.Reader {
	return &pieces{p.Bytes[off : off+n], p.Piece}
}

type pieces struct {
	rest []byte
	size int
}

func (p *pieces) Next() ([]byte, error) {
	if len(p.rest) == 0 {
		return nil, io.EOF
	}
	b := bytes.Clone(p.rest[:min(p.size, len(p.rest))])
	p.rest = p.rest[len(b):]
	return b, nil
}

func (p *pieces) Close() {}

// Diff says in which field two entries differ, empty if in none that is part of
// the stored form.
func Diff(a, b *store.Entry) string {
	for _, f := range []struct {
		name  string
		equal bool
	}{
		{"Status", a.Status == b.Status},
		{"Header", equal(a.Header, b.Header)},
		{"Tagged", a.Tagged == b.Tagged},
		{"Lifetime.StoredAt", a.Lifetime.StoredAt.Equal(b.Lifetime.StoredAt)},
		{"Lifetime.TTL", a.Lifetime.TTL == b.Lifetime.TTL},
		{"Lifetime.StaleWhileRevalidate", a.Lifetime.StaleWhileRevalidate == b.Lifetime.StaleWhileRevalidate},
		{"Lifetime.StaleIfError", a.Lifetime.StaleIfError == b.Lifetime.StaleIfError},
		{"Lifetime.Keep", a.Lifetime.Keep == b.Lifetime.Keep},
		{"Lifetime.AllowStale", a.Lifetime.AllowStale == b.Lifetime.AllowStale},
		{"Asked", a.Asked.Equal(b.Asked)},
		{"Stamp", a.Stamp == b.Stamp},
		{"Vary", equal(a.Vary, b.Vary)},
		{"Epoch", a.Epoch == b.Epoch},
		{"Coding", a.Coding == b.Coding},
		{"Body", sameBody(a, b)},
		{"Length", a.Length == b.Length},
		{"Tags", equal(a.Tags, b.Tags)},
		{"UpstreamTime", a.UpstreamTime == b.UpstreamTime},
		{"Usage", a.Usage == b.Usage},
		{"Events", equal(a.Events, b.Events)},
	} {
		if !f.equal {
			return f.name
		}
	}
	return ""
}

func sameBody(a, b *store.Entry) bool {
	a, err1 := a.Load(context.Background())
	b, err2 := b.Load(context.Background())
	return err1 == nil && err2 == nil && bytes.Equal(a.Body, b.Body)
}

func equal[T comparable](a, b []T) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// Clock is a clock that a test moves. It is safe for concurrent use.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock makes a clock that stands at the present.
func NewClock() *Clock { return &Clock{now: time.Now().Round(0)} }

// Now gives the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Eventually asks until holds says yes, and fails the test after limit. It is
// for what another process or a background goroutine is about to do.
func Eventually(t testing.TB, limit time.Duration, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
