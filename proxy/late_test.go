package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/internal/spool"
	"jaegis-proxy/policy"
	"jaegis-proxy/store"
	"jaegis-proxy/store/memory"
	"jaegis-proxy/store/storetest"
)

// lateStore holds back the first Put, or another one, until it is opened, and gives
// bodies in pieces, one of which cannot be read while it is away.
type lateStore struct {
	store.Store
	late, puts  atomic.Int64 // number of the Put that is held back, and how many there were
	begun, gate chan struct{}
	once        sync.Once
	away        atomic.Bool
}

func (s *lateStore) open() { s.once.Do(func() { close(s.gate) }) }

func (s *lateStore) Put(ctx context.Context, key cachekey.Key, e *store.Entry) error {
	if s.puts.Add(1) == max(s.late.Load(), 1) {
		close(s.begun)
		<-s.gate
	}
	if b, ok := e.Content.(*lateBody); ok { // its head alone is written anew
		whole := *e
		whole.Content, whole.Body = nil, b.Bytes
		e = &whole
	}
	return s.Store.Put(ctx, key, e)
}

func (s *lateStore) Get(ctx context.Context, key cachekey.Key) (*store.Entry, error) {
	e, err := s.Store.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	inPieces := *e
	inPieces.Body, inPieces.Content = nil, &lateBody{storetest.Pieces{Bytes: e.Body, Piece: 1000}, s}
	return &inPieces, nil
}

type lateBody struct {
	storetest.Pieces
	s *lateStore
}

func (b *lateBody) Open(ctx context.Context, off, n int64) store.Reader {
	if b.s.away.Swap(false) {
		return noBody{}
	}
	return b.Pieces.Open(ctx, off, n)
}

type noBody struct{}

func (noBody) Next() ([]byte, error) { return nil, errors.New("no answer in time") }
func (noBody) Close()                {}

// lateRig is a proxy before such a store.
type lateRig struct {
	addr  string
	proxy *Proxy
	store *lateStore
	clock *storetest.Clock
}

func newLateRig(t *testing.T, writers int, origin http.HandlerFunc, change func(*Route)) *lateRig {
	t.Helper()
	server := httptest.NewServer(origin)
	t.Cleanup(server.Close)
	up, err := NewUpstream(UpstreamOptions{Name: "up", URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	r := &lateRig{clock: storetest.NewClock(), store: &lateStore{begun: make(chan struct{}), gate: make(chan struct{})}}
	inMemory, err := memory.New(memory.Options{MaxBytes: 1 << 30, Now: r.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	r.store.Store = inMemory
	log := slog.New(slog.DiscardHandler)
	writes := store.NewQueue(store.QueueOptions{MaxBytes: 256 << 20, Workers: writers, Logger: log})
	route := &Route{
		Name: "docs", Match: policy.Match{Path: "/*"}, Upstream: up, Cache: true, Key: &cachekey.Rule{Namespace: "documents", Scope: cachekey.ScopePublic},
		Rule: policy.Rule{Freshness: policy.FreshnessRoute, TTL: time.Hour}, MaxRequestBytes: 1 << 30, MaxObjectBytes: 512 << 20,
	}
	change(route)
	if r.proxy, err = New(Options{
		Store: r.store, Writes: writes, Spools: &spool.Store{Memory: 1 << 20, MaxDisk: 1 << 30},
		UncacheableTTL: time.Minute, BodyTimeout: time.Minute, WriteTimeout: time.Minute, MemoBytes: 1 << 20,
		Metrics: prometheus.NewRegistry(), Log: log, Now: r.clock.Now,
	}, &Table{Routes: []*Route{route}, KeySecret: []byte("secret")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.store.open()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := errors.Join(writes.Close(ctx), inMemory.Close()); err != nil {
			t.Error(err)
		}
	})
	r.addr = serve(t, r.proxy, 10*time.Second)
	return r
}

func (r *lateRig) get(t *testing.T, path string, fields ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+r.addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func (r *lateRig) landed(t *testing.T) {
	t.Helper()
	storetest.Eventually(t, 20*time.Second, "all that has landed", func() bool { return r.proxy.flights.Len() == 0 })
}

// A write of an older answer that takes long ends after that of a newer one.
func TestAnOlderAnswerThatIsWrittenLateIsNotKept(t *testing.T) {
	var body atomic.Value
	body.Store("old")
	r := newLateRig(t, 2, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body.Load().(string)) }, func(*Route) {})
	r.get(t, "/a")
	<-r.store.begun
	body.Store("new")
	r.clock.Advance(time.Second)
	if _, got := r.get(t, "/a", "Cache-Control", "no-cache"); got != "new" {
		t.Fatalf("%q", got)
	}
	storetest.Eventually(t, 5*time.Second, "the newer one is put", func() bool { return r.store.puts.Load() == 2 })
	r.store.open()
	r.landed(t)
	if resp, got := r.get(t, "/a"); got != "new" {
		t.Errorf("%q, %s", got, resp.Header.Get("Cache-Status"))
	}
}

// So it is among variants, of which the others stay.
func TestAnOlderVariantThatIsWrittenLateIsNotKept(t *testing.T) {
	var body atomic.Value
	body.Store("another")
	r := newLateRig(t, 2, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Vary", "X-Kind")
		_, _ = io.WriteString(w, body.Load().(string))
	}, func(*Route) {})
	r.store.late.Store(3)
	r.get(t, "/a", "X-Kind", "b")
	r.landed(t) // the answer and the signpost are put
	body.Store("old")
	r.get(t, "/a", "X-Kind", "a")
	<-r.store.begun
	body.Store("new")
	r.clock.Advance(time.Second)
	r.get(t, "/a", "X-Kind", "a", "Cache-Control", "no-cache")
	storetest.Eventually(t, 5*time.Second, "the newer one is put", func() bool { return r.store.puts.Load() == 5 })
	r.store.open()
	r.landed(t)
	if resp, got := r.get(t, "/a", "X-Kind", "a"); got != "new" {
		t.Errorf("%q, %s", got, resp.Header.Get("Cache-Status"))
	}
	if resp, got := r.get(t, "/a", "X-Kind", "b"); got != "another" {
		t.Errorf("the other variant: %q, %s", got, resp.Header.Get("Cache-Status"))
	}
}

// What has become of no use while it waited for its turn is not written.
func TestAnAnswerThatHasExpiredOnItsWayIsNotWritten(t *testing.T) {
	r := newLateRig(t, 1, func(w http.ResponseWriter, q *http.Request) { _, _ = io.WriteString(w, q.URL.Path) }, func(*Route) {})
	r.get(t, "/a")
	<-r.store.begun
	r.get(t, "/b")
	r.clock.Advance(2 * time.Hour)
	r.get(t, "/c")
	r.store.open()
	r.landed(t)
	if n := r.store.puts.Load(); n != 2 {
		t.Errorf("%d answers were written, want 2", n)
	}
}

// Several ranges of an answer that lands while they are sent.
func TestRangesOfAnAnswerThatLandsAreWhole(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789abcdef"), 6<<20)
	r := newLateRig(t, 2, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(big)))
		_, _ = w.Write(big)
	}, func(*Route) {})
	if _, got := r.get(t, "/a"); got != string(big) {
		t.Fatalf("%d bytes", len(got))
	}
	<-r.store.begun
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.(*net.TCPConn).SetReadBuffer(64 << 10)
	fmt.Fprint(c, "GET /a HTTP/1.1\r\nHost: h\r\nRange: bytes=0-49999999,60000000-89999999\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != http.StatusPartialContent {
		t.Fatal(resp, err)
	}
	if _, err := io.CopyN(io.Discard, resp.Body, 1<<20); err != nil {
		t.Fatal(err)
	}
	r.store.open()
	r.landed(t)
	if n, err := io.Copy(io.Discard, resp.Body); err != nil || n+1<<20 != resp.ContentLength {
		t.Errorf("%d of %d bytes, %v", n+1<<20, resp.ContentLength, err)
	}
}

// A confirmed answer whose body cannot be read, in which its end is named, is not
// kept for longer than that.
func TestALinkEndsAlsoWhereTheConfirmedBodyCannotBeRead(t *testing.T) {
	var r *lateRig
	var end atomic.Value
	r = newLateRig(t, 2, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Content-Type", "application/json")
		if q.Header.Get("If-None-Match") == `"v1"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprintf(w, `{"url": "x", "expires_at": %q}`, end.Load())
	}, func(route *Route) {
		route.Look = &policy.Look{Expiry: policy.Expiry{Members: true, SignedLinks: true}}
	})
	r.store.open()
	end.Store(r.clock.Now().Add(10 * time.Minute).UTC().Format(time.RFC3339))
	r.get(t, "/a")
	r.landed(t)
	r.clock.Advance(time.Minute)
	r.store.away.Store(true)
	r.get(t, "/a", "Cache-Control", "no-cache")
	r.landed(t)
	if r.store.away.Swap(false) {
		t.Fatal("it was not read")
	}
	r.clock.Advance(30 * time.Minute)
	if resp, _ := r.get(t, "/a", "Cache-Control", "only-if-cached"); resp.StatusCode != http.StatusGatewayTimeout {
		t.Errorf("20 minutes after its end: %d, %s", resp.StatusCode, resp.Header.Get("Cache-Status"))
	}
}
