package store

import (
	"context"

	"jaegis-proxy/cachekey"
)

// ByNamespace sends each key to the store of its namespace, and all others to
// Default. Its fields must not change while it is in use.
type ByNamespace struct {
	Default Store
	Stores  map[string]Store
}

func (b *ByNamespace) store(key cachekey.Key) Store {
	if s, ok := b.Stores[key.Namespace]; ok {
		return s
	}
	return b.Default
}

// Get implements Store.
func (b *ByNamespace) Get(ctx context.Context, key cachekey.Key) (*Entry, error) {
	return b.store(key).Get(ctx, key)
}

// Put implements Store.
func (b *ByNamespace) Put(ctx context.Context, key cachekey.Key, e *Entry) error {
	return b.store(key).Put(ctx, key, e)
}

// Delete implements Store.
func (b *ByNamespace) Delete(ctx context.Context, key cachekey.Key) error {
	return b.store(key).Delete(ctx, key)
}

// FillsByNamespace sends each key to the Fills of its namespace, and all others
// to Default. Where there is none, everybody fetches for himself. Its fields
// must not change while it is in use.
type FillsByNamespace struct {
	Default Fills // may be nil
	Fills   map[string]Fills
}

// Claim implements Fills.
func (b *FillsByNamespace) Claim(ctx context.Context, key cachekey.Key, want Want) (Claim, error) {
	f, ok := b.Fills[key.Namespace]
	if !ok {
		f = b.Default
	}
	if f == nil {
		return Claim{}, nil
	}
	return f.Claim(ctx, key, want)
}
