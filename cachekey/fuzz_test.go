package cachekey

import (
	"bytes"
	"encoding/json"
	"io"
	"mime/multipart"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// fuzzRules are the rules that requests are read by.
func fuzzRules(t testing.TB) []*Rule {
	return []*Rule{
		prepare(t, Rule{}),
		prepare(t, Rule{Scope: ScopePublic, Headers: []string{"A", "B"}}),
		prepare(t, Rule{Ignore: []string{"/a", "/b/0", "/b/c", "/c/-1/x~1y", "/0"}, QueryIgnore: []string{"u", "v w"}}),
		prepare(t, Rule{Body: BodyJSON, Credentials: []string{"A"}}),
		prepare(t, Rule{Body: BodyForm, Provider: "p"}),
		prepare(t, Rule{Body: BodyMultipart}),
		prepare(t, Rule{Body: BodyRaw}),
		prepare(t, Rule{Multipart: Multipart{Ignore: []string{IgnoreFilename}, IgnoreFields: []string{"a", "f"}}}),
		prepare(t, Rule{Multipart: Multipart{Ignore: []string{IgnoreContentType, IgnoreFilename}}}),
		prepare(t, Rule{Multipart: Multipart{Exact: true}}),
		prepare(t, Rule{Multipart: Multipart{Extended: true}}),
		prepare(t, Rule{Multipart: Multipart{Extended: true, Ignore: []string{IgnoreFilename}}}),
	}
}

// parseWire reads a request written as its target fields and header lines, one
// a line.
func parseWire(head, body string) wire {
	lines := strings.Split(head, "\n")
	for len(lines) < 5 {
		lines = append(lines, "")
	}
	w := wire{method: lines[0], upstream: lines[1], host: lines[2], path: lines[3], query: lines[4], body: body}
	return w.with(lines[5:]...)
}

// mutate makes another request of w: one that is the same in all that counts,
// or nearly so. at and with say where and with what.
func mutate(w wire, op byte, at uint16, with string) wire {
	fields := []*string{&w.method, &w.upstream, &w.host, &w.path, &w.query, &w.body}
	w.header = slices.Clone(w.header)
	for i := range w.header {
		fields = append(fields, &w.header[i][1])
	}
	field := fields[int(at)%len(fields)]
	next := fields[(int(at)+1)%len(fields)]
	pos := 0
	if len(*field) > 0 {
		pos = int(at/7) % len(*field)
	}
	switch op % 16 {
	case 1: // the end of one field moves to the beginning of the next
		*next, *field = (*field)[pos:]+*next, (*field)[:pos]
	case 2:
		*field, *next = *next, *field
	case 3:
		*field = (*field)[:pos] + with + (*field)[pos:]
	case 4:
		if len(*field) > 0 {
			*field = (*field)[:pos] + (*field)[pos+1:]
		}
	case 5:
		if len(*field) > 0 {
			b := []byte(*field)
			b[pos] ^= 0x20
			*field = string(b)
		}
	case 6:
		w.header = append(w.header, [2]string{with, *field})
	case 7:
		if len(w.header) > 1 {
			i := int(at) % (len(w.header) - 1)
			w.header[i], w.header[i+1] = w.header[i+1], w.header[i]
		}
	case 8:
		w.query += "&u=" + with
	default:
		respell(&w, op%16)
	}
	return w
}

// respell writes the body of w in another way that means the same.
func respell(w *wire, op byte) {
	switch op {
	case 9: // what encoding/json makes of a document
		var v any
		dec := json.NewDecoder(strings.NewReader(w.body))
		dec.UseNumber()
		if dec.Decode(&v) == nil {
			out, _ := json.MarshalIndent(v, " ", "\t")
			w.body = string(out)
		}
	case 10: // another boundary
		for i, line := range w.header {
			if _, b, ok := strings.Cut(line[1], "boundary="); ok && b != "" {
				w.header[i][1] = strings.ReplaceAll(line[1], b, "other")
				w.body = strings.ReplaceAll(w.body, "--"+b, "--other")
			}
		}
	case 14: // the same headers of parts, as another client writes them
		w.body = strings.NewReplacer("; ", " ;\t", "Content-", "content-", ": ", ":", `name=a`, `name="a"`, `filename="x"`, "filename*=UTF-8''x").Replace(w.body)
	case 15:
		w.body = strings.NewReplacer("filename", "name", "A: b\r\nC: d\r\n", "C: d\r\nA: b\r\n", `"`, "").Replace(w.body)
	case 11:
		w.header = append(w.header, [2]string{"Content-Encoding", "gzip"})
		w.body = gzipped(w.body)
	case 12:
		w.header = append(w.header, [2]string{"content-encoding", "deflate"})
		w.body = deflated(w.body)
	case 13:
		w.header = append(w.header, [2]string{"Content-encoding", "zstd"})
		w.body = zstdCoded(w.body)
	}
}

// FuzzDerive holds keys against the reference: of a request and of one made
// from it, the keys are equal just when what is keyed is.
func FuzzDerive(f *testing.F) {
	heads := []string{
		"POST\nhttps://u\nh\n/a|b\nc",
		"GET\nhttps://u\n\n/x\na=1;b=2&a=3",
		"HEAD\nu\n\n/x\nk=a,b&k=a&k=b&u=1&v+w=2",
		"POST\nu\n\n/x\n\nContent-Type: application/json\nAuthorization: Bearer a\nCookie: b",
		"POST\nu\n\n/x\n\nContent-Type: application/json; charset=utf-8; q=1\nContent-Encoding: gzip",
		"POST\nu\n\n/x\n\nContent-Type: application/json\nContent-Type: text/plain\nAuthorization: a\nAuthorization: b",
		"POST\nu\n\n/x\n\nContent-Type: multipart/form-data; boundary=bnd; x=\"y;z\"\nX-Forwarded-For: 1.2.3.4",
		"POST\nu\n\n/x\n\nContent-Type: application/x-www-form-urlencoded\nA: x\nA: \nB: y",
		"GET\nu\n\n/x\n\nX-HTTP-Method-Override: PUT\nA: a|b",
	}
	bodies := []string{
		"", "x", `{"a":1,"b":[1,{"c":2}],"c":{"x/y":1}}`, `{"a":1,"a":2}`, `{"b":1,"\u0062":1}`, `1`, `1.0`, `9007199254740993`,
		`{"b":{"c":"\ud83d\ude00é\/"},"z":"\ud800"}`, "{\"k\":\"\xff\"}", "[1,2] ", "a=1&b=%20+&c", "k=a,b", "k=a&k=b",
		"--bnd\r\nA: b\r\n\r\nc\r\n--bnd\r\n\r\nd\r\n--bnd--\r\n", "--bnd--", "--bnd\r\n\r\nx\n--bnd\r\n\r\ny\r\n--bnd--",
		"--bnd\r\nContent-Disposition: form-data; name=\"a\"; filename=\"x\"\r\nContent-Type: t/x\r\n\r\nc\r\n--bnd\r\nA: b\r\nC: d\r\nContent-Disposition: form-data; filename*=utf-8''%c3%a9; name=f\r\n\r\n\r\n--bnd--",
		"--bnd\r\nContent-Disposition: form-data; name=\"a;b\"; filename=\"x\"; filename*=UTF-8''y\r\n\r\nc\r\n--bnd--",
		gzipped(`{"a":1}`), deflated("x"), zstdCoded("x"),
	}
	for i, head := range heads {
		for j, body := range bodies {
			f.Add(head, []byte(body), byte(i+j), byte(i*3+j), uint16(i*101+j*13), "x")
		}
	}
	rules := fuzzRules(f)
	d := &Deriver{Secret: []byte("s"), Memo: NewMemo(1 << 20)}
	f.Fuzz(func(t *testing.T, head string, body []byte, rule, op byte, at uint16, with string) {
		r := rules[int(rule)%len(rules)]
		a := parseWire(head, string(body))
		b := mutate(a, op, at, with)
		keyA, keyB := mustDerive(t, d, r, a.request()), mustDerive(t, d, r, b.request())
		refA, refB := reference(r, a), reference(r, b)
		if (keyA == keyB) != reflect.DeepEqual(refA, refB) {
			t.Errorf("keys equal: %v, but\n%+v\nis read as %+v\n%+v\nis read as %+v", keyA == keyB, a, refA, b, refB)
		}
		if got := kindOf(t, r, b); got != refB.Kind {
			t.Errorf("%+v: %s, want %s", b, got, refB.Kind)
		}
		if mustDerive(t, d, r, b.inFile()) != keyB {
			t.Errorf("%+v: another key when the body is in a file", b)
		}
		if digestedIn(t, d, r, b, 1+int(at)%100, -1) != keyB {
			t.Errorf("%+v: another key when the body is digested while it comes", b)
		}
	})
}

// FuzzJSON holds the canonical form of JSON against the reference, for two
// documents and for respellings of one.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{
		`{"a":1,"a":2}`, `1`, `1.0`, `9007199254740993`, `"\ud800"`, "\"\xff\"", `{"b":2,"a":[1,{"c":null}]}`, `"\u00e9\/\n"`,
		"{\"\U0001F600\":1,\"\uFB33\":2}", `[[[]]]`, `-0`, `1e400`, "\ufeff{}", `{"":{"":{}}}`, `{"0":[0],"b":[9,8]}`, `[1,2,3]`,
	} {
		f.Add([]byte(seed), []byte(" "+seed))
		f.Add([]byte(seed), []byte(`{"a":[1,{"c":null}],"b":2}`))
	}
	rules := fuzzRules(f)
	f.Fuzz(func(t *testing.T, a, b []byte) {
		for _, rule := range rules[2:4] {
			wa, wb := jsonPost(string(a)), jsonPost(string(b))
			ra, rb := reference(rule, wa), reference(rule, wb)
			d := &Deriver{}
			keyA := mustDerive(t, d, rule, wa.request())
			if equal := keyA == mustDerive(t, d, rule, wb.request()); equal != reflect.DeepEqual(ra, rb) {
				t.Errorf("%q and %q: keys equal: %v", a, b, equal)
			}
			if got := kindOf(t, rule, wa); got != ra.Kind {
				t.Fatalf("%q: %s, want %s", a, got, ra.Kind)
			}
			if ra.Kind != "json" {
				return
			}
			respelt, err := jsontext.AppendFormat(nil, a, jsontext.WithIndent("\t"), jsontext.EscapeForHTML(true), jsontext.SpaceAfterComma(true))
			if err != nil {
				t.Fatal(err)
			}
			if mustDerive(t, d, rule, jsonPost(string(respelt)).request()) != keyA {
				t.Errorf("%q: another key when written %q", a, respelt)
			}
		}
	})
}

// FuzzForm holds the canonical form of urlencoded bodies against the reference.
func FuzzForm(f *testing.F) {
	for _, seed := range []string{"a=b&c=d", "a=%20+", "&", "=", "a=1;b=2", "%zz", "k=a,b", "k=a&k=b", "a&a=", "é=é", "a=%c3%a9"} {
		f.Add([]byte(seed), []byte(seed+"&"))
		f.Add([]byte(seed), []byte("a=++"))
	}
	rule := prepare(f, Rule{Body: BodyForm})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		wa, wb := post(string(a)), post(string(b))
		ra, rb := reference(rule, wa), reference(rule, wb)
		d := &Deriver{}
		if equal := mustDerive(t, d, rule, wa.request()) == mustDerive(t, d, rule, wb.request()); equal != reflect.DeepEqual(ra, rb) {
			t.Errorf("%q and %q: keys equal: %v", a, b, equal)
		}
		if got := kindOf(t, rule, wa); got != ra.Kind {
			t.Errorf("%q: %s, want %s", a, got, ra.Kind)
		}
	})
}

// FuzzMultipart writes parts with mime/multipart: under a new boundary the key
// is the same, with any part changed it is another.
func FuzzMultipart(f *testing.F) {
	f.Add("file", "a.pdf", "application/pdf", []byte("%PDF"), []byte("second"), "bnd", uint16(3))
	f.Add("a", "", "", []byte("\r\n--bnd\r\n"), []byte("--"), "x", uint16(0))
	f.Add("a", "b\"\r\n", "text/plain", []byte("=3D"), []byte(""), "----WebKit", uint16(1))
	f.Add("a", "b", "c", bytes.Repeat([]byte("\r\n-"), windowSize/3), []byte("x"), "'()+_,-./:=?", uint16(40000))
	rule := prepare(f, Rule{})
	f.Fuzz(func(t *testing.T, name, file, contentType string, one, two []byte, boundary string, at uint16) {
		write := func(boundary string, one []byte) (wire, bool) {
			var b strings.Builder
			mw := multipart.NewWriter(&b)
			if mw.SetBoundary(boundary) != nil || !isBoundary([]byte(boundary)) {
				return wire{}, false
			}
			header := map[string][]string{
				"Content-Disposition": {multipart.FileContentDisposition(name, file)},
				"Content-Type":        {strings.NewReplacer("\r", "", "\n", "").Replace(contentType)},
			}
			p1, _ := mw.CreatePart(header)
			p1.Write(one)
			p2, _ := mw.CreateFormField("two")
			p2.Write(two)
			mw.Close()
			return post(b.String(), `Content-Type: multipart/form-data; boundary="`+boundary+`"`), strings.Count(b.String(), "--"+boundary) == 3
		}
		first, ok := write(boundary, one)
		second, ok2 := write("another-boundary", one)
		if !ok || !ok2 {
			return
		}
		d := &Deriver{}
		key := mustDerive(t, d, rule, first.request())
		if got := kindOf(t, rule, first); got != "multipart" {
			t.Fatalf("%q: %s", first.body, got)
		}
		if mustDerive(t, d, rule, second.request()) != key || mustDerive(t, d, rule, second.inFile()) != key {
			t.Errorf("another key under another boundary: %q", first.body)
		}
		changed := append(slices.Clone(one), 0)
		changed[int(at)%len(changed)]++
		if third, _ := write(boundary, changed); mustDerive(t, d, rule, third.request()) == key {
			t.Errorf("the same key with a part changed: %q", third.body)
		}
	})
}

// FuzzSplitter holds the splitter, with a window that moves, against the
// reference on bodies of any shape.
func FuzzSplitter(f *testing.F) {
	for _, seed := range []string{
		"--b\r\n\r\nx\r\n--b--", "--b--", "--b\r\n--b--", "--b\r\n\r\nx\n--b\r\n--b--", "--b\r\n\r\nx\r\n--bb--", "--b\r\n\r\n\r\n--b--\r\n \t",
	} {
		f.Add([]byte(seed), []byte(seed), uint16(0))
		f.Add([]byte(seed), []byte(seed), uint16(windowSize-8))
	}
	rule := prepare(f, Rule{})
	f.Fuzz(func(t *testing.T, a, b []byte, pad uint16) {
		filler := "--b\r\n" + strings.Repeat("x", int(pad)) + "\r\n"
		const contentType = "Content-Type: multipart/mixed; boundary=b"
		wa, wb := post(filler+string(a), contentType), post(filler+string(b), contentType)
		ra, rb := reference(rule, wa), reference(rule, wb)
		d := &Deriver{}
		if equal := mustDerive(t, d, rule, wa.request()) == mustDerive(t, d, rule, wb.request()); equal != reflect.DeepEqual(ra, rb) {
			t.Errorf("%q and %q: keys equal: %v", a, b, equal)
		}
		if got := kindOf(t, rule, wa); got != ra.Kind {
			t.Errorf("%q: %s, want %s", a, got, ra.Kind)
		}
		mustDigest(t, rule, wa, mustDerive(t, &Deriver{Secret: []byte("s")}, rule, wa.request()))
	})
}

// FuzzDecode reads coded bodies from memory and through a reader that gives a
// byte at a time: no input may fail, or come to something else.
func FuzzDecode(f *testing.F) {
	for _, body := range []string{"x", `{"a":1}`, strings.Repeat("y", 5000)} {
		f.Add([]byte(gzipped(body)), byte(0))
		f.Add([]byte(deflated(body)), byte(1))
		f.Add([]byte(zstdCoded(body)), byte(2))
		f.Add([]byte(zstdCoded(body)+zstdCoded("")), byte(2))
		f.Add([]byte(gzipped(body)+gzipped(body)), byte(0))
	}
	rule := prepare(f, Rule{})
	f.Fuzz(func(t *testing.T, body []byte, which byte) {
		coding := [...]string{"gzip", "deflate", "zstd"}[int(which)%3]
		w := coded(coding, string(body))
		key := mustDerive(t, &Deriver{}, rule, w.request())
		slow := w.request()
		slow.Body = Body{File: byteAtATime(body), Size: int64(len(body))}
		if mustDerive(t, &Deriver{}, rule, slow) != key {
			t.Errorf("%s %q: another key when read slowly", coding, body)
		}
	})
}

type byteAtATime []byte

func (b byteAtATime) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(b)) {
		return 0, io.EOF
	}
	return copy(p[:min(1, len(p))], b[off:]), nil
}
