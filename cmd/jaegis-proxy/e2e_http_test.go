package main

import (
	"bufio"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"jaegis-proxy/internal/origintest"
)

// RFC 9110, section 15.2: interim answers are passed on as they come, to the
// client that asked, and are no part of what is stored.
func TestInterimAnswersArePassedOnAndNeverStored(t *testing.T) {
	o := origintest.New(t)
	gate := make(chan struct{})
	o.On("/c/i", func(w *origintest.Wire, _ *origintest.Request) {
		w.Raw("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n")
		w.Wait(gate)
		w.Raw("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue")
	})
	p := start(t, routesBefore(o.URL))
	c, err := net.DialTimeout("tcp", p.Addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	r := textproto.NewReader(bufio.NewReader(c))
	for i := range 2 {
		fmt.Fprint(c, "GET /c/i HTTP/1.1\r\nHost: h\r\n\r\n")
		if i == 0 { // the origin holds its answer back until we have seen this
			if line, err := r.ReadLine(); err != nil || !strings.HasPrefix(line, "HTTP/1.1 103 ") {
				t.Fatalf("%q, %v", line, err)
			}
			if h, err := r.ReadMIMEHeader(); err != nil || h.Get("Link") != "</style.css>" || h.Get("X-Hop") != "" {
				t.Fatal(h, err)
			}
			close(gate)
		}
		line, err := r.ReadLine()
		if err != nil || !strings.HasPrefix(line, "HTTP/1.1 200 ") {
			t.Fatalf("request %d: %q, %v", i, line, err)
		}
		h, err := r.ReadMIMEHeader()
		if err != nil || h.Get("X-Cache") != []string{"MISS", "HIT"}[i] {
			t.Errorf("request %d: %v, %v", i, h, err)
		}
		if _, err := io.CopyN(io.Discard, r.R, 4); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAQueryIsCachedByItsBody(t *testing.T) {
	base, calls := echo(t)
	p := start(t, routesBefore(base))
	target := p.URL + "/q?set=Cache-Control:max-age=100"
	for _, xCache := range []string{"MISS", "HIT"} {
		resp, body := ask(t, "QUERY", target, "select one", "Content-Type", "text/x")
		want(t, resp, xCache)
		if !strings.Contains(body, "select one") {
			t.Errorf("%s", body)
		}
	}
	resp, body := ask(t, "QUERY", target, "select two", "Content-Type", "text/x")
	if want(t, resp, "MISS"); !strings.Contains(body, "select two") {
		t.Errorf("%s", body)
	}
	if resp, _ := ask(t, "QUERY", target, "select one"); resp.StatusCode != http.StatusBadRequest || calls.Load() != 2 {
		t.Errorf("without Content-Type: status %d, %d calls", resp.StatusCode, calls.Load())
	}
}

// RFC 9111, section 4.4, with answers of several callers and variants.
func TestAChangeTakesOutTheAnswersOfAllCallers(t *testing.T) {
	base, _ := echo(t)
	p := start(t, routesBefore(base))
	target := p.URL + "/thing?set=Cache-Control:max-age=100&set=Vary:Accept-Language"
	everybody := func(xCache string) {
		t.Helper()
		for _, who := range []string{"alice", "bob"} {
			for _, lang := range []string{"de", "fr"} {
				resp, body := ask(t, "GET", target, "", "Cookie", "who="+who, "Accept-Language", lang)
				want(t, resp, xCache)
				if !strings.Contains(body, who) || !strings.Contains(body, `"`+lang+`"`) {
					t.Errorf("%s in %s was given %s", who, lang, body)
				}
			}
		}
	}
	everybody("MISS")
	everybody("HIT")
	ask(t, "DELETE", target, "", "Cookie", "who=carol")
	everybody("MISS") // and the first of them does not bring back the others'
	everybody("HIT")
}

// RFC 9111, section 3.5: what says that it is for all is given to all.
func TestWhatIsForEverybodyIsFetchedOnce(t *testing.T) {
	base, calls := echo(t)
	p := start(t, routesBefore(base))
	for i, who := range []string{"alice", "bob", "carol"} {
		resp, _ := ask(t, "GET", p.URL+"/page?set=Cache-Control:public%2Cmax-age=100", "", "Authorization", "Bearer "+who)
		want(t, resp, []string{"MISS", "HIT", "HIT"}[i])
	}
	if calls.Load() != 1 {
		t.Errorf("%d calls", calls.Load())
	}
}

func TestPartsOfAStoredAnswer(t *testing.T) {
	base, calls := echo(t)
	p := start(t, routesBefore(base))
	target := p.URL + `/parts?set=Cache-Control:max-age=100&set=ETag:%22v1%22`
	_, whole := ask(t, "GET", target, "")
	size := len(whole)
	one := func(status int, contentRange, body string, fields ...string) {
		t.Helper()
		resp, got := ask(t, "GET", target, "", fields...)
		if resp.StatusCode != status || resp.Header.Get("Content-Range") != contentRange || status != 416 && got != body {
			t.Errorf("%v: status %d, Content-Range %q, %d bytes", fields, resp.StatusCode, resp.Header.Get("Content-Range"), len(got))
		}
	}
	one(206, fmt.Sprintf("bytes 2-5/%d", size), whole[2:6], "Range", "bytes=2-5")
	one(206, fmt.Sprintf("bytes %d-%d/%d", size-3, size-1, size), whole[size-3:], "Range", "bytes=-3")
	one(206, fmt.Sprintf("bytes 2-5/%d", size), whole[2:6], "Range", "bytes=2-5", "If-Range", `"v1"`)
	one(200, "", whole, "Range", "bytes=2-5", "If-Range", `"v2"`)
	one(200, "", whole, "Range", "lines=2-5")
	one(416, fmt.Sprintf("bytes */%d", size), "", "Range", fmt.Sprintf("bytes=%d-", size))

	resp, body := ask(t, "GET", target, "", "Range", fmt.Sprintf("bytes=0-0,%d-", size-1))
	_, params, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || resp.StatusCode != 206 {
		t.Fatalf("status %d, %v", resp.StatusCode, err)
	}
	parts := multipart.NewReader(strings.NewReader(body), params["boundary"])
	for _, want := range []string{whole[:1], whole[size-1:]} {
		part, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(part); err != nil || string(b) != want || part.Header.Get("Content-Type") != "application/json" {
			t.Errorf("part %q, %v, %v", b, part.Header, err)
		}
	}
	if calls.Load() != 1 {
		t.Errorf("%d calls", calls.Load())
	}
}
