package policy

import (
	"net/url"
	"slices"
	"testing"
)

func TestRFC9111Section4_4Invalidation(t *testing.T) {
	target, err := url.Parse("http://api.example/dir/a%2Fb?q=1")
	if err != nil {
		t.Fatal(err)
	}
	own := "/dir/a%2Fb?q=1"
	f := func(want []string, method string, status int, pairs ...string) {
		t.Helper()
		if got := Invalidates(method, status, target, header(pairs...)); !slices.Equal(got, want) {
			t.Errorf("%s %d %q: %q, want %q", method, status, pairs, got, want)
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "PROPFIND", "get", ""} {
		f([]string{own}, method, 200)
		f([]string{own}, method, 303)
		f(nil, method, 500, "Location", "/x")
		f(nil, method, 404)
		f(nil, method, 100)
		f([]string{own, "/x", "/dir/y?z"}, method, 201, "Location", "/x", "Content-Location", "y?z")
	}
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "TRACE", "QUERY"} {
		f(nil, method, 200, "Location", "/x")
	}
	f([]string{own}, "POST", 200, "Location", own, "Content-Location", "http://API.example:80"+own)
	f([]string{own, "/"}, "POST", 200, "Location", "http://api.example")
	f([]string{own, "/x"}, "POST", 200, "Location", "//api.example/x#fragment")
	f([]string{own, "/x?"}, "POST", 200, "Location", "/x?")
	for _, other := range []string{"https://api.example/x", "http://api.example:8080/x", "http://other.example/x", "//other.example/x", "mailto:a@b", "%zz", "http://[", ""} {
		f([]string{own}, "POST", 200, "Location", other, "Content-Location", other)
	}
	for _, same := range []string{"https://s.example/", "https://s.example:443/"} {
		secure, err := url.Parse(same)
		if err != nil {
			t.Fatal(err)
		}
		if got := Invalidates("POST", 200, secure, header("Location", "https://S.example:443/x", "Content-Location", "https://s.example/y")); !slices.Equal(got, []string{"/", "/x", "/y"}) {
			t.Errorf("%s: %q", same, got)
		}
	}
	if got := Invalidates("POST", 200, nil, header("Location", "/x")); got != nil {
		t.Errorf("without a target: %q", got)
	}
}
