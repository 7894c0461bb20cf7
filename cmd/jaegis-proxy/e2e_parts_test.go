package main

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// rangedFile is an origin that serves one file with ranges, and notes what it was
// asked for.
type rangedFile struct {
	*httptest.Server
	mu      sync.Mutex
	content string
	etag    string
	asked   []string // of each request: its Range, or "whole"
}

func serveFile(t *testing.T, content, etag string) *rangedFile {
	t.Helper()
	f := &rangedFile{content: content, etag: etag}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		asked := r.Header.Get("Range")
		if asked == "" {
			asked = "whole"
		}
		f.asked = append(f.asked, asked)
		w.Header().Set("Cache-Control", "max-age=1000")
		w.Header().Set("Content-Type", "application/pdf")
		if f.etag != "" {
			w.Header().Set("ETag", f.etag)
		}
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(f.content))
	}))
	t.Cleanup(f.Close)
	return f
}

// change puts another file in the place of the first.
func (f *rangedFile) change(content, etag string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.content, f.etag = content, etag
}

// since gives what was asked for, and forgets it.
func (f *rangedFile) since() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	asked := strings.Join(f.asked, " ")
	f.asked = nil
	return asked
}

// step is one request and what must become of it.
type step struct {
	fields       []string
	status       int
	contentRange string
	body         string
	asked        string // of the origin
}

func (f *rangedFile) run(t *testing.T, target string, steps []step) {
	t.Helper()
	for i, s := range steps {
		resp, body := ask(t, "GET", target, "", s.fields...)
		if got := f.since(); resp.StatusCode != s.status || resp.Header.Get("Content-Range") != s.contentRange || body != s.body || got != s.asked {
			t.Errorf("step %d %v: status %d, Content-Range %q, body %q, the origin was asked for %q (%s)",
				i, s.fields, resp.StatusCode, resp.Header.Get("Content-Range"), body, got, resp.Header.Get("Cache-Status"))
		}
	}
}

const digits = "0123456789abcdefghij"

// RFC 9111, sections 3.3 and 3.4.
func TestPartsAreKeptJoinedAndCompleted(t *testing.T) {
	f := serveFile(t, digits, `"v1"`)
	p := start(t, routesBefore(f.URL))
	part := func(r, asked string, first, last int) step {
		return step{[]string{"Range", r}, 206, fmt.Sprintf("bytes %d-%d/20", first, last), digits[first : last+1], asked}
	}
	whole := func(asked string) step { return step{nil, 200, "", digits, asked} }

	f.run(t, p.URL+"/a", []step{
		part("bytes=0-3", "bytes=0-3", 0, 3),
		part("bytes=0-3", "", 0, 3),
		part("bytes=1-2", "", 1, 2),
		part("bytes=2-6", "bytes=2-6", 2, 6),
		part("bytes=0-6", "", 0, 6), // what overlapped is one part
		part("bytes=7-9", "bytes=7-9", 7, 9),
		part("bytes=3-8", "", 3, 8), // and so is what touched
		whole("bytes=10-"),
		whole(""),
		part("bytes=-2", "", 18, 19),
	})
	f.run(t, p.URL+"/end", []step{
		part("bytes=-5", "bytes=-5", 15, 19),
		part("bytes=16-", "", 16, 19),
		part("bytes=-1", "", 19, 19),
		whole("whole"), // there is no beginning to complete
		part("bytes=0-0", "", 0, 0),
	})
	f.run(t, p.URL+"/halves", []step{
		part("bytes=10-", "bytes=10-", 10, 19),
		part("bytes=0-9", "bytes=0-9", 0, 9),
		whole(""), // two halves are a whole
	})
	f.run(t, p.URL+"/apart", []step{
		part("bytes=0-1", "bytes=0-1", 0, 1),
		part("bytes=8-9", "bytes=8-9", 8, 9),
		part("bytes=8-9", "", 8, 9),
		part("bytes=0-1", "bytes=0-1", 0, 1), // what is apart is not joined
	})
	f.run(t, p.URL+"/if", []step{
		{[]string{"Range", "bytes=0-3", "If-Range", `"v1"`}, 206, "bytes 0-3/20", digits[:4], "bytes=0-3"},
		{[]string{"Range", "bytes=0-1", "If-Range", `"v1"`}, 206, "bytes 0-1/20", digits[:2], ""},
		{[]string{"Range", "bytes=0-1", "If-Range", `"v0"`}, 200, "", digits, "bytes=0-1"},
		{[]string{"Range", "bytes=30-"}, 416, "bytes */20", "", ""},
	})
}

// What is there of one representation is never joined with another.
func TestPartsOfAnotherRepresentationAreNotJoined(t *testing.T) {
	other := strings.ToUpper(digits)
	f := serveFile(t, digits, `"v1"`)
	p := start(t, routesBefore(f.URL))
	first := step{[]string{"Range", "bytes=0-14"}, 206, "bytes 0-14/20", digits[:15], "bytes=0-14"}

	f.run(t, p.URL+"/complete", []step{first})
	f.change(other, `"v2"`)
	f.run(t, p.URL+"/complete", []step{{nil, 200, "", other, "bytes=15-"}})

	f.change(digits, `"v1"`)
	f.run(t, p.URL+"/join", []step{first})
	f.change(other, `"v2"`)
	f.run(t, p.URL+"/join", []step{
		{[]string{"Range", "bytes=15-"}, 206, "bytes 15-19/20", other[15:], "bytes=15-"},
		{[]string{"Range", "bytes=14-15"}, 206, "bytes 14-15/20", other[14:16], "bytes=14-15"},
		{nil, 200, "", other, "whole"},
	})
}

// Without a strong validator nobody can tell what a part fits with: it is the
// answer to its own Range, and to nothing else.
func TestPartsWithoutAStrongValidatorAnswerTheirOwnRange(t *testing.T) {
	f := serveFile(t, digits, "")
	p := start(t, routesBefore(f.URL))
	f.run(t, p.URL+"/x", []step{
		{[]string{"Range", "bytes=0-3"}, 206, "bytes 0-3/20", digits[:4], "bytes=0-3"},
		{[]string{"Range", "bytes=0-3"}, 206, "bytes 0-3/20", digits[:4], ""},
		{[]string{"Range", "bytes=0-2"}, 206, "bytes 0-2/20", digits[:3], "bytes=0-2"},
		{nil, 200, "", digits, "whole"},
		{[]string{"Range", "bytes=4-5"}, 206, "bytes 4-5/20", digits[4:6], ""},
	})
	resp, body := ask(t, "GET", p.URL+"/several", "", "Range", "bytes=0-0,19-19")
	_, again := ask(t, "GET", p.URL+"/several", "", "Range", "bytes=0-0,19-19")
	if _, params, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || params["boundary"] == "" || body != again {
		t.Errorf("%v, %q, then %q", resp.Header, body, again)
	}
	if asked := f.since(); asked != "bytes=0-0,19-19" {
		t.Errorf("the origin was asked for %q", asked)
	}
}

// An upstream that says less than it announced leaves nothing behind, and the
// client sees that it was cut.
func TestACutPartIsNotKept(t *testing.T) {
	calls := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		w.Header().Set("Cache-Control", "max-age=1000")
		w.Header().Set("ETag", `"a"`)
		w.Header().Set("Content-Range", "bytes 0-9/20")
		w.WriteHeader(http.StatusPartialContent)
		w.(http.Flusher).Flush() // no length then
		_, _ = io.WriteString(w, "01234")
	}))
	t.Cleanup(s.Close)
	p := start(t, routesBefore(s.URL))
	for range 2 {
		req, err := http.NewRequestWithContext(t.Context(), "GET", p.URL+"/short", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Range", "bytes=0-9")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if !strings.HasPrefix("01234", string(body)) || !errors.Is(err, io.ErrUnexpectedEOF) || resp.Header.Get("X-Cache") != "MISS" {
			t.Errorf("%q, %v, %v", body, err, resp.Header)
		}
	}
	if calls != 2 {
		t.Errorf("%d calls", calls)
	}
}

// ownParts is an origin whose answer is one caller's own, and whose parts say in
// different ways whom they are for.
func ownParts(t *testing.T, say func(h http.Header, first bool, r *http.Request)) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := r.Header.Get("Cookie") + r.Header.Get("Authorization") + r.Header.Get("X")
		w.Header().Set("ETag", `"v1"`)
		say(w.Header(), strings.HasPrefix(r.Header.Get("Range"), "bytes=0-"), r)
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(strings.Repeat(who[len(who)-1:], 10)))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// A part that is kept for one caller, or one variant, becomes no piece of what
// another is given, whatever the other part says of itself.
func TestOnesPartIsNoPieceOfAnothersAnswer(t *testing.T) {
	f := func(what string, say func(h http.Header, first bool, r *http.Request), one, other []string) {
		t.Helper()
		p := start(t, routesBefore(ownParts(t, say)))
		for _, path := range []string{"/joined", "/completed"} {
			ask(t, "GET", p.URL+path, "", append([]string{"Range", "bytes=0-4"}, one...)...)
			if path == "/joined" {
				ask(t, "GET", p.URL+path, "", append([]string{"Range", "bytes=5-9"}, one...)...)
			} else if _, body := ask(t, "GET", p.URL+path, "", one...); body != strings.Repeat(one[1][len(one[1])-1:], 10) {
				t.Errorf("%s %s: %q", what, path, body)
			}
			for range 3 {
				resp, body := ask(t, "GET", p.URL+path, "", other...)
				if want := strings.Repeat(other[1][len(other[1])-1:], 10); body != want && !strings.Contains(resp.Header.Get("Cache-Control"), "s-maxage") {
					t.Errorf("%s %s: %q, %s", what, path, body, resp.Header.Get("Cache-Status"))
				}
				if strings.HasPrefix(body, one[1][len(one[1])-1:]) && !strings.HasPrefix(body, strings.Repeat(one[1][len(one[1])-1:], 10)) {
					t.Errorf("%s %s: a mixture: %q", what, path, body)
				}
			}
		}
	}
	callers := func(first, then string) func(h http.Header, isFirst bool, r *http.Request) {
		return func(h http.Header, isFirst bool, r *http.Request) {
			who := r.Header.Get("Cookie") + r.Header.Get("Authorization")
			h.Set("ETag", fmt.Sprintf("%q", who))
			if h.Set("Cache-Control", then); isFirst {
				h.Set("Cache-Control", first)
			} else if r.Header.Get("Range") == "" {
				h.Set("Cache-Control", first)
			}
		}
	}
	f("cookies", callers("max-age=100", "s-maxage=100"), []string{"Cookie", "c=A"}, []string{"Cookie", "c=B"})
	f("credentials", callers("max-age=100, must-revalidate", "s-maxage=100"), []string{"Authorization", "Bearer A"}, []string{"Authorization", "Bearer B"})
	f("variants", func(h http.Header, isFirst bool, r *http.Request) {
		h.Set("Cache-Control", "public, max-age=100")
		if isFirst || r.Header.Get("Range") == "" {
			h.Set("Vary", "X")
		}
	}, []string{"X", "1"}, []string{"X", "2"})
}
