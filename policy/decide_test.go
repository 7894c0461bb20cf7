package policy

import (
	"net/http"
	"slices"
	"testing"
	"time"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// header makes a header of "Name: value" pairs.
func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func ok(pairs ...string) *Response {
	return &Response{Status: 200, Header: header(pairs...), Framed: true}
}

func TestRouteFreshness(t *testing.T) {
	rule := Rule{Freshness: FreshnessRoute, TTL: time.Hour, StaleWhileRevalidate: time.Minute, StaleIfError: 2 * time.Hour, PerCaller: true}
	known := &Request{Method: "POST", Credential: true, Authorization: true}
	f := func(wantReason Reason, wantShare bool, rule Rule, req *Request, resp *Response) {
		t.Helper()
		d := Decide(&rule, req, resp, noon)
		if d.Reason != wantReason || d.Store != (wantReason == "") || d.Share != wantShare {
			t.Errorf("%+v: %+v, want reason %q, share %v", resp, d, wantReason, wantShare)
		}
		if want := (Lifetime{StoredAt: noon, TTL: time.Hour, StaleWhileRevalidate: time.Minute, StaleIfError: 2 * time.Hour}); d.Store && d.Lifetime != want {
			t.Errorf("lifetime %+v, want %+v", d.Lifetime, want)
		}
	}
	stored := func(resp *Response) { t.Helper(); f("", true, rule, known, resp) }
	stored(ok())
	stored(ok("Cache-Control", "max-age=0, no-cache, must-revalidate"))
	stored(ok("Expires", "0", "Pragma", "no-cache", "Age", "100000"))
	stored(ok("Cache-Control", "private"))
	for _, status := range []int{203, 204, 301, 308} {
		stored(&Response{Status: status, Header: header(), Framed: true})
	}
	f(ReasonNoStore, false, rule, known, ok("Cache-Control", "max-age=60", "Cache-Control", "no-store"))
	f(ReasonSetCookie, false, rule, known, ok("Set-Cookie", "a=b"))
	f(ReasonVaryAny, false, rule, known, ok("Vary", "Accept, *"))
	f(ReasonUnframed, false, rule, known, &Response{Status: 200, Header: header()})
	f(ReasonPartial, false, rule, known, &Response{Status: 206, Header: header(), Framed: true})
	f(ReasonRequest, false, rule, &Request{Method: "POST", NoStore: true}, ok())
	f(ReasonMethod, false, rule, &Request{Method: "HEAD"}, ok())
	f(ReasonPrivate, false, rule, &Request{Method: "POST"}, ok("Cache-Control", "private"))
	for status, share := range map[int]bool{201: false, 202: false, 302: false, 304: false, 400: false, 401: false, 403: false, 404: false, 429: true, 500: true, 503: true} {
		f(ReasonStatus, share, rule, known, &Response{Status: status, Header: header(), Framed: true})
	}
	f(ReasonNoStore, false, rule, known, &Response{Status: 503, Header: header("Cache-Control", "no-store"), Framed: true})

	public := rule
	public.PerCaller = false
	f(ReasonPrivate, false, public, known, ok("Cache-Control", "private"))
	override := rule
	override.OverrideNoStore = true
	f("", true, override, known, ok("Cache-Control", "no-store"))
	f(ReasonSetCookie, false, override, known, ok("Cache-Control", "no-store", "Set-Cookie", "a=b"))
	none := rule
	none.TTL = 0
	f(ReasonNoLifetime, false, none, known, ok())
}

func TestOriginFreshness(t *testing.T) {
	rule := Rule{Freshness: FreshnessOrigin, TTL: time.Hour, OverrideNoStore: true, PerCaller: true}
	get := &Request{Method: "GET", SentAt: noon}
	date := noon.Format(http.TimeFormat)
	at := func(d time.Duration) string { return noon.Add(d).Format(http.TimeFormat) }
	stored := func(age, ttl time.Duration, req *Request, resp *Response) {
		t.Helper()
		d := Decide(&rule, req, resp, noon)
		if !d.Store || d.Lifetime.Age(noon) != age || d.Lifetime.TTL != ttl {
			t.Errorf("%v: %+v, want age %v, ttl %v", resp.Header, d, age, ttl)
		}
	}
	stored(0, time.Minute, get, ok("Cache-Control", "max-age=60"))
	stored(0, 5*time.Second, get, ok("Cache-Control", "max-age=60, s-maxage=5", "Expires", at(time.Hour)))
	stored(0, time.Hour, get, ok("Expires", at(time.Hour), "Date", date))
	stored(0, time.Hour, get, ok("Expires", at(time.Hour)))
	stored(20*time.Second, time.Minute, get, ok("Cache-Control", "max-age=60", "Age", "20"))
	stored(20*time.Second, time.Minute, get, ok("Cache-Control", "max-age=60", "Age", "20, 50"))
	stored(30*time.Second, time.Minute, get, ok("Cache-Control", "max-age=60", "Age", "20", "Date", at(-30*time.Second)))
	stored(23*time.Second, time.Minute, &Request{Method: "GET", SentAt: noon.Add(-3 * time.Second)}, ok("Cache-Control", "max-age=60", "Age", "20"))
	stored(0, time.Minute, get, ok("Cache-Control", "max-age=60", "Date", at(time.Hour)))
	stored(0, time.Minute, get, &Response{Status: 404, Header: header("Cache-Control", "max-age=60"), Framed: true})
	authorized := &Request{Method: "GET", SentAt: noon, Credential: true, Authorization: true}
	for _, cc := range []string{"public, max-age=60", "s-maxage=60", "must-revalidate, max-age=60"} {
		stored(0, time.Minute, authorized, ok("Cache-Control", cc))
	}
	stored(0, time.Minute, &Request{Method: "GET", SentAt: noon, Credential: true}, ok("Cache-Control", "max-age=60"))

	refused := func(want Reason, req *Request, resp *Response) {
		t.Helper()
		if d := Decide(&rule, req, resp, noon); d.Store || d.Reason != want {
			t.Errorf("%v: %+v, want reason %q", resp.Header, d, want)
		}
	}
	refused(ReasonNoLifetime, get, ok())
	refused(ReasonNoStore, get, ok("Cache-Control", "max-age=60, no-store"))
	refused(ReasonNoCache, get, ok("Cache-Control", "max-age=60, no-cache"))
	refused(ReasonPrivate, authorized, ok("Cache-Control", "max-age=60, private"))
	refused(ReasonNotFresh, get, ok("Cache-Control", "max-age=0"))
	refused(ReasonNotFresh, get, ok("Cache-Control", "max-age=x"))
	refused(ReasonNotFresh, get, ok("Cache-Control", "max-age=60", "Age", "60"))
	refused(ReasonNotFresh, get, ok("Expires", "0"))
	refused(ReasonNotFresh, get, ok("Expires", at(-time.Second), "Date", date))
	refused(ReasonAuthorized, authorized, ok("Cache-Control", "max-age=60"))
	refused(ReasonMethod, &Request{Method: "POST"}, ok("Cache-Control", "max-age=60"))
	refused(ReasonSetCookie, get, ok("Cache-Control", "max-age=60", "Set-Cookie", "a=b"))
}

func TestStaleAnswersAreForbiddenByRevalidationDirectives(t *testing.T) {
	rule := Rule{Freshness: FreshnessOrigin, StaleWhileRevalidate: time.Minute, StaleIfError: time.Hour}
	f := func(wantSWR, wantSIE time.Duration, cc string) {
		t.Helper()
		l := Decide(&rule, &Request{Method: "GET"}, ok("Cache-Control", cc), noon).Lifetime
		if l.StaleWhileRevalidate != wantSWR || l.StaleIfError != wantSIE {
			t.Errorf("%s: %+v", cc, l)
		}
	}
	f(time.Minute, time.Hour, "max-age=60")
	f(5*time.Second, 7*time.Second, "max-age=60, stale-while-revalidate=5, stale-if-error=7")
	f(0, 0, "max-age=60, must-revalidate")
	f(0, 0, "max-age=60, proxy-revalidate, stale-if-error=7")
	f(0, 0, "s-maxage=60")
}

func TestVaryNamesAreCanonicalAndSorted(t *testing.T) {
	rule := Rule{Freshness: FreshnessRoute, TTL: time.Hour}
	f := func(want []string, lines ...string) {
		t.Helper()
		h := http.Header{"Vary": lines}
		if d := Decide(&rule, &Request{Method: "GET"}, &Response{Status: 200, Header: h, Framed: true}, noon); !slices.Equal(d.Vary, want) {
			t.Errorf("%q: %q, want %q", lines, d.Vary, want)
		}
	}
	f(nil)
	f(nil, "Accept-Encoding", "")
	f([]string{"Accept", "X-A"}, "x-a, ACCEPT", "accept-encoding,accept")
}

func TestLifetimeStates(t *testing.T) {
	l := Lifetime{StoredAt: noon, TTL: 10 * time.Second, StaleWhileRevalidate: 5 * time.Second, StaleIfError: 20 * time.Second}
	f := func(want State, l Lifetime, after time.Duration) {
		t.Helper()
		if got := l.At(noon.Add(after)); got != want {
			t.Errorf("%v after: %v, want %v", after, got, want)
		}
	}
	f(Fresh, l, -time.Hour) // a clock that was set back: no younger than new
	f(Fresh, l, 10*time.Second-1)
	f(Revalidate, l, 10*time.Second)
	f(Revalidate, l, 15*time.Second-1)
	f(StaleOnError, l, 15*time.Second)
	f(StaleOnError, l, 30*time.Second-1)
	f(Expired, l, 30*time.Second)
	f(Expired, Lifetime{StoredAt: noon, TTL: -1, StaleIfError: -1, Keep: -1}, 0)
	if got := l.Expiry(); !got.Equal(noon.Add(30 * time.Second)) {
		t.Errorf("expiry %v", got)
	}
	l.Keep = time.Minute
	f(StaleOnError, l, 30*time.Second-1)
	f(Validate, l, 30*time.Second)
	f(Validate, l, 70*time.Second-1)
	f(Expired, l, 70*time.Second)
	if got := l.Expiry(); !got.Equal(noon.Add(70 * time.Second)) {
		t.Errorf("expiry %v", got)
	}
}

func TestPreconditions(t *testing.T) {
	modified := noon.Format(http.TimeFormat)
	f := func(want bool, ifNoneMatch, ifModifiedSince, etag string) {
		t.Helper()
		if got := (Preconditions{ifNoneMatch, ifModifiedSince}).NotModified(etag, modified, ""); got != want {
			t.Errorf("If-None-Match %q, If-Modified-Since %q against %s: %v", ifNoneMatch, ifModifiedSince, etag, got)
		}
	}
	f(false, "", "", `"a"`)
	f(true, `"a"`, "", `"a"`)
	f(true, `W/"a"`, "", `"a"`)
	f(true, `"a"`, "", `W/"a"`)
	f(true, `"x", "a,b" , "a"`, "", `"a"`)
	f(true, `*`, "", `"a"`)
	f(false, `"x"`, modified, `"a"`) // If-None-Match wins
	f(false, `"a`, "", `"a"`)
	f(false, `a`, "", `"a"`)
	f(false, `"a"`, "", "")
	f(true, "", modified, `"a"`)
	f(true, "", noon.Add(time.Hour).Format(http.TimeFormat), "")
	f(false, "", noon.Add(-time.Second).Format(http.TimeFormat), "")
	f(false, "", "yesterday", "")
}
