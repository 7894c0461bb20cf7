package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jaegis-proxy/internal/origintest"
)

const passRoutes = `
upstreams: {origin: {url: "http://DOOR", idle_timeout: IDLE}, other: {url: "http://DOOR"}}
routes:
  - {name: cached, upstream: origin, match: {path: /c/*}, ttl: 1h, max_cached_request_bytes: 100kB, max_request_bytes: 1GB}
  - {name: plain, upstream: origin, match: {path: /p/*}, cache: false, max_cached_request_bytes: 100kB, max_request_bytes: 1GB}
  - {name: full, upstream: origin, match: {path: /full/*}, ttl: 1h, on_spool_full: bypass}
  - {name: reject, upstream: origin, match: {path: /reject/*}, ttl: 1h}
  - {name: bounded, upstream: origin, match: {path: /b/*}, ttl: 1h, max_cached_request_bytes: 100kB, max_request_bytes: 1MB}
spool: {memory: 64KiB, max_bytes: 200kB}
limits: {body_timeout: BODY}
`

// passing starts a proxy before a door.
func passing(t *testing.T, idle, body string) (*rig, *taker) {
	t.Helper()
	d := newTaker(t)
	yaml := strings.NewReplacer("DOOR", d.l.Addr().String(), "IDLE", idle, "BODY", body).Replace(passRoutes)
	return &rig{proc: start(t, yaml)}, d
}

// headOf is the head of a POST with a body of n bytes, or a chunked one.
func headOf(path string, n int, fields ...string) string {
	framing := fmt.Sprintf("Content-Length: %d", n)
	if n < 0 {
		framing = "Transfer-Encoding: chunked"
	}
	return "POST " + path + " HTTP/1.1\r\nHost: h\r\n" + framing + "\r\n" + fieldLines(fields) + "\r\n"
}

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: max-age=60\r\n\r\nok"

// bypassed wants an answer that was not kept, for the reason.
func bypassed(t *testing.T, got *reply, detail string) {
	t.Helper()
	if got.StatusCode != http.StatusOK || string(got.Body) != "ok" || got.Err != nil {
		t.Errorf("status %d, %q, %v", got.StatusCode, got.Body, got.Err)
	}
	if want := "jaegis; fwd=bypass; fwd-status=200; detail=" + detail; got.status() != want {
		t.Errorf("Cache-Status %q, want %q", got.status(), want)
	}
}

// A body above what is cached goes to the upstream as it comes: its first part
// is there before the last was sent. Framed by a length it has that length, in
// chunks it has chunks.
func TestAnUploadTooLargeToCacheIsPassedOnAsItComes(t *testing.T) {
	r, d := passing(t, "60s", "60s")
	body := content("x", 500_000)
	k := (*taken)(nil)
	for _, route := range []struct{ path, detail string }{{"/c/a", "request-too-large"}, {"/p/a", "uncached-route"}} {
		s := connect(t, r.Addr)
		for range 2 { // the connection is good for one more
			s.send(headOf(route.path, len(body)) + body[:200_000])
			if k == nil {
				k = d.accept()
			} else {
				k.next()
			}
			if k.req.ContentLength != int64(len(body)) || len(k.req.TransferEncoding) > 0 {
				t.Errorf("length %d, coding %q at the upstream", k.req.ContentLength, k.req.TransferEncoding)
			}
			k.read(body, 190_000)
			s.send(body[200_000:])
			k.read(body[190_000:], len(body)-190_000)
			k.ends()
			k.answer(okAnswer)
			bypassed(t, s.receive("POST"), route.detail)
		}
	}
	s := connect(t, r.Addr)
	s.send(headOf("/c/a", -1) + origintest.Chunk(body[:70_000]) + origintest.Chunk(body[70_000:200_000]))
	k.next()
	if k.req.ContentLength != -1 || len(k.req.TransferEncoding) != 1 {
		t.Errorf("length %d, coding %q at the upstream", k.req.ContentLength, k.req.TransferEncoding)
	}
	k.read(body, 200_000)
	s.send(origintest.Chunk(body[200_000:]) + "0\r\n\r\n")
	k.read(body[200_000:], len(body)-200_000)
	k.ends()
	k.answer(okAnswer)
	bypassed(t, s.receive("POST"), "request-too-large")
	r.awaitNoSpool(t)
}

// A chunked body that is just too large, and whole before that is seen, is
// passed on all the same.
func TestAChunkedUploadIsCachedUpToTheBound(t *testing.T) {
	r, d := passing(t, "60s", "60s")
	k := (*taken)(nil)
	for _, n := range []int{100_000, 100_001, 100_100} {
		body := content("y", n)
		s := connect(t, r.Addr)
		s.send(inChunks("/c/b", body, 30_000))
		if k == nil {
			k = d.accept()
		} else {
			k.next()
		}
		k.read(body, n)
		k.ends()
		k.answer(okAnswer)
		if got := s.receive("POST"); n == 100_000 {
			if got.status() != "jaegis; fwd=miss; fwd-status=200; stored" {
				t.Errorf("Cache-Status %q", got.status())
			}
		} else {
			bypassed(t, got, "request-too-large")
		}
	}
	r.untilX(t, inChunks("/c/b", content("y", 100_000), 7_000), "HIT")
}

// An upstream that does not read holds the client up, not a spool.
func TestAnUploadThatIsPassedOnWaitsForTheUpstream(t *testing.T) {
	r, d := passing(t, "60s", "2s")
	const size = 100_000_000
	block := []byte(content("z", 1_000_000))
	s := connect(t, r.Addr)
	s.send(headOf("/c/a", size))
	sent, stuck := 0, false
	for sent < size && !stuck {
		_ = s.c.SetWriteDeadline(time.Now().Add(3 * time.Second)) // longer than body_timeout: it is not the client that is late
		n, err := s.c.Write(block[sent%len(block):])
		sent += n
		stuck = errors.Is(err, os.ErrDeadlineExceeded)
	}
	if !stuck {
		t.Fatalf("%d bytes were taken, though nobody reads them", sent)
	}
	if n := r.metric(t, "jaegis_spool_bytes"); n != 0 {
		t.Errorf("%v bytes in the spool", n)
	}
	_ = s.c.SetWriteDeadline(time.Now().Add(patience))
	go func() {
		for sent < size {
			n, err := s.c.Write(block[sent%len(block):])
			if sent += n; err != nil {
				return
			}
		}
	}()
	k := d.accept()
	for left := size; left > 0; left -= len(block) {
		k.read(string(block), len(block))
	}
	k.ends()
	k.answer(okAnswer)
	bypassed(t, s.receive("POST"), "request-too-large")
}

func TestAnUploadThatBreaksOffBreaksOffAtTheUpstreamToo(t *testing.T) {
	body := content("x", 500_000)
	starts := map[string]string{
		"sized":          headOf("/c/a", len(body)) + body[:300_000],
		"in a chunk":     headOf("/c/a", -1) + origintest.Chunk(body[:300_000]) + "ffff\r\nhello",
		"behind a chunk": headOf("/c/a", -1) + origintest.Chunk(body[:300_000]),
		"without a room": headOf("/full/a", -1) + origintest.Chunk(body[:400_000]),
	}
	ways := map[string]func(*session){
		"leaves":         func(s *session) { _ = s.c.Close() },
		"resets":         func(s *session) { _ = s.c.SetLinger(0); _ = s.c.Close() },
		"says no more":   func(s *session) { s.finish() },
		"stands still":   func(*session) {},
		"sends nonsense": func(s *session) { s.send("\x00\r\nxyz"); s.finish() },
	}
	r, d := passing(t, "60s", "500ms")
	for start, raw := range starts {
		for way, end := range ways {
			t.Run(start+", "+way, func(t *testing.T) {
				s := connect(t, r.Addr)
				s.send(raw)
				k := d.accept()
				k.t = t
				k.read(body, 1_000)
				end(s)
				k.isCut()
				if got := s.receive("POST"); got.StatusCode != 0 && got.StatusCode != http.StatusBadRequest && got.StatusCode != http.StatusRequestTimeout {
					t.Errorf("status %d", got.StatusCode)
				}
			})
		}
	}
	r.awaitNoSpool(t)
	_ = d.l.SetDeadline(time.Now().Add(50 * time.Millisecond))
	if c, err := d.l.Accept(); err == nil {
		_ = c.Close()
		t.Error("a request was sent again")
	}
}

// An error that comes before the body is whole reaches the client at once.
func TestAnEarlyRefusalByTheUpstreamEndsTheUpload(t *testing.T) {
	r, d := passing(t, "60s", "60s")
	body := content("x", 500_000)
	for _, n := range []int{len(body), -1} {
		s := connect(t, r.Addr)
		if n < 0 {
			s.send(headOf("/c/a", n) + origintest.Chunk(body[:300_000]))
		} else {
			s.send(headOf("/c/a", n) + body[:300_000])
		}
		k := d.accept()
		k.read(body, 100_000)
		k.answer("HTTP/1.1 413 Too Large\r\nContent-Length: 200000\r\n\r\n" + body[:100_000])
		k.answer(body[100_000:200_000])
		got := s.receive("POST")
		if got.StatusCode != http.StatusRequestEntityTooLarge || string(got.Body) != body[:200_000] || got.Err != nil || !got.Close {
			t.Errorf("status %d, %d bytes, %v, close %v", got.StatusCode, len(got.Body), got.Err, got.Close)
		}
		s.finish()
		if rest, closed := s.rest(); rest != "" || !closed {
			t.Errorf("%q behind the answer, closed %v", rest, closed)
		}
		k.isCut()
	}
}

// An upstream that answers while it reads has its answer sent on meanwhile.
func TestAnAnswerThatComesDuringTheUploadIsSentOn(t *testing.T) {
	r, d := passing(t, "60s", "60s")
	body := content("x", 3_000_000)
	s := connect(t, r.Addr)
	s.send(headOf("/c/a", len(body)) + body[:300_000])
	k := d.accept()
	k.read(body, 300_000)
	k.answer("HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + origintest.Chunk("first"))
	resp, err := http.ReadResponse(s.br, nil)
	if err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 5)
	if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "first" {
		t.Fatalf("%q, %v before the upload's end", first, err)
	}
	go s.send(body[300_000:])
	k.read(body[300_000:], len(body)-300_000)
	k.ends()
	k.answer(origintest.Chunk("last") + "0\r\n\r\n")
	if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != "last" {
		t.Errorf("%q, %v", rest, err)
	}
	if rest, closed := s.rest(); rest != "" || !closed || !resp.Close {
		t.Errorf("%q behind the answer, closed %v, announced %v", rest, closed, resp.Close)
	}

	// Here the client leaves while both go on, and there the upstream ends
	// without having read everything.
	s = connect(t, r.Addr)
	s.send(headOf("/c/a", len(body)) + body[:300_000])
	k = d.accept()
	k.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + origintest.Chunk("first"))
	if _, err := http.ReadResponse(s.br, nil); err != nil {
		t.Fatal(err)
	}
	_ = s.c.Close()
	k.isCut()

	s = connect(t, r.Addr)
	s.send(headOf("/c/a", len(body)) + body[:300_000])
	k = d.accept()
	k.answer(okAnswer)
	bypassed(t, s.receive("POST"), "request-too-large")
}

func TestAnUpstreamThatBreaksOffDuringAnUploadIsNotAskedAgain(t *testing.T) {
	r, d := passing(t, "60s", "60s")
	body := content("x", 500_000)
	for range 3 {
		s := connect(t, r.Addr)
		s.send(headOf("/c/a", len(body)) + body[:300_000])
		k := d.accept()
		k.read(body, 100_000)
		_ = k.c.SetLinger(0)
		_ = k.c.Close()
		got := s.receive("POST")
		if err := refusedBy(got, "jaegis_upstream_broken", http.StatusBadGateway); err != nil {
			t.Error(err)
		}
	}
	_ = d.l.SetDeadline(time.Now().Add(50 * time.Millisecond))
	if c, err := d.l.Accept(); err == nil {
		_ = c.Close()
		t.Error("a request was sent again")
	}
}

// A connection that the upstream has closed meanwhile is not the upload's end:
// nothing of it was written there.
func TestAnUploadGoesByAnotherConnectionWhenAKeptOneIsClosed(t *testing.T) {
	r, d := passing(t, "60s", "60s")
	body := content("x", 500_000)
	for range 5 {
		s := connect(t, r.Addr)
		go s.send(headOf("/c/a", len(body)) + body)
		k := d.accept()
		k.read(body, len(body))
		k.ends()
		k.answer(okAnswer)
		bypassed(t, s.receive("POST"), "request-too-large")
		_ = k.c.Close() // without having said so
	}
}

func TestAnUpstreamThatTakesNothingIsGivenUp(t *testing.T) {
	r, d := passing(t, "400ms", "60s")
	s := connect(t, r.Addr)
	go func() {
		s.send(headOf("/c/a", 900_000_000))
		for block := content("z", 1_000_000); ; {
			if _, err := io.WriteString(s.c, block); err != nil {
				return
			}
		}
	}()
	k := d.accept()
	if err := refusedBy(s.receive("POST"), "jaegis_upstream_timeout", http.StatusGatewayTimeout); err != nil {
		t.Error(err)
	}
	k.isCut()
}

func TestAnUploadWithoutRoomIsRefusedOrPassedOn(t *testing.T) {
	r, d := passing(t, "60s", "60s")
	body := content("x", 500_000) // of which 64 KiB and 200 kB have room
	refused := func(raw string) {
		t.Helper()
		if err := refusedBy(r.do(t, raw), "jaegis_spool_full", http.StatusInsufficientStorage); err != nil {
			t.Error(err)
		}
	}
	refused(headOf("/reject/a", len(body)) + body[:10_000]) // at once
	refused(send("POST", "/reject/a", body))
	refused(inChunks("/reject/a", body, 100_000))
	refused(headOf("/reject/a", -1) + origintest.Chunk(body)) // before its end
	k := (*taken)(nil)
	for _, raw := range []string{send("POST", "/full/a", body), inChunks("/full/a", body, 100_000), inChunks("/full/a", body, 77_777)} {
		s := connect(t, r.Addr)
		go s.send(raw)
		if k == nil {
			k = d.accept()
		} else {
			k.next()
		}
		k.read(body, len(body))
		k.ends()
		k.answer(okAnswer)
		bypassed(t, s.receive("POST"), "spool-full")
		r.awaitNoSpool(t)
	}
}

// A disk that takes nothing more is no room either, whatever spool.max_bytes
// says.
func TestAnUploadThatTheDiskDoesNotTakeIsRefusedOrPassedOn(t *testing.T) {
	full := t.TempDir()
	if err := exec.Command("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", full).Run(); err != nil {
		t.Logf("no disk can be made that is full (%v): one that is gone has to do", err)
		full = filepath.Join(full, "gone")
	} else {
		t.Cleanup(func() { _ = exec.Command("umount", "-l", full).Run() })
	}
	d := newTaker(t)
	r := &rig{proc: start(t, fmt.Sprintf(`
upstreams: {origin: {url: "http://%s"}}
routes:
  - {name: full, match: {path: /full/*}, ttl: 1h, on_spool_full: bypass}
  - {name: reject, match: {path: /reject/*}, ttl: 1h}
spool: {dir: %q, memory: 64KiB}
`, d.l.Addr(), full))}
	body := content("x", 1_000_000)
	for _, raw := range []string{send("POST", "/reject/a", body), inChunks("/reject/a", body, 100_000)} {
		if err := refusedBy(r.do(t, raw), "jaegis_spool_full", http.StatusInsufficientStorage); err != nil {
			t.Error(err)
		}
	}
	for _, raw := range []string{send("POST", "/full/a", body), inChunks("/full/a", body, 100_000)} {
		s := connect(t, r.Addr)
		go s.send(raw)
		k := d.accept()
		k.read(body, len(body))
		k.ends()
		k.answer(strings.Replace(okAnswer, "Length: 2", "Length: 2\r\nConnection: close", 1))
		bypassed(t, s.receive("POST"), "spool-full")
	}
	r.awaitNoSpool(t)
}

func TestAnUploadThatGrowsAboveTheBoundIsRefusedAndCut(t *testing.T) {
	r, d := passing(t, "60s", "60s")
	body := content("x", 1_000_000)
	k := (*taken)(nil)
	for n, want := range map[int]int{1_000_000: 200, 1_000_001: 413} {
		s := connect(t, r.Addr)
		go s.send(headOf("/b/a", -1) + origintest.Chunk(body) + strings.Repeat("1\r\nx\r\n", n-len(body)) + "0\r\n\r\n")
		if k = d.accept(); want == 200 {
			k.read(body, len(body))
			k.ends()
			k.answer(strings.Replace(okAnswer, "Length: 2", "Length: 2\r\nConnection: close", 1))
			bypassed(t, s.receive("POST"), "request-too-large")
			continue
		}
		k.isCut()
		if err := refusedBy(s.receive("POST"), "jaegis_request_too_large", want); err != nil {
			t.Error(err)
		}
	}
}

// Leave to send a body is given when it is sure that it will be read, and by
// nobody else before.
func TestLeaveToSendABodyIsGivenOnlyWhereItIsRead(t *testing.T) {
	r, d := passing(t, "60s", "60s")
	const expect = "Expect: 100-Continue" // in any case
	f := func(head, kind string, status int) {
		t.Helper()
		s := connect(t, r.Addr)
		s.send(head)
		got := s.receive("POST")
		if err := refusedBy(got, kind, status); err != nil {
			t.Errorf("%.40q: %v", head, err)
		}
		if !got.Close {
			t.Errorf("%.40q: the connection is said to go on", head)
		}
		s.finish()
		if rest, closed := s.rest(); rest != "" || !closed {
			t.Errorf("%.40q: %q behind the answer, closed %v", head, rest, closed)
		}
	}
	f(headOf("/b/a", 1_000_001, expect), "jaegis_request_too_large", 413)
	f(headOf("/reject/a", 500_000, expect), "jaegis_spool_full", 507)
	f(headOf("/nowhere", 5, expect), "jaegis_no_route", 404)
	f(headOf("/c/a", 5, expect, "Upgrade: websocket", "Connection: upgrade"), "jaegis_upgrade_not_supported", 501)
	f(headOf("/c/a", 5, expect, "A : b"), "jaegis_bad_request", 400)
	f(headOf("/c/a", 5, "Expect: 200-ok")+"hello", "jaegis_expectation_failed", 417)

	body := content("x", 300_000)
	for _, n := range []int{len(body), -1} {
		s := connect(t, r.Addr)
		s.send(headOf("/c/a", n, expect))
		if got := s.receive("POST"); got.StatusCode != http.StatusContinue {
			t.Fatalf("status %d, %v, want 100", got.StatusCode, got.Err)
		}
		if n < 0 {
			go s.send(origintest.Chunk(body) + "0\r\n\r\n")
		} else {
			go s.send(body)
		}
		k := d.accept()
		if k.req.Header.Get("Expect") != "" {
			t.Error("the upstream is asked for leave too")
		}
		k.read(body, len(body))
		k.ends()
		k.answer(strings.Replace(okAnswer, "Length: 2", "Length: 2\r\nConnection: close", 1))
		bypassed(t, s.receive("POST"), "request-too-large")
	}
}
