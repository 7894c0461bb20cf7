package main

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/policy"
	"jaegis-proxy/store"
	"jaegis-proxy/store/redis"
	"jaegis-proxy/store/storetest"
)

// echo is an upstream that answers with what it saw. Query parameters named
// "set" put fields into the answer.
func echo(t *testing.T) (base string, calls *atomic.Int64) {
	t.Helper()
	calls = &atomic.Int64{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		body, _ := io.ReadAll(r.Body)
		for _, f := range r.URL.Query()["set"] {
			name, value, _ := strings.Cut(f, ":")
			w.Header().Add(name, value)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"header": r.Header, "method": r.Method, "body": string(body)})
	}))
	t.Cleanup(s.Close)
	return s.URL, calls
}

// ask sends a request with the given header fields and gives the answer.
func ask(t *testing.T, method, url, body string, fields ...string) (resp *http.Response, text string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		if fields[i] == "Host" {
			req.Host = fields[i+1]
		}
		req.Header[fields[i]] = append(req.Header[fields[i]], fields[i+1])
	}
	resp, err = (&http.Client{Timeout: patience, Transport: &http.Transport{DisableCompression: true, DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

func want(t *testing.T, resp *http.Response, xCache string) {
	t.Helper()
	if got := resp.Header.Get("X-Cache"); got != xCache {
		t.Errorf("%s %s: X-Cache %s, want %s (%s)", resp.Request.Method, resp.Request.URL, got, xCache, resp.Header.Get("Cache-Status"))
	}
}

func TestUpstreamsWithOtherHeadersShareNoAnswers(t *testing.T) {
	base, _ := echo(t)
	p := start(t, fmt.Sprintf(`
upstreams:
  a: {url: "%[1]s", headers: {X-Tenant: A}}
  b: {url: "%[1]s", headers: {X-Tenant: B}}
routes:
  - {name: a, match: {hosts: [a.test]}, upstream: a, namespace: documents}
  - {name: b, match: {hosts: [b.test]}, upstream: b, namespace: documents}
`, base))
	for _, x := range []string{"A", "B"} {
		resp, body := ask(t, "GET", p.URL+"/x", "", "Host", strings.ToLower(x)+".test")
		want(t, resp, "MISS")
		if !strings.Contains(body, `"X-Tenant":["`+x+`"]`) {
			t.Errorf("tenant %s: %s", x, body)
		}
	}
}

// routesBefore is a configuration with a route of each kind before an upstream.
func routesBefore(base string) string {
	return fmt.Sprintf(`
upstreams: {u: {url: "%s"}}
default_upstream: u
routes:
  - {name: cached, match: {path: "/c/*"}, upstream: u, namespace: documents}
  - {name: public, match: {path: "/p/*"}, upstream: u, namespace: documents, scope: public}
  - {name: origin, match: {path: "/o/*"}, upstream: u, namespace: documents, freshness: origin, key: {credentials: [X-Tenant-Id]}}
`, base)
}

func TestWhatDoesNotReachTheUpstreamSelectsNoAnswer(t *testing.T) {
	base, _ := echo(t)
	p := start(t, routesBefore(base))
	for _, path := range []string{"/c/v?set=Vary:Accept-Language", "/d?set=Vary:Accept-Language&set=Cache-Control:max-age=100"} {
		resp, _ := ask(t, "GET", p.URL+path, "", "Connection", "Accept-Language", "Accept-Language", "de")
		want(t, resp, "BYPASS")
		resp, body := ask(t, "GET", p.URL+path, "", "Accept-Language", "de")
		want(t, resp, "MISS")
		if !strings.Contains(body, `"Accept-Language":["de"]`) {
			t.Errorf("%s: %s", path, body)
		}
	}
}

func TestAuthorizationCountsWhateverTheCredentialsAre(t *testing.T) {
	base, _ := echo(t)
	p := start(t, routesBefore(base))
	for _, who := range []string{"alice", "bob"} {
		resp, body := ask(t, "GET", p.URL+"/o/x?set=Cache-Control:max-age=100", "", "Authorization", "Bearer "+who)
		want(t, resp, "MISS")
		if !strings.Contains(body, who) {
			t.Errorf("%s: %s", who, body)
		}
	}
}

func TestWhatIsNotInTheKeyDoesNotGoUpstream(t *testing.T) {
	base, _ := echo(t)
	p := start(t, routesBefore(base))
	f := func(path, name, value string) {
		t.Helper()
		resp, body := ask(t, "GET", p.URL+path, "", name, value)
		want(t, resp, "MISS")
		if strings.Contains(strings.ToLower(body), strings.ToLower(name)) {
			t.Errorf("%s reached the upstream: %s", name, body)
		}
		resp, _ = ask(t, "GET", p.URL+path, "")
		want(t, resp, "HIT")
	}
	f("/p/cookie", "Cookie", "s=alice")
	f("/c/1", "X_Forwarded_Host", "evil")
	f("/c/2", "X-Forwarded-Host", "evil")
	f("/c/3", "X_HTTP_Method_Override", "DELETE")
	f("/c/4", "X-Original-Url", "/admin")
}

func TestWhatSaysWhatIsMeantIsInTheKey(t *testing.T) {
	base, _ := echo(t)
	p := start(t, routesBefore(base))
	for _, name := range []string{"Accept", "Accept-Language", "Content-Disposition", "Content-Language", "Origin", "Prefer", "OpenAI-Organization", "anthropic-version"} {
		for _, value := range []string{"one", "two"} {
			resp, body := ask(t, "POST", p.URL+"/c/"+name, "body", name, value)
			want(t, resp, "MISS")
			if !strings.Contains(body, value) {
				t.Errorf("%s: %s: %s", name, value, body)
			}
		}
	}
}

func TestChangesAreNeverAnsweredFromTheCache(t *testing.T) {
	base, calls := echo(t)
	p := start(t, routesBefore(base))
	for i, method := range []string{"PUT", "DELETE", "PATCH"} {
		for range 2 {
			resp, _ := ask(t, method, p.URL+"/c/x", "body")
			want(t, resp, "PASS")
		}
		if got := calls.Load(); got != int64(2*(i+1)) {
			t.Errorf("%s: %d calls", method, got)
		}
	}
}

func TestAHitHasItsOwnRequestID(t *testing.T) {
	base, _ := echo(t)
	p := start(t, routesBefore(base))
	for i, id := range []string{"first", "second"} {
		resp, body := ask(t, "GET", p.URL+"/c/id?set=X-Request-Id:upstreams-own", "", "X-Request-Id", id)
		want(t, resp, []string{"MISS", "HIT"}[i])
		if got, expected := resp.Header.Get("X-Request-Id"), []string{"upstreams-own", "second"}[i]; got != expected {
			t.Errorf("id %q, want %q", got, expected)
		}
		if !strings.Contains(body, `"X-Request-Id":["first"]`) {
			t.Errorf("the upstream saw another id: %s", body)
		}
	}
}

func TestHTTP10ClientsGetDecodedBodiesWithALength(t *testing.T) {
	plain := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	var coded bytes.Buffer
	z := gzip.NewWriter(&coded)
	_, _ = z.Write(plain)
	_ = z.Close()
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(coded.Bytes())
	}))
	defer up.Close()
	p := start(t, routesBefore(up.URL))
	for _, xCache := range []string{"MISS", "HIT"} {
		if xCache == "HIT" { // stored coded, asked for plain
			ask(t, "GET", p.URL+"/c/z", "", "Accept-Encoding", "gzip")
		}
		c, err := net.DialTimeout("tcp", p.Addr, patience)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		fmt.Fprintf(c, "GET /c/z HTTP/1.0\r\nHost: h\r\n\r\n")
		raw, err := io.ReadAll(c)
		head, body, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
		if err != nil || !bytes.Equal(body, plain) || bytes.Contains(head, []byte("chunked")) ||
			!bytes.Contains(head, fmt.Appendf(nil, "Content-Length: %d", len(plain))) || !bytes.Contains(head, []byte("X-Cache: "+xCache)) {
			t.Errorf("%v, %d bytes\n%s", err, len(body), head)
		}
		_ = c.Close()
	}
}

func TestAStoreThatLiesCostsNoRequest(t *testing.T) {
	base, _ := echo(t)
	r := storetest.StartRedis(t)
	p := start(t, routesBefore(base)+fmt.Sprintf("cache: {redis: {url: %q}, memory: {max_bytes: 0}}\n", r.URL))
	out, errs, code := runKeyWith(t, p.Config, "/c/lie")
	if code != exitOK {
		t.Fatal(errs)
	}
	key := parseKey(t, out)
	s, err := redis.New(redis.Options{URL: r.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for _, e := range []*store.Entry{
		{Status: 200, Vary: []string{""}},
		{Status: 0},
		{Status: 101},
		{Status: 200, Vary: []string{"Accept"}},
		{Status: 200, Coding: "gzip", Body: []byte("no gzip"), Length: 7},
	} {
		e.Lifetime = policy.Lifetime{StoredAt: time.Now(), TTL: time.Hour}
		if err := s.Put(t.Context(), key, e); err != nil {
			t.Fatal(err)
		}
		if e.Coding == "" {
			if resp, body := ask(t, "GET", p.URL+"/c/lie", ""); resp.StatusCode != 200 || !strings.Contains(body, `"method":"GET"`) {
				t.Errorf("%+v: status %d, %s", e, resp.StatusCode, body)
			}
		}
	}
	if resp, _ := ask(t, "GET", p.URL+"/c/other", ""); resp.StatusCode != 200 {
		t.Errorf("afterwards: status %d", resp.StatusCode)
	}
}

// runKeyWith runs the command key with a configuration file.
func runKeyWith(t *testing.T, file string, args ...string) (out, errs string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	code = dispatch(t.Context(), commands(), append([]string{"key", "--json", "--config", file}, args...), stdio{Out: &o, Err: &e})
	return o.String(), e.String(), code
}

func parseKey(t *testing.T, out string) cachekey.Key {
	t.Helper()
	var v struct{ Key string }
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(v.Key, ":")
	k := cachekey.Key{Namespace: parts[1]}
	if n, err := hex.Decode(k.Digest[:], []byte(parts[2])); n != len(k.Digest) || err != nil {
		t.Fatal(n, err)
	}
	return k
}

func TestARequestThatComesBackIsRefused(t *testing.T) {
	addr := freeAddr(t)
	start(t, fmt.Sprintf("upstreams: {self: {url: \"http://%s\"}}\ndefault_upstream: self\n", addr), "--listen", addr)
	for _, method := range []string{"GET", "POST"} {
		if resp, body := ask(t, method, "http://"+addr+"/", "x"); resp.StatusCode != http.StatusLoopDetected || !strings.Contains(body, "jaegis_loop") {
			t.Errorf("%s: status %d, %s", method, resp.StatusCode, body)
		}
	}
}

func TestARefusedUploadGetsToReadWhy(t *testing.T) {
	base, _ := echo(t)
	p := start(t, strings.ReplaceAll(routesBefore(base), "namespace: documents}", "namespace: documents, max_request_bytes: 1KiB}"))
	for range 3 {
		resp, body := ask(t, "POST", p.URL+"/c/big", strings.Repeat("x", 900<<10))
		if resp.StatusCode != http.StatusRequestEntityTooLarge || !strings.Contains(body, "jaegis_request_too_large") {
			t.Errorf("status %d, %s", resp.StatusCode, body)
		}
	}
}

func TestAnUpstreamThatIsDownIsInTheLogAndNotInTheAnswer(t *testing.T) {
	addr := freeAddr(t)
	p := start(t, fmt.Sprintf("upstreams: {down: {url: \"http://%s\"}}\ndefault_upstream: down\n", addr))
	resp, body := ask(t, "GET", p.URL+"/", "", "X-Request-Id", "this-one")
	if resp.StatusCode != http.StatusBadGateway || strings.Contains(body, addr) {
		t.Errorf("status %d, %s", resp.StatusCode, body)
	}
	storetest.Eventually(t, patience, "a line in the log", func() bool {
		return strings.Contains(p.Log(), "fetch failed") && strings.Contains(p.Log(), "this-one") && strings.Contains(p.Log(), addr)
	})
}
