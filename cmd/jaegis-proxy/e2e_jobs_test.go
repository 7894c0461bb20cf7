package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// jobRoutes has a route with conditions of each kind and one without any.
const jobRoutes = `
upstreams: {u: {url: "%s"}}
default_upstream: u
routes:
  - {name: head, match: {path: /head/*}, ttl: 1h, store_when: [{status: [200]}, {header: X-Job-State, in: [done]}]}
  - {name: body, match: {path: /body/*}, ttl: 1h, store_when: [{json: /job/state, in: [done, failed]}, {json: /job/retry, exists: false}]}
  - {name: fresh, match: {path: /fresh/*}, ttl: 1s, stale_while_revalidate: 1h, stale_if_error: 1h, store_when: [{json: /status, not_in: [processing]}, {header: X-Job-State, not_in: [busy]}]}
  - {name: links, match: {path: /links/*}, ttl: 1h, stale_while_revalidate: 1h, stale_if_error: 1h, expiry: {json: [/until]}}
  - {name: forever, match: {path: /forever/*}, ttl: 1h, expiry: {signed_links: false, members: false}}
  - {name: http, match: {path: /http/*}, freshness: origin}
  - {name: any, match: {path: /any/*}, ttl: 1h, stale_while_revalidate: 1h}
`

// said is an answer of an upstream.
type said struct {
	status int
	header map[string]string
	body   string
}

// startJobs starts a proxy before an upstream that answers what say gives it to.
func startJobs(t *testing.T) (p *proc, u *provider, say func(said)) {
	t.Helper()
	return startSaying(t, func(url string) string { return fmt.Sprintf(jobRoutes, url) })
}

// saying has the upstream answer what is said last.
func (p *provider) saying() func(said) {
	var answer atomic.Pointer[said]
	p.set(func(w http.ResponseWriter, _ *http.Request) bool {
		a := answer.Load()
		w.Header().Set("Content-Type", "application/json")
		for name, value := range a.header {
			w.Header().Set(name, value)
		}
		w.WriteHeader(max(200, a.status))
		_, _ = io.WriteString(w, a.body)
		return true
	})
	return func(a said) { answer.Store(&a) }
}

// poll asks for a job, and says what became of it.
func (p *proc) poll(t *testing.T, path string) (body, xCache, status string) {
	t.Helper()
	resp, body := ask(t, "GET", p.URL+path, "")
	return body, resp.Header.Get("X-Cache"), resp.Header.Get("Cache-Status")
}

// untilHit polls until the answer is a hit.
func (p *proc) untilHit(t *testing.T, path string) (body, status string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		body, x, status := p.poll(t, path)
		if x == "HIT" {
			return body, status
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is never a hit: %s", path, status)
		}
	}
}

func TestOnlyAFinishedJobIsStored(t *testing.T) {
	p, _, say := startJobs(t)
	n := 0
	f := func(path string, a said, detail string) {
		t.Helper()
		n++
		path = fmt.Sprint(path, n)
		say(a)
		want := max(200, a.status)
		for range 2 {
			body, x, status := p.poll(t, path)
			if a.header["Content-Encoding"] == "gzip" {
				body = a.body // it came decoded
			}
			if x != "MISS" || !strings.HasSuffix(status, "; detail="+detail) || body != a.body || !strings.Contains(status, "fwd-status="+strconv.Itoa(want)) {
				t.Errorf("%s of %d %.200s: %s, want detail=%s", path, a.status, a.body, status, detail)
			}
		}
	}
	good := func(path string, a said) {
		t.Helper()
		n++
		path = fmt.Sprint(path, n)
		say(a)
		if _, _, status := p.poll(t, path); !strings.HasSuffix(status, "; stored") {
			t.Errorf("%s of %d %.200s: %s", path, a.status, a.body, status)
		}
		if body, _ := p.untilHit(t, path); body != a.body && a.header["Content-Encoding"] == "" {
			t.Errorf("%s: another body", path)
		}
	}
	state := func(s string) map[string]string { return map[string]string{"X-Job-State": s} }
	f("/head/", said{header: state("busy")}, "store-when-header")
	f("/head/", said{}, "store-when-header")
	f("/head/", said{status: 203, header: state("done")}, "store-when-status")
	f("/head/", said{status: 202, header: state("done")}, "status")
	good("/head/", said{header: state("done"), body: "x"})

	f("/body/", said{body: `{"job":{"state":"queued"}}`}, "store-when-json")
	f("/body/", said{body: `{"job":{"state":"done","retry":1}}`}, "store-when-json")
	f("/body/", said{body: `{}`}, "store-when-json")
	f("/body/", said{body: `{"job":{"state":"done"}`}, "not-json")
	f("/body/", said{body: `{"job":{"state":"queued","state":"done"}}`}, "not-json")
	f("/body/", said{body: `{"job":{"state":"failed","state":"done"}}`}, "not-json")
	f("/body/", said{body: "%PDF-1.7", header: map[string]string{"Content-Type": "application/pdf"}}, "not-json")
	f("/body/", said{body: `{"job":{"state":"done"}}`, header: map[string]string{"Content-Encoding": "br"}}, "unreadable")
	f("/body/", said{status: 202, body: `{"job":{"state":"done"}}`}, "status")
	f("/body/", said{body: gzipped(t, `{"job":{"state":"queued"}}`), header: map[string]string{"Content-Encoding": "gzip"}}, "store-when-json")
	good("/body/", said{body: gzipped(t, `{"job":{"state":"done"}}`), header: map[string]string{"Content-Encoding": "gzip"}})
	say(said{body: `{"job":{"state":"done"}}`, header: map[string]string{"Content-Encoding": "gzip"}})
	for range 2 { // it is not what it says
		if resp, _ := ask(t, "GET", p.URL+"/body/coded", "", "Accept-Encoding", "gzip"); !strings.HasSuffix(resp.Header.Get("Cache-Status"), "; detail=unreadable") {
			t.Error(resp.Header.Get("Cache-Status"))
		}
	}
	good("/body/", said{body: `{"file":"` + strings.Repeat("A", 300<<10) + `","job":{"state":"failed"}}`})

	f("/any/", said{body: `{"status":"processing"}`}, "pending")
	f("/any/", said{body: `{"file":"` + strings.Repeat("A", 20<<10) + `","data":{"status":"QUEUED"}}`}, "pending")
	f("/any/", said{status: 202, body: `{"status":"done"}`}, "status")
	good("/any/", said{body: `{"status":"done"}`})
	good("/any/", said{body: `{"status":"processing"}`, header: map[string]string{"Content-Type": "text/plain"}})
	good("/any/", said{body: `not JSON at all`})
	good("/any/", said{body: `[` + strings.Repeat(`{"status":"processing"},`, 5000) + `0]`})
}

func gzipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, text)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Who asks for a job's state while another does is told the state as it is now.
func TestNobodyIsToldTheStateOfAJobThatAnotherWasTold(t *testing.T) {
	for name, of := range map[string]func(n int64) string{
		"small": func(n int64) string {
			if n == 1 {
				return `{"job":{"state":"busy"}}`
			}
			return `{"job":{"state":"done"}}`
		},
		"large": func(n int64) string { // its head is given on before the state has come
			return fmt.Sprintf(`{"file":%q,"job":{"state":"%s"}}`, strings.Repeat("A", 5<<20), map[bool]string{true: "busy", false: "done"}[n == 1])
		},
	} {
		t.Run(name, func(t *testing.T) {
			u := serveProvider(t)
			arrived, gate := make(chan struct{}, 10), make(chan struct{})
			var calls atomic.Int64
			u.set(func(w http.ResponseWriter, _ *http.Request) bool {
				n := calls.Add(1)
				body := of(n)
				half := len(body) - 20
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, body[:half])
				w.(http.Flusher).Flush()
				if n == 1 {
					arrived <- struct{}{}
					<-gate
				}
				_, _ = io.WriteString(w, body[half:])
				return true
			})
			p := start(t, fmt.Sprintf(jobRoutes, u.URL))
			states := make(chan string, 4)
			poll := func() {
				_, body := ask(t, "GET", p.URL+"/body/1", "")
				_, state, _ := strings.Cut(body, `"state":`)
				states <- state
			}
			go poll()
			<-arrived
			for range 3 {
				go poll()
			}
			if name == "large" { // they need not wait for the first: its head has come
				for range 3 {
					if got := <-states; got != `"done"}}` {
						t.Errorf("a poll that came later is told %s", got)
					}
				}
				close(gate)
				if got := <-states; got != `"busy"}}` {
					t.Errorf("the first poll is told %s", got)
				}
				return
			}
			close(gate)
			told := map[string]int{}
			for range 4 {
				told[<-states]++
			}
			if told[`"busy"}}`] != 1 || told[`"done"}}`] != 3 {
				t.Errorf("they were told %v", told)
			}
		})
	}
}

// What is stored of a job goes when the upstream says that it is at work again.
func TestAJobThatBeginsAnewIsNotDoneAnyMore(t *testing.T) {
	p, u, say := startJobs(t)
	f := func(path string, again said) {
		t.Helper()
		say(said{body: `{"status":"done"}`, header: map[string]string{"Etag": `"1"`}})
		p.poll(t, path)
		p.untilHit(t, path)
		say(again)
		calls := u.calls.Load()
		for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
			body, x, _ := p.poll(t, path)
			if x == "MISS" && body == again.body {
				break
			}
			if x == "MISS" || time.Now().After(deadline) {
				t.Fatalf("%s: %s %s", path, x, body)
			}
		}
		if u.calls.Load() == calls {
			t.Error("the upstream was not asked")
		}
	}
	f("/fresh/1", said{body: `{"status":"processing"}`})
	f("/fresh/2", said{status: 202, body: `{"status":"done"}`})
	f("/fresh/3", said{body: `{"status":"done"}`, header: map[string]string{"X-Job-State": "busy"}})
}

// A confirmation can say that what it confirms is not to be kept.
func TestAConfirmationIsHeldToTheRules(t *testing.T) {
	p, _, say := startJobs(t)
	say(said{body: `{"status":"done"}`, header: map[string]string{"Etag": `"1"`}})
	p.poll(t, "/fresh/1")
	p.untilHit(t, "/fresh/1")
	say(said{status: 304, header: map[string]string{"Etag": `"1"`, "X-Job-State": "busy"}})
	resp, _ := ask(t, "GET", p.URL+"/fresh/1", "", "Cache-Control", "max-age=0")
	if resp.Header.Get("X-Cache") != "REVALIDATED" || strings.Contains(resp.Header.Get("Cache-Status"), "stored") {
		t.Errorf("%s", resp.Header.Get("Cache-Status"))
	}
	say(said{body: `{"status":"done","anew":true}`})
	if body, x, status := p.poll(t, "/fresh/1"); x != "MISS" || !strings.Contains(body, "anew") {
		t.Errorf("%s %s", status, body)
	}
}

var ttlOf = regexp.MustCompile(`; ttl=(-?\d+)`)

func ttlIn(t *testing.T, status string) int {
	t.Helper()
	m := ttlOf.FindStringSubmatch(status)
	if m == nil {
		t.Fatalf("no ttl in %s", status)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAnAnswerEndsBeforeTheLinksInIt(t *testing.T) {
	p, _, say := startJobs(t)
	n := 0
	f := func(a said, least, most int) {
		t.Helper()
		for _, route := range []string{"links", "any", "forever"} {
			n++
			path := fmt.Sprintf("/%s/%d", route, n)
			say(a)
			p.poll(t, path)
			_, status := p.untilHit(t, path)
			least, most := least, most
			if route == "forever" || route == "any" && strings.Contains(a.body, "until") {
				least, most = 3500, 3600
			}
			if ttl := ttlIn(t, status); ttl < least || ttl > most {
				t.Errorf("%s of %+v: ttl %d, want %d to %d", path, a, ttl, least, most)
			}
		}
	}
	now := time.Now()
	amz := "https://b/k?X-Amz-Date=" + now.UTC().Format("20060102T150405Z") + "&X-Amz-Expires=600&X-Amz-Signature=x"
	f(said{body: `{"a":[{"url":"` + amz + `"}]}`}, 500, 540)
	f(said{header: map[string]string{"Content-Location": amz}}, 500, 540)
	f(said{header: map[string]string{"Link": "<" + amz + ">; rel=enclosure"}}, 500, 540)
	f(said{body: fmt.Sprintf(`{"expires_at":%d}`, now.Unix()+1000)}, 850, 900)
	f(said{body: fmt.Sprintf(`{"expires_at":%q}`, now.Add(20*time.Minute).Format(time.RFC3339))}, 1000, 1080)
	f(said{body: `{"expires_in":100}`}, 60, 90)
	f(said{body: `{"until":100}`}, 60, 90)
	f(said{body: gzipped(t, `{"expires_in":100}`), header: map[string]string{"Content-Encoding": "gzip"}}, 60, 90)
	f(said{body: `{"expires_in":100000}`}, 3500, 3600)

	// Nothing is left of one that has ended, nor a stale window beyond it.
	say(said{body: `{"expires_at":"2020-01-01T00:00:00Z"}`})
	for range 2 {
		if _, x, status := p.poll(t, "/links/over"); x != "MISS" || !strings.HasSuffix(status, "detail=expires") {
			t.Error(status)
		}
	}
	say(said{body: `{"expires_in":3}`})
	p.poll(t, "/links/short")
	p.untilHit(t, "/links/short")
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		_, x, status := p.poll(t, "/links/short")
		if x == "MISS" {
			break
		}
		if x != "HIT" || time.Now().After(deadline) {
			t.Fatalf("past its end: %s", status)
		}
	}
}

// Where answers say themselves how long they are fresh, what they name still
// ends that; what else they say is theirs to say.
func TestLinksEndAnswersByHTTPsOwnRulesToo(t *testing.T) {
	p, _, say := startJobs(t)
	fresh := func(body string, more ...string) said {
		h := map[string]string{"Cache-Control": "public, max-age=3600"}
		for i := 0; i < len(more); i += 2 {
			h[more[i]] = more[i+1]
		}
		return said{body: body, header: h}
	}
	f := func(path string, a said, least, most int) {
		t.Helper()
		say(a)
		p.poll(t, path)
		_, status := p.untilHit(t, path)
		if ttl := ttlIn(t, status); ttl < least || ttl > most {
			t.Errorf("%s: ttl %d, want %d to %d", a.body, ttl, least, most)
		}
	}
	f("/http/1", fresh(`{"status":"processing"}`), 3500, 3600)
	f("/http/2", fresh(`{"expires_in":100}`), 60, 90)
	f("/http/3", fresh(`{}`, "Link", "</x?X-Amz-Expires=100>; rel=next", "Etag", `"1"`), 60, 90)
	say(fresh(`{"expires_at":1000000000}`))
	for range 2 {
		if _, x, status := p.poll(t, "/http/over"); x != "MISS" {
			t.Errorf("over since long: %s", status)
		}
	}
}

// A confirmed answer ends when what it names does, however often it is confirmed.
func TestAConfirmedAnswerEndsBeforeTheLinksInIt(t *testing.T) {
	p, _, say := startJobs(t)
	end := time.Now().Add(10 * time.Minute).Unix()
	say(said{body: fmt.Sprintf(`{"url":"https://d/x?Expires=%d&Signature=x"}`, end), header: map[string]string{"Etag": `"1"`}})
	p.poll(t, "/links/1")
	p.untilHit(t, "/links/1")
	say(said{status: 304, header: map[string]string{"Etag": `"1"`}})
	resp, _ := ask(t, "GET", p.URL+"/links/1", "", "Cache-Control", "max-age=0")
	if resp.Header.Get("X-Cache") != "REVALIDATED" {
		t.Fatal(resp.Header.Get("Cache-Status"))
	}
	if ttl := ttlIn(t, resp.Header.Get("Cache-Status")); ttl > 540 || ttl < 400 {
		t.Errorf("ttl %d", ttl)
	}
	_, status := p.untilHit(t, "/links/1")
	if ttl := ttlIn(t, status); ttl > 540 || ttl < 400 {
		t.Errorf("then ttl %d", ttl)
	}
}
