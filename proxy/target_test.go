package proxy

import (
	"net/url"
	"strings"
	"testing"
)

func TestParseTarget(t *testing.T) {
	f := func(uri, host, wantPath, wantQuery, wantHost string) {
		t.Helper()
		got, r := parseTarget([]byte(uri), []byte(host))
		if r != nil {
			t.Errorf("%q of %q: %s", uri, host, r.message)
			return
		}
		if string(got.path) != wantPath || string(got.query) != wantQuery || string(got.host) != wantHost || got.hasQuery != strings.Contains(uri, "?") {
			t.Errorf("%q of %q: path %q, query %q (%v), host %q", uri, host, got.path, got.query, got.hasQuery, got.host)
		}
	}
	f("/", "h", "/", "", "h")
	f("/a?b=c?d", "h:80", "/a", "b=c?d", "h:80")
	f("/a?", "h", "/a", "", "h")
	f("//a//../%2e%2E/b", "h", "//a//../%2e%2E/b", "", "h")
	f("http://other:81/a?b", "h", "/a", "b", "other:81")
	f("HTTPS://other/a", "h", "/a", "", "other")
	f("http://[::1]:8/a", "h", "/a", "", "[::1]:8")
	f("/a", "", "/a", "", "")
	f("/é", "h", "/é", "", "h")
}

func TestParseTargetRefuses(t *testing.T) {
	f := func(uri, host string) {
		t.Helper()
		if got, r := parseTarget([]byte(uri), []byte(host)); r == nil {
			t.Errorf("%q of %q: path %q, host %q", uri, host, got.path, got.host)
		}
	}
	for _, uri := range []string{"", "*", "a", "h:80", "http:/a", "http://", "http://h", "http://h?q", "http://u@h/a", "ftp://h/a", "http://h#f/a", "/a#b", "/a b", "/a\tb", "/a\x00", "/a\x7f"} {
		f(uri, "h")
	}
	for _, host := range []string{"u@h", "h/a", "h a", "h,i", "h\\i", "h#f", "h?q", "h\x00", "é"} {
		f("/a", host)
		f("http://h/a", host)
	}
}

// A target that is taken is one that the standard library takes too, with the
// same path, query and host: nobody downstream sees another one.
func FuzzParseTarget(f *testing.F) {
	for _, seed := range []string{"/", "/a?b=c", "/a?", "http://h/a?b", "http://h:80//a", "//h/a", "/%2561", "/a;b"} {
		f.Add(seed, "host")
	}
	f.Fuzz(func(t *testing.T, uri, host string) {
		got, r := parseTarget([]byte(uri), []byte(host))
		if r != nil {
			return
		}
		if got.path[0] != '/' || strings.ContainsAny(string(got.path), "? #") {
			t.Errorf("%q: path %q", uri, got.path)
		}
		whole := string(got.path)
		if got.hasQuery {
			whole += "?" + string(got.query)
		}
		if !strings.HasSuffix(uri, whole) {
			t.Errorf("%q became %q", uri, whole)
		}
		theirs, err := url.ParseRequestURI(uri)
		if err != nil {
			return // an escape that is none, for the upstream to judge
		}
		if strings.HasPrefix(uri, "/") {
			if string(got.host) != host {
				t.Errorf("%q of %q: host %q", uri, host, got.host)
			}
		} else if theirs.Host != string(got.host) {
			t.Errorf("%q: host %q, they read %q", uri, got.host, theirs.Host)
		}
		if !strings.HasPrefix(uri, "//") && theirs.RawQuery != string(got.query) {
			t.Errorf("%q: query %q, they read %q", uri, got.query, theirs.RawQuery)
		}
	})
}
