package redis_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"jaegis-proxy/policy"
	"jaegis-proxy/store"
	"jaegis-proxy/store/redis"
	"jaegis-proxy/store/storetest"
)

// The large value that two processes write, in some versions.
const (
	disputedSize     = 2<<20 + 12345
	disputedVersions = 4
	writerOf         = "JAEGIS_TEST_WRITES_TO" // set where the test is the second writer
)

var disputed = storetest.Key("disputed")

// disputedBodies are the bodies of the versions, each begun with a number of its
// own by which it is known.
var disputedBodies = sync.OnceValue(func() (all [disputedVersions][]byte) {
	for v := range all {
		all[v] = storetest.Body(disputed, uint64(v), disputedSize)
	}
	return all
})

// writeDisputed writes one version after the other until ctx ends, and counts.
func writeDisputed(ctx context.Context, s *redis.Store, written *atomic.Int64) {
	for v := 0; ctx.Err() == nil; v++ {
		e := storetest.Entry(time.Now(), nil)
		e.Content, e.Length = &storetest.Pieces{Bytes: disputedBodies()[v%disputedVersions], Piece: 60_000}, disputedSize
		e.Tags = []string{fmt.Sprint(v % disputedVersions)}
		if s.Put(ctx, disputed, e) == nil {
			written.Add(1)
		}
	}
}

// TestTheSecondWriter is what the second process runs; by itself it does nothing.
func TestTheSecondWriter(t *testing.T) {
	url := os.Getenv(writerOf)
	if url == "" {
		t.Skip("it is run by another test")
	}
	writeDisputed(t.Context(), open(t, redis.Options{URL: url, Budget: patient}), new(atomic.Int64))
}

// keepKilling runs second writers, one at a time, and kills each after a moment,
// wherever it is then.
func keepKilling(ctx context.Context, t *testing.T, url string) (killed int) {
	for ctx.Err() == nil {
		cmd := exec.Command(os.Args[0], "-test.run=^TestTheSecondWriter$")
		cmd.Env = append(os.Environ(), writerOf+"="+url)
		if err := cmd.Start(); err != nil {
			t.Error(err)
			return killed
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second + time.Duration(rand.IntN(500))*time.Millisecond):
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		killed++
	}
	return killed
}

// Two processes fill one large value, one of them is killed again and again, and
// Redis throws out what it has no room for: each body that is read is one that
// was written, or is seen to be cut.
func TestALargeValueIsNeverMixed(t *testing.T) {
	const reads = 10_000
	server := storetest.StartRedis(t, "--maxmemory", "24mb", "--maxmemory-policy", "allkeys-random")
	raw := rawClient(t, server)
	ctx, stop := context.WithCancel(t.Context())
	var written atomic.Int64
	killed := 0
	var writers sync.WaitGroup
	writers.Go(func() { killed = keepKilling(ctx, t, server.URL) })
	writer := open(t, redis.Options{URL: server.URL, Budget: patient})
	writers.Go(func() { writeDisputed(ctx, writer, &written) })

	s := open(t, redis.Options{URL: server.URL, Budget: patient})
	var read, whole, cut, missed atomic.Int64
	var seen [disputedVersions]atomic.Int64
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			for read.Load() < reads && !t.Failed() {
				e, err := s.Get(t.Context(), disputed)
				if errors.Is(err, store.ErrNotFound) {
					missed.Add(1)
					runtime.Gosched()
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				read.Add(1)
				version, err := readDisputed(t.Context(), e)
				switch {
				case err == nil:
					whole.Add(1)
					seen[version].Add(1)
				case errors.Is(err, store.ErrGone):
					cut.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	readers.Wait()
	stop()
	writers.Wait()
	evicted := raw.InfoMap(t.Context(), "stats").Item("Stats", "evicted_keys")
	t.Logf("%d reads: %d as written, %d cut; %d misses; %d written here, %d writers killed, %s chunks and values evicted", read.Load(), whole.Load(), cut.Load(), missed.Load(), written.Load(), killed, evicted)
	for v := range seen {
		if seen[v].Load() == 0 {
			t.Errorf("version %d was never read", v)
		}
	}
	if whole.Load() < reads/2 || cut.Load() == 0 || killed < 3 || evicted == "0" {
		t.Error("nothing was tested")
	}
	for _, name := range keysOf(t, raw, disputed.String()+"*") {
		if ttl := raw.PTTL(t.Context(), name).Val(); ttl == -1 {
			t.Errorf("%s stays for ever", name)
		}
	}
}

// readDisputed reads all of a body, or a part of it, which is of the version that
// its head says.
func readDisputed(ctx context.Context, e *store.Entry) (version int, err error) {
	if _, err := fmt.Sscan(e.Tags[0], &version); err != nil {
		return 0, err
	}
	off, n := int64(0), e.BodySize()
	if rand.IntN(4) > 0 {
		off = rand.Int64N(disputedSize)
		n = 1 + rand.Int64N(min(100<<10, disputedSize-off))
	}
	r := e.Open(ctx, off, n)
	defer r.Close()
	want := disputedBodies()[version][off : off+n]
	for {
		b, err := r.Next()
		switch {
		case errors.Is(err, io.EOF) && len(want) == 0:
			return version, nil
		case errors.Is(err, io.EOF):
			return 0, fmt.Errorf("%d bytes are missing of %d, and that is not said", len(want), n)
		case err != nil:
			return 0, err
		case len(b) > len(want) || !bytes.Equal(b, want[:len(b)]):
			return 0, fmt.Errorf("another body than version %d, %d bytes before the end of %d from %d on", version, len(want), n, off)
		}
		want = want[len(b):]
	}
}

// A body is read in pieces: the first of them before the last chunk was, a range
// from its chunks alone, and what is lost on the way takes the value with it.
func TestAChunkThatIsLostIsNoticedWhereItIs(t *testing.T) {
	server := storetest.StartRedis(t)
	raw := rawClient(t, server)
	for _, encryption := range [][]redis.EncryptionKey{nil, keys(1)} {
		opts := redis.Options{URL: server.URL, Budget: patient, EncryptionKeys: encryption}
		s := open(t, opts)
		f := func(what string, damage func(chunk string) error) {
			t.Run(what, func(t *testing.T) {
				key := storetest.Key(t.Name())
				putBody(t, s, t.Name(), 6<<20)
				e, err := s.Get(t.Context(), key)
				if err != nil {
					t.Fatal(err)
				}
				if err := damage(chunkOf(t, raw, key.String(), "5")); err != nil {
					t.Fatal(err)
				}
				want := storetest.Body(key, 1, 6<<20)
				first, err := readRange(t, e, 0, 5*512<<10)
				if err != nil || !bytes.Equal(first, want[:5*512<<10]) {
					t.Errorf("what is before it: %d bytes, %v", len(first), err)
				}
				last, err := readRange(t, e, 6*512<<10, 512<<10)
				if err != nil || !bytes.Equal(last, want[6*512<<10:7*512<<10]) {
					t.Errorf("what is behind it: %d bytes, %v", len(last), err)
				}
				got, err := readRange(t, e, 0, 6<<20)
				if !errors.Is(err, store.ErrGone) || !bytes.Equal(got, want[:len(got)]) || len(got) != 5*512<<10 {
					t.Errorf("all of it: %d bytes, %v", len(got), err)
				}
				if _, err := s.Get(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
					t.Errorf("afterwards: %v", err)
				}
				// Another fill is not to suffer for this one.
				putBody(t, s, t.Name(), 6<<20)
				if _, err := readRange(t, e, 5*512<<10, 10); !errors.Is(err, store.ErrGone) {
					t.Errorf("once more: %v", err)
				}
				if !hits(t, s, t.Name()) {
					t.Error("the value that is there now was taken out")
				}
			})
		}
		f("gone", func(chunk string) error { return raw.Del(t.Context(), chunk).Err() })
		f("cut short", func(chunk string) error {
			return raw.Set(t.Context(), chunk, get(t, raw, chunk)[:1000], goredis.KeepTTL).Err()
		})
		f("empty", func(chunk string) error { return raw.Set(t.Context(), chunk, "", goredis.KeepTTL).Err() })
		f("another one of the same fill", func(chunk string) error {
			return raw.Set(t.Context(), chunk, get(t, raw, strings.TrimSuffix(chunk, "5")+"4"), goredis.KeepTTL).Err()
		})
		f("the same one of another fill", func(chunk string) error {
			putBody(t, s, "other", 6<<20)
			return raw.Set(t.Context(), chunk, get(t, raw, chunkOf(t, raw, storetest.Key("other").String(), "5")), goredis.KeepTTL).Err()
		})
	}
}

// Of a body of few chunks all are there before its first byte is given: one that
// is lost cuts nobody.
func TestABodyOfFewChunksIsReadBeforeItIsGiven(t *testing.T) {
	server := storetest.StartRedis(t)
	raw, s := rawClient(t, server), open(t, redis.Options{URL: server.URL, Budget: patient})
	key := storetest.Key("k")
	putBody(t, s, "k", 4<<20)
	e, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	r := e.Open(t.Context(), 0, 4<<20)
	first, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	got := append([]byte{}, first...)
	if err := raw.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("after %d bytes: %v", len(got), err)
		}
		got = append(got, b...)
	}
	r.Close()
	if !bytes.Equal(got, storetest.Body(key, 1, 4<<20)) {
		t.Errorf("%d bytes that are not the body", len(got))
	}
	if got, err := readRange(t, e, 0, 4<<20); !errors.Is(err, store.ErrGone) || len(got) != 0 {
		t.Errorf("afterwards: %d bytes, %v", len(got), err)
	}
}

// Chunks that are read before somebody asks for them are so many for all readers,
// whether they have come or not: one that nobody takes keeps its room.
func TestReadersHaveSoManyChunksAheadOfThem(t *testing.T) {
	const readers, room = 70, 64
	server := storetest.StartRedis(t)
	raw, s := rawClient(t, server), open(t, redis.Options{URL: server.URL, Budget: patient})
	putBody(t, s, "k", 6<<20)
	e, err := s.Get(t.Context(), storetest.Key("k"))
	if err != nil {
		t.Fatal(err)
	}
	gets := func() int { return callsOf(t, raw, "get") }
	for range 2 { // the second time shows that all room was given back
		before, all := gets(), make([]store.Reader, readers)
		for i := range all {
			all[i] = e.Open(t.Context(), 0, 6<<20)
			if _, err := all[i].Next(); err != nil {
				t.Fatal(err)
			}
		}
		storetest.Eventually(t, 5*time.Second, "as many chunks as there is room for", func() bool { return gets()-before >= readers+room })
		time.Sleep(50 * time.Millisecond) // for more of them to come
		if n := gets() - before; n != readers+room {
			t.Errorf("%d chunks were read for %d readers, want %d", n, readers, readers+room)
		}
		for _, r := range all {
			r.Close()
		}
	}
}

func readRange(t *testing.T, e *store.Entry, off, n int64) (all []byte, err error) {
	t.Helper()
	r := e.Open(t.Context(), off, n)
	defer r.Close()
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, b...)
	}
}

// TestAHeadIsWrittenWithoutTheBody updates what is known of a large value: its
// chunks stay, and live as long as it.
func TestAHeadIsWrittenWithoutTheBody(t *testing.T) {
	server := storetest.StartRedis(t)
	raw := rawClient(t, server)
	for _, encryption := range [][]redis.EncryptionKey{nil, keys(1)} {
		s := open(t, redis.Options{URL: server.URL, Budget: patient, EncryptionKeys: encryption})
		key := storetest.Key("head")
		putBody(t, s, "head", 3<<20)
		e, err := s.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		chunks := kept(t, raw, keysOf(t, raw, key.String()+":*"))
		slices.Sort(chunks)
		update := func(ttl time.Duration, tag string) error {
			fresh := *e
			fresh.Lifetime, fresh.Tags = policy.Lifetime{StoredAt: time.Now(), TTL: ttl}, []string{tag}
			return s.Put(t.Context(), key, &fresh)
		}
		for _, ttl := range []time.Duration{9 * time.Hour, time.Hour} {
			before := s.Stats().BytesWritten
			if err := update(ttl, ttl.String()); err != nil {
				t.Fatal(err)
			}
			if n := s.Stats().BytesWritten - before; n > 10_000 {
				t.Errorf("%d bytes were written", n)
			}
			now := kept(t, raw, keysOf(t, raw, key.String()+":*"))
			if slices.Sort(now); !slices.Equal(now, chunks) {
				t.Errorf("chunks %v, before %v", now, chunks)
			}
			got, err := storetest.Get(t.Context(), s, key)
			if err != nil || got.Tags[0] != ttl.String() {
				t.Fatalf("%v, %v", got, err)
			}
			if _, err := storetest.Prove(key, got.Body); err != nil {
				t.Error(err)
			}
			for _, name := range chunks {
				if c, m := raw.PTTL(t.Context(), name).Val(), raw.PTTL(t.Context(), key.String()).Val(); c < m || m < ttl/2 {
					t.Errorf("%v to live, %s %v", m, name, c)
				}
			}
		}

		// Not for what is another by now, or incomplete, or not there.
		if err := raw.Del(t.Context(), chunks[2]).Err(); err != nil {
			t.Fatal(err)
		}
		if err := update(9*time.Hour, "x"); !errors.Is(err, store.ErrGone) {
			t.Errorf("with a chunk gone: %v", err)
		}
		putBody(t, s, "head", 3<<20)
		if err := update(9*time.Hour, "x"); !errors.Is(err, store.ErrGone) {
			t.Errorf("of another fill: %v", err)
		}
		if err := s.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		if err := update(9*time.Hour, "x"); !errors.Is(err, store.ErrGone) {
			t.Errorf("of nothing: %v", err)
		}
		if _, err := s.Get(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a head without a body: %v", err)
		}
	}
}

// Under another key, what is in chunks is written anew.
func TestALargeValueIsCopiedToAnotherKey(t *testing.T) {
	server := storetest.StartRedis(t)
	s := open(t, redis.Options{URL: server.URL, Budget: patient})
	key, other := storetest.Key("one"), storetest.Key("other")
	putBody(t, s, "one", 3<<20)
	e, err := s.Get(t.Context(), key)
	if err == nil {
		err = s.Put(t.Context(), other, e)
	}
	if err == nil {
		err = s.Delete(t.Context(), key)
	}
	if err != nil {
		t.Fatal(err)
	}
	got, err := storetest.Get(t.Context(), s, other)
	if err == nil {
		_, err = storetest.Prove(key, got.Body)
	}
	if err != nil {
		t.Error(err)
	}
}

// A write that fails leaves nothing, and one whose body cannot be read too.
func TestAWriteThatFailsLeavesNoChunks(t *testing.T) {
	server := storetest.StartRedis(t)
	raw := rawClient(t, server)
	s := open(t, redis.Options{URL: server.URL, Budget: patient})
	key := storetest.Key("k")
	e := storetest.Entry(time.Now(), nil)
	e.Content, e.Length = &broken{storetest.Pieces{Bytes: make([]byte, 5<<20), Piece: 1 << 20}}, 5<<20
	if err := s.Put(t.Context(), key, e); !errors.Is(err, store.ErrGone) {
		t.Errorf("Put: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	e.Content = &cancelling{storetest.Pieces{Bytes: make([]byte, 5<<20), Piece: 1 << 20}, cancel}
	if err := s.Put(ctx, key, e); !errors.Is(err, context.Canceled) {
		t.Errorf("Put: %v", err)
	}
	if left := keysOf(t, raw, "*"); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// broken is a body of which the end is gone.
type broken struct{ storetest.Pieces }

func (b *broken) Open(ctx context.Context, off, n int64) store.Reader {
	return &breaking{Reader: b.Pieces.Open(ctx, off, n)}
}

type breaking struct {
	store.Reader
	given int
}

func (b *breaking) Next() ([]byte, error) {
	if b.given++; b.given > 3 {
		return nil, store.ErrGone
	}
	return b.Reader.Next()
}

// cancelling is a body in whose midst its writer is told to stop.
type cancelling struct {
	storetest.Pieces
	cancel func()
}

func (c *cancelling) Open(ctx context.Context, off, n int64) store.Reader {
	return &stopping{c.Pieces.Open(ctx, off, n), c.cancel}
}

type stopping struct {
	store.Reader
	cancel func()
}

func (s *stopping) Next() ([]byte, error) {
	b, err := s.Reader.Next()
	if err == nil && s.cancel != nil {
		defer s.cancel()
	}
	return b, err
}
