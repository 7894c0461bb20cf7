package proxy

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/prometheus/client_golang/prometheus"

	"jaegis-proxy/policy"
)

var testPrices = Prices{"gpt-4o": {Input: 2.5, Output: 10, CachedInput: 1.25}, "gpt-4o-mini*": {Input: 0.5, Output: 1}}

func newTestSavings(t testing.TB, p Prices) (*savings, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewRegistry()
	s, err := newSavings(reg, p, "EUR")
	if err != nil {
		t.Fatal(err)
	}
	return s, reg
}

// series gives what a scrape would, a line each, sorted.
func series(t *testing.T, reg prometheus.Gatherer) (lines []string) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			lines = append(lines, fmt.Sprintf("%s{%s} %v", f.GetName(), strings.Join(labels, ","), m.GetCounter().GetValue()))
		}
	}
	slices.Sort(lines)
	return lines
}

func TestAPriceIsTheModelsOwnOrThatOfTheLongestPrefix(t *testing.T) {
	p := Prices{"gpt-4o": {Input: 1}, "gpt-4*": {Input: 2}, "gpt-4o-mini*": {Input: 3}, "llama3.1:8b": {Input: 4}, "meta/*": {Input: 5}}
	f := func(model string, want float64) {
		t.Helper()
		got := p.of(model)
		if want == 0 {
			if got != nil {
				t.Errorf("%q costs %v, want no price", model, *got)
			}
			return
		}
		if got == nil || got.Input != want {
			t.Errorf("%q: %v, want %v", model, got, want)
		}
	}
	f("gpt-4o", 1)
	f("gpt-4o-2024-08-06", 2)
	f("gpt-4", 2)
	f("gpt-4o-mini", 3)
	f("gpt-4o-mini-2024-07-18", 3)
	f("gpt-3", 0)
	f("GPT-4o", 0)
	f("", 0)
	f("llama3.1:8b", 4)
	f("llama3.1:8b-instruct", 0)
	f("meta/llama", 5)
	p["*"] = Price{Input: 6}
	f("gpt-3", 6)
	f("", 6)
	f("gpt-4o-mini", 3)
}

func TestPricesThatCannotBeAreRefusedAndTheOldOnesStay(t *testing.T) {
	for _, v := range []float64{-0.01, math.NaN(), math.Inf(1), 2 * maxPrice} {
		for _, bad := range []Price{{Input: v}, {Output: v}, {CachedInput: v}} {
			if _, err := newSavings(prometheus.NewRegistry(), Prices{"m": bad}, "EUR"); err == nil || !strings.Contains(err.Error(), `"m"`) {
				t.Errorf("%v: %v", bad, err)
			}
			s, _ := newTestSavings(t, Prices{"m": {Input: 1}})
			if s.setPrices(Prices{"m": bad}) == nil {
				t.Errorf("%v was taken up", bad)
			}
			s.saved("r", "", usage{Model: "m", In: 1e6}, 0)
			if got := s.snapshot()[0].Saved.Money; got != 1 {
				t.Errorf("after %v was refused: %v", bad, got)
			}
		}
	}
}

func TestWhatIsSpentAndSavedIsToldByRouteModelAndTenant(t *testing.T) {
	s, reg := newTestSavings(t, testPrices)
	chat := usage{Model: "gpt-4o", In: 1000, Out: 200, Cached: 600}
	s.spent("chat", "red", chat, 2*time.Second)
	s.saved("chat", "red", chat, 2*time.Second)
	s.saved("chat", "red", chat, 2*time.Second)
	s.saved("chat", "blue", usage{Model: "unheard-of", In: 7, Out: 5}, time.Second)
	s.saved("embed", "", usage{Model: "gpt-4o-mini-2024", In: 2e6}, 500*time.Millisecond)
	s.spent("docs", "", usage{}, 3*time.Second)
	s.saved("docs", "", usage{}, 3*time.Second)

	one := Tally{Requests: 1, TokensIn: 1000, TokensOut: 200, TokensCached: 600, Seconds: 2, Money: .00375}
	two := Tally{Requests: 2, TokensIn: 2000, TokensOut: 400, TokensCached: 1200, Seconds: 4, Money: .0075}
	want := []Saving{
		{"chat", "gpt-4o", "red", one, two},
		{"chat", "unheard-of", "blue", Tally{}, Tally{Requests: 1, TokensIn: 7, TokensOut: 5, TokensUnpriced: 12, Seconds: 1}},
		{"docs", "", "", Tally{Requests: 1, Seconds: 3}, Tally{Requests: 1, Seconds: 3}},
		{"embed", "gpt-4o-mini-2024", "", Tally{}, Tally{Requests: 1, TokensIn: 2e6, Seconds: .5, Money: 1}},
	}
	if got := s.snapshot(); !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	wantSeries := []string{
		"jaegis_money_total{currency=EUR,fate=saved,model=gpt-4o,route=chat,tenant=red} 0.0075",
		"jaegis_money_total{currency=EUR,fate=saved,model=gpt-4o-mini-2024,route=embed,tenant=} 1",
		"jaegis_money_total{currency=EUR,fate=spent,model=gpt-4o,route=chat,tenant=red} 0.00375",
		"jaegis_tokens_total{fate=saved,kind=cached_input,model=gpt-4o,route=chat,tenant=red} 1200",
		"jaegis_tokens_total{fate=saved,kind=input,model=gpt-4o,route=chat,tenant=red} 800",
		"jaegis_tokens_total{fate=saved,kind=input,model=gpt-4o-mini-2024,route=embed,tenant=} 2e+06",
		"jaegis_tokens_total{fate=saved,kind=input,model=unheard-of,route=chat,tenant=blue} 7",
		"jaegis_tokens_total{fate=saved,kind=output,model=gpt-4o,route=chat,tenant=red} 400",
		"jaegis_tokens_total{fate=saved,kind=output,model=unheard-of,route=chat,tenant=blue} 5",
		"jaegis_tokens_total{fate=spent,kind=cached_input,model=gpt-4o,route=chat,tenant=red} 600",
		"jaegis_tokens_total{fate=spent,kind=input,model=gpt-4o,route=chat,tenant=red} 400",
		"jaegis_tokens_total{fate=spent,kind=output,model=gpt-4o,route=chat,tenant=red} 200",
		"jaegis_upstream_time_saved_seconds_total{route=chat} 5",
		"jaegis_upstream_time_saved_seconds_total{route=docs} 3",
		"jaegis_upstream_time_saved_seconds_total{route=embed} 0.5",
	}
	if got := series(t, reg); !slices.Equal(got, wantSeries) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(wantSeries, "\n"))
	}
}

func TestFiguresThatCannotBeCountAsNone(t *testing.T) {
	f := func(u usage, took time.Duration, want Tally) {
		t.Helper()
		s, _ := newTestSavings(t, Prices{"*": {Input: 1e6, Output: 1e6, CachedInput: 1}})
		u.Model, want.Requests = "m", 1
		s.saved("r", "", u, took)
		if got := s.snapshot()[0].Saved; got != want {
			t.Errorf("%+v %v: got %+v, want %+v", u, took, got, want)
		}
	}
	f(usage{In: 1, Out: 1}, time.Second, Tally{TokensIn: 1, TokensOut: 1, Seconds: 1, Money: 2})
	f(usage{In: -1, Out: 1}, -time.Second, Tally{})
	f(usage{In: 1, Out: -1}, maxTook+1, Tally{})
	f(usage{In: maxTokens + 1}, 0, Tally{})
	f(usage{Out: math.MaxInt64}, math.MaxInt64, Tally{})
	f(usage{In: math.MaxInt64, Out: math.MaxInt64}, 0, Tally{})
	f(usage{In: math.MinInt64, Out: math.MinInt64}, 0, Tally{})
	f(usage{In: 2, Cached: 3}, 0, Tally{TokensIn: 2, TokensCached: 2, Money: 2e-6})
	f(usage{In: 2, Cached: -3}, 0, Tally{TokensIn: 2, Money: 2})
	f(usage{Cached: 3}, 0, Tally{})
}

func TestNewPricesHoldForWhatComesAfterThem(t *testing.T) {
	s, _ := newTestSavings(t, Prices{"m": {Input: 1}})
	one := func(model string) { s.saved("r", "", usage{Model: model, In: 1e6}, 0) }
	one("m")
	one("n")
	later := Prices{"m": {Input: 10}, "n": {Input: 100}}
	if err := s.setPrices(later); err != nil {
		t.Fatal(err)
	}
	later["o"] = Price{Input: 1} // the table was copied
	one("m")
	one("n")
	one("o")
	var got []float64
	for _, row := range s.snapshot() {
		got = append(got, row.Saved.Money, float64(row.Saved.TokensUnpriced))
	}
	if want := []float64{11, 0, 100, 1e6, 0, 1e6}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestNobodyFloodsTheAccounts(t *testing.T) {
	s, reg := newTestSavings(t, Prices{"m*": {Input: 1}, "dear": {Input: 7}})
	s.saved("r", "first", usage{Model: "m", In: 1e6}, 0)
	for i := range 5 * maxPairs {
		s.saved("r", fmt.Sprint("t", i%3), usage{Model: fmt.Sprint("m", i), In: 1e6}, 0)
	}
	s.saved("r", "first", usage{Model: "m", In: 1e6}, 0)    // has an account
	s.saved("r2", "first", usage{Model: "m", In: 1e6}, 0)   // and may have it on another route
	s.saved("r", "new", usage{Model: "dear", In: 1e6}, 0)   // comes too late
	s.saved("r", "new", usage{Model: "nobody", In: 1e6}, 0) // and has no price
	s.saved("r", "", usage{}, time.Second)                  // always has one

	rows := s.snapshot()
	if want := maxPairs + 3; len(rows) != want {
		t.Errorf("%d rows, want %d", len(rows), want)
	}
	f := func(route, model, tenant string, want Tally) {
		t.Helper()
		i := slices.IndexFunc(rows, func(r Saving) bool { return r.Route == route && r.Model == model && r.Tenant == tenant })
		if i < 0 || rows[i].Saved != want {
			t.Errorf("%s/%s/%s: row %d of %d, want %+v", route, model, tenant, i, len(rows), want)
		}
	}
	f("r", "m", "first", Tally{Requests: 2, TokensIn: 2e6, Money: 2})
	f("r2", "m", "first", Tally{Requests: 1, TokensIn: 1e6, Money: 1})
	f("r", "", "", Tally{Requests: 1, Seconds: 1})
	const late = 4*maxPairs + 1 // of the models in the loop
	f("r", "other", "other", Tally{Requests: late + 2, TokensIn: (late + 2) * 1e6, TokensUnpriced: 1e6, Money: late + 7})
	if n := len(series(t, reg)); n > 3*len(rows) {
		t.Errorf("%d series of %d rows", n, len(rows))
	}
}

func TestNamesFromOutsideArePrintableAndShort(t *testing.T) {
	f := func(name, want string) {
		t.Helper()
		s, reg := newTestSavings(t, nil)
		s.saved("r", name, usage{Model: name, In: 1}, 0)
		s.saved("r", name, usage{Model: name, In: 1}, 0)
		got := s.snapshot()
		if len(got) != 1 || got[0].Model != want || got[0].Tenant != want || got[0].Saved.Requests != 2 {
			t.Errorf("%q: %+v, want %q", name, got, want)
		}
		series(t, reg)
	}
	f("gpt-4o", "gpt-4o")
	f("modèle 1", "modèle 1")
	f("a\x1b[31m\nb\x00", "a_[31m_b_")
	f("\xff\xfe", "__")
	f("a\u202eb\u200b", "a_b_")
	f(strings.Repeat("x", maxName), strings.Repeat("x", maxName))
	f(strings.Repeat("x", 1<<20), strings.Repeat("x", maxName))
	f(strings.Repeat("é", 100), strings.Repeat("é", 64))
	f("x"+strings.Repeat("é", 100), "x"+strings.Repeat("é", 63))
	f(strings.Repeat("\x80", 200), strings.Repeat("_", maxName-4))
}

func TestNamesAreCopied(t *testing.T) {
	s, _ := newTestSavings(t, nil)
	name := []byte("red")
	borrowed := unsafe.String(&name[0], len(name))
	s.saved(borrowed, borrowed, usage{Model: borrowed}, 0)
	copy(name, "xxx")
	if got := s.snapshot()[0]; got.Route != "red" || got.Model != "red" || got.Tenant != "red" {
		t.Errorf("%+v", got)
	}
}

func TestManyCountAtTheSameTimeAndNothingIsLost(t *testing.T) {
	s, reg := newTestSavings(t, testPrices)
	const workers, each = 8, 2000
	var running sync.WaitGroup
	for w := range workers {
		running.Go(func() {
			for i := range each {
				u := usage{Model: fmt.Sprint("gpt-4o-mini-", i%3), In: 1 << 20, Out: 1 << 10}
				s.spent("r", "", u, time.Millisecond)
				s.saved("r", fmt.Sprint(w%2), u, time.Millisecond)
			}
		})
	}
	running.Go(func() {
		for range 50 {
			if err := s.setPrices(testPrices); err != nil {
				t.Error(err)
			}
			s.snapshot()
			series(t, reg)
		}
	})
	running.Wait()
	st := s.stats(newTestMetrics(t))
	const n = workers * each
	want := Tally{Requests: n, TokensIn: n << 20, TokensOut: n << 10, Seconds: n / 1000}
	perCall := (.5*(1<<20) + 1<<10) / 1e6
	for _, got := range []Tally{st.Total.Spent, st.Total.Saved} {
		if math.Abs(got.Money-n*perCall) > 1e-6 {
			t.Errorf("money %v, want %v", got.Money, n*perCall)
		}
		got.Money = 0
		if math.Abs(got.Seconds-want.Seconds) < 1e-9 {
			got.Seconds = want.Seconds
		}
		if got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

func TestAHitIsCountedWithoutAllocating(t *testing.T) {
	s, _ := newTestSavings(t, testPrices)
	for _, u := range []usage{{}, {Model: "gpt-4o", In: 1000, Out: 200, Cached: 100}, {Model: "unheard-of", In: 10}} {
		if n := testing.AllocsPerRun(100, func() { s.saved("chat", "red", u, time.Second) }); n != 0 {
			t.Errorf("%+v: %v allocations", u, n)
		}
	}
}

func newTestMetrics(t testing.TB) *metrics {
	t.Helper()
	m, err := newMetrics(&Proxy{}, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestStatsTellWhatEachRouteDid(t *testing.T) {
	m := newTestMetrics(t)
	s, _ := newTestSavings(t, testPrices)
	asked := func(r *Route, o Outcome, times int) {
		for range times {
			m.request(&call{route: r, outcome: o}, time.Millisecond)
		}
	}
	chat := &Route{Name: "chat", metrics: m.route("chat")}
	for o, n := range map[Outcome]int{Hit: 5, Stale: 1, Revalidated: 1, Joined: 1, Miss: 2, Error: 1, Bypass: 3} {
		asked(chat, o, n)
	}
	m.route("idle")
	asked(nil, Error, 1)
	m.notStored(chat, policy.ReasonNoStore)
	m.notStored(chat, policy.ReasonNoStore)
	m.notStored(chat, policy.ReasonStatus)
	s.saved("chat", "red", usage{Model: "gpt-4o", In: 400_000, Out: 100_000}, 1500*time.Millisecond)
	s.spent("chat", "red", usage{Model: "new", In: 3, Out: 1}, 250*time.Millisecond)

	got, err := json.MarshalIndent(s.stats(m), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	const none = `"requests":0,"tokens_in":0,"tokens_out":0,"tokens_cached":0,"tokens_unpriced":0,"seconds":0,"money":0`
	const gpt = `"requests":1,"tokens_in":400000,"tokens_out":100000,"tokens_cached":0,"tokens_unpriced":0,"seconds":1.5,"money":2`
	const unpriced = `"requests":1,"tokens_in":3,"tokens_out":1,"tokens_cached":0,"tokens_unpriced":4,"seconds":0.25,"money":0`
	want := `{"currency":"EUR","routes":[
		{"route":"","requests":1,"hits":0,"misses":0,"hit_ratio":0,"outcomes":{"error":1},"not_stored":{}},
		{"route":"chat","requests":14,"hits":8,"misses":2,"hit_ratio":0.8,
			"outcomes":{"bypass":3,"error":1,"hit":5,"joined":1,"miss":2,"revalidated":1,"stale":1},"not_stored":{"no-store":2,"status":1}},
		{"route":"idle","requests":0,"hits":0,"misses":0,"hit_ratio":0,"outcomes":{},"not_stored":{}}],
	"savings":[
		{"route":"chat","model":"gpt-4o","tenant":"red","spent":{` + none + `},"saved":{` + gpt + `}},
		{"route":"chat","model":"new","tenant":"red","spent":{` + unpriced + `},"saved":{` + none + `}}],
	"total":{"requests":15,"hits":8,"misses":2,"hit_ratio":0.8,"spent":{` + unpriced + `},"saved":{` + gpt + `}}}`
	var flat any
	if err := json.Unmarshal([]byte(want), &flat); err != nil {
		t.Fatal(err)
	}
	var gotFlat any
	if err := json.Unmarshal(got, &gotFlat); err != nil {
		t.Fatal(err)
	}
	if g, w := fmt.Sprint(gotFlat), fmt.Sprint(flat); g != w {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
}

func TestStatsOfANewProxyAreListsToo(t *testing.T) {
	s, _ := newTestSavings(t, nil)
	got, err := json.Marshal(s.stats(newTestMetrics(t)))
	if err != nil || !strings.Contains(string(got), `"routes":[],"savings":[]`) {
		t.Errorf("%s %v", got, err)
	}
}

func BenchmarkSaved(b *testing.B) {
	s, _ := newTestSavings(b, testPrices)
	for name, u := range map[string]usage{"ai": {Model: "gpt-4o", In: 1000, Out: 200, Cached: 100}, "other": {}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.saved("chat", "red", u, time.Second)
			}
		})
		b.Run(name+"-parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					s.saved("chat", "red", u, time.Second)
				}
			})
		})
	}
}
