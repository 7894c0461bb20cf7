package store_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/store"
	"jaegis-proxy/store/storetest"
)

// inPieces is a store whose bodies are all read in pieces, and may be gone.
type inPieces struct {
	store.Store
	gone bool // after the first piece
}

func (s *inPieces) Get(ctx context.Context, key cachekey.Key) (*store.Entry, error) {
	e, err := s.Store.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	p := *e
	p.Body, p.Content = nil, &pieces{storetest.Pieces{Bytes: e.Body, Piece: 10}, s}
	return &p, nil
}

func (s *inPieces) Put(ctx context.Context, key cachekey.Key, e *store.Entry) error {
	if _, ok := e.Content.(*pieces); e.Content != nil && !ok {
		return errors.New("not what this store has given")
	}
	return s.Store.Put(ctx, key, e)
}

type pieces struct {
	storetest.Pieces
	s *inPieces
}

func (p *pieces) Open(ctx context.Context, off, n int64) store.Reader {
	r := p.Pieces.Open(ctx, off, n)
	if p.s.gone {
		return &goesAway{Reader: r}
	}
	return r
}

type goesAway struct {
	store.Reader
	begun bool
}

func (r *goesAway) Next() ([]byte, error) {
	if r.begun {
		return nil, store.ErrGone
	}
	r.begun = true
	return r.Reader.Next()
}

// read reads n bytes of what s has, and no further.
func read(t *testing.T, s store.Store, key cachekey.Key, n int64) error {
	t.Helper()
	e, err := s.Get(t.Context(), key)
	if err != nil {
		return err
	}
	r := e.Open(t.Context(), 0, n)
	defer r.Close()
	for n > 0 {
		b, err := r.Next()
		if err != nil {
			return err
		}
		n -= int64(len(b))
	}
	return nil
}

func newPieceTiers(t *testing.T) (*tiers, *inPieces) {
	s := newTiers(t, roomy, roomy)
	p := &inPieces{Store: s.far.Store}
	s.far.Store, s.MaxPromoted = p, 100
	return s, p
}

func TestTieredPromotesABodyInPiecesOnceItWasReadWhole(t *testing.T) {
	s, p := newPieceTiers(t)
	f := func(what string, size int, want uint64, act func(key cachekey.Key) error) {
		t.Helper()
		key := storetest.Key(what)
		must(t, s.far.Put(t.Context(), key, s.entry(key, 1, size)))
		if err := act(key); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if v := version(t, s.near, key); v != want {
			t.Errorf("%s: near has version %d, want %d", what, v, want)
		}
		if len(what) > 0 && want == 1 {
			p.gone = true
			if err := read(t, s, key, int64(size)); err != nil {
				t.Errorf("%s: from near: %v", what, err)
			}
			p.gone = false
		}
	}
	f("read whole", 100, 1, func(key cachekey.Key) error { return read(t, s, key, 100) })
	f("not to its end", 100, 0, func(key cachekey.Key) error { return read(t, s, key, 91) })
	f("its head alone", 100, 0, func(key cachekey.Key) error {
		_, err := s.Get(t.Context(), key)
		return err
	})
	f("too large", 101, 0, func(key cachekey.Key) error { return read(t, s, key, 101) })
	f("gone in its midst", 100, 0, func(key cachekey.Key) error {
		p.gone = true
		defer func() { p.gone = false }()
		if err := read(t, s, key, 100); !errors.Is(err, store.ErrGone) {
			t.Errorf("%v", err)
		}
		return nil
	})
	f("after one that was gone", 100, 1, func(key cachekey.Key) error { return read(t, s, key, 100) })
	f("read by two, one to its end", 100, 1, func(key cachekey.Key) error {
		e, err := s.Get(t.Context(), key)
		if err != nil {
			return err
		}
		a, b := e.Open(t.Context(), 0, 100), e.Open(t.Context(), 0, 100)
		defer b.Close()
		defer a.Close()
		for {
			if _, err := b.Next(); errors.Is(err, io.EOF) {
				break
			}
			if _, err := a.Next(); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
		}
		return nil
	})
	f("deleted while it was read", 100, 0, func(key cachekey.Key) error {
		e, err := s.Get(t.Context(), key)
		if err != nil {
			return err
		}
		must(t, s.Delete(t.Context(), key))
		_, err = e.Load(t.Context())
		return err
	})
}

func TestTieredPutsWhatItGaveInPiecesWhereItCameFrom(t *testing.T) {
	s, _ := newPieceTiers(t)
	for size, near := range map[int]uint64{100: 1, 101: 0} {
		key := storetest.Key("again")
		must(t, s.far.Put(t.Context(), key, s.entry(key, 1, size)))
		must(t, s.near.Put(t.Context(), key, s.entry(key, 7, 50)))
		e, err := s.far.Get(t.Context(), key)
		must(t, err)
		must(t, s.Put(t.Context(), key, e)) // as Far itself gives it
		if v := version(t, s.near, key); v != near {
			t.Errorf("%d bytes: near has version %d, want %d", size, v, near)
		}
		must(t, s.Drop(t.Context(), key))
		if e, err = s.Get(t.Context(), key); err == nil {
			err = s.Put(t.Context(), key, e) // and as it comes out here
		}
		must(t, err)
	}
}

// Who reads an older version slowly does not put it over one that this process
// has given since.
func TestASlowPromotionBringsNothingOldBack(t *testing.T) {
	s, p := newPieceTiers(t)
	key := storetest.Key("x")
	must(t, s.far.Put(t.Context(), key, s.entry(key, 1, 100)))
	e, err := s.Get(t.Context(), key)
	must(t, err)
	r := e.Open(t.Context(), 0, 100)
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	s.clock.Advance(time.Second)
	must(t, s.far.Put(t.Context(), key, s.entry(key, 2, 20))) // by another process
	pieces := s.far.Store
	s.far.Store = p.Store // a small body comes as a whole
	_, err = s.Get(t.Context(), key)
	must(t, err)
	s.far.Store = pieces
	for err == nil {
		_, err = r.Next()
	}
	r.Close()
	if v := version(t, s.near, key); v != 2 {
		t.Errorf("version %d is in memory", v)
	}
}

// What another process has written meanwhile, and was promoted by another reader,
// is not replaced by what was got before.
func TestTieredPromotesNothingOverWhatIsNewer(t *testing.T) {
	s, _ := newPieceTiers(t)
	key := storetest.Key("k")
	must(t, s.far.Put(t.Context(), key, s.entry(key, 1, 100)))
	e, err := s.Get(t.Context(), key)
	must(t, err)
	s.clock.Advance(1)
	must(t, s.far.Put(t.Context(), key, s.entry(key, 2, 100)))
	must(t, read(t, s, key, 100))
	_, err = e.Load(t.Context())
	must(t, err)
	if v := version(t, s.near, key); v != 2 {
		t.Errorf("version %d is near", v)
	}
}
