package main

import (
	"compress/gzip"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// RFC 9211: why a request was forwarded, where that is known.
func TestCacheStatusSaysWhyARequestWasForwarded(t *testing.T) {
	o := serveVersions(t)
	p := start(t, routesBefore(o.URL))
	o.answers(func(w http.ResponseWriter, r *http.Request, _ int64) bool {
		w.Header().Set("ETag", `"e"`)
		w.Header().Set("Vary", "Accept-Language")
		if r.URL.Path == "/stale" {
			w.Header().Set("Cache-Control", "public, max-age=0")
		}
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
			return true
		}
		return false
	})
	f := func(want, path string, fields ...string) {
		t.Helper()
		resp, _ := ask(t, "GET", p.URL+path, "", fields...)
		if got := resp.Header.Get("Cache-Status"); !strings.HasPrefix(got, want) {
			t.Errorf("%s %q: %q, want %q", path, fields, got, want)
		}
	}
	f("jaegis; fwd=miss; fwd-status=200; stored", "/x", "Accept-Language", "de")
	f("jaegis; fwd=vary-miss; fwd-status=200; stored", "/x", "Accept-Language", "fr")
	f("jaegis; hit; ttl=", "/x", "Accept-Language", "fr")
	f("jaegis; fwd=request; fwd-status=304; ttl=", "/x", "Accept-Language", "fr", "Cache-Control", "no-cache")
	f("jaegis; fwd=miss; fwd-status=200; stored", "/stale")
	f("jaegis; fwd=stale; fwd-status=304; ttl=", "/stale")
}

// RFC 9111, section 4.2.3, and RFC 9110, section 6.6.1.
func TestAgeAndDateSpeakOfTheTimeOfReceipt(t *testing.T) {
	o := serveVersions(t)
	p := start(t, routesBefore(o.URL))
	o.answers(func(w http.ResponseWriter, _ *http.Request, _ int64) bool {
		time.Sleep(1100 * time.Millisecond) // the upstream's own time counts
		w.Header()["Date"] = nil            // it has no clock
		w.Header().Set("Age", "5")
		return false
	})
	first, _ := ask(t, "GET", p.URL+"/x", "")
	date := first.Header.Get("Date")
	if _, err := http.ParseTime(date); err != nil {
		t.Errorf("Date %q: %v", date, err)
	}
	for {
		resp, _ := ask(t, "GET", p.URL+"/x", "")
		age, err := strconv.Atoi(resp.Header.Get("Age"))
		if err != nil || age < 6 || resp.Header.Get("Date") != date {
			t.Fatalf("Age %q, Date %q, want 6 at least and %q", resp.Header.Get("Age"), resp.Header.Get("Date"), date)
		}
		if age > 6 {
			return // a second has passed, and Date stayed
		}
	}
}

// RFC 9530: a digest is of the bytes that it came with.
func TestDigestsStayWithTheirBytes(t *testing.T) {
	o := serveVersions(t)
	p := start(t, routesBefore(o.URL))
	o.answers(func(w http.ResponseWriter, r *http.Request, _ int64) bool {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Digest", "sha-256=:AAAA:")
		w.Header().Set("Repr-Digest", "sha-256=:BBBB:")
		if r.URL.Path == "/coded" {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			fmt.Fprint(z, strings.Repeat("hello ", 1000))
			_ = z.Close()
			return true
		}
		fmt.Fprint(w, strings.Repeat("hello ", 1000))
		return true
	})
	f := func(path, coding, content, repr string, fields ...string) {
		t.Helper()
		for range 2 {
			resp, _ := ask(t, "GET", p.URL+path, "", fields...)
			h := resp.Header
			if h.Get("Content-Encoding") != coding || h.Get("Content-Digest") != content || h.Get("Repr-Digest") != repr {
				t.Errorf("%s %q: %v", path, fields, h)
			}
		}
	}
	const content, repr = "sha-256=:AAAA:", "sha-256=:BBBB:"
	f("/plain", "", content, repr, "Accept-Encoding", "gzip") // not coded by us, so that they hold
	f("/plain", "", "", repr, "Range", "bytes=0-3")
	f("/coded", "gzip", content, repr, "Accept-Encoding", "gzip")
	f("/coded", "", "", "")
}

// RFC 9110, section 7.7.
func TestNoTransformIsKept(t *testing.T) {
	o := serveVersions(t)
	p := start(t, routesBefore(o.URL))
	o.answers(func(w http.ResponseWriter, r *http.Request, _ int64) bool {
		w.Header().Set("Cache-Control", "public, max-age=600, no-transform")
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Vary", "Accept-Encoding")
		if r.Header.Get("Accept-Encoding") != "gzip" {
			w.Header().Set("ETag", `"plain"`)
			fmt.Fprint(w, strings.Repeat("plain ", 1000))
			return true
		}
		w.Header().Set("ETag", `"coded"`)
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		fmt.Fprint(z, "coded")
		_ = z.Close()
		return true
	})
	resp, _ := ask(t, "GET", p.URL+"/x", "", "Accept-Encoding", "gzip")
	if h := resp.Header; h.Get("ETag") != `"coded"` || h.Get("Content-Encoding") != "gzip" || len(h["Vary"]) != 1 {
		t.Errorf("%v", h)
	}
	for range 3 {
		resp, body := ask(t, "GET", p.URL+"/x", "")
		if h := resp.Header; h.Get("ETag") != `"plain"` || h.Get("Content-Encoding") != "" || body != strings.Repeat("plain ", 1000) {
			t.Errorf("%v, %.20q", h, body)
		}
		resp, _ = ask(t, "GET", p.URL+"/x", "", "Accept-Encoding", "gzip") // who takes gzip takes plain too
		if h := resp.Header; (h.Get("ETag") == `"coded"`) != (h.Get("Content-Encoding") == "gzip") {
			t.Errorf("%v", h)
		}
	}
}

// RFC 5861, section 4: an error that says of itself that it may be stored does
// not take the place of what is there for errors.
func TestAnErrorDoesNotTakeThePlaceOfWhatIsThereForErrors(t *testing.T) {
	o := serveVersions(t)
	p := start(t, routesBefore(o.URL))
	o.answers(func(w http.ResponseWriter, _ *http.Request, _ int64) bool {
		w.Header().Set("Cache-Control", "public, max-age=0, stale-if-error=600")
		return false
	})
	ask(t, "GET", p.URL+"/x", "")
	o.answers(func(w http.ResponseWriter, _ *http.Request, _ int64) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	for range 3 {
		if resp, body := ask(t, "GET", p.URL+"/x", ""); resp.StatusCode != http.StatusOK || body != "v1" {
			t.Errorf("status %d, %q, %s", resp.StatusCode, body, resp.Header.Get("Cache-Status"))
		}
	}
}
