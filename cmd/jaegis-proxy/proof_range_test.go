package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"testing"

	"jaegis-proxy/internal/origintest"
)

// 36: whatever range is asked for, what comes is what the answer has there.
func TestARangeIsAPieceOfTheAnswerOrNone(t *testing.T) {
	r := e2e(t, proofRoutes)
	body := text(20_000)
	ranges := []string{
		"bytes=-65535,-9223372036854710273", "bytes=-9223372036854710273,-65535", "bytes=0-9223372036854775807", "bytes=0-18446744073709551615", "bytes=0-18446744073709551616", "bytes=-18446744073709551615",
		"bytes=9223372036854775807-", "bytes=9223372036854775806-9223372036854775807", "bytes=18446744073709551616-", "bytes=4294967296-4294967300", "bytes=-9223372036854775808", "bytes=-0", "bytes=-1", "bytes=-20000", "bytes=-20001",
		"bytes=0-0", "bytes=19999-", "bytes=20000-", "bytes=19999-20000", "bytes=5-4", "bytes=0-", "bytes=0-9,5-14", "bytes=5-14,0-9", "bytes=0-0,-1", "bytes=0-0,2-2,4-4", "bytes=20000-,0-0", "bytes=,0-1,,",
		"bytes=0-1;q=1", "bytes=--1", "bytes=+1-2", "bytes=0x1-2", "bytes=0-1 ", "bytes =0-1", "bytes= 0-1", "bytes=0 -1", "bytes=0- 1", "BYTES=0-1", "byte=0-1", "bytes", "bytes=", "bytes=-", "=0-1", "0-1", "bytes:0-1", "bytes=0-1, 3-4 , 6-7", "bytes=a-b", "bytes=0-1,x", "none=0-1", "bytes=0-1\x80", "bytes=\u0660-\u0661",
		"bytes=" + strings.Repeat("0-,", 2_000) + "0-", "bytes=" + strings.Repeat("0-0,", 2_000) + "0-0", "bytes=" + strings.Repeat("-1,", 2_000) + "-1", "bytes=0-" + strings.Repeat("9", 9_000), "bytes=" + strings.Repeat("0", 9_000) + "-1", manyRanges(500),
	}
	for _, route := range []string{"/c/", "/public/", "/d/"} {
		path := route + "range"
		r.origin.On(path, origintest.Reply{Fields: []string{"Content-Type: text/plain", "Cache-Control: max-age=3600", `ETag: "v1"`, "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT"}, Pieces: []string{body}}.Serve)
		r.untilX(t, get(path), "HIT")
		r.until(t, get(path, "Accept-Encoding: gzip"), "in the store", func(got *reply) bool { return got.Header.Get("Content-Encoding") == "gzip" })
		wholes := []*reply{r.whole(t, get(path)), r.whole(t, get(path, "Accept-Encoding: gzip"))}
		if wholes[0].Header.Get("Content-Encoding") == wholes[1].Header.Get("Content-Encoding") {
			t.Fatalf("%s: one coding for all", path)
		}
		for _, value := range ranges {
			for _, more := range []string{"X-None: 1", `If-Range: "v1"`, `If-Range: "v2"`, "If-Range: Thu, 01 Jan 2026 00:00:00 GMT", "If-Range: Fri, 02 Jan 2026 00:00:00 GMT"} {
				for _, accept := range []string{"Accept-Encoding: identity", "Accept-Encoding: gzip"} {
					got := r.do(t, get(path, accept, "Range: "+value, more))
					err := wrongPiece(wholes, got)
					if changed := strings.Contains(more, "v2") || strings.Contains(more, "Fri"); changed && got.StatusCode != http.StatusOK {
						err = errors.New("a piece of another answer than the client has")
					}
					if err != nil {
						t.Errorf("%s %.60q %q %q: status %d, Content-Range %q: %v", path, value, more, accept, got.StatusCode, got.Header.Get("Content-Range"), err)
					}
				}
			}
		}
		if again := r.whole(t, get(path)); string(again.Body) != body || again.xCache() != "HIT" {
			t.Errorf("%s: after all that %d bytes, %s", path, len(again.Body), again.status())
		}
		r.expectCalls(t, path, 1)
	}
}

// manyRanges is n ranges of a byte each with a gap behind it.
func manyRanges(n int) string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%d-%d", 2*i, 2*i)
	}
	return "bytes=" + strings.Join(all, ",")
}

// wrongPiece says what is wrong with an answer to a request for ranges, of which
// wholes are the codings that a client can have (RFC 9110, section 14). It may be
// all of one of them, never much more.
func wrongPiece(wholes []*reply, got *reply) error {
	coding := got.Header.Get("Content-Encoding")
	i := slices.IndexFunc(wholes, func(w *reply) bool {
		if got.StatusCode == http.StatusRequestedRangeNotSatisfiable {
			return got.Header.Get("Content-Range") == fmt.Sprint("bytes */", len(w.Body))
		}
		return w.Header.Get("Content-Encoding") == coding
	})
	switch {
	case got.Err != nil:
		return got.Err
	case i < 0:
		return fmt.Errorf("nothing has this size in coding %q", coding)
	case got.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return nil
	case len(got.Body) > len(wholes[i].Body)+4_000:
		return fmt.Errorf("%d bytes, more than the whole of %d", len(got.Body), len(wholes[i].Body))
	}
	whole := wholes[i]
	for _, name := range []string{"ETag", "Last-Modified"} {
		if a, b := whole.Header.Get(name), got.Header.Get(name); a != b {
			return fmt.Errorf("%s %q, want %q", name, b, a)
		}
	}
	switch {
	case got.StatusCode == http.StatusOK:
		if !bytes.Equal(got.Body, whole.Body) || got.Header.Get("Content-Range") != "" {
			return fmt.Errorf("%d bytes that are not the whole", len(got.Body))
		}
		return nil
	case got.StatusCode != http.StatusPartialContent:
		return fmt.Errorf("status %d", got.StatusCode)
	}
	kind, params, err := mime.ParseMediaType(got.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/byteranges" {
		return wrongSlice(whole.Body, got.Header.Get("Content-Range"), got.Body)
	}
	return wrongSlices(whole.Body, multipart.NewReader(bytes.NewReader(got.Body), params["boundary"]))
}

// wrongSlices says what is wrong with the parts of a multipart/byteranges.
func wrongSlices(whole []byte, parts *multipart.Reader) error {
	for n := 0; ; n++ {
		p, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) && n > 1 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("part %d: %w", n, err)
		}
		piece, err := io.ReadAll(p)
		if err != nil {
			return fmt.Errorf("part %d: %w", n, err)
		}
		if err := wrongSlice(whole, p.Header.Get("Content-Range"), piece); err != nil {
			return fmt.Errorf("part %d: %w", n, err)
		}
	}
}

// wrongSlice says why piece is not what whole has where contentRange says.
func wrongSlice(whole []byte, contentRange string, piece []byte) error {
	var first, last, size int
	if _, err := fmt.Sscanf(contentRange, "bytes %d-%d/%d", &first, &last, &size); err != nil || contentRange != fmt.Sprintf("bytes %d-%d/%d", first, last, size) {
		return fmt.Errorf("Content-Range %q", contentRange)
	}
	if first < 0 || last < first || last >= len(whole) || size != len(whole) {
		return fmt.Errorf("Content-Range %q of %d bytes", contentRange, len(whole))
	}
	if !bytes.Equal(piece, whole[first:last+1]) {
		return fmt.Errorf("%d bytes that are not those of %q", len(piece), contentRange)
	}
	return nil
}

func TestAPieceThatIsNoneIsFound(t *testing.T) {
	whole := &reply{StatusCode: 200, Header: http.Header{"Etag": {`"v1"`}}, Body: []byte("0123456789")}
	f := func(right bool, status int, body string, fields ...string) {
		t.Helper()
		h := http.Header{"Etag": {`"v1"`}}
		for i := 0; i < len(fields); i += 2 {
			h.Set(fields[i], fields[i+1])
		}
		if err := wrongPiece([]*reply{whole}, &reply{StatusCode: status, Header: h, Body: []byte(body)}); (err == nil) != right {
			t.Errorf("%d %q %q: %v", status, body, fields, err)
		}
	}
	two := func(second string) string {
		return "--b\r\nContent-Range: bytes 0-1/10\r\n\r\n01\r\n--b\r\nContent-Range: bytes 8-9/10\r\n\r\n" + second + "\r\n--b--\r\n"
	}
	f(true, 200, "0123456789")
	f(true, 206, "12", "Content-Range", "bytes 1-2/10")
	f(true, 206, "9", "Content-Range", "bytes 9-9/10")
	f(true, 416, "", "Content-Range", "bytes */10")
	f(true, 206, two("89"), "Content-Type", "multipart/byteranges; boundary=b")

	f(false, 200, "012345678")
	f(false, 200, "0123456789", "Content-Range", "bytes 0-9/10")
	f(false, 200, "0123456789", "Content-Encoding", "gzip")
	f(false, 200, "0123456789", "ETag", `"v2"`)
	f(false, 206, "12", "Content-Range", "bytes 2-3/10")
	f(false, 206, "12", "Content-Range", "bytes 1-2/11")
	f(false, 206, "12", "Content-Range", "bytes 1-2/*")
	f(false, 206, "9", "Content-Range", "bytes 9-10/10")
	f(false, 206, "", "Content-Range", "bytes 2-1/10")
	f(false, 206, "0123456789")
	f(false, 206, two("78"), "Content-Type", "multipart/byteranges; boundary=b")
	f(false, 206, two("89"), "Content-Type", "multipart/byteranges; boundary=c")
	f(false, 416, "", "Content-Range", "bytes */11")
	f(false, 416, "")
	f(false, 206, strings.Repeat("0", 5_000), "Content-Range", "bytes 0-4999/10")
	f(false, 304, "")
	f(false, 502, "")
}
