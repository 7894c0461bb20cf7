package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"jaegis-proxy/store/storetest"
)

// largeOrigin answers with as many bytes as the path ends with, the same ones
// for the same path, and counts. Paths that begin with /tagged have an ETag and
// digests, those with /bare no type and no date.
type largeOrigin struct {
	*httptest.Server
	calls atomic.Int64
}

func newLargeOrigin(t *testing.T) *largeOrigin {
	t.Helper()
	o := &largeOrigin{}
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.calls.Add(1)
		size := sizeOf(r.URL.Path)
		w.Header().Set("Content-Type", "application/pdf")
		w.Header().Set("Content-Disposition", `attachment; filename="a.pdf"`)
		w.Header().Set("Content-Length", fmt.Sprint(size))
		if strings.HasPrefix(r.URL.Path, "/tagged") {
			w.Header().Set("ETag", `"v1"`)
			w.Header().Set("Digest", "sha-256=whole")
			w.Header().Set("Repr-Digest", "sha-256=:whole:")
			w.Header().Set("Content-Digest", "sha-256=:content:")
		}
		switch r.URL.Path[1:5] {
		case "text":
			w.Header().Set("Content-Type", "text/plain")
		case "bare":
			w.Header()["Content-Type"], w.Header()["Date"] = nil, nil
		}
		_, _ = io.Copy(w, largeBody(r.URL.Path, 0, size)) // who breaks off has his reasons
	}))
	t.Cleanup(o.Close)
	return o
}

func sizeOf(path string) (size int64) {
	_, _ = fmt.Sscan(path[strings.LastIndexByte(path, '/')+1:], &size)
	return size
}

// largeBody gives bytes of the body of a path: each 64 of them are the same, and
// others than those of any other place or path.
func largeBody(path string, off, n int64) io.Reader {
	return io.LimitReader(&pattern{path: path, off: off}, n)
}

type pattern struct {
	path string
	off  int64
}

func (p *pattern) Read(b []byte) (n int, err error) {
	for n < len(b) {
		n64 := uint64(p.off / 64)
		mixed := (n64 + 1) * 0x9e3779b97f4a7c15
		line := fmt.Sprintf("%016x%016x%015d%16s\n", mixed, (mixed^mixed>>29)*0xbf58476d1ce4e5b9, n64, p.path)
		k := copy(b[n:], line[p.off%64:])
		n, p.off = n+k, p.off+int64(k)
	}
	return n, nil
}

func largeBytes(t *testing.T, path string, off, n int64) []byte {
	t.Helper()
	b, err := io.ReadAll(largeBody(path, off, n))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// redisGate stands between the proxy and Redis, counts what chunks are asked
// for, and holds back who asks for one of them until it is opened.
type redisGate struct {
	addr string
	asks atomic.Int64

	mu   sync.Mutex
	shut map[string]chan struct{} // by the chunk's number
}

var chunkAsked = regexp.MustCompile(`(?i)\r\nget\r\n\$\d+\r\n[^\r]*:[0-9a-f]{32}:(\d+)\r\n`)

func newRedisGate(t *testing.T, to string) *redisGate {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &redisGate{addr: ln.Addr().String(), shut: map[string]chan struct{}{}}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", to)
			if err != nil {
				_ = c.Close()
				continue
			}
			go g.pass(s, c, g.look)
			go g.pass(c, s, func([]byte) {})
		}
	}()
	return g
}

func (g *redisGate) pass(to, from net.Conn, look func([]byte)) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		look(buf[:n])
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

func (g *redisGate) look(b []byte) {
	for _, m := range chunkAsked.FindAllSubmatch(b, -1) {
		g.asks.Add(1)
		g.mu.Lock()
		wait := g.shut[string(m[1])]
		g.mu.Unlock()
		if wait != nil {
			<-wait
		}
	}
}

// close holds back who asks for that chunk until open.
func (g *redisGate) close(chunk string) (open func()) {
	wait := make(chan struct{})
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut[chunk] = wait
	return sync.OnceFunc(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.shut, chunk)
		close(wait)
	})
}

// largeRig is the proxy with an origin of large answers, and its Redis behind a
// gate.
type largeRig struct {
	*rig
	*largeOrigin
	gate *redisGate
	raw  *goredis.Client
}

func startLarge(t *testing.T, cache string) *largeRig {
	t.Helper()
	server := storetest.StartRedis(t)
	r := &largeRig{largeOrigin: newLargeOrigin(t), gate: newRedisGate(t, server.Addr), raw: goredis.NewClient(&goredis.Options{Addr: server.Addr, Protocol: 2})}
	t.Cleanup(func() { _ = r.raw.Close() })
	r.rig = &rig{proc: start(t, fmt.Sprintf(largeConfig, cache, r.gate.addr, r.largeOrigin.URL, t.TempDir()))}
	return r
}

const largeConfig = `
cache: {%s redis: {url: "redis://%s", budget: 2s}}
upstreams: {docs: {url: %q}}
routes: [{name: docs, ttl: 1h, scope: public, max_object_bytes: 512MiB}]
spool: {dir: %q}
`

const noMemory = "memory: {max_bytes: 0},"

// stored has the answer stored, and gives it.
func (r *largeRig) stored(t *testing.T, path string) *reply {
	t.Helper()
	got := r.until(t, get(path), "in Redis", func(got *reply) bool {
		return strings.Contains(got.status(), "hit;") && !strings.Contains(got.status(), "flight")
	})
	r.wantBody(t, got, path, 0, sizeOf(path))
	return got
}

func (r *largeRig) wantBody(t *testing.T, got *reply, path string, off, n int64) {
	t.Helper()
	if got.Err != nil || !bytes.Equal(got.Body, largeBytes(t, path, off, n)) {
		t.Errorf("%s: %d bytes, %v: not the %d from %d on", path, len(got.Body), got.Err, n, off)
	}
}

func (r *largeRig) chunks(t *testing.T) []string {
	t.Helper()
	names, err := r.raw.Keys(t.Context(), "jaegis:*:{*").Result()
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestALargeAnswerIsSentWhileItIsRead(t *testing.T) {
	for _, keys := range []string{"", "encryption: {keys: [" + strings.Repeat("a1", 32) + "]},"} {
		r := startLarge(t, noMemory+keys)
		const path, size = "/a/5000000", 5_000_000
		if tag := r.stored(t, path).Header.Get("ETag"); len(tag) != 26 {
			t.Errorf("ETag %q", tag)
		}
		for _, name := range r.chunks(t) {
			if n := r.raw.StrLen(t.Context(), name).Val(); n > 1<<20 || n < 1 {
				t.Errorf("%s has %d bytes", name, n)
			}
		}
		open := r.gate.close("9") // the last
		defer open()
		c := &client{s: connect(t, r.Addr)}
		c.s.send(get(path))
		if err := errors.Join(c.head(), c.upTo(4_000_000)); err != nil {
			t.Fatal(err)
		}
		open()
		if err := c.rest(string(largeBytes(t, path, 0, size))); err != nil {
			t.Error(err)
		}
		if n := r.calls.Load(); n != 1 {
			t.Errorf("%d upstream calls", n)
		}
	}
}

func TestRangesOfALargeAnswerReadNoMoreThanTheyNeed(t *testing.T) {
	r := startLarge(t, noMemory)
	const path, size = "/tagged/8000000", 8_000_000
	r.stored(t, path)
	f := func(chunks int64, status int, ranges string, fields ...string) *reply {
		t.Helper()
		before := r.gate.asks.Load()
		got := r.do(t, get(path, append(fields, "Range: bytes="+ranges)...))
		if n := r.gate.asks.Load() - before; n != chunks {
			t.Errorf("%s: %d chunks were read, want %d", ranges, n, chunks)
		}
		if got.StatusCode != status || got.Err != nil || got.xCache() != "HIT" {
			t.Errorf("%s: status %d, %v, %s", ranges, got.StatusCode, got.Err, got.status())
		}
		return got
	}
	const chunk = 512 << 10
	for _, c := range []struct{ chunks, first, last int64 }{
		{1, 0, 0}, {1, 5, 1000}, {1, chunk - 1, chunk - 1}, {2, chunk - 1, chunk}, {1, chunk, 2*chunk - 1}, {3, chunk - 1, 2 * chunk}, {1, size - 1, size - 1}, {16, 0, size - 1},
	} {
		got := f(c.chunks, 206, fmt.Sprintf("%d-%d", c.first, c.last))
		r.wantBody(t, got, path, c.first, c.last-c.first+1)
		if want := fmt.Sprintf("bytes %d-%d/%d", c.first, c.last, size); got.Header.Get("Content-Range") != want {
			t.Errorf("Content-Range %q, want %q", got.Header.Get("Content-Range"), want)
		}
	}
	got := f(1, 206, "-10", `If-Range: "v1"`)
	r.wantBody(t, got, path, size-10, 10)
	for name, want := range map[string]string{"ETag": `"v1"`, "Content-Disposition": `attachment; filename="a.pdf"`, "Repr-Digest": "sha-256=:whole:", "Digest": "sha-256=whole", "Content-Digest": ""} {
		if v := got.Header.Get(name); v != want {
			t.Errorf("of a part: %s: %q, want %q", name, v, want)
		}
	}
	r.wantBody(t, f(16, 200, "0-9", `If-Range: "v2"`), path, 0, size)
	r.wantBody(t, f(16, 200, "0-9", `If-Range: W/"v1"`), path, 0, size)
	f(0, 416, "8000000-")
	wantParts(t, path, f(2, 206, "7900000-7900099,100-199"), [2]int64{7900000, 100}, [2]int64{100, 100})
	wantParts(t, path, f(4, 206, "0-999999,7000000-7499999"), [2]int64{0, 1_000_000}, [2]int64{7_000_000, 500_000})

	before := r.gate.asks.Load()
	if got := r.do(t, get(path, `If-None-Match: "v1"`)); got.StatusCode != 304 || len(got.Body) > 0 {
		t.Errorf("status %d", got.StatusCode)
	}
	head := r.do(t, strings.Replace(get(path), "GET", "HEAD", 1))
	if head.Header.Get("Content-Length") != "8000000" || head.Header.Get("Content-Digest") == "" || head.xCache() != "HIT" {
		t.Errorf("HEAD: %v", head.Header)
	}
	if n := r.gate.asks.Load() - before; n != 0 {
		t.Errorf("%d chunks were read for no body", n)
	}
	if n := r.calls.Load(); n != 1 {
		t.Errorf("%d upstream calls", n)
	}
}

// wantParts wants a multipart body of parts, each given by its place and length.
func wantParts(t *testing.T, path string, got *reply, want ...[2]int64) {
	t.Helper()
	_, params, err := mime.ParseMediaType(got.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	parts := multipart.NewReader(bytes.NewReader(got.Body), params["boundary"])
	for _, w := range want {
		part, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(part)
		if err != nil || !bytes.Equal(body, largeBytes(t, path, w[0], w[1])) {
			t.Errorf("%v: %d bytes, %v", w, len(body), err)
		}
		if r := fmt.Sprintf("bytes %d-%d/%d", w[0], w[0]+w[1]-1, sizeOf(path)); part.Header.Get("Content-Range") != r {
			t.Errorf("%v: %q", w, part.Header.Get("Content-Range"))
		}
	}
	if _, err := parts.NextPart(); !errors.Is(err, io.EOF) {
		t.Errorf("more parts: %v", err)
	}
}

func TestALargeAnswerThatIsLostInTheMidstIsCutAndFetchedAnew(t *testing.T) {
	r := startLarge(t, noMemory)
	const path, size = "/bare/20000000", 20_000_000
	first := r.do(t, get(path))
	r.stored(t, path)
	lose := func(chunk string) {
		t.Helper()
		for _, name := range r.chunks(t) {
			if strings.HasSuffix(name, ":"+chunk) {
				if err := r.raw.Del(t.Context(), name).Err(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	open := r.gate.close("30")
	c := &client{s: connect(t, r.Addr)}
	c.s.send(get(path))
	if err := errors.Join(c.head(), c.upTo(1_000_000)); err != nil {
		t.Fatal(err)
	}
	lose("30")
	open()
	if err := c.cut(); err != nil {
		t.Error(err)
	}
	if got := r.do(t, get(path)); got.xCache() != "MISS" {
		t.Errorf("after the cut: %s", got.status())
	}
	r.stored(t, path)
	if n := r.calls.Load(); n != 2 {
		t.Errorf("%d upstream calls, want 2", n)
	}

	// Before the first byte it is a miss, of a part too.
	lose("0")
	got := r.do(t, get(path))
	r.wantBody(t, got, path, 0, size)
	if got.StatusCode != 200 || got.xCache() != "MISS" {
		t.Errorf("without its first chunk: %d, %s", got.StatusCode, got.status())
	}
	if got, want := slices.Sorted(maps.Keys(got.Header)), slices.Sorted(maps.Keys(first.Header)); !slices.Equal(got, want) {
		t.Errorf("without its first chunk: the fields %v, want %v", got, want)
	}
	r.stored(t, path)
	lose("10")
	got = r.do(t, get(path, "Range: bytes=5500000-5500009"))
	if got.Err != nil || got.xCache() != "MISS" || got.StatusCode != 200 {
		t.Errorf("a part that is lost: %d, %v, %s", got.StatusCode, got.Err, got.status())
	}
	if n := r.calls.Load(); n != 4 {
		t.Errorf("%d upstream calls, want 4", n)
	}
}

// What is compressed for the store is decoded on its way to who takes none of
// that, and the tier in memory takes in what is small enough once it was read.
func TestALargeTextIsCompressedAndPromoted(t *testing.T) {
	r := startLarge(t, "memory: {max_bytes: 64MiB}, compression: {algorithm: gzip},")
	const path, size = "/text/8000000", 8_000_000
	got := r.stored(t, path)
	if got.Header.Get("Content-Encoding") != "" || got.Header.Get("Content-Length") != fmt.Sprint(size) {
		t.Errorf("%v", got.Header)
	}
	names := r.chunks(t)
	if len(names) < 3 || len(names) > 30 {
		t.Fatalf("%d chunks", len(names))
	}
	before := r.gate.asks.Load()
	if got := r.do(t, get(path, "Accept-Encoding: gzip")); got.Header.Get("Content-Encoding") != "gzip" || !strings.Contains(got.status(), "hit") || len(got.Body) > size/2 {
		t.Errorf("%s, %d bytes", got.status(), len(got.Body))
	}
	if r.gate.asks.Load() == before {
		t.Error("it is in memory: it is too large for that")
	}

	const small = "/a/1900000"
	r.stored(t, small) // from memory, where it was put with that
	other := start(t, fmt.Sprintf(largeConfig, "memory: {max_bytes: 64MiB},", r.gate.addr, r.largeOrigin.URL, t.TempDir()))
	o := &largeRig{rig: &rig{proc: other}, largeOrigin: r.largeOrigin, gate: r.gate, raw: r.raw}
	for i, want := range []string{"redis", "memory", "memory"} {
		got := o.do(t, get(small))
		o.wantBody(t, got, small, 0, sizeOf(small))
		if !strings.Contains(got.status(), "detail="+want) {
			t.Errorf("read %d: %s, want %s", i, got.status(), want)
		}
	}
}

// A large answer takes the memory of a few chunks and no more: while it is
// fetched and stored, and while twenty slow clients are given it, or a hundred
// are in the midst of one of 50 MB.
func TestALargeAnswerTakesLittleMemory(t *testing.T) {
	const path, size, slow = "/a/200000000", 200_000_000, 20
	server, o := storetest.StartRedis(t), newLargeOrigin(t)
	p := startPlain(t, fmt.Sprintf(largeConfig, "memory: {max_bytes: 64MiB},", server.Addr, o.URL, t.TempDir()))
	idle := p.memory(t, "VmRSS")
	sum := sha256.New()
	if _, err := io.Copy(sum, largeBody(path, 0, size)); err != nil {
		t.Fatal(err)
	}
	ask := func(c *client) error {
		c.s.send(get(path))
		return c.head()
	}
	whole := func(c *client) error {
		h := sha256.New()
		if _, err := io.Copy(h, c.resp.Body); err != nil {
			return err
		}
		if !bytes.Equal(h.Sum(nil), sum.Sum(nil)) {
			return errors.New("another body")
		}
		return nil
	}
	dial := func() *client {
		c := &client{s: connect(t, p.Addr)}
		_ = c.s.c.SetDeadline(time.Now().Add(20 * patience))
		_ = c.s.c.SetReadBuffer(64 << 10)
		return c
	}
	report := func(what string, most int64) {
		t.Helper()
		peak := p.memory(t, "VmHWM")
		t.Logf("%s: %d MiB at rest, %d MiB at most", what, idle>>20, peak>>20)
		if peak-idle > most {
			t.Errorf("%s: resident memory grew by %d MiB", what, (peak-idle)>>20)
		}
	}
	hit := false
	for deadline := time.Now().Add(10 * patience); !hit && time.Now().Before(deadline); {
		c := dial()
		if err := errors.Join(ask(c), whole(c)); err != nil {
			t.Fatal(err)
		}
		hit = c.resp.Header.Get("X-Cache") == "HIT"
		c.leave(false)
	}
	if !hit {
		t.Fatal("never a hit")
	}
	report("one after another", 64<<20)
	all := make([]*client, slow)
	for i := range all {
		all[i] = dial()
	}
	each(t, all, "the head", ask)
	each(t, all, "slowly", func(c *client) error {
		h := sha256.New()
		for range 20 { // two seconds for the first part: all are in the midst of it
			if _, err := io.CopyN(h, c.resp.Body, 1<<20); err != nil {
				return err
			}
			time.Sleep(100 * time.Millisecond)
		}
		_, err := io.Copy(h, c.resp.Body)
		if err == nil && !bytes.Equal(h.Sum(nil), sum.Sum(nil)) {
			err = errors.New("another body")
		}
		return err
	})
	report("twenty at a time", 64<<20)

	const other, many = "/a/50000000", 100
	for deadline := time.Now().Add(10 * patience); p.stores(t) < 2 && time.Now().Before(deadline); {
		c := dial()
		c.s.send(get(other))
		if err := errors.Join(c.head(), c.drain()); err != nil {
			t.Fatal(err)
		}
		c.leave(false)
	}
	all = make([]*client, many)
	for i := range all {
		all[i] = dial()
	}
	each(t, all, "a hundred", func(c *client) error {
		c.s.send(get(other))
		if err := c.head(); err != nil {
			return err
		}
		if c.resp.Header.Get("X-Cache") != "HIT" {
			return errors.New("no hit")
		}
		for off := int64(0); off < 10<<20; off += 1 << 20 {
			b := make([]byte, 1<<20)
			if _, err := io.ReadFull(c.resp.Body, b); err != nil {
				return err
			}
			if off == 9<<20 && !bytes.Equal(b, largeBytes(t, other, off, 1<<20)) {
				return errors.New("another body")
			}
			time.Sleep(100 * time.Millisecond)
		}
		c.leave(true)
		return nil
	})
	report("a hundred at a time", 160<<20) // 66 of chunks, and as much that waits to be collected
}

// stores is how many answers the proxy has put into Redis.
func (p *proc) stores(t *testing.T) float64 {
	return p.metric(t, `jaegis_store_operations_total\{op="put",result="ok",store="redis"\}`)
}

// drain reads to the end.
func (c *client) drain() error {
	_, err := io.Copy(io.Discard, c.resp.Body)
	return err
}
