package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
)

// tap is a reverse proxy that keeps what is asked of the provider and can hold
// an answer up. It is safe for concurrent use.
type tap struct {
	URL string

	mu    sync.Mutex
	calls []call
	held  *hold // for the next answers; nil when they go through
}

// call is a request that reached the provider.
type call struct {
	head string // method, path and credentials
	body string // with a fixed multipart boundary, which is another one each time
}

// hold keeps answers back after some of their events until open is closed.
type hold struct {
	events int
	open   chan struct{}
}

func startTap(t *testing.T, provider *url.URL) *tap {
	t.Helper()
	p := &tap{}
	forward := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(provider) },
		ModifyResponse: p.holdUp,
		FlushInterval:  -1,
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		p.note(r, body)
		forward.ServeHTTP(w, r)
	}))
	p.URL = s.URL
	t.Cleanup(s.Close)
	return p
}

func (p *tap) note(r *http.Request, body []byte) {
	if _, params, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err == nil && params["boundary"] != "" {
		body = bytes.ReplaceAll(body, []byte(params["boundary"]), []byte("boundary"))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, call{
		head: fmt.Sprintf("%s %s %q %q %q", r.Method, r.URL.RequestURI(), r.Header["Authorization"], r.Header["X-Api-Key"], r.Header["X-Goog-Api-Key"]),
		body: string(body),
	})
}

// taken gives the calls since it was asked last.
func (p *tap) taken() []call {
	p.mu.Lock()
	defer p.mu.Unlock()
	calls := p.calls
	p.calls = nil
	return calls
}

// hold keeps every answer back after n events until release is called.
func (p *tap) hold(t *testing.T, n int) (release func()) {
	h := &hold{events: n, open: make(chan struct{})}
	p.mu.Lock()
	p.held = h
	p.mu.Unlock()
	release = sync.OnceFunc(func() {
		p.mu.Lock()
		p.held = nil
		p.mu.Unlock()
		close(h.open)
	})
	t.Cleanup(release)
	return release
}

func (p *tap) holdUp(resp *http.Response) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held != nil {
		resp.Body = &heldBody{body: resp.Body, lines: bufio.NewReader(resp.Body), hold: p.held, gone: resp.Request.Context().Done()}
	}
	return nil
}

// heldBody gives a line at a time, and waits once enough events have passed.
type heldBody struct {
	body   io.Closer
	lines  *bufio.Reader
	hold   *hold
	gone   <-chan struct{} // closed when the client is
	events int
	rest   []byte
}

func (b *heldBody) Read(p []byte) (int, error) {
	if len(b.rest) == 0 {
		if b.events == b.hold.events {
			select {
			case <-b.hold.open:
			case <-b.gone:
			}
		}
		line, err := b.lines.ReadBytes('\n')
		if len(line) == 0 {
			return 0, err
		}
		if len(bytes.TrimSpace(line)) == 0 {
			b.events++
		}
		b.rest = line
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

func (b *heldBody) Close() error { return b.body.Close() }
