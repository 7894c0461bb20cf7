package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

const (
	typeJSON  = "application/json"
	typeForm  = "application/x-www-form-urlencoded"
	typePlain = "text/plain"
)

// 24: what joins to the same text when it is written in a row is not the same.
func TestValuesThatMoveFromOneFieldToTheNextAreApart(t *testing.T) {
	r := e2e(t, proofRoutes)
	lines := func(a, b string) []string { return []string{"X-A: " + a, "X-B: " + b} }
	for i, sep := range []string{"|", ",", ":", ";", "&", "=", "\t", " ", "/", "\x80", "-", "0"} {
		r.apart(t, posts(fmt.Sprint("/c/joined/", i), "body", lines("a"+sep+"b", "c"), lines("a", "b"+sep+"c"), lines("a"+sep+"b"+sep+"c", ""), lines("", "a"+sep+"b"+sep+"c"))...)
	}
	r.apart(t, posts("/c/lines", "body",
		nil, []string{"X-A:"}, []string{"X-A: a", "X-A: b"}, []string{"X-A: b", "X-A: a"}, []string{"X-A: a, b"}, []string{"X-A: a", "X-B: b"}, []string{"X-B: a", "X-A: b"}, []string{"X-A: ab"},
	)...)
	r.apart(t, posts("/c/who", "body",
		[]string{"Authorization: a", "X-Api-Key: b"}, []string{"Authorization: b", "X-Api-Key: a"}, []string{"Authorization: ab"}, []string{"X-Api-Key: ab"}, []string{"Cookie: ab"},
		[]string{"Authorization: a", "X-A: b"}, []string{"Authorization: a", "X-B: b"}, []string{"X-A: a", "X-B: b"},
	)...)
	r.apart(t, concat(
		bodies("/c/moved?x=1", typeForm, "", "y=2", "x=1&y=2"), bodies("/c/moved", typeForm, "x=1", "?x=1", "x=1&y=2"), bodies("/c/moved?x=1&y=2", typeForm, ""),
		bodies("/c/moved", typePlain, "x=1"), bodies("/c/moved/x=1", typePlain, ""), bodies("/c/moved%3Fx=1", typePlain, ""), gets("/c/moved?x=1", "/c/moved"),
	)...)
}

// 24: input that looks like what a key is made of is input.
func TestInputShapedLikeADigestIsInput(t *testing.T) {
	r := e2e(t, proofRoutes)
	for _, contentType := range []string{typePlain, typeJSON, typeForm, "multipart/form-data; boundary=b"} {
		sum := sha256.Sum256([]byte("hello"))
		text := hex.EncodeToString(sum[:])
		r.apart(t, bodies("/c/digest", contentType, "hello", text, strings.ToUpper(text), string(sum[:]), "sha256:"+text, "jaegis:default:"+text, "\x11\x20"+string(sum[:]), `"hello"`, `["`+text+`"]`)...)
	}
	r.apart(t, concat(bodies("/c/like", typePlain, `{"a":1}`), bodies("/c/like", typeJSON, `{"a":1}`), bodies("/c/like", typeForm, `{"a":1}`), bodies("/c/like", typeJSON+"; charset=latin1", `{"a":1}`))...)
}

// 25: JSON that some readers take for each other's.
func TestJSONThatCouldBeReadAsAnotherIsApart(t *testing.T) {
	r := e2e(t, proofRoutes)
	for i, group := range [][]string{
		{`{"a":1,"a":2}`, `{"a":2,"a":1}`, `{"a":1}`, `{"a":2}`, `{"a":1,"\u0061":2}`, `{"a":[1,2]}`},
		{`{"a":1,"A":2}`, `{"A":1,"a":2}`, `{"a":2,"A":2}`},
		{`1`, `1.0`, `1e0`, `1E0`, `10e-1`, `"1"`, `[1]`, `1.00`},
		{`0`, `-0`, `0.0`, `-0.0`, `null`, `false`, `""`, `[]`, `{}`},
		{`9007199254740992`, `9007199254740993`, `9007199254740992.0`, `9.007199254740993e15`},
		{`0.1`, `0.10`, `0.1000000000000000055511151231257827`},
		{`1e400`, `1e401`, `-1e400`},
		{`"\ud800"`, `"\udbff"`, `"\ufffd"`, "\"\xff\"", "\"\xfe\"", "\"\xed\xa0\x80\""},
		{`"a\u0000b"`, `"ab"`, `"a"`},
		{"\"\u00e9\"", "\"e\u0301\"", `"\u00e8"`},
		{`{"a":{"b":1},"c":2}`, `{"a":{"b":1,"c":2}}`, `{"a":{},"b":1,"c":2}`},
		{`[1,2]`, `[2,1]`, `[12]`, `[[1],2]`, `[1,[2]]`},
		{`{"a":"b\",\"c\":\"d"}`, `{"a":"b","c":"d"}`},
		{`{"k":"a,b"}`, `{"k":["a","b"]}`, `{"k":"a","k":"b"}`},
		{`{"a":1}{"a":2}`, `{"a":1}`, `{"a":1} x`, `{"a":1},`, "\ufeff{\"a\":1}", `{"a":1,}`, `{'a':1}`, `{"a":1/**/}`},
	} {
		r.apart(t, bodies(fmt.Sprint("/c/json/", i), typeJSON, group...)...)
		r.apart(t, bodies(fmt.Sprint("/public/json/", i), typeJSON, group...)...)
	}
	// What is the same to every reader is one: the above is no accident.
	r.together(t, bodies("/c/same", typeJSON, `{"a":1,"b":[true,"x"]}`, ` { "b" : [ true , "\u0078" ] , "a" : 1 } `, "{\n\t\"a\": 1, \"b\": [true, \"x\"]}\r\n")...)
}

// 25, 31: pairs of names and values that some readers split, join or reorder.
func TestPairsThatCouldBeReadAsOthersAreApart(t *testing.T) {
	r := e2e(t, proofRoutes)
	pairs := []string{
		"k=a,b", "k=a&k=b", "k=b&k=a", "k[]=a&k[]=b", "k=a;b", "k=a;k=b", "k=a%3Bb", "k=a", "k=b", "k=a&&k=b", "k=a&", "&k=a", "k", "k=", "K=a", "k=a&k", "k==a", "=k", "k=a=b", "k=a%26k=b",
		"a=1;b=2&a=3", "a=1&b=2&a=3", "a=1%3Bb=2&a=3", "a=3", "a=3&a=1;b=2", "a=1;b=2;a=3", "a=1;b=3&a=3",
		"k=a+b", "k=a%2Bb", "k=%", "k=%zz", "k=%00", "k=\xe9", "k=%C3%A9",
	}
	// The same to every reader of forms, and still not the same query.
	spelled := []string{"k=a%2Cb", "k=a%3Db"}
	r.apart(t, bodies("/c/form", typeForm, append(pairs, "")...)...)
	r.apart(t, bodies("/c/formed", typePlain, slices.Concat(pairs, spelled)...)...)
	r.together(t, bodies("/c/formal", typeForm, "k=a%2Cb", "k=a,b", "%6b=a%2cb")...)
	targets := []string{"/c/query"}
	for _, p := range slices.Concat(pairs, spelled) {
		if !strings.Contains(p, "\xe9") { // no part of a target
			targets = append(targets, "/c/query?"+p)
		}
	}
	r.apart(t, gets(targets...)...)
	r.apart(t, gets(
		"/c/ignoring?a=1;trace=1", "/c/ignoring?a=1;trace=2", "/c/ignoring?trace=1;a=1", "/c/ignoring?trace=1;a=2",
		"/c/ignoring?Trace=1", "/c/ignoring?trac%45=1", "/c/ignoring?%zztrace=1", "/c/ignoring?x=trace=1", "/c/ignoring?trace.x=1", "/c/ignoring?trace[]=1", "/c/ignoring?a=1",
	)...)
	r.together(t, gets("/c/ignored?a=1", "/c/ignored?a=1&trace=1", "/c/ignored?trace=2&a=1", "/c/ignored?a=1&tr%61ce=3", "/c/ignored?a=1&trace")...)
}

// 26: all of a body counts, also what nobody knows, however large it is and
// wherever it stands.
func TestAMemberThatNobodyKnowsIsKeyed(t *testing.T) {
	r := e2e(t, proofRoutes)
	for _, size := range []int{0, 5_000, 300_000} {
		filler := strings.Repeat("x", size)
		for _, route := range []string{"/c/", "/public/"} {
			for kind, format := range map[string]string{
				"first": `{"unheard_of":%q,"model":"m","messages":[{"role":"user","content":%q}]}`,
				"deep":  `{"model":"m","messages":[{"role":"user","x":[{"unheard_of":%q}],"content":%q}]}`,
			} {
				path := fmt.Sprint(route, "unknown/", kind, "/", size)
				r.apart(t, bodies(path, typeJSON, fmt.Sprintf(format, "1", filler), fmt.Sprintf(format, "2", filler), fmt.Sprintf(format, "", filler))...)
			}
			body := `{"model":"m","messages":[{"role":"user","content":"` + filler + `y"}],"unheard_of":1}`
			r.apart(t, bodies(fmt.Sprint(route, "unknown/last/", size), typeJSON, body, strings.Replace(body, "y\"", "z\"", 1), strings.Replace(body, "_of\":1", "_of\":2", 1), body[:len(body)-len(`,"unheard_of":1}`)]+"}")...)
		}
	}
}

// 30: a GET with a body is asked with it, and is not the GET without.
func TestAGETWithABodyIsNotTheOneWithout(t *testing.T) {
	r := e2e(t, proofRoutes)
	fat := func(path string, contentType string) (all []asked) {
		for _, body := range []string{"", "a", "b", "a=1", `{"a":1}`} {
			all = append(all, asked{http.MethodGet, path, []string{"Content-Type: " + contentType}, body})
		}
		return all
	}
	for _, contentType := range []string{typeJSON, typeForm, typePlain} {
		r.apart(t, fat("/c/fat", contentType)...)
		r.apart(t, fat("/public/fat", contentType)...)
	}
	// By the rules of HTTP alone such a body means nothing: then it may be
	// passed on and not kept, but the two still never share.
	for i, a := range fat("/d/fat", typePlain) {
		path := fmt.Sprint("/d/fat/", i)
		r.origin.On(path, proven)
		with, without := asked{http.MethodGet, path, a.fields, a.body}, gets(path)[0]
		for range 3 {
			r.whole(t, with.raw()).proof(t, "GET", path, "", with.body)
			r.whole(t, without.raw()).proof(t, "GET", path, "", "")
		}
		if i > 0 {
			r.stored(t, without)
			r.whole(t, with.raw()).proof(t, "GET", path, "", with.body)
		}
	}
}
