package policy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

var t0 = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// look reads a body in pieces of every size.
func look(t *testing.T, l Look, body string) Found {
	t.Helper()
	if err := l.Prepare(); err != nil {
		t.Fatal(err)
	}
	var first Found
	for size := 1; size <= len(body) || size == 1; size = size*2 + 1 {
		r := l.Reader(t0)
		for p := []byte(body); len(p) > 0; p = p[min(size, len(p)):] {
			_, _ = r.Write(p[:min(size, len(p))])
		}
		f := r.Found()
		if r := r.Refused(); r != "" && r != f.Reason {
			t.Errorf("%s: refused early for %q, and then for %q", body, r, f.Reason)
		}
		if size == 1 {
			first = f
		} else if f.Reason != first.Reason || !f.Expires.Equal(first.Expires) || !slices.Equal(f.Tags, first.Tags) {
			t.Errorf("%s in pieces of %d: %+v, by bytes %+v", body, size, f, first)
		}
	}
	return first
}

func TestConditionsOnJSON(t *testing.T) {
	f := func(c Condition, body string, want Reason) {
		t.Helper()
		if c.JSON == "" {
			c.JSON = "/status"
		}
		if got := look(t, Look{When: []Condition{c}}, body).Reason; got != want {
			t.Errorf("%+v of %s: %q, want %q", c, body, got, want)
		}
	}
	done := Condition{In: []string{"done", "finished"}}
	f(done, `{"status":"done"}`, "")
	f(done, ` {"a":[1,{"status":"x"}],"status" : "finished" } `, "")
	f(done, `{"status":"d\u006fne"}`, "")
	f(done, `{"st\u0061tus":"done"}`, "")
	f(done, `{"status":"Done"}`, ReasonWhenJSON)
	f(done, `{"status":"processing"}`, ReasonWhenJSON)
	f(done, `{"status":["done"]}`, ReasonWhenJSON)
	f(done, `{"status":{}}`, ReasonWhenJSON)
	f(done, `{"a":{"status":"done"}}`, ReasonWhenJSON)
	f(done, `{}`, ReasonWhenJSON)
	f(done, `[]`, ReasonWhenJSON)
	f(done, `"done"`, ReasonWhenJSON)
	f(done, `{"status":"done"`, ReasonNotJSON)
	f(done, `{"status":"done"}}`, ReasonNotJSON)
	f(done, `{"status":"processing","status":"done"}`, ReasonNotJSON) // readers could see either
	f(done, ``, ReasonNotJSON)
	f(done, `%PDF-1.7`, ReasonNotJSON)
	f(done, `{"status":"`+strings.Repeat("done", 1000)+`"}`, ReasonWhenJSON)

	busy := Condition{NotIn: []string{"processing", "queued"}}
	f(busy, `{"status":"queued"}`, ReasonWhenJSON)
	f(busy, `{"status":"done"}`, "")
	f(busy, `{}`, "")
	f(busy, `{"status":null}`, "")
	f(busy, `null`, "")
	f(busy, `{"status":`+strings.Repeat(`[`, 2000), ReasonNotJSON)

	f(Condition{Exists: Present}, `{"status":null}`, "")
	f(Condition{Exists: Present}, `{"status":{}}`, "")
	f(Condition{Exists: Present}, `{}`, ReasonWhenJSON)
	f(Condition{Exists: Absent}, `{}`, "")
	f(Condition{Exists: Absent}, `{"status":null}`, ReasonWhenJSON)
	f(Condition{Exists: Absent}, `{"status":[1]}`, ReasonWhenJSON)
	f(Condition{Exists: Present, NotIn: []string{"x"}}, `{}`, ReasonWhenJSON)

	f(Condition{JSON: "/progress", In: []string{"100"}}, `{"progress":100}`, "")
	f(Condition{JSON: "/progress", In: []string{"100"}}, `{"progress":100.0}`, ReasonWhenJSON) // as it is written
	f(Condition{JSON: "/done", In: []string{"true"}}, `{"done":true}`, "")
	f(Condition{JSON: "/done", In: []string{"true"}}, `{"done":false}`, ReasonWhenJSON)
	f(Condition{JSON: "/error", In: []string{"null"}}, `{"error":null}`, "")
	f(Condition{JSON: "/jobs/1/state", In: []string{"ok"}}, `{"jobs":[{"state":"no"},{"state":"ok"},{"state":"no"}]}`, "")
	f(Condition{JSON: "/jobs/1/state", In: []string{"ok"}}, `{"jobs":{"1":{"state":"ok"}}}`, "")
	f(Condition{JSON: "/a~1b/c~0d", In: []string{"ok"}}, `{"a/b":{"c~d":"ok"}}`, "")
	f(Condition{JSON: "/", In: []string{"ok"}}, `{"":"ok"}`, "")
}

func TestConditionsOnTheHead(t *testing.T) {
	l := Look{When: []Condition{{Status: []int{200, 203}}, {Header: "X-Job-State", In: []string{"done"}}, {Header: "X-Error", Exists: Absent}}}
	f := func(status int, state string, more string, want Reason) {
		t.Helper()
		h := http.Header{}
		if state != "" {
			h["X-Job-State"] = strings.Split(state, "|")
		}
		if more != "" {
			h.Set("X-Error", more)
		}
		if got := l.Head(status, h); got != want {
			t.Errorf("%d %q %q: %q, want %q", status, state, more, got, want)
		}
	}
	f(200, "done", "", "")
	f(203, "done", "", "")
	f(204, "done", "", ReasonWhenStatus)
	f(200, "busy", "", ReasonWhenHeader)
	f(200, "", "", ReasonWhenHeader)
	f(200, "done|done", "", ReasonWhenHeader)
	f(200, "done", "x", ReasonWhenHeader)
}

func TestWhatIsNotDoneByItsOwnWord(t *testing.T) {
	f := func(body string, want Reason) {
		t.Helper()
		if got := look(t, Look{Pending: true}, body).Reason; got != want {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
	for _, word := range []string{"processing", "PENDING", "In_Progress", "in progress", "notStarted", "queued"} {
		f(`{"status":"`+word+`"}`, ReasonPending)
		f(`{"data":{"state":"`+word+`"}}`, ReasonPending)
	}
	f(`{"JobStatus":"IN_PROGRESS","x":1`, ReasonPending)
	f(`{"status":"succeeded"}`, "")
	f(`{"status":["processing"]}`, "")
	f(`{"text":"processing","deep":{"er":{"status":"processing"}}}`, "")
	f(`not JSON`, "")
	f(`{"status":200}`, "")
}

func TestWhatEndsHowLongAnAnswerIsOfUse(t *testing.T) {
	at := func(d time.Duration) time.Time { return t0.Add(d) }
	unix := func(d time.Duration) string { return fmt.Sprint(at(d).Unix()) }
	f := func(body string, want time.Duration) {
		t.Helper()
		found := look(t, Look{Expiry: Expiry{SignedLinks: true, Members: true, JSON: []string{"/valid/until"}}}, body)
		switch {
		case want == 0 && !found.Expires.IsZero(), want != 0 && !found.Expires.Equal(at(want)):
			t.Errorf("%s: ends %v, want %v", body, found.Expires.Sub(t0), want)
		}
	}
	f(`{"expires_at":"2026-03-04T05:16:07Z"}`, 10*time.Minute)
	f(`{"a":[{"expiresAt":"2026-03-04T06:16:07+01:00"}]}`, 10*time.Minute)
	f(`{"expires_at":"2026-03-04 05:16:07"}`, 10*time.Minute)
	f(`{"expires_at":"Wed, 04 Mar 2026 05:16:07 GMT"}`, 10*time.Minute)
	f(`{"expires_at":`+unix(time.Hour)+`}`, time.Hour)
	f(`{"expires_at":`+unix(time.Hour)+`000}`, time.Hour)
	f(`{"expires_at":"`+unix(time.Hour)+`"}`, time.Hour)
	f(`{"expires_in":600}`, 10*time.Minute)
	f(`{"expiresIn":"600"}`, 10*time.Minute)
	f(`{"expires_in":"600s"}`, 10*time.Minute)
	f(`{"expires_in":0,"expires_at":null}`, 0)
	f(`{"expires_in":-1,"expires_at":"never"}`, 0)
	f(`{"expires_in":"2026-03-04T05:16:07Z"}`, 0)
	f(`{"expires_in":{"seconds":5},"expires":7,"expires_at":[1]}`, 0)
	f(`{"expires_at":"2026-03-04T05:06:00Z"}`, -7*time.Second)
	f(`{"valid":{"until":900}}`, 15*time.Minute)
	f(`{"valid":{"until":"2026-03-04T05:16:07Z"},"until":1}`, 10*time.Minute)

	signed := "https://b.s3.amazonaws.com/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20260304T050007Z&X-Amz-Expires=900&X-Amz-Signature=x"
	f(`{"url":"`+signed+`"}`, 9*time.Minute)
	f(`{"url":"`+strings.ReplaceAll(signed, "&", `\u0026`)+`"}`, 9*time.Minute)
	f(`{"url":"`+strings.ReplaceAll(strings.ReplaceAll(signed, "&", `&amp;`), "/", `\/`)+`"}`, 9*time.Minute)
	f(`{"text":"see ![it](`+signed+`) and <`+strings.ReplaceAll(signed, "=900", "=1800")+`>."}`, 9*time.Minute)
	f(`{"`+signed+`":1}`, 0) // a name is no link
	f(`["https://h/x?x-amz-expires=60"]`, time.Minute)
	f(`["https://storage.googleapis.com/b/o?X-Goog-Date=20260304T050607Z&X-Goog-Expires=300"]`, 5*time.Minute)
	f(`["https://d.cloudfront.net/x?Expires=`+unix(time.Minute)+`&Signature=x&Key-Pair-Id=y"]`, time.Minute)
	f(`["/x?Expires=`+unix(time.Minute)+`&Signature=x"]`, time.Minute)
	f(`["hhttps://a.blob.core.windows.net/x?sv=2024&se=2026-03-04T05%3A16%3A07Z&sig=x"]`, 10*time.Minute)
	f(`["http://h/x?se=2026-03-04T05:16Z"]`, 9*time.Minute+53*time.Second)
	policy := "eyJTdGF0ZW1lbnQiOlt7IlJlc291cmNlIjoiKiIsIkNvbmRpdGlvbiI6eyJEYXRlTGVzc1RoYW4iOnsiQVdTOkVwb2NoVGltZSI6MTc3MjYwMTA2N319fV19"
	f(`["https://d.cloudfront.net/x?Policy=`+policy+`&Signature=x"]`, time.Unix(1772601067, 0).Sub(t0))
	f(`["https://h/x?se=no&Expires=soon&X-Amz-Expires=-5&Policy=%%%"]`, 0)
	f(`["https://h/x?expires=3600&se=1#Expires=`+unix(time.Minute)+`"]`, 0)
	f(`["ftp://h/x?Expires=`+unix(time.Minute)+`"]`, 0)
	f(`["https://h/`+strings.Repeat("x", 3*maxLink)+`?Expires=`+unix(time.Minute)+`","https://h/?Expires=`+unix(time.Hour)+`"]`, time.Hour)
	f(`{"expires_in":600,"expires_in":60}`, time.Minute)
}

func TestWhatOfTheHeadEnds(t *testing.T) {
	f := func(field, value string, want time.Duration) {
		t.Helper()
		e := Expiry{SignedLinks: true}
		got := e.Head(http.Header{field: {value}}, t0)
		if want == 0 && !got.IsZero() || want != 0 && !got.Equal(t0.Add(want)) {
			t.Errorf("%s: %s: %v", field, value, got)
		}
		off := Expiry{Members: true}
		if got := off.Head(http.Header{field: {value}}, t0); !got.IsZero() {
			t.Errorf("turned off: %v", got)
		}
	}
	f("Location", "/x?X-Amz-Expires=60", time.Minute)
	f("Content-Location", "https://h/x?X-Goog-Expires=60", time.Minute)
	f("Link", `</a?X-Amz-Expires=120>; rel="next", <https://h/b?X-Amz-Expires=60>; rel=enclosure`, time.Minute)
	f("Link", `</a?X-Amz-Expires=120`, 0)
	f("Location", "/x", 0)
	f("X-Other", "/x?X-Amz-Expires=60", 0)
}

func TestALifetimeEndsBeforeWhatTheAnswerNames(t *testing.T) {
	f := func(l Lifetime, left time.Duration, want Lifetime, ok bool) {
		t.Helper()
		if l.StoredAt.IsZero() {
			l.StoredAt = t0
		}
		want.StoredAt = l.StoredAt
		if got, is := l.EndBefore(t0.Add(left), t0, t0); is != ok || ok && got != want {
			t.Errorf("%+v %v: %+v %v, want %+v", l, left, got, is, want)
		}
	}
	hour := Lifetime{TTL: time.Hour, StaleWhileRevalidate: time.Hour, StaleIfError: 24 * time.Hour, Keep: 24 * time.Hour, AllowStale: true}
	f(hour, 100*time.Second, Lifetime{TTL: 90 * time.Second}, true)
	f(hour, 5*time.Second, Lifetime{TTL: 4 * time.Second}, true)
	f(hour, time.Second, Lifetime{}, false)
	f(hour, -time.Second, Lifetime{}, false)
	f(hour, 65*time.Minute, Lifetime{TTL: time.Hour}, true)
	f(hour, 75*time.Minute, Lifetime{TTL: time.Hour, StaleWhileRevalidate: 10 * time.Minute, StaleIfError: 10 * time.Minute, Keep: 10 * time.Minute}, true)
	f(hour, 48*time.Hour, hour, true)
	old := hour
	old.StoredAt = t0.Add(-10 * time.Minute) // it came with an age
	f(old, 100*time.Second, Lifetime{TTL: 10*time.Minute + 90*time.Second}, true)
	if got := Base(http.Header{"Date": {t0.Add(time.Hour).Format(http.TimeFormat)}}, t0); !got.Equal(t0.Add(time.Hour)) {
		t.Errorf("the upstream's clock goes before ours: %v", got)
	}
	for _, date := range []string{"", "x", t0.Add(-time.Hour).Format(http.TimeFormat), t0.Add(48 * time.Hour).Format(http.TimeFormat)} {
		if got := Base(http.Header{"Date": {date}}, t0); !got.Equal(t0) {
			t.Errorf("%q: %v", date, got)
		}
	}
}

func TestTagsInJSON(t *testing.T) {
	l := Look{Tags: []TagSource{{"", "/customer/id"}, {"case-", "/cases"}, {"n:", "/n"}}}
	f := func(body string, reason Reason, want ...string) {
		t.Helper()
		if got := look(t, l, body); got.Reason != reason || reason == "" && !slices.Equal(got.Tags, want) {
			t.Errorf("%s: %q %q, want %q %q", body, got.Tags, got.Reason, want, reason)
		}
	}
	f(`{"customer":{"id":"c\u0031"},"cases":["a",2,true,null,""],"n":1.50}`, "", "c1", "case-a", "case-2", "case-true", "n:1.50")
	f(`{"customer":null,"cases":[],"n":""}`, "")
	f(`{"customer":{"id":"same"},"cases":"same"}`, "", "same", "case-same")
	f(`{"customer":{"id":{}}}`, ReasonTag)
	f(`{"cases":[{}]}`, ReasonTag)
	f(`{"cases":[["x"]]}`, ReasonTag)
	f(`{"n":"`+strings.Repeat("x", MaxTag-2)+`"}`, "", "n:"+strings.Repeat("x", MaxTag-2))
	f(`{"n":"`+strings.Repeat("x", MaxTag-1)+`"}`, ReasonTag)
	f(`{"n":"`+strings.Repeat("x", 9999)+`"}`, ReasonTag)
	f(`{"n":1`, ReasonNotJSON)
	f(`n`, ReasonNotJSON)
	f(` `, "") // an empty body names nothing
	var many []string
	for i := range MaxTags {
		many = append(many, fmt.Sprint("case-", i))
	}
	list := strings.ReplaceAll(strings.Join(many, ","), "case-", "")
	f(`{"cases":[`+list+`,0]}`, "", many...)
	f(`{"cases":[`+list+`,-1]}`, ReasonTags)
}

func TestTagsInTheHead(t *testing.T) {
	h := http.Header{"Cache-Tag": {"a, b ,,", "c"}, "Surrogate-Key": {"d  e b"}, "X-Case": {"7, 8"}, "X-Other": {"no"}}
	got := HeaderTags(h.Values, []string{"X-Case"})
	if want := []string{"d", "e", "b", "a", "c", "7", "8"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if r := CheckTags(got); r != "" {
		t.Error(r)
	}
	if r := CheckTags([]string{strings.Repeat("x", MaxTag+1)}); r != ReasonTag {
		t.Error(r)
	}
	h = http.Header{"Surrogate-Key": {strings.Repeat("x ", MaxTags+5)}}
	if n := len(HeaderTags(h.Values, nil)); n != 1 {
		t.Errorf("%d", n)
	}
	var many strings.Builder
	for i := range 2 * MaxTags {
		fmt.Fprintf(&many, "t%d ", i)
	}
	h.Set("Surrogate-Key", many.String())
	if r := CheckTags(HeaderTags(h.Values, nil)); r != ReasonTags {
		t.Errorf("%d tags: %q", 2*MaxTags, r)
	}
}

func TestPointersAreChecked(t *testing.T) {
	for _, p := range []string{"status", "/a~", "/a~2b"} {
		l := Look{When: []Condition{{JSON: p}}}
		if l.Prepare() == nil {
			t.Errorf("%q is taken", p)
		}
	}
}

func TestWhichBodiesAreLookedInto(t *testing.T) {
	f := func(l Look, contentType string, want bool) {
		t.Helper()
		if l.Reads(contentType) != want {
			t.Errorf("%+v of %q: %v", l, contentType, !want)
		}
	}
	f(Look{Pending: true}, "application/json; charset=utf-8", true)
	f(Look{Pending: true}, "application/problem+json", true)
	f(Look{Pending: true}, "application/pdf", false)
	f(Look{Pending: true}, "", false)
	f(Look{Expiry: Expiry{Members: true}}, "text/json", true)
	f(Look{Tags: []TagSource{{"", "/a"}}}, "application/pdf", false)
	f(Look{When: []Condition{{JSON: "/a"}}}, "application/pdf", true)
	f(Look{When: []Condition{{Status: []int{200}}}}, "application/json", false)
}

// What the scanner takes for JSON is what others take for it.
func FuzzTheScannerAgreesAboutWhatIsJSON(f *testing.F) {
	for _, s := range []string{
		`{"a":[1,-0.5e+7,true,null,"x\u00e9\ud83d\ude00\n"],"b":{}}`, `[]`, `{}`, `01`, `1.`, `-`, `1e`, `"\x"`, `"\ud800"`,
		`[1,]`, `{"a":1,}`, `{"a"}`, `nul`, `truex`, ` 1 `, `1 2`, `"a` + "\n" + `"`, `{1:2}`, `[}`, `""`, `-0`, `0e0`,
	} {
		f.Add(s, 3)
	}
	f.Fuzz(func(t *testing.T, text string, size int) {
		size = max(1, size)
		l := Look{When: []Condition{{JSON: "/status", NotIn: []string{"x"}}}, Expiry: Expiry{SignedLinks: true, Members: true}, Pending: true, Tags: []TagSource{{"", "/a"}}}
		if err := l.Prepare(); err != nil {
			t.Fatal(err)
		}
		r := l.Reader(t0)
		for p := []byte(text); len(p) > 0; p = p[min(size, len(p)):] {
			_, _ = r.Write(p[:min(size, len(p))])
		}
		got := r.scan.whole()
		want := json.Valid([]byte(text))
		if got != want && strings.Count(text, "[")+strings.Count(text, "{") < maxJSONDepth {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
		found := r.Found()
		if len(r.kept) > maxKept || len(found.Tags) > MaxTags+1 || cap(r.links.link) > 2*maxLink {
			t.Errorf("%q: too much is kept", text)
		}
	})
}

// What is read of a link never fails, whatever it is.
func FuzzLinks(f *testing.F) {
	f.Add("https://h/x?X-Amz-Date=20260304T050007Z&X-Amz-Expires=900&se=2026-03-04&Policy=e30_&Expires=1")
	f.Add("?%zz=%&&&=;X-A-Expires=9999999999999999999")
	f.Fuzz(func(t *testing.T, link string) {
		end := linkEnd(link, t0)
		if l, ok := (Lifetime{StoredAt: t0, TTL: time.Hour, StaleIfError: time.Hour, Keep: time.Hour}).EndBefore(end, t0, t0); ok && (l.Expiry().After(end) || l.TTL < 0) {
			t.Errorf("%q: kept until %v, and ends at %v", link, l.Expiry(), end)
		}
		_ = momentAt(link, false, t0)
		_ = momentAt(link, true, t0)
	})
}
