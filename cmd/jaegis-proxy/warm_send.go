package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/dunglas/httpsfv"
)

// one sends a request and counts what became of it.
func (w *warmer) one(ctx context.Context, r *warmRequest) {
	began := time.Now()
	answer, err := w.send(ctx, r)
	switch {
	case ctx.Err() != nil:
		return // nobody knows what would have become of it
	case err != nil:
		w.fail(&lineError{r.line, fmt.Sprintf("%s %s: %v", r.method, printablePath(r.url), err)})
	case answer.status >= 400:
		w.fail(&lineError{r.line, fmt.Sprintf("%s %s: status %d, %s", r.method, printablePath(r.url), answer.status, answer.fate)})
	}
	w.report.count(answer, err, time.Since(began))
}

// printablePath shows where a request goes without its query, in which some
// services take a key.
func printablePath(u *url.URL) string { return printable(u.EscapedPath()) }

// warmAnswer is what came of a request.
type warmAnswer struct {
	status         int
	fate           fate
	sent, received int64
}

// send sends the request to its end, and reads the answer to its own.
func (w *warmer) send(ctx context.Context, r *warmRequest) (a warmAnswer, err error) {
	req, err := w.request(ctx, r)
	if err != nil {
		return a, err
	}
	var counted *countingBody
	if req.Body != nil {
		counted = &countingBody{ReadCloser: req.Body}
		req.Body = counted
	}
	resp, err := w.client.Do(req)
	if counted != nil {
		a.sent = counted.read()
	}
	if err != nil {
		return a, withoutURL(err)
	}
	defer func() { _ = resp.Body.Close() }() // its end was seen by reading it
	a.status = resp.StatusCode
	if a.fate, err = fateOf(resp); err != nil {
		return a, err
	}
	if a.received, err = io.Copy(io.Discard, resp.Body); err != nil {
		return a, fmt.Errorf("the answer is cut: %w", err)
	}
	return a, nil
}

func (w *warmer) request(ctx context.Context, r *warmRequest) (*http.Request, error) {
	to := *w.target
	if r.url.Host != "" && !w.named {
		to = url.URL{Scheme: r.url.Scheme, Host: r.url.Host}
	}
	raw := to.Scheme + "://" + to.Host + to.EscapedPath() + r.url.EscapedPath()
	if r.url.RawQuery != "" {
		raw += "?" + r.url.RawQuery
	}
	var body io.ReadCloser
	length := int64(0)
	if r.body != nil {
		var err error
		if length, err = r.body.length(); err != nil {
			return nil, err
		}
		body = r.body.reader()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, raw, body)
	if err != nil {
		return nil, withoutURL(err)
	}
	if r.body == nil || length == 0 {
		req.Body = http.NoBody
	}
	req.ContentLength = length
	req.Header = r.header.Clone()
	for name, values := range w.header {
		if req.Header[name] == nil {
			req.Header[name] = values
		}
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", "jaegis-proxy-warm")
	}
	if req.Host = req.Header.Get("Host"); req.Host == "" {
		req.Host = r.url.Host // empty is that of the target
	}
	req.Header.Del("Host")
	req.Header.Del("Content-Length") // it is what it is
	return req, nil
}

// withoutURL drops the URL from an error of net/http: its query may hold a key.
func withoutURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// fate is what the proxy did with a request.
type fate struct {
	kind   fateKind
	reason string // why the answer is not stored
}

type fateKind int

const (
	fateHit fateKind = iota
	fateStored
	fateJoined
	fateNotStored
	fateUndecided // a stream, whose verdict comes at its end
)

func (f fate) String() string {
	switch f.kind {
	case fateHit:
		return "from the cache"
	case fateStored:
		return "stored"
	case fateJoined:
		return "joined another request"
	case fateNotStored:
		return "not stored (" + f.reason + ")"
	}
	return "not decided yet"
}

var errNoStatus = errors.New("the answer has no Cache-Status of jaegis: is there a jaegis-proxy?")

// fateOf reads Cache-Status (RFC 9211), whose last member is that of the proxy
// that was asked.
func fateOf(resp *http.Response) (fate, error) {
	list, err := httpsfv.UnmarshalList(resp.Header.Values("Cache-Status"))
	if err != nil || len(list) == 0 {
		return fate{}, errNoStatus
	}
	item, ok := list[len(list)-1].(httpsfv.Item)
	if name, isToken := item.Value.(httpsfv.Token); !ok || !isToken || name != "jaegis" {
		return fate{}, errNoStatus
	}
	has := func(name string) bool { v, ok := item.Params.Get(name); return ok && v == true }
	word := func(name string) string {
		v, _ := item.Params.Get(name)
		token, _ := v.(httpsfv.Token)
		return string(token)
	}
	switch {
	case has("hit"):
		return fate{kind: fateHit}, nil
	case has("stored"):
		return fate{kind: fateStored}, nil
	case has("collapsed"):
		return fate{kind: fateJoined}, nil
	case word("detail") != "":
		return fate{fateNotStored, word("detail")}, nil
	case word("fwd") == "bypass" || word("fwd") == "method":
		return fate{fateNotStored, word("fwd")}, nil
	}
	return fate{kind: fateUndecided}, nil
}
