package policy

import (
	"maps"
	"net/http"
	"reflect"
	"slices"
	"testing"
	"time"
)

const (
	monday  = "Mon, 05 Jan 2026 00:00:00 GMT"
	tuesday = "Tue, 06 Jan 2026 00:00:00 GMT"
)

func TestRFC9111Section4_3_1ConditionsForValidation(t *testing.T) {
	f := func(want http.Header, pairs ...string) {
		t.Helper()
		if got := Conditional(header(pairs...)); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, want %v", pairs, got, want)
		}
	}
	f(nil)
	f(nil, "ETag", "abc", "Last-Modified", "yesterday", "Date", monday)
	f(header("If-None-Match", `"a"`), "ETag", `"a"`)
	f(header("If-None-Match", `W/"a"`), "ETag", `W/"a"`)
	f(header("If-Modified-Since", monday), "Last-Modified", monday)
	f(header("If-None-Match", `"a"`, "If-Modified-Since", monday), "ETag", `"a"`, "Last-Modified", monday)
	f(header("If-Modified-Since", monday), "ETag", `a"`, "Last-Modified", monday)
}

func TestRFC9111Section4_3_4WhatA304Confirms(t *testing.T) {
	f := func(want bool, stored, notModified []string) {
		t.Helper()
		if got := Confirms(header(stored...), header(notModified...)); got != want {
			t.Errorf("304 with %q for %q: %v", notModified, stored, got)
		}
	}
	tag := func(s string) []string { return []string{"ETag", s} }
	lm := func(s string) []string { return []string{"Last-Modified", s} }
	both := func(e, m string) []string { return append(tag(e), lm(m)...) }
	f(true, tag(`"a"`), tag(`"a"`))
	f(false, tag(`"a"`), tag(`"b"`))
	f(false, tag(`W/"a"`), tag(`"a"`)) // strong: the bytes may be others
	f(true, tag(`"a"`), tag(`W/"a"`))
	f(true, tag(`W/"a"`), tag(`W/"a"`))
	f(false, tag(`W/"a"`), tag(`W/"b"`))
	f(true, both(`"a"`, monday), both(`"a"`, tuesday)) // the strong tag says it
	f(false, both(`W/"a"`, monday), both(`W/"a"`, tuesday))
	f(false, both(`W/"a"`, monday), both(`W/"b"`, monday))
	f(true, lm(monday), lm(monday))
	f(false, lm(monday), lm(tuesday))
	f(false, lm(monday), tag(`"a"`))
	f(false, lm(monday), tag(`W/"a"`))
	f(true, both(`"a"`, monday), lm(monday))
	f(false, both(`"a"`, monday), lm(tuesday))
	f(false, tag(`"a"`), lm(monday))
	f(true, tag(`"a"`), nil) // it answers to our own condition
	f(true, lm(monday), nil)
}

func TestRFC9111Section3_2UpdatedFields(t *testing.T) {
	stored := header("A", "1", "A", "2", "B", "1", "Age", "500", "ETag", `W/"a"`, "Content-Length", "5", "Content-Type", "text/plain", "Cache-Control", "max-age=1")
	before := maps.Clone(stored)
	update := header("A", "3", "C", "1", "Date", tuesday, "Cache-Control", "max-age=60", "Content-Type", "text/plain;charset=utf-8", "Content-Location", "/x", "Expires", "0")
	want := header("A", "3", "B", "1", "C", "1", "Date", tuesday, "ETag", `W/"a"`, "Content-Length", "5", "Content-Type", "text/plain;charset=utf-8",
		"Cache-Control", "max-age=60", "Content-Location", "/x", "Expires", "0")
	got := Freshen(stored, update)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("\n got %v\nwant %v", got, want)
	}
	got["A"][0] = "changed"
	if !reflect.DeepEqual(stored, before) || update.Get("A") != "3" {
		t.Errorf("the arguments changed: %v, %v", stored, update)
	}
	for _, name := range []string{
		"Connection", "Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Proxy-Authenticate", "Proxy-Authentication-Info", "Proxy-Authorization",
		"Content-Length", "Content-Encoding", "Content-Range", "Content-MD5", "Content-Digest", "Repr-Digest", "ETag", "Set-Cookie",
	} {
		if got := Freshen(header(name, "old"), header(name, "new")); got.Get(name) != "old" {
			t.Errorf("%s was updated to %q", name, got.Get(name))
		}
		if got := Freshen(header("X", "1"), header(name, "new")); len(got) != 1 {
			t.Errorf("%s came in: %v", name, got)
		}
	}
	if got := Freshen(nil, header("Connection", "close, x-A", "X-A", "1", "X-B", "2")); !reflect.DeepEqual(got, header("X-B", "2")) {
		t.Errorf("fields of the connection came in: %v", got)
	}
	if got := Freshen(header(), header("Age", "7")); got.Get("Age") != "7" {
		t.Errorf("the age of the update is lost: %v", got)
	}
}

func TestAFreshenedAnswerIsFreshAgain(t *testing.T) {
	rule, req := Rule{Freshness: FreshnessOrigin}, &Request{Method: "GET"}
	stored := header("Cache-Control", "max-age=60", "ETag", `"a"`, "Date", noon.Format(http.TimeFormat), "Age", "50")
	later := noon.Add(time.Hour)
	d := Decide(&rule, req, &Response{Status: 200, Header: stored, Framed: true}, noon)
	if d.Lifetime.At(later) != Validate {
		t.Fatalf("%+v", d)
	}
	fresh := Freshen(stored, header("ETag", `"a"`, "Date", later.Format(http.TimeFormat)))
	if d = Decide(&rule, req, &Response{Status: 200, Header: fresh, Framed: true}, later); d.Lifetime.Age(later) != 0 || d.Lifetime.At(later) != Fresh {
		t.Errorf("%+v", d)
	}
}

func TestRFC9111Section4_3_5UpdatesByHead(t *testing.T) {
	stored := []string{"Template-A", "1", "ETag", `"a"`, "Last-Modified", monday, "Content-Type", "text/plain"}
	f := func(want bool, head ...string) {
		t.Helper()
		got, ok := HeadUpdate(header(stored...), header(head...), 5)
		if ok != want || ok != (got != nil) {
			t.Errorf("%q: %v, %v", head, ok, got)
		}
		if ok && (got.Get("ETag") != `"a"` || got.Get("Template-A") != "2") {
			t.Errorf("%q: %v", head, got)
		}
	}
	f(true, "Template-A", "2")
	f(true, "Template-A", "2", "ETag", `"a"`, "Last-Modified", monday, "Content-Length", "5")
	f(false, "Template-A", "2", "ETag", `"b"`)
	f(false, "Template-A", "2", "ETag", `W/"a"`)
	f(false, "Template-A", "2", "ETag", "")
	f(false, "Template-A", "2", "ETag", `"a"`, "Last-Modified", tuesday)
	for _, bad := range []string{"6", "+5", "5, 5", "", "x"} {
		f(false, "Template-A", "2", "Content-Length", bad)
	}
	stored = []string{"Template-A", "1"}
	if _, ok := HeadUpdate(header(stored...), header("ETag", `"a"`), 5); ok {
		t.Error("a validator that the stored answer does not have was passed over")
	}
}

func TestRFC9111Section3_4PartsOfTheSameRepresentation(t *testing.T) {
	f := func(want bool, a, b []string) {
		t.Helper()
		if got := Combinable(header(a...), header(b...)); got != want {
			t.Errorf("%q with %q: %v", a, b, got)
		}
	}
	strong := []string{"ETag", `"a"`}
	f(true, strong, strong)
	f(false, strong, []string{"ETag", `"b"`})
	f(false, []string{"ETag", `W/"a"`}, []string{"ETag", `W/"a"`})
	f(false, strong, nil)
	f(false, nil, nil)
	old := []string{"Last-Modified", monday, "Date", tuesday}
	f(true, old, old)
	f(false, old, []string{"Last-Modified", monday})
	f(false, []string{"Last-Modified", monday, "Date", monday}, []string{"Last-Modified", monday, "Date", monday})
	f(false, old, append(slices.Clone(strong), old...))
	f(false, []string{"Last-Modified", "Monday, 05-Jan-26 00:00:00 GMT", "Date", monday}, []string{"Last-Modified", "Monday, 05-Jan-26 00:00:00 GMT", "Date", monday})
}
