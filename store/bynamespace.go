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
