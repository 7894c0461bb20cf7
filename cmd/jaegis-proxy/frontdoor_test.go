package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"jaegis-proxy/internal/origintest"
)

// The front door: requests that are framed or addressed so that two readers
// could understand them differently. Each test speaks to the running program
// over a raw socket, and the origin behind it records what came through.

// smuggled is what a request must not be able to hide: it counts as a call
// when the origin sees it.
const smuggled = "GET /plain/smuggled HTTP/1.1\r\nHost: h\r\n\r\n"

// house is the proxy with an origin behind it.
type house struct {
	*proc
	origin *origintest.Origin
	clean  int // requests that had every right to reach the origin
}

// frontDoor starts a proxy on which /cached/ and /kept/ (with the client's
// Host) are cached, /small/ takes 1 KiB, /dead/ has no upstream that answers,
// and everything else is passed on.
func frontDoor(t *testing.T) *house {
	t.Helper()
	h := &house{origin: origintest.New(t)}
	h.proc = start(t, fmt.Sprintf(`
upstreams:
  origin: {url: %[1]s}
  kept: {url: %[1]s, preserve_host: true}
  dead: {url: "http://%[2]s"}
default_upstream: origin
cache:
  ttl: {default: 3600}
routes:
  - {name: cached, match: {path: /cached/*}, upstream: origin, key: {headers: [X-Key]}}
  - {name: kept, match: {path: /kept/*}, upstream: kept}
  - {name: small, match: {path: /small/*}, upstream: origin, max_request_bytes: 1KiB}
  - {name: dead, match: {path: /dead/*}, upstream: dead}
limits: {header_timeout: 2s, body_timeout: 1s}
`, h.origin.URL, freeAddr(t)))
	return h
}

// post gives a POST of PATH with the header lines given before the body.
func post(fields, body string) string {
	return "POST PATH HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n" + body
}

// chunked gives a POST of PATH whose chunked body is as it stands in body.
func chunked(body string) string { return post("Transfer-Encoding: chunked\r\n", body) }

const (
	length5   = "Content-Length: 5\r\n"
	fiveBytes = "5\r\nhello\r\n0\r\n\r\n"
)

// refusal is a request that must be answered with one of want, after which the
// connection is closed; nothing of it reaches the origin or the store.
type refusal struct {
	name string
	raw  string // PATH stands for the path
	want []int
}

func framingRefusals() []refusal {
	bad := []int{http.StatusBadRequest}
	coded := []int{http.StatusBadRequest, http.StatusNotImplemented} // RFC 9112, section 6.1, asks for 501
	large := []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge}
	late := []int{http.StatusBadRequest, http.StatusRequestTimeout} // without CRLF CRLF the head has not ended
	cases := []refusal{
		{"1 length then chunked", post(length5+"Transfer-Encoding: chunked\r\n", fiveBytes+smuggled), bad},
		{"1 chunked then length", post("Transfer-Encoding: chunked\r\n"+length5, fiveBytes+smuggled), bad},
		{"1 length and identity", post(length5+"Transfer-Encoding: identity\r\n", "hello"+smuggled), bad},
		{"2 chunked twice", post(strings.Repeat("Transfer-Encoding: chunked\r\n", 2), fiveBytes+smuggled), bad},
		{"2 chunked then identity", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", fiveBytes+smuggled), bad},
		{"2 identity then chunked", post("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", fiveBytes+smuggled), bad},
		{"9 data longer than its chunk", chunked("3\r\nhello\r\n0\r\n\r\n" + smuggled), bad},
		{"9 size too large for 64 bits", chunked(strings.Repeat("F", 17) + "\r\nhello\r\n0\r\n\r\n" + smuggled), large},
		{"9 size as large as 63 bits", chunked("7FFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n" + smuggled), large},
		{"10 LF in a chunk extension", chunked("5;a\nb\r\nhello\r\n0\r\n\r\n" + smuggled), bad},
		{"10 NUL in a chunk extension", chunked("5;a\x00b\r\nhello\r\n0\r\n\r\n" + smuggled), bad},
		{"10 CR in a chunk extension", chunked("5;a\rb\r\nhello\r\n0\r\n\r\n" + smuggled), bad},
		{"10 LF in the last chunk's extension", chunked("5\r\nhello\r\n0;a\nb\r\n\r\n" + smuggled), bad},
		{"10 an extension of a megabyte", chunked("5;" + strings.Repeat("x", 1<<20) + "\r\nhello\r\n0\r\n\r\n"), large},
		{"11 bare LF everywhere", strings.ReplaceAll(post(length5, ""), "\r\n", "\n") + "hello", late},
		{"11 bare LF after the request line", strings.Replace(post(length5, "hello"), "\r\n", "\n", 1), bad},
		{"11 bare LF as the empty line", "POST PATH HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\nhello", late},
		{"11 bare LF hides a field", post("X: x\nTransfer-Encoding: chunked\r\n", fiveBytes), bad},
		{"11 bare LF hides a field beside a length", post("X: x\nTransfer-Encoding: chunked\r\n"+length5, "hello"), bad},
		{"11 bare LF after a chunk size", chunked("5\nhello\r\n0\r\n\r\n" + smuggled), bad},
		{"11 bare LF after chunk data", chunked("5\r\nhello\n0\r\n\r\n" + smuggled), bad},
		{"12 folded field", post("X-Fold: a\r\n b\r\n"+length5, "hello"), bad},
		{"12 field folded by a tab", post("X-Fold: a\r\n\tb\r\n"+length5, "hello"), bad},
		{"12 folded Transfer-Encoding", post("Transfer-Encoding:\r\n chunked\r\n", fiveBytes+smuggled), bad},
		{"12 folded length", post("Content-Length:\r\n 5\r\n", "hello"), bad},
		{"12 first field begins with a blank", "POST PATH HTTP/1.1\r\n X: x\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", bad},
		{"13 NUL in a value", post("X: a\x00b\r\n"+length5, "hello"), bad},
		{"13 CR in a value", post("X: a\rb\r\n"+length5, "hello"), bad},
		{"13 CR hides a field", post("X: a\rTransfer-Encoding: chunked\r\n"+length5, "hello"), bad},
		{"13 NUL in a name", post("X\x00: a\r\n"+length5, "hello"), bad},
		{"13 blank after a name", post("CL : 5\r\n"+length5, "hello"), bad},
		{"13 blank after Content-Length", post("Content-Length : 5\r\n", "hello"), bad},
		{"13 tab after Transfer-Encoding", post("Transfer-Encoding\t: chunked\r\n", fiveBytes+smuggled), bad},
		{"13 field line without a colon", post("X-NoColon\r\n"+length5, "hello"), bad},
		{"13 field without a name", post(": x\r\n"+length5, "hello"), bad},
	}
	for _, coding := range []string{",chunked", "xchunked", "chunked, cow", "identity", "cow", "chunked, chunked", "chunked, identity", `"chunked"`, "\x0bchunked", "gzip, chunked", ""} {
		cases = append(cases, refusal{fmt.Sprintf("3 coding %q", coding), post("Transfer-Encoding: "+coding+"\r\n", fiveBytes+smuggled), coded})
	}
	for _, lengths := range []string{"5, 5", "5,5", "5, 3", "+5", "-1", "0x5", "1_0", "", " ", "5 5", "5;", "010", "00", "05", "5.0", "\"5\"", "99999999999999999999"} {
		cases = append(cases, refusal{fmt.Sprintf("6-8 length %q", lengths), post("Content-Length: "+lengths+"\r\n", "hello"+smuggled), large})
	}
	for _, second := range []string{"5", "3", "0"} {
		cases = append(cases, refusal{"6 lengths 5 and " + second, post(length5+"Content-Length: "+second+"\r\n", "hello"+smuggled), bad})
	}
	for _, size := range []string{"0x3", "+3", " 3", "-3", "3_0", "", "g"} {
		cases = append(cases, refusal{fmt.Sprintf("9 chunk size %q", size), chunked(size + "\r\nabc\r\n0\r\n\r\n" + smuggled), bad})
	}
	for _, version := range []string{"1.2", "2.0", "9.9"} {
		raw := strings.Replace(post(length5, "hello"), "HTTP/1.1", "HTTP/"+version, 1)
		cases = append(cases, refusal{"14 HTTP/" + version, raw, []int{http.StatusHTTPVersionNotSupported}})
	}
	return cases
}

func targetRefusals() []refusal {
	bad := []int{http.StatusBadRequest}
	cases := []refusal{
		{"18 an expectation that nobody knows", post("Expect: 200-ok\r\n"+length5, "hello"), []int{http.StatusExpectationFailed}},
		{"19 two Hosts", post("Host: i\r\n"+length5, "hello"), bad},
		{"19 no Host", "POST PATH HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", bad},
		{"20 user information in an absolute target", strings.Replace(post(length5, "hello"), "PATH", "http://evil@h@PATH", 1), bad},
	}
	for _, host := range []string{"evil@h", "evil:secret@h", "h/evil", "h evil", "h#evil", "h?evil", `h\evil`} {
		raw := "POST PATH HTTP/1.1\r\nHost: " + host + "\r\nAuthorization: Bearer t\r\nContent-Length: 5\r\n\r\nhello"
		cases = append(cases, refusal{fmt.Sprintf("19 Host %q", host), raw, bad})
	}
	return cases
}

func TestFrontDoorRefusesWhatCanBeReadInTwoWays(t *testing.T) {
	h := frontDoor(t)
	for _, route := range []string{"/cached/", "/plain/"} {
		for i, c := range append(framingRefusals(), targetRefusals()...) {
			path := fmt.Sprintf("%s%d", route, i)
			t.Run(strings.Trim(route, "/")+" "+c.name, func(t *testing.T) {
				before := h.origin.Calls()
				got := talk(t, h.Addr, strings.ReplaceAll(c.raw, "PATH", path))
				if !slices.Contains(c.want, got.StatusCode) {
					t.Errorf("status %d, want one of %d; body %q", got.StatusCode, c.want, got.Body)
				}
				if got.Rest != "" || !got.Closed {
					t.Errorf("after the refusal: %q, closed %v", got.Rest, got.Closed)
				}
				if n := h.origin.Calls() - before; n != 0 {
					t.Errorf("%d requests reached the origin, the last is\n%q", n, h.lastRequest().Head)
				}
				h.cleanAfter(t, path)
			})
		}
	}
	h.Stop() // whatever was still on its way has arrived
	if n := h.origin.Calls(); n != h.clean {
		t.Errorf("%d requests reached the origin, %d of them by right", n, h.clean)
	}
}

// cleanAfter says whether a clean request for path is answered by the origin
// itself, by its own answer: the refused one before it has left nothing behind.
func (h *house) cleanAfter(t *testing.T, path string) {
	t.Helper()
	calls := h.origin.Calls()
	got, proof := h.ask(t, path)
	if proof.Call != calls+1 {
		t.Errorf("a clean request was given the answer of call %d, want %d", proof.Call, calls+1)
	}
	if !strings.HasPrefix(path, "/cached/") {
		return
	}
	if c := got.Header.Get("X-Cache"); c != "MISS" {
		t.Errorf("a clean request after the refused one: X-Cache %q", c)
	}
	h.untilHit(t, path) // the above means something only where answers are stored
}

// ask sends a clean POST of "hello" and checks that its answer is its own.
func (h *house) ask(t *testing.T, path string) (*reply, origintest.Answer) {
	t.Helper()
	got := talk(t, h.Addr, "POST "+path+" HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello")
	proof := got.proof(t, "POST", path, "", "hello")
	if got.Header.Get("X-Cache") != "HIT" {
		h.clean++
	}
	return got, proof
}

// untilHit asks until the answer comes from the cache: clients have their
// answers before the store has.
func (h *house) untilHit(t *testing.T, path string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		got, _ := h.ask(t, path)
		if got.Header.Get("X-Cache") == "HIT" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("never a hit; Cache-Status %q", got.Header.Get("Cache-Status"))
		}
	}
}

// lastRequest is the latest request that the origin has seen.
func (h *house) lastRequest() *origintest.Request {
	all := h.origin.Requests()
	return all[len(all)-1]
}
