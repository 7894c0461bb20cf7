package redis_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/store"
	"jaegis-proxy/store/redis"
	"jaegis-proxy/store/storetest"
)

// A lease that nobody keeps up is to pass on within two seconds. A busy machine
// gets more.
const passesOnWithin = 4 * time.Second

// node is a proxy as far as the store knows one.
type node struct {
	*redis.Fills
	store *redis.Store
}

func openNode(t testing.TB, o redis.Options, fo redis.FillOptions) *node {
	t.Helper()
	if o.Budget == 0 {
		o.Budget = patient
	}
	s := open(t, o)
	f, err := redis.NewFills(s, fo)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return &node{f, s}
}

func nodesOf(t testing.TB, server *storetest.RedisServer, n int) []*node {
	t.Helper()
	all := make([]*node, n)
	for i := range all {
		all[i] = openNode(t, redis.Options{URL: server.URL}, redis.FillOptions{})
	}
	return all
}

// answer is one whose pieces a test gives by hand.
type answer struct {
	mu     sync.Mutex
	pieces []store.Piece
	came   chan struct{} // closed and replaced whenever one has come
	no     bool          // nobody may follow
	age    time.Duration
	stamp  store.Stamp
	rests  bool // nobody follows at present
	opened int  // times that Pieces was called
	closed int  // times that what it gave was closed

	outdated atomic.Bool
}

func newAnswer() *answer { return &answer{came: make(chan struct{})} }

func (a *answer) give(pieces ...store.Piece) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pieces = append(a.pieces, pieces...)
	close(a.came)
	a.came = make(chan struct{})
}

func (a *answer) isResting() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rests
}

func (a *answer) Outdated() bool { return a.outdated.Load() }

func (a *answer) Admit() (store.Admission, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return store.Admission{Age: a.age, Stamp: a.stamp}, !a.no
}

func (a *answer) Pieces(ctx context.Context) store.Source {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.opened++
	return &given{a: a, ctx: ctx}
}

// goesWithin is past the time that an answer which has ended is kept at hand.
const goesWithin = 8*time.Second + passesOnWithin

// wantReadOnce waits for the answer to be let go.
func (a *answer) wantReadOnce(t testing.TB) {
	t.Helper()
	storetest.Eventually(t, goesWithin, "the answer was read once, and closed", func() bool {
		opened, closed := a.counts()
		return opened == 1 && closed == 1
	})
}

func (a *answer) counts() (opened, closed int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.opened, a.closed
}

type given struct {
	a   *answer
	ctx context.Context
	n   int

	kept int64 // guarded by a.mu
}

func (g *given) Next() (store.Piece, error) {
	for {
		g.a.mu.Lock()
		came := g.a.came
		if g.n < len(g.a.pieces) {
			g.n++
			p := g.a.pieces[g.n-1]
			g.a.mu.Unlock()
			return p, nil
		}
		g.a.mu.Unlock()
		select {
		case <-came:
		case <-g.ctx.Done():
			return store.Piece{}, g.ctx.Err()
		}
	}
}

// Again gives bytes of the body as a flight does.
func (g *given) Again(p []byte, off int64) error {
	g.a.mu.Lock()
	defer g.a.mu.Unlock()
	var all []byte
	for _, piece := range g.a.pieces {
		if piece.Kind == store.PieceBody {
			all = append(all, piece.Data...)
		}
	}
	if off < g.kept || off+int64(len(p)) > int64(len(all)) {
		return errors.New("not kept")
	}
	copy(p, all[off:])
	return nil
}

func (g *given) Rest(rests bool) {
	g.a.mu.Lock()
	defer g.a.mu.Unlock()
	g.a.rests = rests
}

func (g *given) Keep(off int64) {
	g.a.mu.Lock()
	defer g.a.mu.Unlock()
	g.kept = off
}

func (g *given) Close() {
	g.a.mu.Lock()
	defer g.a.mu.Unlock()
	g.a.closed++
}

func head(s string) store.Piece { return store.Piece{Kind: store.PieceHead, Data: []byte(s)} }
func body(s string) store.Piece { return store.Piece{Kind: store.PieceBody, Data: []byte(s)} }
func end(s string) store.Piece  { return store.Piece{Kind: store.PieceEnd, Data: []byte(s)} }

// leads claims a key, and must get its lease.
func (n *node) leads(t testing.TB, key cachekey.Key, a store.Answer) store.Lease {
	t.Helper()
	c, err := n.Claim(t.Context(), key, store.Want{Answer: a})
	if err != nil || c.Lease == nil {
		t.Fatalf("Claim: %+v, %v; want the lease", c, err)
	}
	return c.Lease
}

// follows claims a key, and must be told to follow.
func (n *node) follows(t testing.TB, key cachekey.Key) store.Pieces {
	t.Helper()
	c, err := n.Claim(t.Context(), key, store.Want{Answer: newAnswer()})
	if err != nil || c.Follow == nil {
		t.Fatalf("Claim: %+v, %v; want to follow", c, err)
	}
	t.Cleanup(c.Follow.Close)
	return c.Follow
}

func wantPiece(t testing.TB, p store.Pieces, want store.Piece) {
	t.Helper()
	got, err := p.Next()
	if err != nil || got.Kind != want.Kind || string(got.Data) != string(want.Data) {
		t.Fatalf("piece %c %.40q, %v; want %c %.40q", got.Kind, got.Data, err, want.Kind, want.Data)
	}
}

// rest reads to the last piece; the bodies are joined.
func rest(p store.Pieces) (got string, last store.Piece, err error) {
	var b strings.Builder
	for {
		piece, err := p.Next()
		if err != nil {
			return b.String(), piece, err
		}
		if piece.Kind.Last() {
			return b.String(), piece, nil
		}
		if piece.Kind == store.PieceBody {
			b.Write(piece.Data)
		}
	}
}

// wantExpiring fails the test for a name in Redis that would stay.
func wantExpiring(t testing.TB, raw *goredis.Client) {
	t.Helper()
	for _, name := range leftOf(t, raw) {
		if ttl := raw.PTTL(t.Context(), name).Val(); ttl == -1 {
			t.Errorf("%s has no expiry", name)
		}
	}
}

// streamsOf gives the streams of the leases with such a name.
func streamsOf(t testing.TB, raw *goredis.Client, lease string) []string {
	t.Helper()
	return slices.DeleteFunc(keysOf(t, raw, lease+":1*"), func(name string) bool {
		return raw.Type(t.Context(), name).Val() != "stream"
	})
}

// wantNothingLeft waits for Redis to be empty, but for chunks that are left to
// their readers.
func wantNothingLeft(t testing.TB, raw *goredis.Client) {
	t.Helper()
	wantExpiring(t, raw)
	storetest.Eventually(t, 20*time.Second, "nothing is left in Redis", func() bool { return len(kept(t, raw, leftOf(t, raw))) == 0 })
}

func isGone(err error) bool { return errors.Is(err, store.ErrHolderGone) }

func contextWithCause(t *testing.T) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(t.Context())
	t.Cleanup(func() { cancel(nil) })
	return ctx, cancel
}

// leftOf gives the names that are in Redis, but for the ledger, which stays.
func leftOf(t testing.TB, raw *goredis.Client) []string {
	t.Helper()
	return slices.DeleteFunc(keysOf(t, raw, "*"), func(name string) bool { return strings.HasPrefix(name, "jaegis:{ledger}:") })
}
