package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/store"
	"jaegis-proxy/store/storetest"
)

// randomAsk is a batch of few out of many items, some more than once, in any of
// the forms that the API takes.
func randomAsk(rng *rand.Rand) string {
	one := func(tokens bool) string {
		n := rng.IntN(40)
		if tokens {
			return fmt.Sprintf("[%d, %d]", n, n/3)
		}
		if n%7 == 0 {
			return fmt.Sprintf(`"caf\u00e9 %d"`, n)
		}
		return fmt.Sprintf(`"%s é \" %d"`, strings.Repeat("text ", n%5), n)
	}
	tokens := rng.IntN(4) == 0
	input := one(tokens)
	if n := rng.IntN(12); n > 0 {
		items := make([]string, n)
		for i := range items {
			items[i] = one(tokens)
		}
		input = "[" + strings.Join(items, []string{",", " , "}[rng.IntN(2)]) + "]"
	}
	members := []string{
		fmt.Sprintf(`"model": "m%d"`, rng.IntN(2)), `"input": ` + input,
		[]string{"", `"dimensions": 2`, `"dimensions":5`}[rng.IntN(3)],
		[]string{"", `"encoding_format":"float"`, `"encoding_format": "base64"`}[rng.IntN(3)],
		[]string{"", fmt.Sprintf(`"user":"u%d"`, rng.IntN(9))}[rng.IntN(2)],
	}
	rng.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	return "{" + strings.Join(nonEmpty(members), ", ") + "}"
}

func nonEmpty(list []string) (out []string) {
	for _, s := range list {
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}

// expectOnce fails the test if an item was asked for twice.
func (r *embedRig) expectOnce() {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for item, n := range r.asked {
		if n > 1 {
			r.t.Errorf("%s was asked for %d times", item, n)
		}
	}
}

func TestVectorsAreThoseOfADirectCall(t *testing.T) {
	r := newEmbedRig(t, nil)
	rng := rand.New(rand.NewPCG(4, 2))
	for range 600 {
		body, caller := randomAsk(rng), []string{"a", "b"}[rng.IntN(2)]
		if err := r.ask(body, "Authorization", caller).check(body, caller); err != nil {
			t.Fatal(err)
		}
	}
	r.expectOnce()
}

func TestOverlappingBatchesFetchEachItemOnce(t *testing.T) {
	r := newEmbedRig(t, nil)
	var clients sync.WaitGroup
	for n := range 16 {
		rng := rand.New(rand.NewPCG(7, uint64(n)))
		clients.Go(func() {
			for range 60 {
				body, caller := randomAsk(rng), []string{"a", "b"}[rng.IntN(2)]
				got, err := r.try(context.Background(), body, "Authorization", caller)
				if err == nil {
					err = got.check(body, caller)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	clients.Wait()
	r.expectOnce()
}

func TestOnlyWhatIsMissingIsAsked(t *testing.T) {
	r := newEmbedRig(t, nil)
	first := `{"input" : ["a","b"],"model":"m", "dimensions":4 }`
	if got := r.right(first); got.Header.Get("X-Cache") != "MISS" || got.status() != "jaegis; fwd=miss; fwd-status=200; stored" {
		t.Errorf("first: %q", got.status())
	}
	more := r.right(`{"input" : ["c","a","d","c","b"],"model":"m", "dimensions":4 }`)
	if more.Header.Get("X-Cache") != "MISS" || more.status() != "jaegis; fwd=miss; fwd-status=200; stored; detail=items-2-of-5-cached" {
		t.Errorf("some cached: %q", more.status())
	}
	if more.Header.Get("X-Ratelimit-Remaining-Tokens") != "" {
		t.Error("the fields of an answer to some items came with all of them")
	}
	again := r.right(`{"model":"m","input":["d","a"],"dimensions":4}`)
	if again.Header.Get("X-Cache") != "HIT" || again.hit() != "jaegis; hit; ttl=3600" || again.Header.Get("Age") != "0" {
		t.Errorf("all cached: %q, Age %q", again.status(), again.Header.Get("Age"))
	}
	if got := r.right(`{"model":"m","input":"b","dimensions":4}`); got.Header.Get("X-Cache") != "HIT" {
		t.Errorf("an item alone: %q", got.status())
	}
	twice := r.right(`{"input" : ["e","e"],"model":"m", "dimensions":4 }`)
	if twice.Header.Get("X-Ratelimit-Remaining-Tokens") != "99" {
		t.Error("the fields of the answer to all items are lost")
	}
	r.expectCalls(first,
		`{"input" : ["c","d"],"model":"m", "dimensions":4 }`,
		`{"input" : ["e"],"model":"m", "dimensions":4 }`)
}

func TestAnItemAskedForAloneIsFoundInABatch(t *testing.T) {
	r := newEmbedRig(t, nil)
	r.right(`{"model":"m","input":"a"}`)
	r.right(`{"model":"m","input":["a"]}`)
	r.right(`{"model":"m","input":["a","a"]}`)
	r.expectCalls(`{"model":"m","input":"a"}`)
}

func TestAHitIsAsOldAsItsOldestItem(t *testing.T) {
	r := newEmbedRig(t, nil)
	r.right(texts("a"))
	r.clock.Advance(10 * time.Minute)
	r.right(texts("b"))
	r.clock.Advance(5 * time.Minute)
	if got := r.right(texts("b", "a")); got.Header.Get("Age") != "900" || got.hit() != "jaegis; hit; ttl=2700" {
		t.Errorf("Age %q, %q", got.Header.Get("Age"), got.status())
	}
	r.clock.Advance(46 * time.Minute)
	if got := r.right(texts("b", "a")); got.status() != "jaegis; fwd=miss; fwd-status=200; stored; detail=items-1-of-2-cached" {
		t.Errorf("one expired: %q", got.status())
	}
	r.expectCalls(texts("a"), texts("b"), texts("a"))
}

func TestABatchReportsTheSameUsageAgain(t *testing.T) {
	r := newEmbedRig(t, nil)
	long := strings.Repeat("word ", 30)
	first := r.right(texts("a", "bb", long, "c", "d"))
	again := r.right(texts("a", "bb", long, "c", "d"))
	if first.Usage != again.Usage || first.Usage.Prompt == 0 {
		t.Errorf("usage %+v, then %+v", first.Usage, again.Usage)
	}
	mixed := r.right(texts("a", "e", "a", "f"))
	if got := r.right(texts("a", "e", "a", "f")); got.Usage != mixed.Usage || got.Header.Get("X-Cache") != "HIT" {
		t.Errorf("usage %+v, then %+v", mixed.Usage, got.Usage)
	}
	one, two := r.right(texts("a")), r.right(texts("a", "a"))
	if two.Usage.Prompt != 2*one.Usage.Prompt {
		t.Errorf("an item that comes twice: %+v, once: %+v", two.Usage, one.Usage)
	}
}

func TestApportionAddsUpAndIsInProportion(t *testing.T) {
	f := func(total int64, weights []int, want ...int64) {
		t.Helper()
		if got := fmt.Sprint(apportion(total, weights)); got != fmt.Sprint(want) {
			t.Errorf("%d among %v: %s, want %v", total, weights, got, want)
		}
	}
	f(10, []int{1, 1}, 5, 5)
	f(10, []int{1, 1, 1}, 4, 3, 3)
	f(10, []int{3, 1, 2}, 5, 2, 3)
	f(0, []int{3, 1}, 0, 0)
	f(1, []int{1, 9}, 0, 1)
	f(1<<53, []int{1 << 40, 1 << 40}, 1<<52, 1<<52)
	rng := rand.New(rand.NewPCG(1, 1))
	for range 1000 {
		weights := make([]int, 1+rng.IntN(50))
		weight, total, sum := int64(0), rng.Int64N(1<<40), int64(0)
		for i := range weights {
			weights[i] = 1 + rng.IntN(1<<20)
			weight += int64(weights[i])
		}
		for i, share := range apportion(total, weights) {
			sum += share
			if exact := float64(total) * float64(weights[i]) / float64(weight); float64(share) < exact-1.001 || float64(share) > exact+1.001 {
				t.Fatalf("share %d of %d is %d, not about %f", i, total, share, exact)
			}
		}
		if sum != total {
			t.Fatalf("the shares of %d add up to %d", total, sum)
		}
	}
}

func TestWhatAClientAsksOfTheCacheHoldsForItems(t *testing.T) {
	r := newEmbedRig(t, nil)
	only := []string{"Cache-Control", "only-if-cached"}
	r.right(texts("a"))
	r.idle()
	if got := r.ask(texts("a", "b"), only...); got.StatusCode != http.StatusGatewayTimeout {
		t.Errorf("only-if-cached, one missing: status %d", got.StatusCode)
	}
	r.right(texts("a", "a"), only...)
	r.clock.Advance(time.Minute)
	if got := r.right(texts("a", "c"), "Cache-Control", "no-cache"); got.status() != "jaegis; fwd=request; fwd-status=200; stored" {
		t.Errorf("no-cache: %q", got.status())
	}
	storetest.Eventually(t, embedPatience, "what no-cache brought is stored", func() bool {
		got := r.ask(texts("a", "c"), only...)
		return got.StatusCode == http.StatusOK && got.Header.Get("Age") == "0"
	})
	r.right(texts("n"), "Cache-Control", "no-store")
	r.right(texts("n"))
	r.expectCalls(texts("a"), texts("a", "c"), texts("n"), texts("n"))
}

// What cannot be taken apart goes its usual way.
func TestWhatIsNoPlainBatchIsTreatedAsAWhole(t *testing.T) {
	r := newEmbedRig(t, nil)
	for _, c := range []struct {
		body   string
		fields []string
	}{
		{body: `{"model":"m","input":["a","b"],"input":["a","b"]}`},
		{body: `{"model":"m","input":["a","b"]}`, fields: []string{"Content-Type", "text/plain"}},
		{body: `{"model":"m","input":["a","b"]}`, fields: []string{"Content-Digest", "sha-256=:AAAA:"}},
		{body: `{"model":"m","input":["a"` + strings.Repeat(`,"b"`, 2000) + `],"pad":"` + strings.Repeat("x", maxBatchWork/2000) + `"}`},
	} {
		before := len(r.calls())
		r.right(c.body, c.fields...)
		if got := r.right(c.body, c.fields...); got.Header.Get("X-Cache") != "HIT" {
			t.Errorf("%.60s %q: %s", c.body, c.fields, got.status())
		}
		if calls := r.calls()[before:]; len(calls) != 1 || calls[0] != c.body {
			t.Errorf("%.60s %q: %d calls", c.body, c.fields, len(calls))
		}
	}
}

func TestAnIdempotencyKeyStaysWithTheRequestThatItNames(t *testing.T) {
	r := newEmbedRig(t, nil)
	var keys []string
	r.respond(func(_ http.ResponseWriter, req *http.Request, _ string) bool {
		keys = append(keys, req.Header.Get("Idempotency-Key")) // one request after the other
		return false
	})
	r.right(texts("a", "b"), "Idempotency-Key", "1")
	r.right(texts("a", "c"), "Idempotency-Key", "2")
	if fmt.Sprint(keys) != "[1 ]" {
		t.Errorf("%q", keys)
	}
}

// meeting is a store whose look-ups wait until as many have begun as are to be
// under way at the same time.
type meeting struct {
	store.Store
	mu      sync.Mutex
	running int
	most    int
	full    chan struct{} // closed once lookUps of them are there
}

func (m *meeting) Get(ctx context.Context, key cachekey.Key) (*store.Entry, error) {
	m.mu.Lock()
	m.running++
	if m.most = max(m.most, m.running); m.running == lookUps {
		select {
		case <-m.full:
		default:
			close(m.full)
		}
	}
	m.mu.Unlock()
	select {
	case <-m.full:
	case <-time.After(embedPatience):
	}
	defer func() {
		m.mu.Lock()
		m.running--
		m.mu.Unlock()
	}()
	return m.Store.Get(ctx, key)
}

func TestTheItemsOfABatchAreLookedUpSideBySide(t *testing.T) {
	m := &meeting{full: make(chan struct{})}
	r := newEmbedRig(t, func(_ *Route, o *Options) { m.Store, o.Store = o.Store, m })
	items := make([]string, 5*lookUps)
	for i := range items {
		items[i] = fmt.Sprint(i)
	}
	r.right(texts(items...))
	if m.most != lookUps {
		t.Errorf("%d look-ups at the same time, want %d", m.most, lookUps)
	}
}

// Vectors of two models have no place in one answer.
func TestVectorsOfDifferentModelsAreNotMixed(t *testing.T) {
	r := newEmbedRig(t, nil)
	r.right(texts("a"))
	r.clock.Advance(time.Second)
	r.respond(func(w http.ResponseWriter, _ *http.Request, body string) bool {
		ask, _ := readAsk([]byte(body))
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(strings.ReplaceAll(string(ask.answer("a")), "-001", "-002")))
		return true
	})
	for range 3 {
		if got := r.ask(texts("a", "b")); got.Model != "m-002" || len(got.Data) != 2 {
			t.Errorf("model %q, %d vectors, %q", got.Model, len(got.Data), got.status())
		}
		r.idle()
	}
	r.expectCalls(texts("a"), texts("b"), texts("a"))
}

func TestAnItemIsStoredAsTheAnswerToItAlone(t *testing.T) {
	var kept []*store.Entry
	var mu sync.Mutex
	r := newEmbedRig(t, func(_ *Route, o *Options) {
		o.Store = &noting{Store: o.Store, note: func(e *store.Entry) { mu.Lock(); kept = append(kept, e); mu.Unlock() }}
		o.Compression = Compression{Coding: "gzip", Level: 6}
	})
	first := r.right(texts("a", "bb"))
	storetest.Eventually(t, embedPatience, "two entries", func() bool { mu.Lock(); defer mu.Unlock(); return len(kept) == 2 })
	sum := int64(0)
	for _, e := range kept {
		var got embedReply
		if err := json.Unmarshal(e.Body, &got); err != nil || len(got.Data) != 1 || e.Status != 200 || e.Coding != "" || e.Length != int64(len(e.Body)) {
			t.Fatalf("%+v, %v", e, err)
		}
		if e.Usage.Model != "m-001" || int64(got.Usage.Prompt) != e.Usage.In {
			t.Errorf("usage %+v beside %+v", e.Usage, got.Usage)
		}
		sum += e.Usage.In
	}
	if sum != int64(first.Usage.Prompt) {
		t.Errorf("shares add up to %d of %d", sum, first.Usage.Prompt)
	}
}

// Whatever the upstream does and whoever leaves, an answer that is good is that
// of a direct call, and nobody waits for ever.
func TestOverlappingBatchesAreRightWhileTheUpstreamFails(t *testing.T) {
	for _, cancels := range []bool{false, true} {
		r := newEmbedRig(t, func(route *Route, _ *Options) { route.CancelAbandoned = cancels })
		r.respond(func(w http.ResponseWriter, _ *http.Request, body string) bool {
			ask, _ := readAsk([]byte(body))
			good := ask.answer("a")
			w.Header().Set("Content-Type", "application/json")
			switch rand.IntN(8) {
			case 0:
				w.WriteHeader([]int{400, 429, 500, 503}[rand.IntN(4)])
			case 1:
				w.Header().Set("Content-Length", fmt.Sprint(len(good)))
				_, _ = w.Write(good[:rand.IntN(len(good))])
			case 2:
				w.Header().Set("Cache-Control", "no-store")
				return false
			default:
				return false
			}
			return true
		})
		var clients sync.WaitGroup
		var good atomic.Int64
		for n := range 12 {
			rng := rand.New(rand.NewPCG(3, uint64(n)))
			clients.Go(func() {
				for range 40 {
					ctx, leave := context.WithCancel(t.Context())
					body, leaves := randomAsk(rng), rng.IntN(5) == 0
					if leaves {
						go leave()
					}
					got, err := r.try(ctx, body)
					switch {
					case leaves || err != nil: // it has left, or sees that the answer is cut
					case got.StatusCode == http.StatusOK:
						good.Add(1)
						if err := got.check(body, "a"); err != nil {
							t.Error(err)
						}
					}
					if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errNoAnswer) {
						t.Errorf("%s: %v", body, err)
					}
					leave()
				}
			})
		}
		clients.Wait()
		if good.Load() < 100 {
			t.Errorf("only %d answers were good", good.Load())
		}
		r.idle()
	}
}
