package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"jaegis-proxy/store/storetest"
)

// vectors is an embeddings API. Its vectors are made of all that changes them,
// the caller included.
type vectors struct {
	*httptest.Server
	mu    sync.Mutex
	asked map[string]int // how often each item was
	calls int
}

type vectorAsk struct {
	Model      string   `json:"model"`
	Input      []string `json:"input"`
	Dimensions int      `json:"dimensions,omitempty"`
	Encoding   string   `json:"encoding_format,omitempty"`
	User       string   `json:"user,omitempty"`
}

type vectorAnswer struct {
	Data []struct {
		Index     int             `json:"index"`
		Embedding json.RawMessage `json:"embedding"`
	} `json:"data"`
	Model string `json:"model"`
	Usage struct {
		Prompt int `json:"prompt_tokens"`
	} `json:"usage"`
}

func (a *vectorAsk) vector(item, caller string) json.RawMessage {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %d %q", item, a.Model, a.Dimensions, caller))
	if a.Encoding == "base64" {
		return fmt.Appendf(nil, `"%x=="`, sum)
	}
	return fmt.Appendf(nil, "[0.%d, -%d.5e-3, %d]", sum[0], sum[1], int(sum[2])<<8+int(sum[3]))
}

func serveVectors(t *testing.T) *vectors {
	t.Helper()
	v := &vectors{asked: map[string]int{}}
	v.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var ask vectorAsk
		if err := json.NewDecoder(r.Body).Decode(&ask); err != nil || len(ask.Input) == 0 {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		caller := r.Header.Get("Authorization")
		var data []string
		tokens := 0
		v.mu.Lock()
		v.calls++
		for i, item := range ask.Input {
			v.asked[fmt.Sprintf("%q %s %d %s %s", item, ask.Model, ask.Dimensions, ask.Encoding, caller)]++
			data = append([]string{fmt.Sprintf(`{"object":"embedding","index":%d,"embedding":%s}`, i, ask.vector(item, caller))}, data...)
			tokens += 1 + len(item)
		}
		v.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Vary", "Origin") // as providers do
		w.Header().Set("Set-Cookie", "__cf=1")
		fmt.Fprintf(w, `{"object":"list","data":[%s],"model":"%s-v","usage":{"prompt_tokens":%d,"total_tokens":%d}}`,
			strings.Join(data, ","), ask.Model, tokens, tokens)
	}))
	t.Cleanup(v.Close)
	return v
}

// embeddingsBefore caches in Redis alone: every item is looked up there. A
// look-up that takes longer than the budget counts as a miss.
func embeddingsBefore(origin, redis, budget string) string {
	return fmt.Sprintf(`
upstreams: {api: {url: %q}}
cache:
  redis: {url: %q, budget: %s}
  memory: {max_bytes: 0}
routes:
  - {name: embeddings, match: {methods: [POST], path: /v1/embeddings}, namespace: ai_responses, ttl: 1h, protocol: openai-embeddings, key: {ignore: [/user]}}
`, origin, redis, budget)
}

// embed asks and compares with what a direct call would have given.
func embed(base string, ask *vectorAsk, caller string) (xCache string, usage int, err error) {
	body, err := json.Marshal(ask)
	if err != nil {
		return "", 0, err
	}
	req, err := http.NewRequest(http.MethodPost, base+"/v1/embeddings", bytes.NewReader(body))
	if err != nil {
		return "", 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", caller)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	var got vectorAnswer
	if b, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK || json.Unmarshal(b, &got) != nil {
		return "", 0, fmt.Errorf("%s: status %d, %v: %.200s", body, resp.StatusCode, err, b)
	}
	found := make([]json.RawMessage, len(ask.Input))
	for _, d := range got.Data {
		if d.Index < 0 || d.Index >= len(found) || found[d.Index] != nil {
			return "", 0, fmt.Errorf("%s: index %d", body, d.Index)
		}
		found[d.Index] = d.Embedding
	}
	for i, item := range ask.Input {
		if want := ask.vector(item, caller); !bytes.Equal(found[i], want) {
			return "", 0, fmt.Errorf("%s: item %d: %s, want %s (%s)", body, i, found[i], want, resp.Header.Get("Cache-Status"))
		}
	}
	if got.Model != ask.Model+"-v" || resp.Header.Get("Set-Cookie") != "" {
		err = fmt.Errorf("%s: model %q, Set-Cookie %q", body, got.Model, resp.Header.Get("Set-Cookie"))
	}
	return resp.Header.Get("X-Cache"), got.Usage.Prompt, err
}

func randomVectors(rng *rand.Rand) *vectorAsk {
	a := &vectorAsk{
		Model: fmt.Sprintf("m%d", rng.IntN(2)), Dimensions: []int{0, 8}[rng.IntN(2)],
		Encoding: []string{"", "float", "base64"}[rng.IntN(3)], User: fmt.Sprint(rng.IntN(5)),
	}
	for range 1 + rng.IntN(20) {
		a.Input = append(a.Input, strings.Repeat("some words ", rng.IntN(3))+fmt.Sprint(rng.IntN(40)))
	}
	return a
}

// Whatever is cached of a batch, its vectors are those of a direct call, and
// nothing is paid for twice: by many clients, through Redis, and after the
// program has been started anew.
func TestEmbeddingsArePaidForOnceByItem(t *testing.T) {
	redis := storetest.StartRedis(t)
	origin := serveVectors(t)
	p := start(t, embeddingsBefore(origin.URL, redis.URL, "20s"))
	run := func(clients, requests int) {
		t.Helper()
		var wg sync.WaitGroup
		for n := range clients {
			rng := rand.New(rand.NewPCG(11, uint64(n)))
			wg.Go(func() {
				for range requests {
					if _, _, err := embed(p.URL, randomVectors(rng), fmt.Sprintf("Bearer %d", rng.IntN(2))); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	run(8, 30)
	origin.mu.Lock()
	for item, n := range origin.asked {
		if n != 1 {
			t.Errorf("%s was asked for %d times", item, n)
		}
	}
	calls := origin.calls
	origin.mu.Unlock()
	if n := p.metric(t, `jaegis_upstream_requests_total\{result="2xx",upstream="api"\}`); int(n) != calls {
		t.Errorf("the metrics tell of %v requests, the upstream of %d", n, calls)
	}
	p.Stop() // writes what is queued
	p = start(t, embeddingsBefore(origin.URL, redis.URL, "20s"))
	run(8, 30)
	if origin.calls != calls {
		t.Errorf("%d more upstream calls after a new start", origin.calls-calls)
	}
}

func TestALargeBatchOfEmbeddingsIsCachedToo(t *testing.T) {
	redis := storetest.StartRedis(t)
	origin := serveVectors(t)
	p := start(t, embeddingsBefore(origin.URL, redis.URL, "20s"))
	ask := &vectorAsk{Model: "m"}
	for i := range 2048 {
		ask.Input = append(ask.Input, fmt.Sprint("item ", i))
	}
	_, first, err := embed(p.URL, ask, "Bearer a")
	if err != nil {
		t.Fatal(err)
	}
	storetest.Eventually(t, patience, "all is stored", func() bool {
		xCache, usage, err := embed(p.URL, ask, "Bearer a")
		if err != nil || usage != first {
			t.Fatalf("usage %d, then %d, %v", first, usage, err)
		}
		return xCache == "HIT"
	})
	ask.Input = append(ask.Input[:100:100], "another", "item 7")
	if xCache, _, err := embed(p.URL, ask, "Bearer a"); err != nil || xCache != "MISS" {
		t.Errorf("%s, %v", xCache, err)
	}
	if origin.calls != 2 {
		t.Errorf("%d upstream calls, want 2", origin.calls)
	}
}

func TestEmbeddingsAreAnsweredWhileRedisIsAway(t *testing.T) {
	redis := storetest.StartRedis(t)
	origin := serveVectors(t)
	p := start(t, embeddingsBefore(origin.URL, redis.URL, "50ms"))
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 60 {
		switch i {
		case 20:
			redis.Stop()
		case 40:
			redis.Cont()
		}
		if _, _, err := embed(p.URL, randomVectors(rng), "Bearer a"); err != nil {
			t.Fatal(err)
		}
	}
}
