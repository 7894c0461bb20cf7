package proxy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/internal/protocol"
	"jaegis-proxy/internal/spool"
	"jaegis-proxy/policy"
	"jaegis-proxy/store"
	"jaegis-proxy/store/memory"
	"jaegis-proxy/store/storetest"
)

// embedPatience is when a test gives up waiting.
const embedPatience = 20 * time.Second

// embedOrigin is an embeddings API whose vectors are made of all that may
// change them, so that one that belongs to another item, model or caller is
// seen to be wrong.
type embedOrigin struct {
	*httptest.Server
	mu     sync.Mutex
	bodies []string       // of the requests, in the order in which they came
	asked  map[string]int // how often each item was, by item and parameters
	before func(w http.ResponseWriter, r *http.Request, body string) (done bool)
}

// embedAsk is an embeddings request as the origin reads it.
type embedAsk struct {
	Model      string            `json:"model"`
	Input      json.RawMessage   `json:"input"`
	Dimensions *int              `json:"dimensions,omitempty"`
	Encoding   string            `json:"encoding_format,omitempty"`
	items      []json.RawMessage // of Input
}

func readAsk(body []byte) (embedAsk, error) {
	var a embedAsk
	if err := json.Unmarshal(body, &a); err != nil {
		return a, err
	}
	var list []json.RawMessage
	if json.Unmarshal(a.Input, &list) != nil || len(list) > 0 && '0' <= list[0][0] && list[0][0] <= '9' {
		list = []json.RawMessage{a.Input} // a text, or one list of tokens
	}
	a.items = list
	return a, nil
}

// dimensions is the length of the vectors.
func (a *embedAsk) dimensions() int {
	if a.Dimensions == nil {
		return 3
	}
	return *a.Dimensions
}

// vector is what the API gives for item i to this caller.
func (a *embedAsk) vector(i int, caller string) json.RawMessage {
	var item any
	if err := json.Unmarshal(a.items[i], &item); err != nil {
		panic(err)
	}
	n := a.dimensions()
	sum := sha256.Sum256(fmt.Appendf(nil, "%#v|%s|%d|%s", item, a.Model, n, caller))
	var numbers []string
	var raw []byte
	for i := range n {
		v := float32(binary.BigEndian.Uint16(sum[2*i%30:])) / 65536
		if a.Encoding != "base64" {
			numbers = append(numbers, fmt.Sprint(v))
		}
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	if a.Encoding == "base64" {
		return fmt.Appendf(nil, "%q", base64.StdEncoding.EncodeToString(raw))
	}
	return json.RawMessage("[" + strings.Join(numbers, ", ") + "]")
}

// tokens is what the API counts for item i.
func (a *embedAsk) tokens(i int) int { return 1 + len(a.items[i])*len(a.items[i])/10 }

func newEmbedOrigin(t testing.TB) *embedOrigin {
	o := &embedOrigin{asked: map[string]int{}}
	o.Server = httptest.NewServer(o)
	t.Cleanup(o.Close)
	return o
}

func (o *embedOrigin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	ask, bad := readAsk(body)
	if err != nil || bad != nil {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	o.mu.Lock()
	o.bodies = append(o.bodies, string(body))
	before := o.before
	for i := range ask.items {
		o.asked[fmt.Sprintf("%s|%s|%d|%s|%s", ask.items[i], ask.Model, ask.dimensions(), ask.Encoding, r.Header.Get("Authorization"))]++
	}
	o.mu.Unlock()
	w.Header().Set("X-Ratelimit-Remaining-Tokens", "99")
	if before != nil && before(w, r, string(body)) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(ask.answer(r.Header.Get("Authorization")))
}

// answer is that of the API, with the vectors in an order of their own: their
// index tells which is which.
func (a *embedAsk) answer(caller string) []byte {
	var data []string
	total := 0
	for i := range a.items {
		total += a.tokens(i)
		data = append(data, fmt.Sprintf(`{"object": "embedding", "index": %d, "embedding": %s}`, i, a.vector(i, caller)))
	}
	for i, j := 0, len(data)-1; i < j; i, j = i+1, j-1 {
		data[i], data[j] = data[j], data[i]
	}
	return fmt.Appendf(nil, `{"object": "list", "data": [%s], "model": "%s-001", "usage": {"prompt_tokens": %d, "total_tokens": %[3]d}}`,
		strings.Join(data, ", "), a.Model, total)
}

// calls are the bodies of the requests that have come.
func (o *embedOrigin) calls() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.bodies...)
}

// respond has f see each request first; it is done when f has answered.
func (o *embedOrigin) respond(f func(w http.ResponseWriter, r *http.Request, body string) (done bool)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.before = f
}

// fail has the origin answer everything with that status.
func (o *embedOrigin) fail(status int) {
	o.respond(func(w http.ResponseWriter, _ *http.Request, _ string) bool {
		w.Header().Set("Retry-After", "7")
		http.Error(w, `{"error":{"message":"no"}}`, status)
		return true
	})
}

// embedRig is a proxy on a socket with that origin behind it.
type embedRig struct {
	*embedOrigin
	t     testing.TB
	url   string
	proxy *Proxy
	clock *storetest.Clock
}

// newEmbedRig starts one; change may alter the route and the options.
func newEmbedRig(t testing.TB, change func(*Route, *Options)) *embedRig {
	t.Helper()
	r := &embedRig{embedOrigin: newEmbedOrigin(t), t: t, clock: storetest.NewClock()}
	up, err := NewUpstream(UpstreamOptions{Name: "up", URL: r.URL})
	if err != nil {
		t.Fatal(err)
	}
	mem, err := memory.New(memory.Options{MaxBytes: 256 << 20, Now: r.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	writes := store.NewQueue(store.QueueOptions{MaxBytes: 256 << 20, Workers: 2, Logger: log})
	route := &Route{
		Name: "embeddings", Match: policy.Match{Methods: []string{"POST"}, Path: "/v1/embeddings"}, Upstream: up, Cache: true,
		Protocol: protocol.OpenAIEmbeddings,
		Key:      &cachekey.Rule{Namespace: "ai_responses", Ignore: []string{"/user"}},
		Rule:     policy.Rule{Freshness: policy.FreshnessRoute, TTL: time.Hour}, MaxRequestBytes: 1 << 30, MaxObjectBytes: 64 << 20,
	}
	o := Options{
		Store: mem, Writes: writes, Spools: &spool.Store{Memory: 4 << 20, MaxDisk: 1 << 30},
		UncacheableTTL: time.Minute, BodyTimeout: time.Minute, WriteTimeout: time.Minute, MemoBytes: 32 << 20,
		Metrics: prometheus.NewRegistry(), Log: log, Now: r.clock.Now,
	}
	if change != nil {
		change(route, &o)
	}
	if r.proxy, err = New(o, &Table{Routes: []*Route{route}, KeySecret: []byte("secret")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), embedPatience)
		defer cancel()
		if err := writes.Close(ctx); err != nil {
			t.Error(err)
		}
		_ = mem.Close()
		if n := r.proxy.flights.Len(); n != 0 {
			t.Errorf("%d flights are left", n)
		}
	})
	r.url = "http://" + serve(t, r.proxy, embedPatience) + "/v1/embeddings"
	return r
}

// serve has a proxy listen until the test ends, and for a while longer where it is
// still at work.
func serve(t testing.TB, p *Proxy, patience time.Duration) (addr string) {
	t.Helper()
	s := NewServer(p, ServerOptions{MaxHeaderBytes: 16 << 10, MaxConnections: 1000, Log: slog.New(slog.DiscardHandler)})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }() // ends with Shutdown
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(s.Shutdown(ctx), <-served); err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// embedReply is an answer, and its vectors where it has any.
type embedReply struct {
	*http.Response
	body string
	Data []struct {
		Index     int
		Embedding json.RawMessage
	}
	Model string
	Usage struct {
		Prompt int `json:"prompt_tokens"`
		Total  int `json:"total_tokens"`
	}
}

func (r *embedReply) status() string { return r.Header.Get("Cache-Status") }

// hit is Cache-Status without the place where the items were: what has just
// come may not be in the store yet.
func (r *embedReply) hit() string {
	said, _, _ := strings.Cut(r.status(), "; detail=")
	return said
}

// ask sends a request as caller "a"; fields are names and values by turns.
func (r *embedRig) ask(body string, fields ...string) *embedReply {
	r.t.Helper()
	got, err := r.try(context.Background(), body, fields...)
	if err != nil {
		r.t.Fatal(err)
	}
	return got
}

func (r *embedRig) try(ctx context.Context, body string, fields ...string) (*embedReply, error) {
	ctx, cancel := context.WithTimeout(ctx, embedPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "a")
	for i := 0; i < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	got := &embedReply{Response: resp, body: string(b)}
	if resp.StatusCode == http.StatusOK && json.Unmarshal(b, got) != nil {
		return got, errNoAnswer
	}
	return got, nil
}

// errNoAnswer is a body that ended as it should and cannot be read.
var errNoAnswer = errors.New("not an answer to embeddings")

// check says how an answer differs from that of a direct call.
func (r *embedReply) check(body, caller string) error {
	ask, err := readAsk([]byte(body))
	switch {
	case err != nil:
		return err
	case r.StatusCode != http.StatusOK:
		return fmt.Errorf("%.80s: status %d: %.200s", body, r.StatusCode, r.body)
	case len(r.Data) != len(ask.items):
		return fmt.Errorf("%.80s: %d vectors for %d items", body, len(r.Data), len(ask.items))
	case r.Model != ask.Model+"-001" || r.Usage.Prompt != r.Usage.Total:
		return fmt.Errorf("%.80s: model %q, usage %+v", body, r.Model, r.Usage)
	}
	seen := make([]bool, len(ask.items))
	for _, d := range r.Data {
		if d.Index < 0 || d.Index >= len(seen) || seen[d.Index] {
			return fmt.Errorf("%.80s: index %d", body, d.Index)
		}
		seen[d.Index] = true
		if want := ask.vector(d.Index, caller); !bytes.Equal(d.Embedding, want) {
			return fmt.Errorf("%.80s: item %d has the vector %.60s, want %.60s (%s)", body, d.Index, d.Embedding, want, r.status())
		}
	}
	return nil
}

// right asks, and fails the test unless the answer is that of a direct call.
func (r *embedRig) right(body string, fields ...string) *embedReply {
	r.t.Helper()
	got := r.ask(body, fields...)
	if err := got.check(body, "a"); err != nil {
		r.t.Fatal(err)
	}
	return got
}

// idle waits until all that was fetched is stored.
func (r *embedRig) idle() {
	r.t.Helper()
	storetest.Eventually(r.t, embedPatience, "all flights have landed", func() bool { return r.proxy.flights.Len() == 0 })
}

// expectCalls fails the test unless these are the requests that have come.
func (r *embedRig) expectCalls(want ...string) {
	r.t.Helper()
	got := r.calls()
	if len(got) != len(want) {
		r.t.Fatalf("%d upstream calls, want %d: %q", len(got), len(want), got)
	}
	for i := range want {
		if got[i] != want[i] {
			r.t.Errorf("upstream call %d: %s, want %s", i, got[i], want[i])
		}
	}
}

// awaitCalls waits until n requests have come.
func (r *embedRig) awaitCalls(n int) {
	r.t.Helper()
	storetest.Eventually(r.t, embedPatience, fmt.Sprintf("%d upstream calls", n), func() bool { return len(r.calls()) >= n })
}

// texts is a request for these texts.
func texts(items ...string) string {
	b, err := json.Marshal(map[string]any{"model": "m", "input": items})
	if err != nil {
		panic(err)
	}
	return string(b)
}

// noting is a store that shows what is put into it.
type noting struct {
	store.Store
	note func(*store.Entry)
}

func (n *noting) Put(ctx context.Context, key cachekey.Key, e *store.Entry) error {
	n.note(e)
	return n.Store.Put(ctx, key, e)
}
