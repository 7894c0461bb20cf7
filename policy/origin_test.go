package policy

import (
	"net/http"
	"net/url"
	"testing"
	"time"
)

// day is what an answer that can be validated is kept for.
const day = 24 * time.Hour

// A judge gives the state of an answer some time after it came: Expired when
// it was not stored.
type judge struct {
	rule  Rule
	req   Request
	after time.Duration
}

func newJudge() *judge {
	return &judge{rule: Rule{Freshness: FreshnessOrigin}, req: Request{Method: "GET", SentAt: noon}, after: 3 * time.Second}
}

func (j *judge) want(t *testing.T, want State, status int, pairs ...string) {
	t.Helper()
	d := Decide(&j.rule, &j.req, &Response{Status: status, Header: header(pairs...), Framed: true}, noon)
	got := Expired
	if d.Store {
		got = d.Lifetime.At(noon.Add(j.after))
	}
	if got != want || d.Store != (d.Reason == "") {
		t.Errorf("%s %d %q: state %v (%+v), want %v", j.req.Method, status, pairs, got, d, want)
	}
}

func TestRFC9111Section4_2_1FreshnessLifetime(t *testing.T) {
	j := newJudge()
	f := func(want State, pairs ...string) { t.Helper(); j.want(t, want, 200, pairs...) }
	date := noon.Format(http.TimeFormat)
	at := func(s int) string { return noon.Add(time.Duration(s) * time.Second).Format(http.TimeFormat) }
	f(Expired)
	f(Fresh, "Cache-Control", "max-age=3600")
	f(Expired, "Cache-Control", "max-age=0")
	f(Expired, "Cache-Control", "max-age=2")
	for _, n := range []string{"2147483647", "2147483648", "2147483649", "99999999999", "99999999999999999999999999"} {
		f(Fresh, "Cache-Control", "max-age="+n)
	}
	f(Fresh, "Cache-Control", "max-age=3600", "Expires", at(-7200), "Date", date)
	f(Fresh, "Cache-Control", "max-age=3600", "Expires", "0", "Date", date)
	f(Expired, "Cache-Control", "max-age=0", "Expires", at(3600), "Date", date)
	f(Fresh, "Cache-Control", "foobar, max-age=3600")
	f(Fresh, "Cache-Control", "MaX-aGe=3600")
	f(Expired, "Cache-Control", "max-age=-3600")
	f(Fresh, "Cache-Control", "s-maxage=3600")
	f(Expired, "Cache-Control", "max-age=3600, s-maxage=1")
	f(Expired, "Cache-Control", "s-maxage=1, max-age=3600")
	f(Expired, "Cache-Control", "max-age=3600", "Cache-Control", "s-maxage=1")
	f(Fresh, "Cache-Control", "max-age=1, s-maxage=3600")
	f(Fresh, "Cache-Control", "max-age=0, s-maxage=3600", "Expires", at(-10))
	f(Expired, "Cache-Control", "max-age='3600'")
	f(Expired, "Cache-Control", `extension="max-age=3600", max-age=1`)
	f(Expired, "Cache-Control", `max-age="1", extension="max-age=3600"`)
	f(Fresh, "Cache-Control", "max-age=003600")
	f(Expired, "Cache-Control", "max-age=1, max-age=1800") // the first counts
	f(Expired, "Cache-Control", "max-age=3600.5")
	f(Expired, "Cache-Control", "max-age=3600a")

	f(Fresh, "Expires", at(30*24*3600), "Date", date)
	f(Expired, "Expires", at(-30*24*3600), "Date", date)
	f(Expired, "Expires", date, "Date", date)
	f(Expired, "Expires", at(300), "Date", at(400))
	f(Expired, "Expires", "0", "Date", date)
	f(Fresh, "Expires", at(10), "Date", "foo")
	f(Fresh, "Expires", at(100), "Expires", "0") // the first counts
	f(Fresh, "Expires", "Sun, 21 Nov 2286 04:46:39 GMT", "Date", date)
}

func TestVeryLongLifetimesCountAsTheLongest(t *testing.T) {
	rule, req := Rule{Freshness: FreshnessOrigin}, &Request{Method: "GET"}
	for _, pairs := range [][]string{
		{"Cache-Control", "max-age=99999999999, stale-while-revalidate=99999999999"},
		{"CDN-Cache-Control", "max-age=99999999999, stale-while-revalidate=99999999999"},
		{"Expires", "Fri, 31 Dec 9999 23:59:59 GMT", "Cache-Control", "stale-while-revalidate=99999999999"},
	} {
		l := Decide(&rule, req, ok(append(pairs, "ETag", `"a"`)...), noon).Lifetime
		if l.TTL != maxSeconds*time.Second || l.StaleWhileRevalidate != maxSeconds*time.Second || !l.Expiry().After(noon.Add(l.TTL)) {
			t.Errorf("%q: %+v, until %v", pairs, l, l.Expiry())
		}
	}
}

func TestWhatForbidsStaleUseForbidsItToRequestsToo(t *testing.T) {
	rule, req := Rule{Freshness: FreshnessOrigin}, &Request{Method: "GET"}
	f := func(want bool, pairs ...string) {
		t.Helper()
		d := Decide(&rule, req, ok(append(pairs, "ETag", `"a"`)...), noon)
		if !d.Store || d.Lifetime.AllowStale != want {
			t.Errorf("%q: %+v, want %v", pairs, d, want)
		}
	}
	f(true, "Cache-Control", "max-age=60")
	f(true)
	for _, cc := range []string{"no-cache", "must-revalidate", "proxy-revalidate", "s-maxage=60"} {
		f(false, "Cache-Control", "max-age=60, "+cc)
	}
	f(false, "Cache-Control", "max-age=60", "Age", "x")
}

func TestRFC9111Section4_2_3Age(t *testing.T) {
	j := newJudge()
	f := func(want State, pairs ...string) {
		t.Helper()
		j.want(t, want, 200, append(pairs, "Date", noon.Format(http.TimeFormat))...)
	}
	hour := []string{"Cache-Control", "max-age=3600"}
	age := func(want State, lines ...string) {
		t.Helper()
		pairs := hour
		for _, l := range lines {
			pairs = append(pairs[:len(pairs):len(pairs)], "Age", l)
		}
		f(want, pairs...)
	}
	age(Fresh, "0")
	age(Fresh, " 30 ")
	age(Expired, "7200")
	age(Expired, "2147483647")
	age(Expired, "2147483649")
	age(Expired, "99999999999999999999999999999")
	// Section 5.1: of several members the first counts.
	age(Expired, "7200, 0")
	age(Fresh, "0,7200")
	age(Expired, "7200", "0")
	age(Fresh, "0", "7200")
	// What cannot be read could be any age.
	for _, bad := range []string{"abc", "-7200", "7200.0", "0.0", "7200;foo=bar", "", "+5", "0x10", ",0", "1 0"} {
		age(Expired, bad)
	}
	at := func(s int) string { return noon.Add(time.Duration(s) * time.Second).Format(http.TimeFormat) }
	j.want(t, Expired, 200, "Cache-Control", "max-age=3600", "Date", at(-7200))
	j.want(t, Expired, 200, "Date", at(-10), "Expires", at(10), "Age", "25")
	j.want(t, Expired, 200, "Date", at(10), "Expires", at(20), "Age", "15")
	j.want(t, Expired, 200, "Date", "Mon, 01 Jan 0001 00:00:00 GMT", "Cache-Control", "max-age=99999999999")
	// Whatever its age, an answer with a validator can be asked about.
	j.want(t, Validate, 200, "Date", "Mon, 01 Jan 0001 00:00:00 GMT", "Cache-Control", "max-age=99999999999", "ETag", `"a"`)
	j.want(t, Validate, 200, "Cache-Control", "max-age=60", "Age", "9999999999", "ETag", `"a"`)
	j.want(t, Validate, 200, "Cache-Control", "max-age=60", "Age", "abc", "ETag", `"a"`)
	j.rule.StaleIfError, j.rule.StaleWhileRevalidate = day, day
	j.want(t, Expired, 200, "Cache-Control", "max-age=60", "Age", "abc")
}

func TestRFC9111Section4_2_2HeuristicFreshness(t *testing.T) {
	j := newJudge()
	date, modified := noon.Format(http.TimeFormat), noon.Add(-day).Format(http.TimeFormat)
	for _, status := range []int{200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501} {
		j.want(t, Fresh, status, "Last-Modified", modified, "Date", date)
		j.want(t, Validate, status, "ETag", `"a"`)
	}
	for _, status := range []int{201, 202, 302, 303, 307, 400, 403, 500, 502, 503, 504, 599} {
		j.want(t, Expired, status, "Last-Modified", modified, "Date", date)
		j.want(t, Expired, status, "ETag", `"a"`)
	}
	j.want(t, Fresh, 599, "Last-Modified", modified, "Date", date, "Cache-Control", "public")
	j.req.Method = "QUERY"
	j.want(t, Fresh, 200, "Last-Modified", modified, "Date", date)

	ttl := func(want time.Duration, pairs ...string) {
		t.Helper()
		d := Decide(&j.rule, &j.req, ok(pairs...), noon)
		if !d.Store || d.Lifetime.TTL != want {
			t.Errorf("%q: %+v, want ttl %v", pairs, d, want)
		}
	}
	ttl(day/10, "Last-Modified", modified, "Date", date)
	ttl(day/10, "Last-Modified", modified)
	ttl(day, "Last-Modified", noon.Add(-100*day).Format(http.TimeFormat))
	ttl(0, "Last-Modified", noon.Add(day).Format(http.TimeFormat))
	ttl(0, "Last-Modified", modified, "Cache-Control", "max-age=0")
	ttl(0, "Last-Modified", modified, "Expires", "0")
	ttl(0, "Last-Modified", modified, "Cache-Control", "max-age=x")
	ttl(day/10, "Last-Modified", modified, "Pragma", "no-cache") // section 5.4: of requests only
}

func TestRFC9111Section3StatusCodes(t *testing.T) {
	j := newJudge()
	date := noon.Format(http.TimeFormat)
	for _, status := range []int{200, 201, 202, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 502, 503, 504, 599} {
		j.want(t, Fresh, status, "Expires", noon.Add(day).Format(http.TimeFormat), "Date", date)
		j.want(t, Expired, status, "Expires", noon.Add(-day).Format(http.TimeFormat), "Date", date)
	}
	for _, status := range []int{100, 103, 199, 304, 407, 408, 412, 413, 416, 417, 421, 425, 426, 428, 429, 431, 511, 600, 999} {
		j.want(t, Expired, status, "Cache-Control", "max-age=3600, public")
	}
}

func TestRFC9111Section5_2_2Directives(t *testing.T) {
	j := newJudge()
	f := func(want State, pairs ...string) { t.Helper(); j.want(t, want, 200, pairs...) }
	date, tomorrow := noon.Format(http.TimeFormat), noon.Add(day).Format(http.TimeFormat)
	f(Expired, "Cache-Control", "private, max-age=3600")
	f(Expired, "Cache-Control", `private="x-field", max-age=3600`)
	f(Expired, "Cache-Control", "No-StOrE", "Expires", tomorrow, "Date", date)
	f(Expired, "Cache-Control", "max-age=10000, no-store", "Expires", tomorrow)
	f(Expired, "Cache-Control", "max-age=10000, No-CaChE", "Expires", tomorrow)
	f(Validate, "Cache-Control", "no-cache", "ETag", `"abcd"`)
	f(Validate, "Cache-Control", "max-age=10000, no-cache", "Expires", tomorrow, "ETag", `"abcd"`)
	f(Validate, "Cache-Control", `no-cache="a"`, "Cache-Control", "max-age=3600", "ETag", `"abcd"`)
	f(Validate, "Cache-Control", "no-cache, stale-while-revalidate=60, stale-if-error=60", "ETag", `"a"`)
	f(Fresh, "Cache-Control", "max-age=10000, must-revalidate", "ETag", `"abcd"`)
	f(Validate, "Cache-Control", "max-age=2, must-revalidate", "ETag", `"abcd"`)
	f(Expired, "Cache-Control", "max-age=3600", "Set-Cookie", "a=b")
	f(Fresh, "Cache-Control", "max-age=3600", "Pragma", "no-cache")
	// RFC 8246: it says that a fresh answer does not change, and no more.
	f(Fresh, "Cache-Control", "max-age=10000, immutable", "ETag", `"a"`)
	f(Validate, "Cache-Control", "max-age=2, immutable", "ETag", `"a"`)
	// A validator must be one.
	for _, bad := range []string{"abc", `"abc`, `abc"`, `"`, `"a b"`, `w/"a"`, `W/a`, `"a""`, ""} {
		f(Expired, "Cache-Control", "no-cache", "ETag", bad)
	}
	f(Validate, "Cache-Control", "no-cache", "ETag", "W/\"a\xfc\"")
	f(Expired, "Cache-Control", "no-cache", "Last-Modified", "yesterday")
	f(Validate, "Cache-Control", "no-cache", "Last-Modified", date)

	j.rule.StaleIfError, j.rule.StaleWhileRevalidate = day, day
	for _, cc := range []string{"max-age=2, must-revalidate", "max-age=2, proxy-revalidate", "max-age=2, no-cache", "max-age=2, s-maxage=2"} {
		f(Expired, "Cache-Control", cc)
	}
	f(Revalidate, "Cache-Control", "max-age=2")
}

func TestRFC9111Section5_2_2_3MustUnderstand(t *testing.T) {
	j := newJudge()
	j.want(t, Fresh, 200, "Cache-Control", "max-age=3600, no-store, must-understand")
	j.want(t, Fresh, 404, "Cache-Control", "max-age=3600, must-understand")
	for _, status := range []int{299, 306, 499, 599} {
		j.want(t, Expired, status, "Cache-Control", "max-age=3600, no-store, must-understand")
		j.want(t, Expired, status, "Cache-Control", "max-age=3600, must-understand")
		j.want(t, Fresh, status, "Cache-Control", "max-age=3600")
	}
	d := Decide(&j.rule, &j.req, &Response{Status: 599, Header: header("Cache-Control", "max-age=1, must-understand"), Framed: true}, noon)
	if d.Reason != ReasonMustUnderstand {
		t.Errorf("reason %q", d.Reason)
	}
	j.rule = Rule{Freshness: FreshnessRoute, TTL: time.Hour}
	j.want(t, Expired, 200, "Cache-Control", "max-age=3600, no-store, must-understand")
}

func TestRFC5861StaleWindowsOfTheAnswer(t *testing.T) {
	j := newJudge()
	j.want(t, Revalidate, 200, "Cache-Control", "max-age=1, stale-while-revalidate=3600")
	j.want(t, Expired, 200, "Cache-Control", "max-age=1, stale-while-revalidate=2")
	j.want(t, Validate, 200, "Cache-Control", "max-age=1, stale-while-revalidate=2", "ETag", `"abc"`)
	j.want(t, StaleOnError, 200, "Cache-Control", "max-age=2, stale-if-error=60")
	j.want(t, StaleOnError, 200, "Cache-Control", "max-age=0, stale-if-error=60")
	j.rule.StaleIfError = time.Hour // the route's own window keeps no answer that has no use but it
	j.want(t, Expired, 200, "Cache-Control", "max-age=0")
	j.want(t, StaleOnError, 200, "Cache-Control", "max-age=2")
	j.want(t, Expired, 200, "Cache-Control", "max-age=2, stale-if-error=0")
}

func TestRFC9111Section3_5Authorization(t *testing.T) {
	j := newJudge()
	j.req.Authorization, j.req.Credential = true, true
	j.want(t, Expired, 200, "Expires", noon.Add(day).Format(http.TimeFormat))
	j.want(t, Expired, 200, "Last-Modified", noon.Add(-day).Format(http.TimeFormat))
	j.want(t, Fresh, 200, "Cache-Control", "max-age=3600, public")
	j.want(t, Fresh, 200, "Cache-Control", "max-age=3600, must-revalidate")
	j.want(t, Fresh, 200, "Cache-Control", "s-maxage=3600")
	j.want(t, Expired, 200, "Cache-Control", "max-age=3600, proxy-revalidate")
	j.want(t, Expired, 200, "Cache-Control", "public, max-age=60", "CDN-Cache-Control", "max-age=60")
}

func TestRFC9110Section9_3_3AnswersToPostForGet(t *testing.T) {
	rule := Rule{Freshness: FreshnessOrigin}
	target, err := url.Parse("http://api.example/a/b?c=1")
	if err != nil {
		t.Fatal(err)
	}
	f := func(want bool, status int, uri *url.URL, pairs ...string) {
		t.Helper()
		d := Decide(&rule, &Request{Method: "POST", URI: uri}, &Response{Status: status, Header: header(pairs...), Framed: true}, noon)
		if d.Store != want || d.ForGET != want || d.Share || !want && d.Reason != ReasonMethod {
			t.Errorf("%d %q: %+v, want stored %v", status, pairs, d, want)
		}
	}
	for _, own := range []string{"/a/b?c=1", "http://API.example/a/b?c=1", "http://api.example:80/a/b?c=1", "//api.example/a/b?c=1", "b?c=1", "?c=1"} {
		f(true, 200, target, "Cache-Control", "max-age=60", "Content-Location", own)
	}
	for _, other := range []string{"/a/b", "/a/b?c=2", "/a%2Fb?c=1", "/a/b/?c=1", "https://api.example/a/b?c=1", "http://other.example/a/b?c=1", "http://api.example:81/a/b?c=1", "%zz", ""} {
		f(false, 200, target, "Cache-Control", "max-age=60", "Content-Location", other)
	}
	f(true, 200, target, "Expires", noon.Add(day).Format(http.TimeFormat), "Content-Location", "/a/b?c=1")
	f(false, 200, target, "Cache-Control", "max-age=60")
	f(false, 200, target, "Cache-Control", "max-age=60", "Content-Location", "/a/b?c=1", "Content-Location", "/x")
	f(false, 200, target, "Last-Modified", noon.Add(-day).Format(http.TimeFormat), "Content-Location", "/a/b?c=1")
	f(false, 201, target, "Cache-Control", "max-age=60", "Content-Location", "/a/b?c=1")
	f(false, 200, nil, "Cache-Control", "max-age=60", "Content-Location", "/a/b?c=1")
	for _, method := range []string{"PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "get", "PROPFIND"} {
		d := Decide(&rule, &Request{Method: method, URI: target}, ok("Cache-Control", "max-age=60", "Content-Location", "/a/b?c=1"), noon)
		if d.Store || d.Reason != ReasonMethod {
			t.Errorf("%s: %+v", method, d)
		}
	}
}

func TestOnlyWhatIsFreshIsSharedWithThoseWhoWait(t *testing.T) {
	rule := Rule{Freshness: FreshnessOrigin}
	f := func(wantStore, wantShare bool, status int, pairs ...string) {
		t.Helper()
		d := Decide(&rule, &Request{Method: "GET"}, &Response{Status: status, Header: header(pairs...), Framed: true}, noon)
		if d.Store != wantStore || d.Share != wantShare {
			t.Errorf("%d %q: %+v, want store %v, share %v", status, pairs, d, wantStore, wantShare)
		}
	}
	f(true, true, 200, "Cache-Control", "max-age=60")
	f(true, true, 200, "Cache-Control", "max-age=0, stale-while-revalidate=60")
	f(true, false, 200, "Cache-Control", "max-age=0", "ETag", `"a"`)
	f(true, false, 200, "Cache-Control", "no-cache", "ETag", `"a"`)
	f(true, false, 503, "Cache-Control", "no-cache, max-age=1", "ETag", `"a"`)
	f(false, false, 503, "Cache-Control", "no-cache")
	f(false, true, 503)
	f(false, true, 429, "Cache-Control", "max-age=60")
	f(false, false, 416, "Cache-Control", "max-age=60")
}

func TestRFC9111Section3_3PartsOfAnswers(t *testing.T) {
	rule := Rule{Freshness: FreshnessOrigin}
	decide := func(req *Request, pairs []string) Decision {
		return Decide(&rule, req, &Response{Status: 206, Header: header(append(pairs, "Cache-Control", "max-age=60")...), Framed: true}, noon)
	}
	modified, date := noon.Add(-time.Hour).Format(http.TimeFormat), noon.Format(http.TimeFormat)
	fits := func(pairs ...string) {
		t.Helper()
		d := decide(&Request{Method: "GET", Range: true}, pairs)
		if !d.Store || !d.Share || d.Alone || d.Partial == nil || *d.Partial != (ContentRange{0, 4, 10}) {
			t.Errorf("%q: %+v, want a part that fits with others", pairs, d)
		}
		for _, req := range []Request{{Method: "GET"}, {Method: "QUERY", Range: true}, {Method: "POST", Range: true}} {
			if d := decide(&req, pairs); d.Store || d.Share || d.Reason == "" {
				t.Errorf("%+v %q: %+v", req, pairs, d)
			}
		}
	}
	alone := func(pairs ...string) {
		t.Helper()
		d := decide(&Request{Method: "GET", Range: true}, pairs)
		if !d.Store || !d.Alone || d.Partial == nil {
			t.Errorf("%q: %+v, want an answer to its Range alone", pairs, d)
		}
		if d := decide(&Request{Method: "GET"}, pairs); d.Store || d.Share || d.Reason != ReasonPartial {
			t.Errorf("not asked for: %q: %+v", pairs, d)
		}
	}
	fits("Content-Range", "bytes 0-4/10", "ETag", `"a"`)
	fits("Content-Range", "bytes 0-4/10", "ETag", `"a"`, "Content-Length", "5")
	fits("Content-Range", "bytes 0-4/10", "Last-Modified", modified, "Date", date)
	alone("Content-Range", "bytes 0-4/10", "ETag", `"a"`, "Content-Length", "6")
	alone("Content-Range", "bytes 0-4/10")
	alone("Content-Range", "bytes 0-4/10", "ETag", `W/"a"`)
	alone("Content-Range", "bytes 0-4/10", "ETag", `W/"a"`, "Last-Modified", modified, "Date", date)
	alone("Content-Range", "bytes 0-4/10", "Last-Modified", modified)
	alone("Content-Range", "bytes 0-4/10", "Last-Modified", noon.Add(-time.Second).Format(http.TimeFormat), "Date", date)
	alone("Content-Range", "bytes 0-4/*", "ETag", `"a"`)
	alone("Content-Range", "bytes 0-4/10", "Content-Range", "bytes 5-9/10", "ETag", `"a"`)
	alone("Content-Type", "multipart/byteranges; boundary=x", "ETag", `"a"`)
}
