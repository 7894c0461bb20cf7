package cachekey

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// same fails unless all requests have one key.
func same(t *testing.T, rule Rule, ws ...wire) {
	t.Helper()
	r := prepare(t, rule)
	d := &Deriver{Secret: []byte("s")}
	first := mustDerive(t, d, r, ws[0].request())
	for i, w := range ws {
		if mustDerive(t, d, r, w.request()) != first {
			t.Errorf("request %d has a key of its own: %+v", i, w)
		}
		if mustDerive(t, d, r, w.inFile()) != first {
			t.Errorf("request %d has a key of its own when its body is in a file: %+v", i, w)
		}
	}
}

// differ fails where any two requests have one key.
func differ(t *testing.T, rule Rule, ws ...wire) {
	t.Helper()
	r := prepare(t, rule)
	d := &Deriver{Secret: []byte("s")}
	seen := map[Key]int{}
	for i, w := range ws {
		key := mustDerive(t, d, r, w.request())
		if j, ok := seen[key]; ok {
			t.Errorf("requests %d and %d have one key:\n%+v\n%+v", j, i, ws[j], w)
		}
		seen[key] = i
		if mustDerive(t, d, r, w.inFile()) != key {
			t.Errorf("request %d has another key when its body is in a file", i)
		}
	}
}

func TestFieldsNeverRunIntoEachOther(t *testing.T) {
	differ(t, Rule{},
		wire{method: "GET", path: "/a|b", query: "c"},
		wire{method: "GET", path: "/a", query: "b|c"},
		wire{method: "GET", path: "/a?b|c"},
		wire{method: "GET", host: "/a", path: "b|c"},
		wire{method: "GET", upstream: "/a", path: "b|c"},
		wire{method: "GET", upstream: "/ab|c"},
		wire{method: "GE", upstream: "T/ab|c"},
	)
	differ(t, Rule{Headers: []string{"a", "b"}},
		wire{}.with("A: x", "B: y"),
		wire{}.with("A: x, y"),
		wire{}.with("A: x", "A: y"),
		wire{}.with("A: y", "A: x"),
		wire{}.with("B: x", "A: y"),
		wire{}.with("A: "),
		wire{}.with("B: "),
		wire{}.with("A: ", "A: "),
		wire{},
	)
}

func TestInputShapedLikeADigestOrAFieldIsOnlyInput(t *testing.T) {
	rule := prepare(t, Rule{Scope: ScopePublic})
	plain := post("hello")
	key, err := Derive(rule, plain.request())
	if err != nil {
		t.Fatal(err)
	}
	fields := string(appendField(appendField(nil, tagPath, "/v1/x"), tagQuery, "a"))
	differ(t, Rule{Scope: ScopePublic},
		plain,
		post(string(key.Digest[:])),
		post(fmt.Sprintf("%x", key.Digest)),
		wire{method: "POST", upstream: plain.upstream, path: "/v1/x", query: "a"},
		wire{method: "POST", upstream: plain.upstream, path: fields},
		wire{method: "POST", upstream: plain.upstream, path: "/v1/x", query: fields},
	)
}

func TestHeadHasTheKeyOfGet(t *testing.T) {
	same(t, Rule{}, wire{method: "GET", path: "/a"}, wire{method: "HEAD", path: "/a"})
	differ(t, Rule{}, wire{method: "GET"}, wire{method: "POST"}, wire{method: "get"}, wire{method: "head"}, wire{method: "PUT"}, wire{})
}

func TestGetWithABodyIsKeyedWithItsBody(t *testing.T) {
	differ(t, Rule{},
		wire{method: "GET", path: "/a"},
		wire{method: "GET", path: "/a", body: "x"},
		wire{method: "GET", path: "/a", body: "y"},
	)
}

func TestQueryIsKeyedByteForByte(t *testing.T) {
	differ(t, Rule{},
		wire{query: "a=1;b=2&a=3"}, wire{query: "a=1&b=2&a=3"}, wire{query: "a=3&a=1;b=2"}, wire{query: "a=1;b=2"},
		wire{query: "a=%31;b=2&a=3"}, wire{query: "k=a,b"}, wire{query: "k=a&k=b"}, wire{query: "k=a&k=b&"}, wire{query: "k=a&&k=b"},
		wire{query: "K=a"}, wire{query: "k=a"}, wire{query: "k"}, wire{query: "k="}, wire{},
	)
}

func TestQueryIgnoreDropsWholePairsByDecodedName(t *testing.T) {
	rule := Rule{QueryIgnore: []string{"utm", "a b"}}
	same(t, rule,
		wire{query: "x=1"}, wire{query: "x=1&utm=9"}, wire{query: "utm=9&x=1"}, wire{query: "utm&x=1&utm="},
		wire{query: "%75tm=3&x=1"}, wire{query: "a+b=3&x=1"}, wire{query: "a%20b=3&x=1"}, wire{query: "utm=a=b&x=1"},
	)
	differ(t, rule,
		wire{query: "x=1"},
		wire{query: "utm=1;x=1"},      // two pairs to some
		wire{query: "x=1&utm;y=2"},    //
		wire{query: "x=1&utm%3by=2"},  // a name "utm;y"
		wire{query: "x=1&utm%zz=2"},   // broken
		wire{query: "x=1&utm2=2"},     //
		wire{query: "x=1&UTM=2"},      //
		wire{query: "x=1;utm=2"},      // one pair to us
		wire{query: "x=1&a%2Bb=2"},    // a name "a+b"
		wire{query: "x=1&y=utm&utm="}, // a value
		wire{},
	)
}

func TestPathAndHostAreKeyedByteForByte(t *testing.T) {
	differ(t, Rule{},
		wire{path: "/a//b/../%2e%2e/d"}, wire{path: "/a/b/../%2e%2e/d"}, wire{path: "/d"}, wire{path: "/%2561"}, wire{path: "/%61"},
		wire{path: "/a"}, wire{path: "/a/"}, wire{path: "/v1/chat;x.css"}, wire{path: "/v1/chat"}, wire{host: "/a"},
		wire{host: "a", path: "/a"}, wire{host: "b", path: "/a"}, wire{upstream: "http://u", path: "/a"},
	)
}

func TestCredentialScopeSeparatesCallers(t *testing.T) {
	differ(t, Rule{},
		wire{},
		wire{}.with("Authorization: Bearer a"),
		wire{}.with("Authorization: Bearer b"),
		wire{}.with("Authorization: Bearer a", "Authorization: Bearer b"),
		wire{}.with("Authorization: Bearer b", "Authorization: Bearer a"),
		wire{}.with("Authorization: "),
		wire{}.with("Authorization: Bearer a", "X-Api-Key: k"),
		wire{}.with("X-Api-Key: Bearer a"),
		wire{}.with("Api-Key: Bearer a"),
		wire{}.with("X-Goog-Api-Key: Bearer a"),
		wire{}.with("Cookie: Bearer a"),
	)
	differ(t, Rule{Credentials: []string{"x-tenant"}}, wire{}, wire{}.with("X-Tenant: a"), wire{}.with("X-Tenant: b"))
	same(t, Rule{Credentials: []string{"x-tenant"}}, wire{}, wire{}.with("Authorization: a"))
	same(t, Rule{Scope: ScopePublic}, wire{}, wire{}.with("Authorization: a", "Cookie: b"))
	differ(t, Rule{Scope: ScopePublic, Headers: []string{"Cookie"}}, wire{}, wire{}.with("Cookie: a"), wire{}.with("Cookie: b"), wire{}.with("Cookie: "))
}

func TestSecretKeysTheCredentialAlone(t *testing.T) {
	w := wire{}.with("Authorization: a")
	one, two := &Deriver{Secret: []byte("1")}, &Deriver{Secret: []byte("2")}
	if private := prepare(t, Rule{}); mustDerive(t, one, private, w.request()) == mustDerive(t, two, private, w.request()) {
		t.Error("credential scope: one key under two secrets")
	}
	if public := prepare(t, Rule{Scope: ScopePublic}); mustDerive(t, one, public, w.request()) != mustDerive(t, two, public, w.request()) {
		t.Error("public scope: two keys under two secrets")
	}
}

func TestRulesThatReadRequestsDifferentlyShareNoKey(t *testing.T) {
	w := jsonPost(`{"a":1}`).with("Accept: x")
	w.query = "q=1"
	seen := map[[32]byte]int{}
	for i, rule := range []Rule{
		{},
		{Namespace: "other"},
		{Provider: "p"},
		{Scope: ScopePublic},
		{Ignore: []string{"/b"}},
		{Ignore: []string{"/b", "/c"}},
		{QueryIgnore: []string{"b"}},
		{Headers: []string{"Accept"}},
		{Headers: []string{"Accept", "Origin"}},
		{Credentials: []string{"X-Tenant"}},
		{Body: BodyRaw},
	} {
		key := mustDerive(t, &Deriver{}, prepare(t, rule), w.request())
		if j, ok := seen[key.Digest]; ok {
			t.Errorf("rules %d and %d: one digest", i, j)
		}
		seen[key.Digest] = i
	}
}

func TestOrderOfNamesInARuleSaysNothing(t *testing.T) {
	w := jsonPost(`{"a":1,"b":2}`).with("X-B: 2", "X-A: 1", "Authorization: z")
	a := prepare(t, Rule{Ignore: []string{"/b", "/a", "/a"}, Headers: []string{"x-a", "X-B", "X-A"}, QueryIgnore: []string{"m", "n"}, Credentials: []string{"Cookie", "authorization"}})
	b := prepare(t, Rule{Ignore: []string{"/a", "/b"}, Headers: []string{"X-b", "X-a"}, QueryIgnore: []string{"n", "m", "n"}, Credentials: []string{"Authorization", "cookie"}})
	d := &Deriver{}
	if mustDerive(t, d, a, w.request()) != mustDerive(t, d, b, w.request()) {
		t.Error("two keys")
	}
}

func TestPrepareRefusesWhatItCannotKeep(t *testing.T) {
	f := func(rule Rule) {
		t.Helper()
		if err := rule.Prepare(); err == nil {
			t.Errorf("%+v accepted", rule)
		}
		if _, err := Derive(&rule, wire{}.request()); !errors.Is(err, ErrNotPrepared) {
			t.Errorf("%+v derives: %v", rule, err)
		}
	}
	f(Rule{})
	f(Rule{Namespace: "Documents"})
	f(Rule{Namespace: "a:b"})
	f(Rule{Namespace: "a", Provider: "b:c"})
	f(Rule{Namespace: "a", Provider: "b c"})
	f(Rule{Namespace: "a", Provider: "š"})
	f(Rule{Namespace: "a", Body: "xml"})
	f(Rule{Namespace: "a", Scope: "everyone"})
	f(Rule{Namespace: "a", Headers: []string{"a b"}})
	f(Rule{Namespace: "a", Headers: []string{""}})
	f(Rule{Namespace: "a", Credentials: []string{"a:"}})
	f(Rule{Namespace: "a", QueryIgnore: []string{""}})
	f(Rule{Namespace: "a", Ignore: []string{""}})
	f(Rule{Namespace: "a", Ignore: []string{"a"}})
	f(Rule{Namespace: "a", Ignore: []string{"/a/-"}})
	f(Rule{Namespace: "a", Ignore: []string{"/a~2"}})
	f(Rule{Namespace: "a", Ignore: []string{"/a~"}})
	f(Rule{Namespace: "a", Ignore: []string{"/\xff"}})
}

func TestBodyOfAnotherSizeThanSaidIsAnError(t *testing.T) {
	rule := prepare(t, Rule{})
	f := func(name string, body Body) {
		t.Helper()
		for _, contentType := range []string{"application/json", "multipart/form-data; boundary=b", "text/plain"} {
			for _, coding := range []string{"", "gzip", "zstd", "deflate"} {
				req := wire{}.with("Content-Type: " + contentType).request()
				if coding != "" {
					req = wire{}.with("Content-Type: "+contentType, "Content-Encoding: "+coding).request()
				}
				req.Body = body
				if key, err := Derive(rule, req); err == nil {
					t.Errorf("%s, %s, coding %q: key %v", name, contentType, coding, key)
				}
			}
		}
	}
	f("short memory", Body{Bytes: []byte("{}"), Size: 3})
	f("long memory", Body{Bytes: []byte("{}"), Size: 1})
	f("short file", Body{File: strings.NewReader("{}"), Size: 3})
	f("short gzip file", Body{File: strings.NewReader(gzipped("{}")), Size: int64(len(gzipped("{}"))) + 1})
	f("both", Body{Bytes: []byte("{}"), File: strings.NewReader("{}"), Size: 2})
	f("negative", Body{Size: -1})
}

func TestReadErrorOfAFileIsReturned(t *testing.T) {
	broken := errors.New("disk on fire")
	rule := prepare(t, Rule{})
	for _, contentType := range []string{"application/json", "multipart/form-data; boundary=b", "text/plain"} {
		for _, coding := range []string{"gzip", "zstd", "deflate", "br", "identity"} {
			req := wire{}.with("Content-Type: "+contentType, "Content-Encoding: "+coding).request()
			req.Body = Body{File: brokenFile{broken}, Size: 100}
			if _, err := Derive(rule, req); !errors.Is(err, broken) {
				t.Errorf("%s, %s: %v", contentType, coding, err)
			}
		}
	}
}

type brokenFile struct{ err error }

func (b brokenFile) ReadAt(p []byte, _ int64) (int, error) { return copy(p, "{"), b.err }

func TestExplainNamesThePartsInOrderAndHidesCredentials(t *testing.T) {
	rule := prepare(t, Rule{Headers: []string{"Accept", "Cookie"}})
	d := &Deriver{Secret: []byte("s")}
	w := jsonPost(`{"a":1}`).with("Accept: text/plain", "Cookie: sid=hunter2", "Authorization: Bearer hunter2")
	parts, err := d.Explain(rule, w.request())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range parts {
		names = append(names, p.Name)
		if strings.Contains(p.Value, "hunter2") {
			t.Errorf("part %q shows a credential: %q", p.Name, p.Value)
		}
	}
	want := "format namespace provider scope method upstream host path query media type body kind body header header value header header value credential"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("parts\n%s, want\n%s", got, want)
	}
	var again []Part
	key, err := d.derive(rule, w.request(), &again)
	if err != nil || key != mustDerive(t, d, rule, w.request()) {
		t.Errorf("explained another key: %v, %v", key, err)
	}
	if p := parts[13]; p.Value != "text/plain" || p.Length != len("text/plain") {
		t.Errorf("header value: %+v", p)
	}
	if p := parts[11]; len(p.Value) != 64 || p.Length != len(w.body) {
		t.Errorf("body: %+v", p)
	}
}

func TestDeriverServesManyAtOnce(t *testing.T) {
	rule := prepare(t, Rule{Headers: []string{"Accept"}, Ignore: []string{"/user"}})
	d := &Deriver{Secret: []byte("s"), Memo: NewMemo(1 << 20)}
	var ws []wire
	for i := range 8 {
		ws = append(ws,
			jsonPost(fmt.Sprintf(`{"user":%d,"n":"%s"}`, i, strings.Repeat("x", 2000+i))).with(fmt.Sprintf("Authorization: %d", i)),
			formData(fmt.Sprintf("b%d", i), "A: b\r\n\r\n"+strings.Repeat("y", 2000+i)),
			post(strings.Repeat("z", 2000+i)))
	}
	var want []Key
	for _, w := range ws {
		want = append(want, mustDerive(t, &Deriver{Secret: []byte("s")}, rule, w.request()))
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for round := range 20 {
				i := (g*7 + round) % len(ws)
				if key, err := d.Derive(rule, ws[i].request()); err != nil || key != want[i] {
					t.Errorf("request %d: %v, %v", i, key, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestVariantCountsNamesOnceInAnyCaseAndOrder(t *testing.T) {
	base := Key{Namespace: "documents", Provider: "p", Digest: [32]byte{1}}
	h := pairs{{"Accept", "a"}, {"Origin", "o"}}
	want := Variant(base, []string{"Accept", "Origin"}, h)
	for _, vary := range [][]string{{"origin", "accept"}, {"ORIGIN", "Accept", "accept"}, {" origin", "accept\t"}} {
		if Variant(base, vary, h) != want {
			t.Errorf("%q: another variant", vary)
		}
	}
	if want.Namespace != base.Namespace || want.Provider != base.Provider {
		t.Errorf("variant moved to %v", want)
	}
	std := http.Header{}
	std.Set("accept", "a")
	std.Set("origin", "o")
	if Variant(base, []string{"accept", "origin"}, HTTPHeaders(std)) != want {
		t.Error("headers of net/http: another variant")
	}
}

func TestVariantsDiffer(t *testing.T) {
	base := Key{Namespace: "documents", Digest: [32]byte{1}}
	other := Key{Namespace: "documents", Digest: [32]byte{2}}
	seen := map[Key]string{base: "base", other: "other"}
	f := func(name string, key Key) {
		t.Helper()
		if was, ok := seen[key]; ok {
			t.Errorf("%s is %s", name, was)
		}
		seen[key] = name
	}
	f("no names", Variant(base, nil, pairs{}))
	f("absent", Variant(base, []string{"a"}, pairs{}))
	f("empty", Variant(base, []string{"a"}, pairs{{"A", ""}}))
	f("value", Variant(base, []string{"a"}, pairs{{"A", "x"}}))
	f("other base", Variant(other, []string{"a"}, pairs{{"A", "x"}}))
	f("two lines", Variant(base, []string{"a"}, pairs{{"A", "x"}, {"A", "y"}}))
	f("one line", Variant(base, []string{"a"}, pairs{{"A", "x, y"}}))
	f("other name", Variant(base, []string{"b"}, pairs{{"B", "x"}}))
	f("two names", Variant(base, []string{"a", "b"}, pairs{{"A", "x"}}))
	f("value moved", Variant(base, []string{"a", "b"}, pairs{{"B", "x"}}))
	f("a name that holds another", Variant(base, []string{"a,b"}, pairs{{"A", "x"}}))
}

func TestKeyPrintsAsItsNameInTheStore(t *testing.T) {
	zeros := strings.Repeat("0", 64)
	if got := (Key{Namespace: "documents"}).String(); got != "jaegis:documents:"+zeros {
		t.Error(got)
	}
	if got := (Key{Namespace: "ai_responses", Provider: "openai"}).String(); got != "jaegis:ai_responses:openai:"+zeros {
		t.Error(got)
	}
}

func TestDeriveLeavesTheRequestAlone(t *testing.T) {
	w := jsonPost(`{"b":"\u0041", "a":[1]}`)
	w.query = "utm=1&x=%20"
	req := w.request()
	mustDerive(t, &Deriver{}, prepare(t, Rule{Ignore: []string{"/a/0"}, QueryIgnore: []string{"utm"}}), req)
	if !bytes.Equal(req.Body.Bytes, []byte(w.body)) || string(req.Query) != w.query {
		t.Errorf("changed: %q %q", req.Body.Bytes, req.Query)
	}
}

func TestAQueryParameterCanIdentifyTheCaller(t *testing.T) {
	rule := Rule{Namespace: "n", Credentials: []string{"X-Goog-Api-Key", "?key"}}
	public := Rule{Namespace: "n", Credentials: rule.Credentials, Scope: ScopePublic}
	for _, r := range []*Rule{&rule, &public} {
		if err := r.Prepare(); err != nil {
			t.Fatal(err)
		}
	}
	key := func(r *Rule, query string) Key {
		t.Helper()
		k, err := Derive(r, &Request{Method: []byte("GET"), Path: []byte("/"), Query: []byte(query), Headers: HTTPHeaders{}})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	if key(&rule, "alt=sse&key=a") == key(&rule, "alt=sse&key=b") || key(&rule, "alt=sse&key=a") == key(&rule, "alt=sse") {
		t.Error("two callers share a key")
	}
	if key(&rule, "alt=sse&key=a") != key(&rule, "key=a&alt=sse") {
		t.Error("where the credential stands splits the key")
	}
	if key(&public, "alt=sse&key=a") != key(&public, "alt=sse&key=b") || key(&public, "alt=sse&key=a") == key(&public, "alt=json&key=a") {
		t.Error("a public key has the caller in it, or lacks something else")
	}
	if parts, err := new(Deriver).Explain(&rule, &Request{Method: []byte("GET"), Query: []byte("key=sesame"), Headers: HTTPHeaders{}}); err != nil || strings.Contains(fmt.Sprint(parts), "sesame") {
		t.Errorf("%v, %v", parts, err)
	}
}
