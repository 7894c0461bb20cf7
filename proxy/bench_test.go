package proxy

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/internal/spool"
	"jaegis-proxy/policy"
	"jaegis-proxy/store"
	"jaegis-proxy/store/memory"
)

// loopConn gives a server the same request again and again, and drops what it
// answers: what is left is the cost of the server itself.
type loopConn struct {
	net.Conn
	request []byte
	at      int
	left    int
	written int64
}

func (c *loopConn) Read(p []byte) (int, error) {
	if c.at == 0 {
		if c.left == 0 {
			return 0, io.EOF
		}
		c.left--
	}
	n := copy(p, c.request[c.at:])
	c.at = (c.at + n) % len(c.request)
	return n, nil
}

func (c *loopConn) Write(p []byte) (int, error)      { c.written += int64(len(p)); return len(p), nil }
func (c *loopConn) Close() error                     { return nil }
func (c *loopConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *loopConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *loopConn) SetDeadline(time.Time) error      { return nil }
func (c *loopConn) SetReadDeadline(time.Time) error  { return nil }
func (c *loopConn) SetWriteDeadline(time.Time) error { return nil }

func post(size int) []byte {
	body := append([]byte(`{"input":"`), bytes.Repeat([]byte("x"), size-12)...)
	body = append(body, `"}`...)
	return fmt.Appendf(nil, "POST /convert/a HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sk-0123456789abcdef\r\nContent-Type: application/json\r\nUser-Agent: bench\r\nAccept: */*\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// newBenchServer gives a server whose one route caches what upstream answers.
func newBenchServer(b *testing.B, upstream string) *Server {
	b.Helper()
	up, err := NewUpstream(UpstreamOptions{Name: "up", URL: upstream})
	if err != nil {
		b.Fatal(err)
	}
	mem, err := memory.New(memory.Options{MaxBytes: 64 << 20})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = mem.Close() })
	reg := prometheus.NewRegistry()
	instrumented, err := store.Instrument(mem, "memory", reg)
	if err != nil {
		b.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	writes := store.NewQueue(store.QueueOptions{MaxBytes: 64 << 20, Workers: 1, Logger: log})
	p, err := New(Options{
		Store: instrumented, Writes: writes, Spools: &spool.Store{Memory: 1 << 20, MaxDisk: 1 << 30},
		UncacheableTTL: time.Second, BodyTimeout: time.Minute, WriteTimeout: time.Minute, MemoBytes: 32 << 20,
		Metrics: reg, Log: log,
	}, &Table{Routes: []*Route{{
		Name: "convert", Match: policy.Match{Methods: []string{"POST"}, Path: "/convert/*"}, Upstream: up, Cache: true,
		Key:  &cachekey.Rule{Namespace: "documents", Body: cachekey.BodyAuto, Scope: cachekey.ScopeCredential},
		Rule: policy.Rule{Freshness: policy.FreshnessRoute, TTL: time.Hour}, MaxRequestBytes: 1 << 30, MaxObjectBytes: 1 << 26,
	}}})
	if err != nil {
		b.Fatal(err)
	}
	s := NewServer(p, ServerOptions{
		MaxHeaderBytes: 16 << 10, HeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, WriteTimeout: time.Minute,
		MaxConnections: 100, Log: log,
	})
	b.Cleanup(func() {
		_ = s.Shutdown(b.Context())
		_ = writes.Close(b.Context())
	})
	return s
}

// BenchmarkHit is what a hit costs without the network, beside bare fasthttp
// reading the same request and answering from memory. The bytes allocated per
// hit must not grow with the body.
func BenchmarkHit(b *testing.B) {
	answer := bytes.Repeat([]byte("y"), 1000)
	for _, size := range []int{300, 16 << 10, 200 << 10} {
		request := post(size)
		b.Run(fmt.Sprintf("bare/%d", size), func(b *testing.B) {
			s := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) { ctx.Response.SetBodyRaw(answer) }, MaxRequestBodySize: 1 << 30}
			b.ReportAllocs()
			_ = s.ServeConn(&loopConn{request: request, left: b.N})
		})
		b.Run(fmt.Sprintf("jaegis/%d", size), func(b *testing.B) {
			up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write(answer)
			}))
			defer up.Close()
			s := newBenchServer(b, up.URL)
			_ = s.http.ServeConn(&loopConn{request: request, left: 5})
			c := &loopConn{request: request, left: b.N}
			b.ReportAllocs()
			b.ResetTimer()
			_ = s.http.ServeConn(c)
			b.StopTimer()
			if c.written < int64(b.N)*1000 {
				b.Fatalf("%d bytes written", c.written)
			}
		})
	}
}
