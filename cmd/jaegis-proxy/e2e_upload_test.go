package main

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"jaegis-proxy/internal/origintest"
)

const uploadRoutes = `
upstreams: {origin: {url: ORIGIN}}
routes:
  - {name: small, match: {path: /small/*}, ttl: 1h, max_request_bytes: 1000}
  - {name: cached, match: {path: /c/*}, ttl: 1h}
spool: {memory: 256KiB}
limits: {body_timeout: 500ms, header_timeout: 1s}
`

// inChunks frames a body in chunks of size bytes.
func inChunks(path, body string, size int, fields ...string) string {
	var b strings.Builder
	b.WriteString("POST " + path + " HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n" + fieldLines(fields) + "\r\n")
	for rest := body; rest != ""; {
		n := min(size, len(rest))
		b.WriteString(origintest.Chunk(rest[:n]))
		rest = rest[n:]
	}
	return b.String() + "0\r\n\r\n"
}

// content is a body of n bytes of every value that no other seed gives.
func content(seed string, n int) string {
	b := bytes.Repeat([]byte(seed+"\x00\r\n0\r\n\r\n\xff"), n/(len(seed)+9)+1)[:n]
	for i := 0; i < n; i += 1000 {
		b[i] = byte(i / 1000)
	}
	return string(b)
}

// However a body is framed, the upstream gets the same bytes with a length.
func TestAnUploadArrivesAsItWasSent(t *testing.T) {
	r := e2e(t, uploadRoutes)
	for _, size := range []int{0, 1, 1000, 256 << 10, 256<<10 + 1, 1 << 20, 5 << 20} {
		for _, route := range []string{"/c/", "/d/"} {
			for _, chunk := range []int{0, 1 << 20, 64<<10 - 1} {
				path, body := fmt.Sprintf("%s%d/%d", route, size, chunk), content(route, size)
				raw := send("POST", path, body)
				if chunk > 0 {
					raw = inChunks(path, body, chunk)
				}
				before := r.origin.Calls()
				r.whole(t, raw).proof(t, "POST", path, "", body)
				got := r.origin.Requests()[before]
				if string(got.Body) != body || got.Value("Content-Length") != fmt.Sprint(size) || got.Value("Transfer-Encoding") != "" {
					t.Errorf("%s: the origin has %d bytes, and\n%s", path, len(got.Body), got.Head)
				}
			}
		}
	}
	r.awaitNoSpool(t)
}

// The same body is the same request, in one piece or in many.
func TestTheFramingOfAnUploadIsNotInItsKey(t *testing.T) {
	r := e2e(t, uploadRoutes)
	for _, size := range []int{5, 300 << 10} {
		path, body := fmt.Sprintf("/c/%d", size), content("x", size)
		r.untilX(t, send("POST", path, body), "HIT")
		for _, chunk := range []int{3 + size/7, size} {
			if got := r.whole(t, inChunks(path, body, chunk)); got.xCache() != "HIT" {
				t.Errorf("%d bytes in chunks of %d: %s", size, chunk, got.status())
			}
		}
		r.expectCalls(t, path, 1)
	}
}

func TestAClientMayAskBeforeItSendsItsBody(t *testing.T) {
	r := e2e(t, uploadRoutes)
	for _, path := range []string{"/c/a", "/d/a", "/c/a"} {
		s := connect(t, r.Addr)
		raw := send("POST", path, "hello", "Expect: 100-continue")
		head, body, _ := strings.Cut(raw, "\r\n\r\n")
		s.send(head + "\r\n\r\n")
		if got := s.receive("POST"); got.StatusCode != http.StatusContinue {
			t.Fatalf("%s: status %d, %v, want 100 before the body", path, got.StatusCode, got.Err)
		}
		s.send(body)
		s.receive("POST").proof(t, "POST", path, "", "hello")
		// The connection is good for one more request.
		s.send(send("POST", path+"b", "again"))
		s.receive("POST").proof(t, "POST", path+"b", "", "again")
	}
}

func TestAnUploadAboveTheBoundIsRefused(t *testing.T) {
	r := e2e(t, uploadRoutes)
	f := func(raw string, want int) {
		t.Helper()
		got := r.do(t, raw)
		if want == http.StatusRequestEntityTooLarge {
			if err := refusedBy(got, "jaegis_request_too_large", want); err != nil {
				t.Error(err)
			}
		} else if got.StatusCode != want {
			t.Errorf("status %d, want %d", got.StatusCode, want)
		}
	}
	f(send("POST", "/small/a", content("x", 1000)), 200)
	f(inChunks("/small/b", content("x", 1000), 300), 200)
	calls := r.origin.Calls()
	f(send("POST", "/small/a", content("x", 1001)), 413)
	f(inChunks("/small/a", content("x", 1001), 300), 413)
	f(inChunks("/small/a", content("x", 200_000), 70_000), 413)
	f("POST /small/a HTTP/1.1\r\nHost: h\r\nContent-Length: 5000000000\r\n\r\n"+content("x", 10_000), 413)
	if r.origin.Calls() != calls {
		t.Errorf("%d of the requests reached the origin", r.origin.Calls()-calls)
	}
}

// A body that does not come to its end reaches nobody: the client hears of it,
// if it is still there.
func TestAnUploadThatStopsReachesNobody(t *testing.T) {
	r := e2e(t, uploadRoutes)
	halves := map[string]string{
		"sized":         "POST /c/a HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello",
		"sized, large":  "POST /d/a HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n" + content("x", 500_000),
		"in a chunk":    "POST /c/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhello",
		"behind chunks": "POST /c/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		"before a body": "POST /d/a HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n",
	}
	for name, raw := range halves {
		s := connect(t, r.Addr)
		s.send(raw)
		s.finish()
		if got := s.receive("POST"); got.StatusCode != http.StatusBadRequest && got.StatusCode != 0 {
			t.Errorf("%s, then the client leaves: status %d", name, got.StatusCode)
		}
		if rest, closed := s.rest(); rest != "" || !closed {
			t.Errorf("%s, then the client leaves: %q, closed %v", name, rest, closed)
		}
		got := talk(t, r.Addr, raw) // and waits
		if got.StatusCode != http.StatusRequestTimeout || !got.Closed {
			t.Errorf("%s, then silence: status %d, %v, closed %v", name, got.StatusCode, got.Err, got.Closed)
		}
	}
	if n := r.origin.Calls(); n != 0 {
		t.Errorf("%d requests reached the origin", n)
	}
	r.awaitNoSpool(t)
}

// Bodies of many clients at the same time stay apart.
func TestUploadsAtTheSameTimeStayApart(t *testing.T) {
	r := e2e(t, uploadRoutes)
	const n = 60
	clients := make([]*client, n)
	raws, want := map[*client]string{}, map[*client]string{}
	for i := range clients {
		path := fmt.Sprintf("/%c/%d", "cd"[i%2], i/4*4)
		body := content(fmt.Sprintf("client %d", i/2*2), 1000+17*i*i*10)
		clients[i] = &client{s: connect(t, r.Addr)}
		raws[clients[i]] = send("POST", path, body)
		if i%3 == 0 {
			raws[clients[i]] = inChunks(path, body, 1000+i*777)
		}
		want[clients[i]] = path + "\n" + body
	}
	each(t, clients, "upload", func(c *client) error {
		c.s.send(raws[c])
		got := c.s.receive("POST")
		path, body, _ := strings.Cut(want[c], "\n")
		if got.StatusCode != 200 || got.Err != nil {
			return fmt.Errorf("%s: status %d, %w", path, got.StatusCode, got.Err)
		}
		_, err := origintest.VerifyProof("POST", path, "", []byte(body), got.Body)
		return err
	})
	r.awaitNoSpool(t)
}
