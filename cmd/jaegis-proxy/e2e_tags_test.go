package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"jaegis-proxy/store/storetest"
)

const tagRoutes = `
upstreams: {u: {url: "%s"}}
default_upstream: u
cache: {%s}
routes:
  - name: tagged
    match: {path: /t/*}
    ttl: 1h
    tags: {json: [/customer/id, "case:/cases"], request_json: ["by:/who"], headers: [X-Case]}
`

// A purge by a tag reaches whatever has it, however it came by it.
func TestAPurgeReachesWhatIsTaggedByRequestsAndAnswers(t *testing.T) {
	for _, tier := range []string{"memory: {max_bytes: 64MiB}", "memory: {max_bytes: 0}, redis: {url: REDIS}"} {
		t.Run(tier, func(t *testing.T) {
			testTags(t, tier)
		})
	}
}

func testTags(t *testing.T, tier string) {
	if strings.Contains(tier, "REDIS") {
		tier = strings.ReplaceAll(tier, "REDIS", storetest.StartRedis(t).URL)
	}
	p, _, say := startSaying(t, func(url string) string { return fmt.Sprintf(tagRoutes, url, tier) })
	n := 0
	f := func(a said, asked string, fields []string, tags ...string) {
		t.Helper()
		n++
		url := fmt.Sprint(p.URL, "/t/", n)
		say(a)
		once := func() (x, status string) {
			resp, _ := ask(t, "POST", url, asked, append(fields, "Content-Type", "application/json")...)
			return resp.Header.Get("X-Cache"), resp.Header.Get("Cache-Status")
		}
		fill := func() {
			t.Helper()
			for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
				x, status := once()
				if x == "HIT" {
					return
				}
				if time.Now().After(deadline) {
					t.Fatalf("%d is never a hit: %s", n, status)
				}
			}
		}
		for _, tag := range tags {
			fill()
			p.purge(t, `{"tag":"another"}`)
			if x, status := once(); x != "HIT" {
				t.Errorf("%d: another tag: %s", n, status)
			}
			p.purge(t, fmt.Sprintf(`{"tag":%q}`, tag))
			if x, status := once(); x != "MISS" {
				t.Errorf("%d: tag %s: %s", n, tag, status)
			}
		}
	}
	f(said{header: map[string]string{"Cache-Tag": "red, blue"}}, `{}`, nil, "red", "blue")
	f(said{header: map[string]string{"Surrogate-Key": "red  blue"}}, `{}`, nil, "red", "blue")
	f(said{header: map[string]string{"X-Case": "7,8"}}, `{}`, nil, "7", "8")
	f(said{body: `{"customer":{"id":"c1"},"cases":["x",2]}`}, `{}`, nil, "c1", "case:x", "case:2")
	f(said{body: gzipped(t, `{"customer":{"id":5}}`), header: map[string]string{"Content-Encoding": "gzip"}}, `{}`, nil, "5")
	f(said{body: `{"file":"` + strings.Repeat("A", 5<<20) + `","customer":{"id":"far"}}`}, `{}`, nil, "far")
	f(said{body: "text", header: map[string]string{"Content-Type": "text/plain"}}, `{"who":"me"}`, nil, "by:me")
	f(said{body: `{"customer":{"id":"c2"}}`, header: map[string]string{"Cache-Tag": "red", "Vary": "X-V"}}, `{"who":"you"}`,
		[]string{"X-V", "1", "Jaegis-Cache-Tags", "mine"}, "c2", "red", "by:you", "mine")

	bad := func(a said, asked, detail string) {
		t.Helper()
		n++
		say(a)
		for range 2 {
			resp, _ := ask(t, "POST", fmt.Sprint(p.URL, "/t/", n), asked, "Content-Type", "application/json")
			if status := resp.Header.Get("Cache-Status"); !strings.HasSuffix(status, "; detail="+detail) {
				t.Errorf("%.99s %.99s: %s, want %s", a.body, asked, status, detail)
			}
		}
	}
	var many strings.Builder
	for i := range 257 {
		fmt.Fprintf(&many, "t%d ", i)
	}
	bad(said{header: map[string]string{"Surrogate-Key": many.String()}}, `{}`, "too-many-tags")
	bad(said{body: `{"cases":["` + strings.Join(strings.Fields(many.String()), `","`) + `"]}`}, `{}`, "too-many-tags")
	bad(said{body: `{"cases":["` + strings.Join(strings.Fields(many.String())[:200], `","`) + `"]}`, header: map[string]string{"Cache-Tag": strings.Join(strings.Fields(many.String())[:100], ",")}}, `{}`, "too-many-tags")
	bad(said{header: map[string]string{"Cache-Tag": strings.Repeat("x", 257)}}, `{}`, "bad-tag")
	bad(said{body: `{"customer":{"id":{}}}`}, `{}`, "bad-tag")
	bad(said{body: `{"customer":`}, `{}`, "not-json")
	bad(said{}, `{"who":["`+strings.Repeat("x", 300)+`"]}`, "bad-tag")
	bad(said{}, `{"who":`, "not-json")

	// The fields that name tags reach the client, who may be a cache too.
	say(said{header: map[string]string{"Cache-Tag": "red", "Surrogate-Key": "blue"}})
	for range 2 {
		resp, _ := ask(t, "POST", p.URL+"/t/fields", `{}`, "Content-Type", "application/json")
		if resp.Header.Get("Cache-Tag") != "red" || resp.Header.Get("Surrogate-Key") != "blue" {
			t.Errorf("%v", resp.Header)
		}
	}
}

// startSaying starts a proxy before an upstream that answers what say gives it
// to; yaml gives the configuration for the upstream's URL.
func startSaying(t *testing.T, yaml func(url string) string) (p *proc, u *provider, say func(said)) {
	t.Helper()
	u = serveProvider(t)
	say = u.saying()
	return start(t, yaml(u.URL)), u, say
}

// A tag that a confirmation brings counts, and those that were there before do
// still; that of one variant is not that of another.
func TestTagsOfConfirmationsAndVariants(t *testing.T) {
	p, _, say := startSaying(t, func(url string) string {
		return fmt.Sprintf("upstreams: {u: {url: %q}}\nroutes:\n  - {name: r, match: {path: /r/*}, ttl: 1h}\n", url)
	})
	get := func(path string, fields ...string) (x, status string) {
		resp, _ := ask(t, "GET", p.URL+path, "", fields...)
		return resp.Header.Get("X-Cache"), resp.Header.Get("Cache-Status")
	}
	untilHit := func(path string, fields ...string) {
		t.Helper()
		for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
			x, status := get(path, fields...)
			if x == "HIT" {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s %q is never a hit: %s", path, fields, status)
			}
		}
	}
	for i, tag := range []string{"first", "second"} {
		path := fmt.Sprint("/r/", i)
		say(said{body: "{}", header: map[string]string{"Etag": `"1"`, "Cache-Tag": "first"}})
		untilHit(path)
		say(said{status: 304, header: map[string]string{"Etag": `"1"`, "Cache-Tag": "second"}})
		if x, status := get(path, "Cache-Control", "max-age=0"); x != "REVALIDATED" {
			t.Fatal(status)
		}
		untilHit(path)
		say(said{body: "{}"})
		p.purge(t, fmt.Sprintf(`{"tag":%q}`, tag))
		if x, status := get(path); x != "MISS" {
			t.Errorf("after a purge of %s: %s", tag, status)
		}
	}
	for _, v := range []string{"a", "b"} {
		say(said{body: "{}", header: map[string]string{"Vary": "X-V", "Cache-Tag": "of-" + v}})
		untilHit("/r/v", "X-V", v)
	}
	p.purge(t, `{"tag":"of-a"}`)
	if x, status := get("/r/v", "X-V", "b"); x != "HIT" {
		t.Errorf("the other variant: %s", status)
	}
	if x, status := get("/r/v", "X-V", "a"); x != "MISS" {
		t.Errorf("the variant: %s", status)
	}
	var many strings.Builder
	for i := range 200 {
		fmt.Fprintf(&many, "t%d,", i)
	}
	say(said{body: "{}", header: map[string]string{"Etag": `"1"`, "Cache-Tag": many.String()}})
	untilHit("/r/many")
	say(said{status: 304, header: map[string]string{"Etag": `"1"`, "Cache-Tag": strings.ReplaceAll(many.String(), "t", "u")}})
	get("/r/many", "Cache-Control", "max-age=0")
	say(said{body: "{}"})
	if x, status := get("/r/many"); x != "MISS" {
		t.Errorf("more tags than can be kept: %s", status)
	}
}

// What began before a purge is given to nobody who comes after it, though its
// tag has not come yet.
func TestAPurgeIsHeededByAnAnswerWhoseTagsAreStillToCome(t *testing.T) {
	u, calls := counted(t)
	arrived, gate := make(chan struct{}, 10), make(chan struct{})
	u.set(func(w http.ResponseWriter, _ *http.Request) bool {
		n := calls.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"file":"`+strings.Repeat("A", 5<<20)) // its head is given on before all of this
		w.(http.Flusher).Flush()
		if n == 1 {
			arrived <- struct{}{}
			<-gate
		}
		fmt.Fprintf(w, `","customer":{"id":"late"},"call":%d}`, n)
		return true
	})
	p := start(t, fmt.Sprintf(tagRoutes, u.URL, "memory: {max_bytes: 64MiB}"))
	one := func() chan string {
		got := make(chan string, 1)
		go func() {
			_, body := ask(t, "POST", p.URL+"/t/late", `{}`, "Content-Type", "application/json")
			got <- body[len(body)-30:]
		}()
		return got
	}
	first := one()
	<-arrived
	p.purge(t, `{"tag":"late"}`)
	if got := <-one(); !strings.Contains(got, `"call":2`) {
		t.Errorf("asked after the purge: %s", got)
	}
	close(gate)
	if got := <-first; !strings.Contains(got, `"call":1`) {
		t.Errorf("asked before the purge: %s", got)
	}
	for range 10 {
		if got := <-one(); strings.Contains(got, `"call":1`) {
			t.Fatalf("later: %s", got)
		}
	}
}
