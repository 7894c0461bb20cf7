package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jaegis-proxy/store/storetest"
)

// versions is an origin whose answers name a version that every unsafe request
// counts up. What more its answers are, a test says.
type versions struct {
	*httptest.Server
	n    atomic.Int64
	mu   sync.Mutex
	more func(w http.ResponseWriter, r *http.Request, version int64) bool // true when it has answered
}

func serveVersions(t *testing.T) *versions {
	t.Helper()
	v := &versions{}
	v.n.Store(1)
	v.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" || r.Method == "PUT" || r.Method == "DELETE" {
			v.n.Add(1)
		}
		w.Header().Set("Cache-Control", "public, max-age=600")
		v.mu.Lock()
		more := v.more
		v.mu.Unlock()
		version := v.n.Load()
		if more == nil || !more(w, r, version) {
			fmt.Fprintf(w, "v%d", version)
		}
	}))
	t.Cleanup(v.Close)
	return v
}

// answers sets what the origin does from now on.
func (v *versions) answers(more func(w http.ResponseWriter, r *http.Request, version int64) bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.more = more
	v.n.Store(1)
}

// RFC 9111, section 4.4: a change makes untrue whatever is stored for its URI,
// whoever asked for it, how, and with which fields.
func TestAChangeTakesOutAllThatIsKnownOfAURI(t *testing.T) {
	o := serveVersions(t)
	p := start(t, fmt.Sprintf("upstreams: {u: {url: \"%s/base\"}}\ndefault_upstream: u\n", o.URL))
	f := func(path string, asked, changes []string, body string) {
		t.Helper()
		o.n.Store(1)
		method := "GET"
		if body != "" && asked != nil {
			method = "QUERY"
		}
		one := func(wantVersion, wantX string) {
			t.Helper()
			got := (&rig{proc: p}).do(t, send(method, path, body, asked...))
			if string(got.Body) != wantVersion || got.xCache() != wantX {
				t.Errorf("%s %q %q changed with %q: %q, %s; want %s, %s", method, path, asked, changes, got.Body, got.status(), wantVersion, wantX)
			}
		}
		one("v1", "MISS")
		one("v1", "HIT")
		if got := (&rig{proc: p}).do(t, send("POST", path, "x", changes...)); got.StatusCode != http.StatusOK {
			t.Errorf("POST %q: status %d", path, got.StatusCode)
		}
		one("v2", "MISS")
	}
	f("/plain", nil, nil, "")
	f("/browser", nil, []string{"Origin: https://a.example"}, "")
	f("/script", []string{"Origin: https://a.example"}, nil, "")
	f("/query", []string{"Content-Type: text/plain"}, nil, "select")
	f("/body", nil, nil, "fat")
	for _, path := range []string{"/a|b", "/a{b}", `/a"b`, "/a^b", "/a%7Cb", "/caf\xc3\xa9", "/a?q=|", "/a?", "//two", "/x;y=1"} {
		f(path, nil, nil, "")
	}
}

// Location and Content-Location may name their target as the upstream knows it
// or as the client does.
func TestAChangeTakesOutWhatItsLocationNames(t *testing.T) {
	o := serveVersions(t)
	p := start(t, fmt.Sprintf("upstreams: {u: {url: \"%s/base\"}}\ndefault_upstream: u\n", o.URL))
	f := func(want, field, value string) {
		t.Helper()
		o.answers(func(w http.ResponseWriter, r *http.Request, _ int64) bool {
			if r.Method == "POST" {
				w.Header().Set(field, value)
			}
			return false
		})
		path := fmt.Sprintf("/item?%x", value)
		ask(t, "GET", p.URL+path, "")
		o.answers(func(w http.ResponseWriter, r *http.Request, _ int64) bool {
			if r.Method == "POST" {
				w.Header().Set(field, strings.ReplaceAll(value, "ITEM", path))
			}
			return false
		})
		ask(t, "POST", p.URL+"/collection", "x")
		resp, _ := ask(t, "GET", p.URL+path, "")
		if got := resp.Header.Get("X-Cache"); got != want {
			t.Errorf("%s: %s: then %s, want %s", field, value, got, want)
		}
	}
	f("MISS", "Location", o.URL+"/baseITEM")
	f("MISS", "Content-Location", "/baseITEM")
	f("MISS", "Location", p.URL+"ITEM")
	f("MISS", "Location", strings.Replace(p.URL, "http:", "https:", 1)+"ITEM")
	f("HIT", "Location", "http://other.example/baseITEM")
	f("HIT", "Location", "/otherITEM")
}

// What the origin says of a stored answer in passing counts at once.
func TestWhatIsNoLongerToBeStoredIsTakenOut(t *testing.T) {
	o := serveVersions(t)
	p := start(t, routesBefore(o.URL))
	for name, now := range map[string]func(w http.ResponseWriter){
		"no-store": func(w http.ResponseWriter) { w.Header().Set("Cache-Control", "no-store") },
		"gone":     func(w http.ResponseWriter) { w.Header().Del("Cache-Control"); w.WriteHeader(http.StatusGone) },
	} {
		var changed atomic.Bool
		o.answers(func(w http.ResponseWriter, _ *http.Request, _ int64) bool {
			if !changed.Load() {
				w.Header().Set("Cache-Control", "public, max-age=0, stale-while-revalidate=600")
				return false
			}
			now(w)
			fmt.Fprint(w, name)
			return true
		})
		ask(t, "GET", p.URL+"/"+name, "")
		changed.Store(true)
		for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
			if _, body := ask(t, "GET", p.URL+"/"+name, ""); body == name {
				break
			} else if time.Now().After(deadline) {
				t.Errorf("%s: %q is given for ever", name, body)
				break
			}
		}
	}
	o.answers(func(w http.ResponseWriter, r *http.Request, _ int64) bool {
		if r.Method == "HEAD" {
			w.Header().Set("Cache-Control", "no-store")
		}
		return false
	})
	ask(t, "GET", p.URL+"/head", "")
	ask(t, "HEAD", p.URL+"/head", "", "Cache-Control", "no-cache")
	if resp, _ := ask(t, "GET", p.URL+"/head", ""); resp.Header.Get("X-Cache") != "MISS" {
		t.Errorf("HEAD said no-store, then GET: %s", resp.Header.Get("Cache-Status"))
	}
}

// An answer that comes late takes no newer one's place.
func TestAnOlderAnswerTakesNoNewerOnesPlace(t *testing.T) {
	o := serveVersions(t)
	p := start(t, routesBefore(o.URL))
	begun, gate := make(chan struct{}), make(chan struct{})
	o.answers(func(w http.ResponseWriter, r *http.Request, _ int64) bool {
		if r.Header.Get("Slow") == "" {
			fmt.Fprint(w, "newer")
			return true
		}
		fmt.Fprint(w, "ol")
		_ = http.NewResponseController(w).Flush()
		close(begun)
		<-gate
		fmt.Fprint(w, "der")
		return true
	})
	slow := make(chan string)
	go func() {
		_, body := ask(t, "GET", p.URL+"/x", "", "Cache-Control", "no-cache", "Slow", "1")
		slow <- body
	}()
	<-begun
	ask(t, "GET", p.URL+"/x", "", "Cache-Control", "no-cache")
	close(gate)
	if body := <-slow; body != "older" {
		t.Errorf("%q", body)
	}
	for range 5 {
		if resp, body := ask(t, "GET", p.URL+"/x", ""); body != "newer" || resp.Header.Get("X-Cache") != "HIT" {
			t.Fatalf("%q, %s", body, resp.Header.Get("Cache-Status"))
		}
	}
}

// What a store that was away could not be made to forget is not used when it is
// back.
func TestAChangeWhileRedisIsAwayHolds(t *testing.T) {
	o := serveVersions(t)
	r := storetest.StartRedis(t)
	p := start(t, routesBefore(o.URL)+"cache: {memory: {max_bytes: 0}, redis: {url: \""+r.URL+"\"}}\n")
	get := func() (*http.Response, string) { t.Helper(); return ask(t, "GET", p.URL+"/x", "") }
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if resp, _ := get(); resp.Header.Get("X-Cache") == "HIT" {
			break
		} else if time.Now().After(deadline) {
			t.Fatal("never a hit")
		}
	}
	r.Stop()
	ask(t, "POST", p.URL+"/x", "")
	r.Cont()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		resp, body := get()
		if body != "v2" {
			t.Fatalf("%q, %s", body, resp.Header.Get("Cache-Status"))
		}
		if resp.Header.Get("X-Cache") == "HIT" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("redis is never used again")
		}
	}
}

// Who asks after a change does not wait for a fetch that began before it.
func TestNobodyWaitsForWhatIsNoLongerTrue(t *testing.T) {
	o := serveVersions(t)
	p := start(t, routesBefore(o.URL))
	arrived, gate := make(chan struct{}, 1), make(chan struct{})
	var held atomic.Bool
	o.answers(func(_ http.ResponseWriter, r *http.Request, _ int64) bool {
		if r.Method == "GET" && held.CompareAndSwap(false, true) {
			arrived <- struct{}{}
			<-gate
		}
		return false
	})
	first := make(chan struct{})
	go func() {
		defer close(first)
		ask(t, "GET", p.URL+"/x", "")
	}()
	<-arrived
	ask(t, "PUT", p.URL+"/x", "new")
	if _, body := ask(t, "GET", p.URL+"/x", ""); body != "v2" {
		t.Errorf("after the change: %s", body)
	}
	close(gate)
	<-first
	if _, body := ask(t, "GET", p.URL+"/x", ""); body != "v2" {
		t.Errorf("later: %s", body)
	}
}

// RFC 9111, section 4.3.5: HEAD takes out what is about to be stored, too.
func TestHEADIsHeededByWhatIsAboutToBeStored(t *testing.T) {
	o := serveVersions(t)
	p := start(t, routesBefore(o.URL))
	o.answers(func(w http.ResponseWriter, r *http.Request, _ int64) bool {
		if r.Method == "HEAD" {
			w.Header().Set("Cache-Control", "no-store")
		}
		return false
	})
	for i := range 200 {
		target := fmt.Sprint(p.URL, "/head/", i)
		ask(t, "GET", target, "")
		ask(t, "HEAD", target, "", "Cache-Control", "no-cache")
		if resp, _ := ask(t, "GET", target, ""); resp.Header.Get("X-Cache") != "MISS" {
			t.Fatalf("%d: HEAD said no-store, then GET: %s", i, resp.Header.Get("Cache-Status"))
		}
	}
}

// Freshness is that of the moment of the answer: a body that takes its time does
// not make an old answer a fresh one.
func TestAnAnswerThatHasExpiredWhileTheBodyCameIsNotFresh(t *testing.T) {
	o := serveVersions(t)
	p := start(t, routesBefore(o.URL))
	o.answers(func(w http.ResponseWriter, _ *http.Request, _ int64) bool {
		w.Header().Set("Cache-Control", "public, max-age=1, must-revalidate")
		return false
	})
	query := func(pause time.Duration) (age, xCache string) {
		s := connect(t, p.Addr)
		defer func() { _ = s.c.Close() }()
		s.send("QUERY /x HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nabc")
		time.Sleep(pause)
		s.send("def")
		got := s.receive("QUERY")
		return got.Header.Get("Age"), got.xCache()
	}
	query(0)
	if age, x := query(2500 * time.Millisecond); x == "HIT" {
		t.Errorf("a hit of age %s", age)
	}
}
