package cachekey

import (
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

func TestKindIsPickedByContentType(t *testing.T) {
	rule := prepare(t, Rule{})
	f := func(contentType, body, want string) {
		t.Helper()
		if got := kindOf(t, rule, post(body, "Content-Type: "+contentType)); got != want {
			t.Errorf("%s: %s, want %s", contentType, got, want)
		}
	}
	f("application/json", "{}", "json")
	f("Application/JSON ; charset=utf-8", "{}", "json")
	f("application/vnd.api+json", "{}", "json")
	f("text/json", "1", "json")
	f("application/x-ndjson", "{}", "raw")
	f("application/json, text/plain", "{}", "raw")
	f("application/json; charset", "{}", "raw")
	f("application/jsonx", "{}", "raw")
	f("text/plain", "{}", "raw")
	f("application/x-www-form-urlencoded", "a=b", "form")
	f("multipart/mixed; boundary=b", "--b--", "multipart")
	f("multipart/mixed", "--b--", "raw")
	f("application/json", "", "none")
	f("", "{}", "raw")
	if got := kindOf(t, rule, post("{}")); got != "raw" {
		t.Errorf("no content type: %s", got)
	}
	if got := kindOf(t, rule, jsonPost("{}").with("Content-Type: application/json")); got != "raw" {
		t.Errorf("two content types: %s", got)
	}
}

func TestKindOfTheRuleHoldsWhateverTheContentType(t *testing.T) {
	f := func(mode BodyMode, w wire, want string) {
		t.Helper()
		if got := kindOf(t, prepare(t, Rule{Body: mode}), w); got != want {
			t.Errorf("%s: %s, want %s", mode, got, want)
		}
	}
	f(BodyJSON, post("{}"), "json")
	f(BodyJSON, post("{}", "Content-Type: text/plain"), "json")
	f(BodyJSON, post("{}", "Content-Type: /"), "json")
	f(BodyRaw, jsonPost("{}"), "raw")
	f(BodyForm, post("a=b"), "form")
	f(BodyMultipart, post("--b--"), "raw")
	f(BodyMultipart, post("--b--", "Content-Type: x/y; boundary=b"), "multipart")
	f(BodyJSON, post("{}", "Content-Type: a/b", "Content-Type: a/b"), "raw")
}

func TestContentTypeSaysNothingWhereItSaysNothing(t *testing.T) {
	same(t, Rule{},
		jsonPost("{}"),
		post("{}", "Content-Type: Application/Json"),
		post("{}", "Content-Type: application/json; charset=utf-8"),
		post("{}", "Content-Type: application/json;charset=\"UTF-8\""),
		post("{}", "Content-Type: application/json;"),
	)
	differ(t, Rule{},
		jsonPost("{}"),
		post("{}", "Content-Type: application/vnd.api+json"),
		post("{}", "Content-Type: application/json; charset=latin1"),
		post("{}", "Content-Type: application/json; charset=latin1; charset=utf-8"),
		post("{}", "Content-Type: application/json; charset=utf-8; charset=latin1"),
		post("{}", "Content-Type: application/json; odata=verbose"),
		post("{}", "Content-Type: application/json; charset*=utf-8"),
		post("{}", "Content-Type: application/json", "Content-Type: application/json"),
		post("{}", "Content-Type: application/json", "Content-Type: text/plain"),
		post("{}", "Content-Type: text/plain", "Content-Type: application/json"),
		post("{}", "Content-Type: application/json, text/plain"),
		post("{}", "Content-Type: text/plain"),
		post("{}", "Content-Type: text/plain; charset=utf-8"),
		post("{}", "Content-Type: TEXT/plain"),
		post("{}", "Content-Type: "),
		post("{}"),
	)
}

func TestJSONThatMeansTheSameHasOneKey(t *testing.T) {
	same(t, Rule{},
		jsonPost(`{"a":1,"b":[true,null,"x/é"]}`),
		jsonPost(" {\"b\" : [ true,\tnull, \"x\\/\\u00e9\" ],\r\n\"\\u0061\":1 } "),
	)
	// RFC 8785 orders by UTF-16 units, in which U+1F600 comes before U+FB33.
	same(t, Rule{}, jsonPost("{\"\U0001F600\":1,\"\uFB33\":2}"), jsonPost("{\"\uFB33\":2,\"\\ud83d\\ude00\":1}"))
}

func TestJSONThatDiffersHasAKeyOfItsOwn(t *testing.T) {
	deep := strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001)
	var ws []wire
	for _, body := range []string{
		`1`, `1.0`, `1e0`, `-0`, `0`, `"1"`, `[1]`, `{"a":1}`, `{"A":1}`, `{"a":[1]}`, `{"a":{"":1}}`,
		`9007199254740993`, `9007199254740992`, `9007199254740993.0`, `[1,2]`, `[2,1]`, `[12]`, `["1,2"]`, `[[1],2]`, `[1,[2]]`,
		`null`, `{}`, `[]`, `""`, `[null]`, `{"a":null}`, `"a"`, `"\u0000"`, `"\\u0000"`, `"é"`, "\"e\u0301\"",
		// these are hashed as they are
		`{"a":1,"a":1}`, `{"a":1, "a":1}`, `{"a":1,"a":2}`, `{"a":2,"a":1}`, `{"a":1,"\u0061":2}`,
		"\"\xff\"", "\"\xfe\"", `"\ufffd"`, `"\ud800"`, `"\udc00"`, `"\ud800\u0041"`,
		`{} `, `{} {}`, `{},`, "\xef\xbb\xbf{}", `{"a":1}x`, `[1,]`, `01`, `NaN`, deep, " " + deep, "",
	} {
		if body != `{} ` { // is {}
			ws = append(ws, jsonPost(body))
		}
	}
	differ(t, Rule{}, ws...)
}

func TestJSONHashedAsItIsNeverMeetsCanonicalJSON(t *testing.T) {
	// The same bytes and the same Content-Type, once as JSON and once raw.
	w := post(`{"a":1}`, "Content-Type: text/plain")
	d := &Deriver{}
	if mustDerive(t, d, prepare(t, Rule{Body: BodyRaw}), w.request()) == mustDerive(t, d, prepare(t, Rule{Body: BodyJSON}), w.request()) {
		t.Error("one key")
	}
}

func TestIgnoredPointersAreLeftOut(t *testing.T) {
	rule := Rule{Ignore: []string{"/user", "/meta/id", "/list/1", "/a~1b", "/m~0n", "/\u00e9\"\n", "/0", "/list/2/x", "/meta/id/deeper"}}
	same(t, rule,
		jsonPost(`{"x":1,"meta":{"k":1},"list":[1,0,{"y":2},4]}`),
		jsonPost(`{"list":[1,9,{"x":9,"y":2},4],"user":{"a":[]},"x":1,"meta":{"id":"z","k":1},"a/b":1,"m~n":2,"\u00e9\"\n":3,"0":4}`),
		jsonPost(`{"x":1,"meta":{"k":1,"id":null},"list":[1,"other",{"y":2},4],"\u0075ser":1}`),
	)
	differ(t, rule,
		jsonPost(`{"x":1}`),
		jsonPost(`{"x":1,"users":1}`),
		jsonPost(`{"x":1,"meta":{}}`),
		jsonPost(`{"x":1,"meta":{"idx":1}}`),
		jsonPost(`{"x":1,"meta":["id"]}`),
		jsonPost(`{"x":1,"deep":{"user":1}}`),
		jsonPost(`{"x":1,"list":[1]}`),
		jsonPost(`{"x":1,"list":[2,1]}`),
		jsonPost(`{"x":1,"list":{"2":{"y":1}}}`),
		jsonPost(`["user"]`),
		jsonPost(`"user"`),
	)
	same(t, Rule{Ignore: []string{"/0", "/2"}}, jsonPost(`["a","b","c"]`), jsonPost(`["x","b","y"]`), jsonPost(`["x","b"]`))
	same(t, Rule{Ignore: []string{"/a"}}, jsonPost(`{}`), jsonPost(`{"a":1}`))
	differ(t, Rule{Ignore: []string{"/01"}}, jsonPost(`[0,1]`), jsonPost(`[0,2]`), jsonPost(`[0]`))
}

func TestIgnoredNamesMatchInEverySpelling(t *testing.T) {
	for r := rune(0); r < 0x300; r++ {
		name := string(r)
		pointer := "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
		if name == "-" {
			continue
		}
		quoted, err := jsontext.AppendQuote(nil, name)
		if err != nil {
			t.Fatal(err)
		}
		same(t, Rule{Ignore: []string{pointer}},
			jsonPost(`{"zzz":1}`),
			jsonPost(fmt.Sprintf(`{"\u%04x":2,"zzz":1}`, r)),
			jsonPost(fmt.Sprintf(`{%s:2,"zzz":1}`, quoted)))
	}
}

func TestLargeJSONIsHashedAsItIs(t *testing.T) {
	rule := prepare(t, Rule{})
	f := func(size int, want string) {
		t.Helper()
		w := jsonPost(`"` + strings.Repeat("x", size-2) + `"`)
		if got := kindOf(t, rule, w); got != want {
			t.Errorf("%d bytes: %s, want %s", size, got, want)
		}
		same(t, Rule{}, w)
	}
	f(8<<20, "json")
	f(8<<20+1, "raw")
}

func TestFormIsKeyedByItsPairsInOrder(t *testing.T) {
	form := func(body string) wire { return post(body, "Content-Type: application/x-www-form-urlencoded") }
	same(t, Rule{}, form("a=b+c&d=%2f"), form("%61=b%20c&d=/"), form("a=b+c&d=%2F"))
	differ(t, Rule{},
		form("a=b+c&d=/"), form("d=/&a=b+c"), form("a=b%2Bc&d=/"), form("a=b&d=/"), form("a&d=/"), form("a=&d=/"),
		form("a=b&d=/&"), form("&a=b&d=/"), form("a=b&&d=/"), form("a=b"), form("a=b&"), form("a=b&&"), form("a%3Db"), form("a=b%26"),
		form("a=b&c"), form("a=b%26c"), form("&"), form("="), form("a==b"), form("k=a,b"), form("k=a&k=b"),
		// these are hashed as they are
		form("a=b;d=/"), form("a=%zz"), form("a=%z"), form("a=%"), form("a=é"), form("a=b c"), form("a=\x00"), form("a=%2"),
	)
	rule := prepare(t, Rule{})
	for _, body := range []string{"a;b", "%zz", "%a", "é", "a b", "a=\x7f"} {
		if got := kindOf(t, rule, form(body)); got != "raw" {
			t.Errorf("%q: %s", body, got)
		}
	}
	long := form(strings.Repeat("a", 8<<20+1))
	if got := kindOf(t, rule, long); got != "raw" {
		t.Errorf("large: %s", got)
	}
}
