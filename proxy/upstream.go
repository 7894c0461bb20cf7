package proxy

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The ways in which an upstream fails. All but errConnect may come after the
// request has reached it.
var (
	errConnect    = errors.New("cannot connect to the upstream")
	errFirstByte  = errors.New("the upstream sent no answer in time")
	errIdle       = errors.New("the upstream stopped sending")
	errStalled    = errors.New("the upstream stopped taking the request")
	errTotal      = errors.New("the upstream took too long for the whole answer")
	errBroken     = errors.New("the upstream broke off")
	errNotResent  = errors.New("the upstream closed the connection before it answered; the request may have reached it, so it is not sent again")
	errBadRequest = errors.New("the request cannot be sent upstream")
)

// UpstreamOptions are for NewUpstream. Zero durations mean no limit.
type UpstreamOptions struct {
	Name             string
	URL              string // scheme, host and, if any, a path that is put before the request's
	ConnectTimeout   time.Duration
	FirstByteTimeout time.Duration     // from the request being sent to the head of the answer
	IdleTimeout      time.Duration     // between two reads of the body
	TotalTimeout     time.Duration     // for everything
	Headers          map[string]string // set on every request, over what the client sent
	PreserveHost     bool              // send the client's Host, not the upstream's own
	RootCAs          *x509.CertPool    // nil means the system's
}

// Upstream is a server that answers are fetched from. It is safe for
// concurrent use. Requests are never sent twice once a byte of them may have
// reached it.
type Upstream struct {
	o         UpstreamOptions
	base      *url.URL
	identity  string // what tells its answers from those of others: its URL and what is put into requests
	injects   bool   // something is put into requests, which may be a credential
	transport *http.Transport
	forwarded bool // requests go to a forward proxy as they are: not in a tunnel
}

// NewUpstream checks the options. It does not connect.
func NewUpstream(o UpstreamOptions) (*Upstream, error) {
	base, err := url.Parse(o.URL)
	if err != nil {
		return nil, fmt.Errorf("upstream %s: %w", o.Name, err)
	}
	if base.Scheme != "http" && base.Scheme != "https" || base.Host == "" || base.RawQuery != "" || base.Fragment != "" {
		return nil, fmt.Errorf("upstream %s: url must be http(s)://host[:port][/path]", o.Name)
	}
	base.Path = strings.TrimSuffix(base.EscapedPath(), "/")
	base.RawPath = ""
	identity := o.URL
	if len(o.Headers) > 0 {
		identity += " headers sha256:" + digest(o.Headers)
	}
	config := &tls.Config{RootCAs: o.RootCAs, MinVersion: tls.VersionTLS12}
	dialer := newUpstreamDialer(base, o.ConnectTimeout, config.Clone()) // the transport adds to its own
	u := &Upstream{o: o, base: base, identity: identity, injects: len(o.Headers) > 0, forwarded: isForwarded(base)}
	u.transport = &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.plain,
		DialTLSContext:         dialer.secure,
		TLSClientConfig:        config, // for what is reached by way of a forward proxy
		TLSHandshakeTimeout:    o.ConnectTimeout,
		ResponseHeaderTimeout:  o.FirstByteTimeout,
		ExpectContinueTimeout:  time.Second,
		IdleConnTimeout:        30 * time.Second,
		MaxIdleConns:           0,
		MaxIdleConnsPerHost:    256,
		MaxResponseHeaderBytes: maxAnswerHead,
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
	}
	return u, nil
}

// digest names a set of headers without showing it.
func digest(headers map[string]string) string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		fmt.Fprintf(h, "%d:%s%d:%s", len(name), name, len(headers[name]), headers[name])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Name is the upstream's name in the configuration.
func (u *Upstream) Name() string { return u.o.Name }

// CloseIdle closes connections that serve no request at present.
func (u *Upstream) CloseIdle() { u.transport.CloseIdleConnections() }

// Response is an upstream's answer: its head, and its body as it comes.
type Response struct {
	Status int
	Header http.Header
	Length int64 // of the body; -1 when it is not known beforehand
	Framed bool  // the end of the body can be told from a cut: all but HTTP/1 bodies that end with the connection
	Body   io.ReadCloser
}

// Do sends the request and waits for the head of the answer. The body must be
// closed; it ends in io.EOF only when it is whole. Its trailers are dropped.
// Interim (1xx) answers go to r.Interim. An answer that can be read in two ways
// is errMalformedAnswer, from Do or from reading the body.
func (u *Upstream) Do(ctx context.Context, r *Request) (*Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := func() bool { return false }
	if u.o.TotalTimeout > 0 {
		stop = time.AfterFunc(u.o.TotalTimeout, func() { cancel(errTotal) }).Stop
	}
	release := func() { stop(); cancel(context.Canceled) }
	early := &interim{call: r.Interim}
	defer early.end()
	req, err := u.request(ctx, cancel, r, early)
	if err != nil {
		release()
		return nil, err
	}
	resp, err := u.transport.RoundTrip(req)
	if err == nil && resp.StatusCode < 200 { // where onceConn did not see it
		_ = resp.Body.Close()
		err = badAnswer("nobody asked for another protocol")
	}
	if err != nil {
		err = upstreamError(ctx, err)
		release()
		return nil, err
	}
	return &Response{
		Status: resp.StatusCode,
		Header: resp.Header,
		Length: resp.ContentLength,
		Framed: r.Method == http.MethodHead || resp.ContentLength >= 0 || resp.ProtoMajor > 1 || len(resp.TransferEncoding) > 0,
		Body:   newUpstreamBody(ctx, resp.Body, u.o.IdleTimeout, cancel, release),
	}, nil
}

// request builds the upstream leg from what was parsed and validated.
func (u *Upstream) request(ctx context.Context, cancel context.CancelCauseFunc, r *Request, early *interim) (*http.Request, error) {
	target, err := u.target(r)
	if err != nil {
		return nil, err
	}
	header := r.Header.Clone()
	for name, value := range u.o.Headers {
		header.Set(name, value)
	}
	if header.Get("User-Agent") == "" {
		header["User-Agent"] = []string{""} // the transport adds none of its own then
	}
	hideIdempotencyKey(header)
	host := u.base.Host
	if u.o.PreserveHost && r.Host != "" {
		host = r.Host
	}
	req := &http.Request{
		Method: r.Method, URL: target, Host: host, Header: header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	if r.Body.Size != 0 {
		req.ContentLength, req.GetBody = r.Body.Size, r.Body.open
		if req.Body, err = r.Body.open(); err != nil {
			return nil, err
		}
	} else if r.Body.Declared {
		req.Body = http.NoBody
	}
	if relay := r.Body.relay; relay != nil { // the transport waits for a read that is under way, whatever happens
		context.AfterFunc(ctx, func() { relay.close(context.Cause(ctx), nil) })
	}
	a := &attempt{cancel: cancel, isHead: r.Method == http.MethodHead}
	return req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn:              a.gotConn,
		GotFirstResponseByte: a.answered,
		Got1xxResponse:       early.got,
	})), nil
}

// target is the URL to send: path and query as the client sent them, behind
// the upstream's own path. net/http sends Opaque as it is, but takes one that
// begins with "//" for an authority: that is the form for a forward proxy.
func (u *Upstream) target(r *Request) (*url.URL, error) {
	t := &url.URL{Scheme: u.base.Scheme, Host: u.base.Host, RawQuery: r.Query, ForceQuery: r.HasQuery}
	path := u.base.Path + r.Path
	if u.forwarded {
		t.Opaque = "//" + u.base.Host + path
		return t, nil
	}
	if !strings.HasPrefix(path, "//") {
		t.Opaque = path
		return t, nil
	}
	decoded, err := url.PathUnescape(path)
	if err != nil {
		return nil, fmt.Errorf("%w: path: %w", errBadRequest, err)
	}
	t.Path, t.RawPath = decoded, path
	if t.EscapedPath() != path {
		return nil, fmt.Errorf("%w: a path that begins with \"//\" must be percent-encoded", errBadRequest)
	}
	return t, nil
}

// hideIdempotencyKey keeps the transport from seeing Idempotency-Key, which it
// takes for leave to send a request twice. The field itself goes upstream,
// under its lower-case name.
func hideIdempotencyKey(h http.Header) {
	for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
		if v, ok := h[name]; ok {
			delete(h, name)
			h[strings.ToLower(name)] = v
		}
	}
}

// upstreamError gives the reason for a failure: the context's cause when we
// ended the request ourselves. (A connection that the transport closes because
// the answer is late leaves errNotResent as the cause, but late is what it was.)
func upstreamError(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	var timeout net.Error
	switch {
	case errors.Is(err, errConnect), errors.Is(err, errMalformedAnswer):
		return err
	case errors.As(err, &timeout) && timeout.Timeout() && (cause == nil || errors.Is(cause, errNotResent)):
		return fmt.Errorf("%w: %w", errFirstByte, err)
	case cause != nil:
		return cause
	}
	return fmt.Errorf("%w: %w", errBroken, err)
}
