package proxy

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"jaegis-proxy/store"
)

// Price is what a model costs, in money per million tokens. Input holds for
// the tokens of a request that are not in a cache of the provider's own,
// CachedInput for those that are.
type Price struct{ Input, Output, CachedInput float64 }

// Prices are a price table, by the name of the model. A name that ends in *
// is a prefix. A model's own name counts before prefixes, and a longer prefix
// before a shorter one: "gpt-4o" is no price of "gpt-4o-2024-08-06",
// "gpt-4o*" is.
type Prices map[string]Price

// What an answer can cost and take is bounded, so that no sum of it can
// overflow: a figure beyond these is a fault or a lie.
const (
	maxPrice  = 1e9 // per million tokens
	maxTokens = 1e9 // of one answer
	maxTook   = 24 * time.Hour
)

func (p Prices) check() error {
	var errs []error
	for model, price := range p {
		for _, v := range []float64{price.Input, price.Output, price.CachedInput} {
			if !(v >= 0 && v <= maxPrice) { // NaN is neither
				errs = append(errs, fmt.Errorf("price of %q: %v is not between 0 and %.0f", model, v, maxPrice))
			}
		}
	}
	return errors.Join(errs...)
}

// of gives the price of a model, or nil.
func (p Prices) of(model string) *Price {
	if price, ok := p[model]; ok {
		return &price
	}
	var best Price
	longest := -1
	for name, price := range p {
		prefix, ok := strings.CutSuffix(name, "*")
		if ok && len(prefix) > longest && strings.HasPrefix(model, prefix) {
			best, longest = price, len(prefix)
		}
	}
	if longest < 0 {
		return nil
	}
	return &best
}

// cost is that of tokens of the three kinds.
func (p *Price) cost(input, cached, output int64) float64 {
	return (float64(input)*p.Input + float64(cached)*p.CachedInput + float64(output)*p.Output) / 1e6
}

// usage is what an answer took; empty for what is no AI answer.
type usage = store.Usage

// ledgerKey is what is told apart in the accounts. Models and tenants are
// named from outside, so there are never more than maxPairs of them; requests
// of further ones are counted under otherName, at the price of their model.
type ledgerKey struct{ route, model, tenant string }

type modelTenant struct{ model, tenant string }

const (
	maxPairs  = 1000
	maxName   = 128 // bytes
	otherName = "other"
)

// A fate is what became of the work that an answer stands for.
type fate int

const (
	fateSpent fate = iota // the upstream did it
	fateSaved             // the cache made it needless
	fates
)

var fateNames = [fates]string{fateSpent: "spent", fateSaved: "saved"}

// Kinds of tokens. None counts what another counts, so that they can be added.
const (
	kindInput = iota // not cached by the provider
	kindCached
	kindOutput
	kinds
)

var kindNames = [kinds]string{kindInput: "input", kindCached: "cached_input", kindOutput: "output"}

// tally is what was counted under one key and fate. Each figure only grows;
// those read together may be some requests apart.
type tally struct {
	requests atomic.Int64
	took     atomic.Int64 // nanoseconds of upstream time
	tokens   [kinds]atomic.Int64
	unpriced atomic.Int64  // tokens of models without a price
	money    atomic.Uint64 // the bits of a float64
}

func (t *tally) addMoney(v float64) {
	for {
		old := t.money.Load()
		if t.money.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+v)) {
			return
		}
	}
}

// account is the tallies of one key.
type account struct {
	price atomic.Pointer[Price] // of the key's model; nil when it has none
	fates [fates]tally
}

// savings keeps the accounts of what was spent and what the cache saved. It
// is a prometheus.Collector, and safe for concurrent use.
type savings struct {
	currency string

	mu       sync.RWMutex
	prices   Prices
	accounts map[ledgerKey]*account
	pairs    map[modelTenant]struct{} // those that have accounts of their own
}

// newSavings registers the metrics with reg. Prices are in currency, which is
// a name and nothing more.
func newSavings(reg prometheus.Registerer, prices Prices, currency string) (*savings, error) {
	s := &savings{currency: currency, accounts: map[ledgerKey]*account{}, pairs: map[modelTenant]struct{}{}}
	if err := s.setPrices(prices); err != nil {
		return nil, err
	}
	return s, reg.Register(s)
}

// setPrices makes p the prices of what is counted from now on; what was
// counted before stays as it is. On an error the old prices stay.
func (s *savings) setPrices(p Prices) error {
	if err := p.check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prices = maps.Clone(p)
	for k, a := range s.accounts {
		a.price.Store(s.prices.of(k.model))
	}
	return nil
}

// spent counts an answer that an upstream gave, took being the time that it
// needed for it.
func (s *savings) spent(route, tenant string, u usage, took time.Duration) {
	s.count(fateSpent, route, tenant, u, took)
}

// saved counts a request that was answered without asking an upstream, with
// what the answer took when it was fetched.
func (s *savings) saved(route, tenant string, u usage, took time.Duration) {
	s.count(fateSaved, route, tenant, u, took)
}

func (s *savings) count(f fate, route, tenant string, u usage, took time.Duration) {
	a, price := s.account(ledgerKey{route, u.Model, tenant})
	t := &a.fates[f]
	t.requests.Add(1)
	if took > 0 && took <= maxTook {
		t.took.Add(int64(took))
	}
	if u.In < 0 || u.In > maxTokens || u.Out < 0 || u.Out > maxTokens || u.In+u.Out == 0 {
		return
	}
	cached := min(max(u.Cached, 0), u.In)
	for kind, n := range [kinds]int64{kindInput: u.In - cached, kindCached: cached, kindOutput: u.Out} {
		if n > 0 {
			t.tokens[kind].Add(n)
		}
	}
	if price == nil {
		t.unpriced.Add(u.In + u.Out)
		return
	}
	t.addMoney(price.cost(u.In-cached, cached, u.Out))
}

// account gives where to count, and the price of k's model or nil. The names
// of k are copied where they are kept.
func (s *savings) account(k ledgerKey) (*account, *Price) {
	s.mu.RLock()
	a := s.accounts[k]
	s.mu.RUnlock()
	if a != nil {
		return a, a.price.Load()
	}
	return s.open(ledgerKey{printable(k.route), printable(k.model), printable(k.tenant)})
}

// open makes the account of a key whose names are printable, if there is none
// and there may be one; else it gives the one for all others.
func (s *savings) open(k ledgerKey) (*account, *Price) {
	s.mu.Lock()
	defer s.mu.Unlock()
	price := s.prices.of(k.model)
	if !s.admitLocked(modelTenant{k.model, k.tenant}) {
		k.model, k.tenant = otherName, otherName
	}
	a := s.accounts[k]
	if a == nil {
		a = &account{}
		a.price.Store(s.prices.of(k.model))
		s.accounts[k] = a
	}
	return a, price
}

// admitLocked says whether a pair may have accounts of its own. What is no AI
// request and of no known tenant always may: that is most of the traffic of
// some proxies, and one pair.
func (s *savings) admitLocked(p modelTenant) bool {
	if _, ok := s.pairs[p]; ok || p == (modelTenant{}) {
		return true
	}
	if len(s.pairs) >= maxPairs {
		return false
	}
	s.pairs[p] = struct{}{}
	return true
}

// printable gives a copy of a name that can stand in a metric and on a
// terminal, cut to maxName bytes.
func printable(name string) string {
	if len(name) > maxName {
		cut := maxName
		for cut > maxName-utf8.UTFMax && !utf8.RuneStart(name[cut]) {
			cut--
		}
		name = name[:cut]
	}
	return strings.Clone(strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '_'
		}
		return r
	}, name))
}
