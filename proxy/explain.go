package proxy

import (
	"net/http"
	"slices"
	"strings"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/policy"
)

// Explanation says what the proxy would do with a request.
type Explanation struct {
	Route  string // empty when no route takes it
	Bypass string // why it would not be looked up; empty when it would
	Key    cachekey.Key
	Parts  []cachekey.Part // what made the key
}

// Explain derives the key of a request without serving it, from the same parts
// as Serve. target is the path with its query; header names are canonical. The
// table must not be in use by a Proxy.
func (t *Table) Explain(method, target string, header http.Header, body []byte) (Explanation, error) {
	if err := t.prepare(nil, nil); err != nil {
		return Explanation{}, err
	}
	parsed, refused := parseTarget([]byte(target), []byte(header.Get("Host")))
	if refused != nil {
		return Explanation{}, refused
	}
	route := t.find([]byte(method), parsed.host, parsed.path)
	if route == nil {
		return Explanation{}, nil
	}
	cc := policy.RequestDirectives(header["Cache-Control"], header["Pragma"])
	var flags headFlags
	for name := range header {
		flag, _ := watched([]byte(strings.ToLower(name)))
		flags |= flag
	}
	if slices.ContainsFunc(toBytes(header["Connection"]), listsFields) {
		flags |= hasListedFields
	}
	e := Explanation{Route: route.Name, Bypass: route.bypassReason(method, &cc, flags)}
	if e.Bypass == "" && route.MaxCachedRequest > 0 && int64(len(body)) > route.MaxCachedRequest {
		e.Bypass = passTooLarge
	}
	if e.Bypass != "" {
		return e, nil
	}
	req := &cachekey.Request{
		Method: []byte(method), Upstream: route.Upstream.identity, Host: route.upstreamHost(&parsed),
		Path: parsed.keyPath(), Query: parsed.query, Headers: variantHeaders(header),
		Body: cachekey.Body{Bytes: body, Size: int64(len(body))},
	}
	t.explainClient(route, header, req)
	var err error
	if e.Key, err = t.deriver.Derive(route.Key, req); err != nil {
		return Explanation{}, err
	}
	e.Parts, err = t.deriver.Explain(route.Key, req)
	return e, err
}

// explainClient has the request count as one of the known client whose key it
// shows.
func (t *Table) explainClient(route *Route, header http.Header, req *cachekey.Request) {
	for _, name := range clientHeaders {
		if client := t.clients.of([]byte(header.Get(name))); client != nil {
			req.Tenant, req.Headers = client.Tenant, route.counting(req.Headers, name)
			return
		}
	}
}
