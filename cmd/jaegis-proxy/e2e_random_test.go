package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// thing is a resource of the random origin. Its content is made of what it was
// asked with and its version, so that every byte of an answer can be judged.
type thing struct {
	mu      sync.Mutex
	version int64
	acked   int64 // the version of the last change whose answer a client has
}

// randomOrigin serves things with every trait of HTTP caching at random.
type randomOrigin struct {
	things [8]thing
}

func (o *randomOrigin) thing(path string) (*thing, int) {
	n, _ := strconv.Atoi(strings.TrimPrefix(path, "/t"))
	return &o.things[n], n
}

// Things differ in what selects an answer: every second one the language, all
// but every third one the caller.
func varies(n int) bool  { return n%2 == 1 }
func private(n int) bool { return n%3 != 0 }

// thingContent is what a request must be answered with. It names itself in its ETag.
func thingContent(etag string) string { return strings.Repeat(etag+";", 1+len(etag)*7%150) }

func (o *randomOrigin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x, n := o.thing(r.URL.Path)
	body, _ := io.ReadAll(r.Body)
	x.mu.Lock()
	if r.Method == "POST" || r.Method == "PUT" {
		x.version++
	}
	version := x.version
	x.mu.Unlock()
	h := w.Header()
	if r.Method == "POST" || r.Method == "PUT" {
		h.Set("Version", strconv.FormatInt(version, 10))
		w.WriteHeader(http.StatusNoContent)
		return
	}
	lang, caller := "", ""
	if varies(n) {
		h.Set("Vary", "Accept-Language")
		lang = r.Header.Get("Accept-Language")
	}
	cc := fmt.Sprintf("max-age=%d", rand.IntN(3))
	if private(n) {
		caller = r.Header.Get("Cookie")
	} else {
		cc += ", public"
	}
	cc += [...]string{"", "", ", stale-if-error=3", ", no-cache", ", no-store", ", must-revalidate"}[rand.IntN(6)]
	etag := fmt.Sprintf(`"%s|%s|%s|%s|%d"`, r.URL.Path, lang, caller, body, version)
	h.Set("Cache-Control", cc)
	h.Set("ETag", etag)
	h.Set("Content-Type", "text/plain")
	o.answer(w, r, thingContent(etag))
}

// answer sends the content: whole, in part, late, cut, or not at all.
func (o *randomOrigin) answer(w http.ResponseWriter, r *http.Request, content string) {
	switch rand.IntN(12) {
	case 0:
		w.WriteHeader(http.StatusServiceUnavailable)
	case 1:
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		_, _ = io.WriteString(w, content[:len(content)/2])
		panic(http.ErrAbortHandler)
	case 2, 3: // what comes meanwhile comes while this is under way
		_, _ = io.WriteString(w, content[:len(content)/2])
		_ = http.NewResponseController(w).Flush()
		select {
		case <-time.After(time.Duration(rand.IntN(60)) * time.Millisecond):
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, content[len(content)/2:])
	default:
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(content))
	}
}

// randomClient asks for anything and judges what it is given.
type randomClient struct {
	t      *testing.T
	origin *randomOrigin
	base   string
	c      *http.Client
	hits   *atomic.Int64
}

func (c *randomClient) request(ctx context.Context) *http.Request {
	method := [...]string{"GET", "GET", "GET", "GET", "GET", "GET", "GET", "HEAD", "QUERY", "POST", "PUT"}[rand.IntN(11)]
	var body []byte
	if method == "QUERY" || method == "POST" {
		body = []byte{'q', byte('0' + rand.IntN(3))}
	}
	req, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("%s/t%d", c.base, rand.IntN(len(c.origin.things))), bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Accept-Language", [...]string{"de", "fr", "fr, de;q=0.5"}[rand.IntN(3)])
	req.Header.Set("Content-Type", "text/plain")
	if n := rand.IntN(4); n > 0 {
		req.Header.Set("Cookie", fmt.Sprintf("who=%d", n))
	}
	switch rand.IntN(10) {
	case 0:
		req.Header.Set("Cache-Control", "no-cache")
	case 1:
		req.Header.Set("Cache-Control", "max-stale=1")
	case 2:
		req.Header.Set("Origin", "https://a.example")
	case 3, 4:
		if method == "GET" {
			first := rand.IntN(300)
			req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", first, first+rand.IntN(300)))
		}
	}
	return req
}

// one sends a request and judges its answer. A cut that can be seen is right.
func (c *randomClient) one(ctx context.Context) {
	req := c.request(ctx)
	x, n := c.origin.thing(req.URL.Path)
	x.mu.Lock()
	floor := x.acked
	x.mu.Unlock()
	sent, _ := req.GetBody()
	asked, _ := io.ReadAll(sent)
	resp, err := c.c.Do(req)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			c.t.Errorf("%s %s: %v", req.Method, req.URL, err)
		}
		return
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 400 {
		return
	}
	if strings.Contains(resp.Header.Get("Cache-Status"), "; hit") {
		c.hits.Add(1)
	}
	if version, err := strconv.ParseInt(resp.Header.Get("Version"), 10, 64); err == nil {
		x.mu.Lock()
		x.acked = max(x.acked, version)
		x.mu.Unlock()
		return
	}
	lang, caller := "", ""
	if varies(n) {
		lang = req.Header.Get("Accept-Language")
	}
	if private(n) {
		caller = req.Header.Get("Cookie")
	}
	etag := resp.Header.Get("ETag")
	rest, ok := strings.CutPrefix(etag, fmt.Sprintf(`"%s|%s|%s|%s|`, req.URL.Path, lang, caller, asked))
	version, err := strconv.ParseInt(strings.TrimSuffix(rest, `"`), 10, 64)
	if !ok || err != nil || version < floor || !isPart(resp, body, thingContent(etag)) {
		c.t.Errorf("%s %s %v: version %d at least is wanted; %d %v, %d bytes", req.Method, req.URL, req.Header, floor, resp.StatusCode, resp.Header, len(body))
	}
}

// isPart says whether an answer is of that content, as far as it says.
func isPart(resp *http.Response, body []byte, content string) bool {
	switch {
	case resp.Request.Method == "HEAD":
		return len(body) == 0
	case resp.StatusCode == http.StatusOK:
		return string(body) == content
	case resp.StatusCode == http.StatusPartialContent && resp.Request.Header.Get("Range") != "":
		var first, last, size int
		if _, err := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &size); err != nil {
			return false
		}
		return size == len(content) && strings.HasPrefix(resp.Request.Header.Get("Range"), fmt.Sprintf("bytes=%d-", first)) && string(body) == content[first:last+1]
	}
	return false
}

// Whatever comes at the same time, and whatever becomes of it: an answer is of
// the request that gets it, whole, and no older than the last change that
// anybody was told of before.
func TestRandomRequestsGetTheirOwnAnswers(t *testing.T) {
	for name, more := range map[string]string{
		"memory": "",
		"redis":  "cache: {redis: {url: \"redis://" + startRedis(t) + "\"}}\n",
	} {
		t.Run(name, func(t *testing.T) {
			o := &randomOrigin{}
			s := httptest.NewServer(o)
			t.Cleanup(s.Close)
			p := start(t, fmt.Sprintf("upstreams: {u: {url: %q}}\ndefault_upstream: u\n%s", s.URL, more))
			var hits atomic.Int64
			var wg sync.WaitGroup
			for range 16 {
				wg.Go(func() {
					transport := &http.Transport{DisableCompression: true}
					defer transport.CloseIdleConnections()
					c := &randomClient{t: t, origin: o, base: p.URL, c: &http.Client{Transport: transport, Timeout: patience}, hits: &hits}
					for range 250 {
						c.one(t.Context())
					}
				})
			}
			wg.Wait()
			if hits.Load() == 0 {
				t.Error("not one hit: nothing was tried")
			}
		})
	}
}
