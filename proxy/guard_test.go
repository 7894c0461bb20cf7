package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// followed is what framing made of some bytes.
type followed struct {
	passed string
	ended  bool
	err    error
}

// follow gives framing the bytes in the pieces that the cuts leave.
func follow(raw string, head bool, cuts ...int) followed {
	var f framing
	f.begin(head)
	var got followed
	from := 0
	for _, to := range append(cuts, len(raw)) {
		n, err := f.pass([]byte(raw[from:to]))
		got.passed += raw[from : from+n]
		got.err, got.ended = err, f.ended()
		if err != nil || got.ended {
			break
		}
		from = to
	}
	return got
}

// inAllSplits has framing follow the bytes whole, in two and three pieces, and
// byte by byte.
func inAllSplits(raw string, check func(how string, got followed)) {
	check("whole", follow(raw, false))
	every := make([]int, 0, len(raw))
	for i := 1; i < len(raw); i++ {
		check(fmt.Sprintf("cut at %d", i), follow(raw, false, i))
		for j := i + 1; j < min(i+8, len(raw)); j++ {
			check(fmt.Sprintf("cut at %d and %d", i, j), follow(raw, false, i, j))
		}
		every = append(every, i)
	}
	check("byte by byte", follow(raw, false, every...))
}

const (
	ok200       = "HTTP/1.1 200 OK\r\n"
	chunkedHead = ok200 + "Transfer-Encoding: chunked\r\n\r\n"
)

func TestAnAnswerIsFollowedToItsEndHoweverItIsSplit(t *testing.T) {
	f := func(answer string) {
		t.Helper()
		for _, excess := range []string{"", "\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"} {
			inAllSplits(answer+excess, func(how string, got followed) {
				if got.err != nil || !got.ended || got.passed != answer {
					t.Fatalf("%q, then %q, %s: passed %q, ended %v, %v", answer, excess, how, got.passed, got.ended, got.err)
				}
			})
		}
	}
	f(ok200 + "Content-Length: 5\r\n\r\nhello")
	f(ok200 + "content-length:\t5 \r\nX: \xe4\ta\r\nX:\r\n\r\n\r\n\n\r\x00")
	f("HTTP/1.0 200\r\nContent-Length: 0\r\n\r\n")
	f("HTTP/1.1 999 \r\nContent-Length: 0\r\n\r\n")
	f("HTTP/1.1 204 No Content\r\n\r\n")
	f("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")
	f("HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n")
	f("HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n")
	f("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n" + ok200 + "Content-Length: 1\r\n\r\na")
	f(ok200 + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	f(ok200 + "transfer-encoding: Chunked\r\n\r\n5\r\nhello\r\nB;a=\"b\tc\"\r\n 012\r\n45\r\n9\r\n000;x\r\nExpires: never\r\nY:\r\n\r\n")
}

func TestAnAnswerWithoutFramingGoesToTheEndOfTheConnection(t *testing.T) {
	inAllSplits(ok200+"\r\nhello", func(how string, got followed) {
		if got.err != nil || got.ended || got.passed != ok200+"\r\nhello" {
			t.Fatalf("%s: passed %q, ended %v, %v", how, got.passed, got.ended, got.err)
		}
	})
}

func TestTheAnswerToAHEADEndsWithItsHead(t *testing.T) {
	f := func(head string) {
		t.Helper()
		if got := follow(head+"hello", true); got.err != nil || !got.ended || got.passed != head {
			t.Errorf("%q: passed %q, ended %v, %v", head, got.passed, got.ended, got.err)
		}
	}
	f(ok200 + "\r\n")
	f(ok200 + "Content-Length: 5\r\n\r\n")
	f(ok200 + "Transfer-Encoding: chunked\r\n\r\n")
	f("HTTP/1.1 103 Early Hints\r\n\r\n" + ok200 + "\r\n")
}

func TestAnAnswerThatCanBeReadInTwoWaysNeverComesThroughWhole(t *testing.T) {
	f := func(raw string) {
		t.Helper()
		inAllSplits(raw, func(how string, got followed) {
			if !errors.Is(got.err, errMalformedAnswer) || got.ended {
				t.Fatalf("%q, %s: passed %q, ended %v, %v", raw, how, got.passed, got.ended, got.err)
			}
			if !strings.HasPrefix(raw, chunkedHead) && strings.Contains(got.passed, "\r\n\r\n") {
				t.Fatalf("%q, %s: a refused head came through to its end: %q", raw, how, got.passed)
			}
		})
	}
	for _, line := range []string{
		"HTTP/2.0 200 OK", "HTTP/1.2 200 OK", "http/1.1 200 OK", "HTTP/1.1  200 OK", "HTTP/1.1\t200 OK", "HTTP/1.1 20 OK",
		"HTTP/1.1 2000 OK", "HTTP/1.1 +20 OK", "HTTP/1.1 099 OK", "HTTP/1.1 200\tOK", "HTTP/1.1 200 O\x00K", "HTTP/1.1 200 O\rK",
		"", " HTTP/1.1 200 OK", "hello", "HTTP/1.1 200 OK\r", "HTTP/1.10 200 OK",
	} {
		f(line + "\r\nContent-Length: 5\r\n\r\nhello")
	}
	for _, fields := range []string{
		"Content-Length: 5\r\nContent-Length: 5", "Content-Length: 5\r\ncontent-length: 3", "Content-Length: 5, 5", "Content-Length: 5\x0b",
		"Content-Length: +5", "Content-Length: -5", "Content-Length: 05", "Content-Length: 0x5", "Content-Length: 5.0", "Content-Length:",
		"Content-Length: 1234567890123456789", "Content-Length : 5", "Content-Length\t: 5", " Content-Length: 5", "Content-Length", ": 5",
		"Content-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 5", "Transfer-Encoding: gzip, chunked",
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "Transfer-Encoding: identity", "Transfer-Encoding: \"chunked\"", "Transfer-Encoding:",
		"Transfer-Encoding:\x0bchunked", "Transfer-Encoding : chunked", "Transfer-Encoding:\r\n chunked", "X: a\r\n\tb", "X: a\x00b", "X: a\rb", "X: \x7f", "X\x80: a", "X(: a",
	} {
		f(ok200 + fields + "\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
	}
	f("HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\nhello")
	f(ok200 + "Content-Length: 5\n\r\nhello")
	f(ok200 + "Content-Length: 5\r\n\nhello")
	f("HTTP/1.0 200 OK\r\nTransfer-Encoding:  chunked\r\n\r\n0\r\n\r\n")
	f("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello")
	f("HTTP/1.1 204 No Content\r\nTransfer-Encoding:  chunked\r\n\r\n0\r\n\r\n")
	f("HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\nhello")
	f("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n")
	for _, chunks := range []string{
		"0x5\r\nhello", "+5\r\nhello", " 5\r\nhello", "5 \r\nhello", "5 ;a\r\nhello", "-5\r\nhello", "\r\nhello", ";a\r\nhello", "g\r\nhello",
		"5\nhello\r\n", "5;a\nb\r\nhello", "5;a\x00\r\nhello", "5;a\rb\r\nhello", "fffffffffffffffff\r\nhello", "1000000000000000\r\nhello", "5;" + strings.Repeat("a", maxChunkLine) + "\r\nhello",
		"3\r\nhello\r\n0\r\n\r\n", "5\r\nhello\n0\r\n\r\n", "5\r\nhello0\r\n\r\n", "5\r\nhello\r0\r\n\r\n", "0\r\n\n", "0\n\r\n",
		"0\r\nX : a\r\n\r\n", "0\r\n X: a\r\n\r\n", "0\r\nX\r\n\r\n", "0\r\nX: \x00\r\n\r\n", "0\r\nX: a\n\r\n", "0\r\nHTTP/1.1 200 OK\r\n\r\n",
		"0\r\nX: " + strings.Repeat("a", maxTrailers) + "\r\n\r\n",
	} {
		if len(chunks) < 100 {
			f(chunkedHead + chunks)
		} else if got := follow(chunkedHead+chunks, false); !errors.Is(got.err, errMalformedAnswer) {
			t.Errorf("%.80q: %v", chunks, got.err)
		}
	}
}

// What comes through whole, net/http must take for the same: an answer that
// ends where framing says so, and for which nothing remains to be read.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		ok200 + "Content-Length: 5\r\n\r\nhello" + ok200,
		ok200 + "Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: a\r\n\r\nx",
		ok200 + "\r\nhello",
		"HTTP/1.0 200\r\n\r\n",
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
		"HTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + ok200 + "Content-Length: 0\r\n\r\n",
		ok200 + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\nTrailer: X\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\nContent-Length : 5\n\n",
	} {
		f.Add([]byte(seed), false, uint16(20))
		f.Add([]byte(seed), true, uint16(1))
	}
	f.Fuzz(func(t *testing.T, raw []byte, head bool, cut uint16) {
		got := follow(string(raw), head, int(cut)%(len(raw)+1))
		if whole := follow(string(raw), head); whole.ended != got.ended || (whole.err == nil) != (got.err == nil) || whole.ended && whole.passed != got.passed {
			t.Fatalf("whole: %+v\ncut at %d: %+v", whole, int(cut)%(len(raw)+1), got)
		}
		rest, resp, err := readByNetHTTP(got.passed, head)
		switch {
		case got.ended && err != nil:
			if !stricter(err) {
				t.Fatalf("net/http does not take %q: %v", got.passed, err)
			}
		case got.ended && rest > 0:
			t.Fatalf("net/http leaves %d bytes of %q", rest, got.passed)
		case !got.ended && err == nil && (got.err != nil || !resp.Close || resp.ContentLength >= 0):
			t.Fatalf("net/http takes %q for whole: %+v", got.passed, resp)
		}
	})
}

// readByNetHTTP reads an answer as the transport does, behind interim ones.
func readByNetHTTP(raw string, head bool) (rest int, resp *http.Response, err error) {
	br := bufio.NewReader(strings.NewReader(raw))
	req := &http.Request{Method: http.MethodGet}
	if head {
		req.Method = http.MethodHead
	}
	for resp == nil || resp.StatusCode < 200 {
		if resp, err = http.ReadResponse(br, req); err != nil {
			return 0, nil, err
		}
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0, nil, err
	}
	left, err := io.Copy(io.Discard, br)
	return int(left), resp, err
}

// stricter names what net/http refuses though it can be read in one way.
func stricter(err error) bool {
	for _, text := range []string{
		"bad trailer key", // a Trailer field that lists framing fields
		"chunked encoding contains too much non-data",  // many small chunks with long extensions
		"suspiciously long trailer after chunked body", // above its buffer
	} {
		if strings.Contains(err.Error(), text) {
			return true
		}
	}
	return false
}

func BenchmarkFraming(b *testing.B) {
	head := ok200 + "Date: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Type: application/json; charset=utf-8\r\nServer: nginx\r\n" +
		"Cache-Control: max-age=3600, public\r\nETag: \"0123456789abcdef0123456789abcdef\"\r\nVary: Accept-Encoding\r\n" +
		"X-Request-Id: 01234567-89ab-cdef-0123-456789abcdef\r\nStrict-Transport-Security: max-age=31536000; includeSubDomains\r\n"
	f := func(name, raw string) {
		b.Run(name, func(b *testing.B) {
			var f framing
			p := []byte(raw)
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				f.begin(false)
				if _, err := f.pass(p); err != nil || !f.ended() {
					b.Fatal(err)
				}
			}
		})
	}
	f("head", head+"Content-Length: 0\r\n\r\n")
	f("64KiB", head+"Content-Length: 65536\r\n\r\n"+strings.Repeat("a", 64<<10))
	f("64KiB in chunks of 4KiB", head+"Transfer-Encoding: chunked\r\n\r\n"+strings.Repeat("1000\r\n"+strings.Repeat("a", 4<<10)+"\r\n", 16)+"0\r\n\r\n")
}
