package proxy

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"jaegis-proxy/store/storetest"
)

// asking is a request under way.
type asking struct {
	body string
	done chan struct{}
	got  *embedReply
	err  error
}

func (r *embedRig) begin(ctx context.Context, body string) *asking {
	a := &asking{body: body, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		a.got, a.err = r.try(ctx, body)
	}()
	return a
}

// end waits for the answer.
func (a *asking) end(t *testing.T) *embedReply {
	t.Helper()
	<-a.done
	if a.err != nil {
		t.Fatal(a.err)
	}
	return a.got
}

// hold makes the origin hold back its answers to requests for that item until
// it is let go; then with that status, 0 being a good answer.
func (r *embedRig) hold(item string, status int) (release func()) {
	gate := make(chan struct{})
	var used atomic.Bool
	r.respond(func(w http.ResponseWriter, req *http.Request, body string) bool {
		if !strings.Contains(body, item) || used.Swap(true) {
			return false
		}
		select {
		case <-gate:
		case <-req.Context().Done():
		}
		if status != 0 {
			http.Error(w, "no", status)
		}
		return status != 0
	})
	return func() { close(gate) }
}

func TestAnItemThatAnotherRequestFetchesIsWaitedFor(t *testing.T) {
	r := newEmbedRig(t, nil)
	release := r.hold(`"b"`, 0)
	first := r.begin(t.Context(), texts("a", "b"))
	r.awaitCalls(1)
	second := r.begin(t.Context(), texts("b", "c"))
	third := r.begin(t.Context(), texts("a", "b"))
	r.awaitCalls(2)
	release()
	for _, a := range []*asking{first, second, third} {
		if err := a.end(t).check(a.body, "a"); err != nil {
			t.Error(err)
		}
	}
	r.expectCalls(texts("a", "b"), texts("c"))
	if got := second.got.hit(); got != "jaegis; fwd=miss; fwd-status=200; stored" {
		t.Errorf("%q", got)
	}
	if got := third.got.hit(); got != "jaegis; fwd=miss; collapsed" && got != "jaegis; hit; ttl=3600" { // whether it came before or after
		t.Errorf("%q", got)
	}
}

func TestWhoWaitsForAFetchThatFailsAsksForItself(t *testing.T) {
	for _, status := range []int{http.StatusInternalServerError, http.StatusTooManyRequests, http.StatusBadRequest} {
		r := newEmbedRig(t, nil)
		release := r.hold(`"b"`, status)
		first := r.begin(t.Context(), texts("a", "b"))
		r.awaitCalls(1)
		second := r.begin(t.Context(), texts("b", "c"))
		r.awaitCalls(2)
		release()
		if got := first.end(t); got.StatusCode != status || got.body != "no\n" {
			t.Errorf("status %d, %q", got.StatusCode, got.body)
		}
		if err := second.end(t).check(second.body, "a"); err != nil {
			t.Error(err)
		}
		r.expectCalls(texts("a", "b"), texts("c"), texts("b"))
	}
}

func TestWhatTheUpstreamSaysInsteadIsPassedOn(t *testing.T) {
	for _, status := range []int{400, 401, 404, 429, 500, 503} {
		r := newEmbedRig(t, nil)
		r.right(texts("a"))
		r.fail(status)
		for _, body := range []string{texts("a", "b"), texts("b", "c")} {
			got := r.ask(body)
			if got.StatusCode != status || !strings.Contains(got.body, `"no"`) || got.Header.Get("Retry-After") != "7" || got.Header.Get("X-Cache") != "MISS" {
				t.Errorf("%d: status %d, %q, %v", status, got.StatusCode, got.body, got.Header)
			}
			r.idle()
		}
		r.respond(nil)
		r.right(texts("a", "b"))
		last := texts("b")
		if status == 401 { // nothing is given on a refused credential until it is accepted
			last = texts("a", "b")
		}
		r.expectCalls(texts("a"), texts("b"), texts("b", "c"), last)
	}
}

// An error in a 200 is passed on, and not asked for once more.
func TestAnErrorIn200IsPassedOn(t *testing.T) {
	r := newEmbedRig(t, nil)
	r.right(texts("a"))
	r.respond(func(w http.ResponseWriter, _ *http.Request, _ string) bool {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"error":{"message":"no"}}`))
		return true
	})
	if got := r.ask(texts("a", "b")); got.StatusCode != 200 || got.body != `{"error":{"message":"no"}}` || got.Header.Get("X-Cache") != "MISS" {
		t.Errorf("status %d, %q, %v", got.StatusCode, got.body, got.Header)
	}
	r.respond(nil)
	r.right(texts("a", "b"))
	r.expectCalls(texts("a"), texts("b"), texts("b"))
}

func TestAnAnswerThatIsCutIsNotPassedOffAsWhole(t *testing.T) {
	r := newEmbedRig(t, nil)
	r.right(texts("a"))
	r.respond(func(w http.ResponseWriter, _ *http.Request, body string) bool {
		ask, _ := readAsk([]byte(body))
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(ask.answer("a")[:40])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	for _, body := range []string{texts("a", "b"), texts("b", "c")} {
		if got, err := r.try(t.Context(), body); err == nil && got.StatusCode != http.StatusBadGateway {
			t.Errorf("%s: status %d, %q", body, got.StatusCode, got.body)
		}
		r.idle()
	}
	r.respond(nil)
	r.right(texts("a", "b", "c"))
	r.expectCalls(texts("a"), texts("b"), texts("b", "c"), texts("b", "c"))
}

// The answer to all of the request is the client's, whatever it is; one to a
// part of it is of no use when vectors are missing.
func TestAnAnswerThatDoesNotComeApartIsNotStored(t *testing.T) {
	for name, spoil := range map[string]func(string) string{
		"an index twice": func(s string) string { return strings.ReplaceAll(s, `"index": 1`, `"index": 0`) },
		"no index":       func(s string) string { return strings.ReplaceAll(s, `"index"`, `"at"`) },
		"too many": func(s string) string {
			return strings.ReplaceAll(s, `"data": [`, `"data": [{"index":9,"embedding":[1]},`)
		},
		"a wrong vector":  func(s string) string { return strings.ReplaceAll(s, `"embedding": [`, `"embedding": [[`) },
		"an error inside": func(s string) string { return strings.ReplaceAll(s, `"object": "list"`, `"error": {"type":"x"}`) },
	} {
		r := newEmbedRig(t, nil)
		r.right(texts("a"))
		r.respond(func(w http.ResponseWriter, _ *http.Request, body string) bool {
			ask, _ := readAsk([]byte(body))
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(spoil(string(ask.answer("a")))))
			return true
		})
		for _, body := range []string{texts("a", "b", "c"), texts("d", "e")} {
			ask, _ := readAsk([]byte(body))
			if got, err := r.try(t.Context(), body); got == nil || got.body != spoil(string(ask.answer("a"))) {
				t.Errorf("%s: %v, %.200s", name, err, got.body)
			}
			r.idle()
		}
		r.respond(nil)
		r.right(texts("a", "b", "c", "d"))
		if calls := r.calls()[1:]; calls[0] != texts("b", "c") || calls[1] != texts("a", "b", "c") || calls[2] != texts("d", "e") {
			t.Errorf("%s: upstream calls %q", name, calls)
		}
	}
}

func TestWhatTheUpstreamForbidsIsNotStored(t *testing.T) {
	for _, field := range [][2]string{{"Cache-Control", "no-store"}, {"Vary", "*"}, {"Vary", "User-Agent"}} {
		r := newEmbedRig(t, nil)
		r.right(texts("a"))
		r.respond(func(w http.ResponseWriter, _ *http.Request, _ string) bool {
			w.Header().Set(field[0], field[1])
			return false
		})
		if got := r.right(texts("a", "b", "c")); strings.Contains(got.status(), "stored") {
			t.Errorf("%s: %q", field, got.status())
		}
		r.expectCalls(texts("a"), texts("b", "c"))
		r.respond(nil)
		r.right(texts("c", "b"))
		if calls := r.calls(); len(calls) != 3 {
			t.Errorf("%s: %q", field, calls[1:])
		}
	}
}

func TestWhatTheKeyHoldsAnAnswerMayVaryBy(t *testing.T) {
	r := newEmbedRig(t, nil)
	r.respond(func(w http.ResponseWriter, _ *http.Request, _ string) bool {
		w.Header().Set("Vary", "Origin, Accept-Encoding")
		w.Header().Set("Access-Control-Allow-Origin", "https://o")
		return false
	})
	r.right(texts("a", "b"), "Origin", "https://o")
	if got := r.right(texts("b"), "Origin", "https://o"); got.Header.Get("X-Cache") != "HIT" || got.Header.Get("Access-Control-Allow-Origin") != "https://o" {
		t.Errorf("%v", got.Header)
	}
	if got := r.right(texts("b")); got.Header.Get("X-Cache") != "MISS" {
		t.Errorf("%q", got.status())
	}
}

func TestStaleItemsAreUsedWhenTheUpstreamFails(t *testing.T) {
	r := newEmbedRig(t, func(route *Route, _ *Options) { route.Rule.StaleIfError = 3 * time.Hour })
	r.right(texts("a", "b"))
	r.clock.Advance(2 * time.Hour)
	r.right(texts("c"))
	for _, status := range []int{429, 500, 503} {
		r.fail(status)
		got := r.right(texts("c", "a", "b"))
		if got.status() != "jaegis; fwd=stale; ttl=-3600; detail=upstream-error" || got.Header.Get("Age") != "7200" || got.Header.Get("X-Cache") != "STALE" {
			t.Errorf("%d: %q, Age %q", status, got.status(), got.Header.Get("Age"))
		}
		if got := r.ask(texts("a", "new")); got.StatusCode != status {
			t.Errorf("one is not there: status %d, want %d", got.StatusCode, status)
		}
	}
	r.respond(func(w http.ResponseWriter, _ *http.Request, _ string) bool {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte(`{"object"`))
		return true
	})
	if got := r.right(texts("a", "c", "a")); got.Header.Get("X-Cache") != "STALE" {
		t.Errorf("cut: %q", got.status())
	}
	r.fail(400)
	if got := r.ask(texts("a")); got.StatusCode != 400 {
		t.Errorf("status %d", got.StatusCode)
	}
	r.clock.Advance(3 * time.Hour)
	r.fail(500)
	if got := r.ask(texts("a")); got.StatusCode != 500 {
		t.Errorf("stale for too long: status %d", got.StatusCode)
	}
}

func TestStaleItemsAreRefreshedInTheBackground(t *testing.T) {
	r := newEmbedRig(t, func(route *Route, _ *Options) { route.Rule.StaleWhileRevalidate = 3 * time.Hour })
	r.right(texts("a", "b"))
	r.clock.Advance(2 * time.Hour)
	r.right(texts("c"))
	r.idle()
	if got := r.right(texts("c", "a", "b")); got.Header.Get("X-Cache") != "STALE" {
		t.Errorf("%q", got.status())
	}
	storetest.Eventually(t, embedPatience, "a hit", func() bool { return r.right(texts("c", "a", "b")).Header.Get("X-Cache") == "HIT" })
	r.expectCalls(texts("a", "b"), texts("c"), texts("a", "b"))
}

func TestAFetchGoesOnWhenItsClientLeaves(t *testing.T) {
	r := newEmbedRig(t, nil)
	release := r.hold(`"b"`, 0)
	ctx, leave := context.WithCancel(t.Context())
	first := r.begin(ctx, texts("a", "b", "a"))
	r.awaitCalls(1)
	leave()
	if <-first.done; !errors.Is(first.err, context.Canceled) {
		t.Fatal(first.err)
	}
	release()
	r.right(texts("b", "a"))
	r.expectCalls(texts("a", "b"))
}

func TestAnAbandonedFetchIsCancelledWhereTheRouteSaysSo(t *testing.T) {
	r := newEmbedRig(t, func(route *Route, _ *Options) { route.CancelAbandoned = true })
	cancelled := make(chan struct{})
	var first atomic.Bool
	r.respond(func(_ http.ResponseWriter, req *http.Request, _ string) bool {
		if first.Swap(true) {
			return false
		}
		<-req.Context().Done()
		close(cancelled)
		return true
	})
	ctx, leave := context.WithCancel(t.Context())
	gone := r.begin(ctx, texts("a", "b", "a"))
	r.awaitCalls(1)
	leave()
	<-gone.done
	select {
	case <-cancelled:
	case <-time.After(embedPatience):
		t.Fatal("the fetch goes on")
	}
	r.right(texts("b", "a"))
}

func TestAnUpstreamThatIsAwayIsSaidToBe(t *testing.T) {
	r := newEmbedRig(t, nil)
	r.right(texts("a"))
	r.Close()
	for _, body := range []string{texts("a", "b"), texts("b")} {
		if got := r.ask(body); got.StatusCode != http.StatusBadGateway || !strings.Contains(got.body, "jaegis_upstream_unreachable") {
			t.Errorf("status %d, %q", got.StatusCode, got.body)
		}
	}
	r.right(texts("a"))
}

func TestAnAnswerTooLargeToKeepIsPassedOn(t *testing.T) {
	r := newEmbedRig(t, func(route *Route, _ *Options) { route.MaxObjectBytes = 200 })
	r.right(texts("a"))
	for range 2 {
		r.right(texts("a", "b", "c", "d", "e", "f", "g"))
	}
	r.right(texts("a"))
	if calls := r.calls(); calls[0] != texts("a") || calls[len(calls)-1] == texts("a") {
		t.Errorf("%q", calls)
	}
}

// On a route with the scope shared, all callers whose credential the upstream
// has accepted share the items, and nobody else.
func TestItemsAreSharedByCallersThatTheUpstreamAccepts(t *testing.T) {
	r := newEmbedRig(t, func(route *Route, _ *Options) { route.ProofTTL = time.Minute })
	r.respond(func(w http.ResponseWriter, req *http.Request, body string) bool {
		if req.Header.Get("Authorization") == "stranger" {
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		ask, _ := readAsk([]byte(body))
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(ask.answer("all"))
		return true
	})
	as := func(caller, body, xCache string) {
		t.Helper()
		got := r.ask(body, "Authorization", caller)
		if got.Header.Get("X-Cache") != xCache || got.check(body, "all") != nil {
			t.Errorf("%s: status %d, %s: %s", caller, got.StatusCode, got.status(), got.body)
		}
		r.idle()
	}
	as("a", texts("1", "2"), "MISS")
	as("a", texts("2"), "HIT")
	as("b", texts("1", "2"), "MISS") // proves it
	as("b", texts("2", "1", "1"), "HIT")
	as("b", texts("2", "3"), "MISS")
	as("a", texts("3"), "HIT")
	if got := r.ask(texts("1"), "Authorization", "stranger"); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("a stranger got status %d: %s", got.StatusCode, got.body)
	}
	r.expectCalls(texts("1", "2"), texts("1", "2"), texts("3"), texts("1"))
	r.clock.Advance(2 * time.Minute)
	as("b", texts("1"), "MISS") // the proof is too old
	as("b", texts("2"), "HIT")
}

func TestALargeAnswerIsTakenApartToo(t *testing.T) {
	r := newEmbedRig(t, nil)
	items := make([]string, 700)
	for i := range items {
		items[i] = strconv.Itoa(i)
	}
	ask := func(items []string) string {
		return `{"model":"m","dimensions":1536,"encoding_format":"base64","input":["` + strings.Join(items, `","`) + `"]}`
	}
	if got := r.right(ask(items)); len(got.body) < 5<<20 {
		t.Fatalf("only %d bytes", len(got.body))
	}
	r.idle()
	if got := r.right(ask(items[300:])); got.Header.Get("X-Cache") != "HIT" {
		t.Errorf("%q", got.status())
	}
}
