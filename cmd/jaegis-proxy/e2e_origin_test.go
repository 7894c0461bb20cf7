package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// RFC 9213: what is said to this kind of cache alone stands in the place of
// Cache-Control and Expires.
func TestTargetedFieldsAreHeard(t *testing.T) {
	base, _ := echo(t)
	p := start(t, routesBefore(base))
	now := time.Now()
	future, past := now.Add(time.Hour).Format(http.TimeFormat), now.Add(-time.Hour).Format(http.TimeFormat)
	for i, c := range []struct {
		second string
		fields []string
	}{
		{"HIT", []string{"CDN-Cache-Control: max-age=3600"}},
		{"HIT", []string{"CDN-Cache-Control: max-age=2147483648"}},
		{"HIT", []string{"CDN-Cache-Control: max-age=99999999999"}},
		{"MISS", []string{"CDN-Cache-Control: max-age=3600", "Age: 7200"}},
		{"MISS", []string{"CDN-Cache-Control: max-age=0"}},
		{"MISS", []string{"CDN-Cache-Control: max-age=0", "Cache-Control: max-age=3600"}},
		{"HIT", []string{"CDN-Cache-Control: foobar, max-age=3600"}},
		{"HIT", []string{"CDN-Cache-Control: max-age=3600", "Expires: " + past}},
		{"HIT", []string{"CDN-Cache-Control: max-age=3600", "Expires: 0"}},
		{"MISS", []string{"CDN-Cache-Control: max-age=0", "Expires: " + future}},
		{"HIT", []string{"Cache-Control: max-age=0", "CDN-Cache-Control: max-age=3600"}},
		{"HIT", []string{"Cache-Control: no-store", "CDN-Cache-Control: max-age=3600"}},
		{"HIT", []string{"Cache-Control: private", "CDN-Cache-Control: max-age=3600"}},
		{"MISS", []string{"CDN-Cache-Control: private", "Cache-Control: max-age=3600", "Expires: " + future}},
		{"MISS", []string{"CDN-Cache-Control: no-cache", "Cache-Control: max-age=3600", "Expires: " + future}},
		{"MISS", []string{"CDN-Cache-Control: no-store", "Cache-Control: max-age=3600", "Expires: " + future}},
		{"MISS", []string{"CDN-Cache-Control: max-age=3600, &&&&&", "Cache-Control: no-store"}},
		{"MISS", []string{`CDN-Cache-Control: max-age="3600"`, "Cache-Control: no-store"}},
		{"HIT", []string{"CDN-Cache-Control: max-age =3600", "Cache-Control: max-age=3600"}}, // not valid, so not heard
		{"HIT", []string{"Jaegis-Cache-Control: max-age=3600", "CDN-Cache-Control: no-store", "Cache-Control: no-store"}},
		{"MISS", []string{"Jaegis-Cache-Control: no-store", "CDN-Cache-Control: max-age=3600", "Cache-Control: max-age=3600"}},
		{"MISS", []string{"Jaegis-Cache-Control: max-age=3600", "Set-Cookie: a=b"}},
	} {
		q := url.Values{"n": {fmt.Sprint(i)}}
		for _, f := range c.fields {
			q.Add("set", strings.Replace(f, ": ", ":", 1))
		}
		target := p.URL + "/?" + q.Encode()
		ask(t, "GET", target, "")
		if resp, _ := ask(t, "GET", target, ""); resp.Header.Get("X-Cache") != c.second {
			t.Errorf("%q: %s, want %s", c.fields, resp.Header.Get("Cache-Status"), c.second)
		}
	}
}

// RFC 9875: what is in a group becomes untrue with it, for all callers and in
// all variants, and nothing else does.
func TestAGroupOfAnswersIsInvalidatedAtOnce(t *testing.T) {
	for _, redis := range []bool{false, true} {
		t.Run(fmt.Sprintf("redis=%v", redis), func(t *testing.T) {
			base, _ := echo(t)
			yaml := routesBefore(base)
			if redis {
				yaml += "cache: {memory: {max_bytes: 0}, redis: {url: \"redis://" + startRedis(t) + "\"}}\n"
			}
			p := start(t, yaml)
			get := func(path, groups, who, xCache string) {
				t.Helper()
				q := url.Values{"set": {"Cache-Control:max-age=1000", "Vary:Accept-Language"}}
				if groups != "" {
					q.Add("set", "Cache-Groups:"+groups)
				}
				resp, _ := ask(t, "GET", p.URL+path+"?"+q.Encode(), "", "Cookie", who)
				if resp.Header.Get("X-Cache") != xCache {
					t.Errorf("%s for %s: %s, want %s", path, who, resp.Header.Get("Cache-Status"), xCache)
				}
			}
			all := func(inA, inB, inNone string) {
				t.Helper()
				get("/1", `"a"`, "alice", inA)
				get("/1", `"a"`, "bob", inA)
				get("/2", `"b", "a"`, "alice", inA)
				get("/3", `"b"`, "alice", inB)
				get("/4", "", "alice", inNone)
			}
			change := func(method, group string) {
				t.Helper()
				ask(t, method, p.URL+"/else?set="+url.QueryEscape("Cache-Group-Invalidation:"+group), "")
			}
			all("MISS", "MISS", "MISS")
			all("HIT", "HIT", "HIT")
			change("GET", `"a"`) // a safe request changes nothing
			change("POST", `"A", "c"`)
			change("POST", `a`) // no list of strings
			all("HIT", "HIT", "HIT")
			change("DELETE", `"c", "a"`)
			all("MISS", "HIT", "HIT")
			all("HIT", "HIT", "HIT")
		})
	}
}

// RFC 9110, section 9.3.3.
func TestAnAnswerToPostThatIsTheGETsIsKept(t *testing.T) {
	var calls atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := calls.Add(1)
		w.Header().Set("Content-Location", r.URL.Path)
		w.Header().Set("Cache-Control", "max-age=1000")
		fmt.Fprintf(w, "%s %d for %q, host %q", r.Method, n, r.Header.Get("Authorization"), r.Header.Get("X-Forwarded-Host"))
	}))
	t.Cleanup(s.Close)
	p := start(t, routesBefore(s.URL))
	one := func(method, path, body string, fields ...string) {
		t.Helper()
		if _, got := ask(t, method, p.URL+path, "", fields...); got != body {
			t.Errorf("%s %s: %q, want %q", method, path, got, body)
		}
	}
	one("GET", "/a", `GET 1 for "", host ""`)
	one("POST", "/a", `POST 2 for "", host ""`)
	one("GET", "/a", `POST 2 for "", host ""`)
	one("POST", "/a", `POST 3 for "", host ""`) // itself it is never answered from the cache
	one("GET", "/a", `POST 3 for "", host ""`)
	one("POST", "/b", `POST 4 for "", host "evil"`, "X-Forwarded-Host", "evil")
	one("GET", "/b", `GET 5 for "", host ""`) // what could have changed the answer keeps it out
	one("POST", "/c", `POST 6 for "alice", host ""`, "Authorization", "alice")
	one("GET", "/c", `GET 7 for "", host ""`)
}

// RFC 9111, section 4.3.5, with clients that leave as soon as they have the
// head.
func TestHeadUpdatesOrTakesOutWhatIsStored(t *testing.T) {
	var version atomic.Int64
	version.Store(1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := version.Load()
		w.Header().Set("Cache-Control", "max-age=1000")
		w.Header().Set("ETag", fmt.Sprintf(`"%d"`, v/10))
		w.Header().Set("Version", fmt.Sprint(v))
		w.Header().Set("Content-Length", "4")
		fmt.Fprintf(w, "%04d", v/10)
	}))
	t.Cleanup(s.Close)
	p := start(t, routesBefore(s.URL))
	shows := func(version, body, xCache string) func(*http.Response, string) bool {
		return func(resp *http.Response, got string) bool {
			return resp.Header.Get("Version") == version && got == body && resp.Header.Get("X-Cache") == xCache
		}
	}
	eventually := func(what string, holds func(*http.Response, string) bool) {
		t.Helper()
		for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
			resp, body := ask(t, "GET", p.URL+"/h", "")
			if holds(resp, body) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %q, %v", what, body, resp.Header)
			}
		}
	}
	eventually("stored", shows("1", "0000", "HIT"))
	version.Store(2)
	ask(t, "HEAD", p.URL+"/h", "", "Cache-Control", "no-cache")
	eventually("updated by HEAD", shows("2", "0000", "HIT"))
	version.Store(10)
	ask(t, "HEAD", p.URL+"/h", "", "Cache-Control", "no-cache")
	if resp, body := ask(t, "GET", p.URL+"/h", ""); !shows("10", "0001", "MISS")(resp, body) {
		t.Errorf("taken out by HEAD: %q, %v", body, resp.Header)
	}
}

// RFC 9110, section 6.5: a trailer is no part of the head, and is dropped.
func TestTrailersOfAnswersAreDropped(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=1000")
		w.Header().Set("Trailer", "Cache-Control, Set-Cookie, X-Sum")
		fmt.Fprint(w, "body")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Set-Cookie", "who=alice")
		w.Header().Set("X-Sum", "1")
	}))
	t.Cleanup(s.Close)
	p := start(t, routesBefore(s.URL))
	for _, xCache := range []string{"MISS", "HIT"} {
		resp, body := ask(t, "GET", p.URL+"/t", "")
		want(t, resp, xCache)
		if body != "body" || resp.Header.Get("Set-Cookie") != "" || resp.Header.Get("X-Sum") != "" || len(resp.Trailer) > 0 || resp.Header.Get("Trailer") != "" {
			t.Errorf("%q, %v, trailer %v", body, resp.Header, resp.Trailer)
		}
	}
}
