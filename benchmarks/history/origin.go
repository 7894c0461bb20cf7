package main

import (
	"context"
	"errors"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// origin is the upstream. It knows nothing of the plan: what it answers follows
// from the request as it came in, and from the version, which grows whenever
// something changes. It is safe for concurrent use.
type origin struct {
	URL string

	version *atomic.Int64
	now     func() int64
	calls   atomic.Int64
	faults  atomic.Int64 // answers that it failed to give
	server  *http.Server
	running sync.WaitGroup
	buffers sync.Pool // of *[]byte
}

// startOrigin starts it. now is the time that answers carry.
func startOrigin(version *atomic.Int64, now func() int64) (*origin, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	o := &origin{URL: "http://" + ln.Addr().String(), version: version, now: now}
	o.buffers.New = func() any { return new([]byte) }
	o.server = &http.Server{Handler: o, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute}
	o.running.Go(func() {
		if err := o.server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			panic("BUG: the origin ended: " + err.Error())
		}
	})
	return o, nil
}

// Close ends it and all its connections.
func (o *origin) Close() error {
	err := o.server.Close()
	o.running.Wait()
	return err
}

// ServeHTTP implements http.Handler.
func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.calls.Add(1)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the proxy left
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	version := o.version.Load() // before all else: what comes after is newer
	made := o.now()
	if r.Method == http.MethodPut {
		o.put(w)
		return
	}
	if q.Get("slow") != "" {
		o.pause(r.Context(), time.Duration(2+rand.IntN(30))*time.Millisecond)
	}
	a := &ask{
		tenant: callerOf(r, q), hash: requestHash(r.Method, r.RequestURI, r.Header.Get("X-Variant"), body), model: modelOf(body),
		size: number(q.Get("size")),
	}
	a.size = max(a.size, coreSize(a.tenant))
	if strings.HasPrefix(r.URL.Path, "/chat/") {
		if a.form = formChat; strings.Contains(string(body), `"stream":true`) {
			a.form = formStream
		}
	}
	buf, ok := o.buffers.Get().(*[]byte)
	if !ok {
		panic("BUG: another kind of buffer")
	}
	defer o.buffers.Put(buf)
	*buf = a.appendAnswer((*buf)[:0], version, made)
	o.answer(w, r, q, a, *buf)
}

// put changes what the URI stands for, and tells the version that it has then.
func (o *origin) put(w http.ResponseWriter) {
	w.Header().Set("X-Version", strconv.FormatInt(o.version.Add(1), 10))
	w.WriteHeader(http.StatusNoContent)
}

// callerOf is whom the answer is for: who the request's credential says, or,
// where that is the provider's, who asked the proxy to ask.
func callerOf(r *http.Request, q url.Values) string {
	switch {
	case q.Get("public") != "" || strings.HasPrefix(r.URL.Path, "/public/"):
		return "all"
	case r.Header.Get("Authorization") == "Bearer provider":
		return r.Header.Get("X-Caller")
	}
	return strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer own-key-of-")
}

// modelOf takes the model out of a body of ours.
func modelOf(body []byte) string {
	_, rest, _ := strings.Cut(string(body), `"model":"`)
	model, _, _ := strings.Cut(rest, `"`)
	return model
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > 64<<20 {
		return 0
	}
	return n
}

// answer sends the body, or fails to.
func (o *origin) answer(w http.ResponseWriter, r *http.Request, q url.Values, a *ask, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if a.form == formStream {
		h.Set("Content-Type", "text/event-stream")
	}
	if strings.HasPrefix(r.URL.Path, "/origin/") {
		h.Set("Vary", "X-Variant")
		h.Set("Cache-Control", "max-age=2")
		if q.Get("public") != "" {
			h.Set("Cache-Control", "public, max-age=2")
		}
	}
	chunked := q.Get("chunked") != "" || a.form == formStream
	if !chunked {
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	if q.Get("bad") != "" && rand.IntN(3) == 0 {
		o.faults.Add(1)
		o.fail(w, r, body)
		return
	}
	if !chunked {
		_, _ = w.Write(body)
		return
	}
	pieces := 1 + rand.IntN(3)
	for size := len(body)/pieces + 1; len(body) > 0; {
		n := min(size, len(body))
		_, _ = w.Write(body[:n])
		_ = http.NewResponseController(w).Flush()
		body = body[n:]
	}
}

// fail breaks an answer in one of the ways in which upstreams do.
func (o *origin) fail(w http.ResponseWriter, r *http.Request, body []byte) {
	reset := func() {
		if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
			if tcp, ok := c.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			_ = c.Close()
		}
	}
	switch rand.IntN(6) {
	case 0: // no answer at all
		reset()
	case 1:
		w.Header().Del("Content-Length")
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write(body)
	case 2:
		w.Header().Del("Content-Length")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write(body)
	case 3, 4: // cut, on a chunk boundary where there are chunks
		_, _ = w.Write(body[:len(body)*rand.IntN(8)/8])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	default: // stalls, and then is cut
		_, _ = w.Write(body[:len(body)/2])
		_ = http.NewResponseController(w).Flush()
		o.pause(r.Context(), time.Duration(rand.IntN(200))*time.Millisecond)
		panic(http.ErrAbortHandler)
	}
}

func (o *origin) pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
