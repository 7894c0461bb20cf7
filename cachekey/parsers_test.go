package cachekey

import (
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"os/exec"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// parsed is a part as mime/multipart, a parser of another make, reads it.
type parsed struct {
	Disposition string
	Params      map[string]string
	Refused     bool // the Content-Disposition
	Header      map[string][]string
	Body        string
}

var errNoMultipart = errors.New("no multipart body")

// parseByGo reads a body by means of the standard library, which refuses some
// white space behind the last delimiter.
func parseByGo(w wire) ([]parsed, error) {
	_, params, err := mime.ParseMediaType(w.header[0][1])
	if err != nil || params["boundary"] == "" {
		return nil, errNoMultipart
	}
	var parts []parsed
	for r := multipart.NewReader(strings.NewReader(strings.TrimRight(w.body, " \t\r\n")), params["boundary"]); ; {
		p, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			return parts, nil
		}
		if err != nil {
			return parts, errNoMultipart
		}
		body, err := io.ReadAll(p)
		if err != nil {
			return parts, errNoMultipart
		}
		one := parsed{Header: p.Header, Body: string(body)}
		if d, ok := p.Header["Content-Disposition"]; ok {
			one.Disposition, one.Params, err = mime.ParseMediaType(d[0])
			if one.Refused = err != nil; !one.Refused {
				delete(one.Header, "Content-Disposition")
			}
		}
		parts = append(parts, one)
	}
}

// respellings are ways to write a multipart body in another way: some mean the
// same, some nearly.
var respellings = [][2]string{
	{"; ", ";"}, {";", "; "}, {"; ", " ;\t"}, {": ", ":"}, {": ", ":\t "}, {"Content-", "content-"}, {"Content-Disposition", "CONTENT-DISPOSITION"},
	{`"`, ""}, {`name="f"`, "name=f"}, {"name=f", `name="f"`}, {`filename="x"`, "filename=x"}, {`filename="x"`, "filename*=UTF-8''x"}, {"filename*=UTF-8''", "filename*=utf-8''"},
	{`filename="é x"`, "filename*=UTF-8''%C3%A9%20x"}, {"%C3%A9", "%c3%a9"}, {"filename*=UTF-8''x", `filename="x"`}, {`; filename="x"`, `; filename="x"; filename*=UTF-8''x`},
	{"form-data", "Form-Data"}, {"UTF-8''", "UTF-8'en'"}, {"name=", "Name="}, {"x", "X"}, {"'", "%27"}, {"%20", " "}, {" ", "%20"}, {`"x"`, `"x" `}, {"=", " = "}, {`"`, `'`},
	{"A: 1\r\nB: 2\r\n", "B: 2\r\nA: 1\r\n"}, {"\r\n", "\n"}, {"A: 1", "A: 1 "}, {"A: 1", "a: 1"}, {"B: 2", "A: 2"}, {"\r\nB", "\r\n B"}, {"; ", "; ; "}, {`";`, `";;`},
	{`name="f"; filename="x"`, `filename="x"; name="f"`}, {`name="a;b"; filename="x"`, `filename="x"; name="a;b"`}, {`x"`, `x\"`}, {"x", "%22"}, {"x", "\\"}, {"x", "=?utf-8?q?y?="},
	{"Content-Type: text/plain\r\n", ""}, {"text/plain", "Text/Plain"}, {"--b", "--other"}, {"\r\n\r\n", "\r\n"}, {"\r\n--b", "\r\n\r\n--b"}, {"%PDF", "%PDF\r\n"},
}

var spelt = []string{
	`Content-Disposition: form-data; name="f"; filename="x"` + "\r\nContent-Type: text/plain\r\n",
	`Content-Disposition: form-data; name="f"; filename="é x"` + "\r\nA: 1\r\nB: 2\r\n",
	`Content-Disposition: form-data; name="f"; filename="y"; filename*=UTF-8''x` + "\r\n",
	`Content-Disposition: form-data; name="a;b"; filename="x"` + "\r\n",
	`Content-Disposition: form-data; name="f"` + "\r\nContent-Transfer-Encoding: base64\r\n",
	`Content-Disposition: attachment; filename*0="x"; filename*1="y"; size=3` + "\r\n", "A: 1\r\nB: 2\r\n", "",
}

// respelt gives a body of some parts and the same, or nearly the same, written
// in another way.
func respelt(choose func(n int) int) (a, b wire) {
	var body strings.Builder
	for range 1 + choose(3) {
		body.WriteString("--b\r\n" + spelt[choose(len(spelt))] + "\r\n%PDF\r\n")
	}
	body.WriteString("--b--\r\n")
	const contentType = "Content-Type: multipart/form-data; boundary=b"
	a = post(body.String(), contentType)
	b = a
	for range choose(4) {
		r := respellings[choose(len(respellings))]
		count := -1
		if choose(2) == 0 {
			count = 1
		}
		b.body = strings.Replace(b.body, r[0], r[1], count)
		if r[1] == "--other" {
			b.header = pairs{{"Content-Type", strings.Replace(b.header[0][1], "=b", "=other", 1)}}
		}
	}
	return a, b
}

// held holds two bodies against each other: with one key, they are one to the
// standard library too.
func held(t *testing.T, rule *Rule, a, b wire) (one bool) {
	t.Helper()
	d := &Deriver{}
	if mustDerive(t, d, rule, a.request()) != mustDerive(t, d, rule, b.request()) {
		return false
	}
	partsA, errA := parseByGo(a)
	partsB, errB := parseByGo(b)
	if !errors.Is(errA, errB) || !reflect.DeepEqual(partsA, partsB) {
		t.Errorf("one key, but\n%q\nis read as %+v, %v\n%q\nis read as %+v, %v", a.body, partsA, errA, b.body, partsB, errB)
	}
	return true
}

// FuzzParsers holds the key against mime/multipart, and against the reference.
func FuzzParsers(f *testing.F) {
	for i := range 200 {
		r := rand.New(rand.NewPCG(uint64(i), 1))
		choices := make([]byte, 16)
		for j := range choices {
			choices[j] = byte(r.Uint32())
		}
		f.Add(choices, "", "", uint16(0))
	}
	f.Add([]byte{0}, "; filename", ";filename", uint16(9))
	rules := []*Rule{prepare(f, Rule{}), prepare(f, Rule{Multipart: Multipart{Extended: true}})}
	f.Fuzz(func(t *testing.T, choices []byte, what, with string, at uint16) {
		a, b := respelt(func(n int) int {
			if len(choices) == 0 {
				return 0
			}
			c := choices[0]
			choices = choices[1:]
			return int(c) % n
		})
		if what != "" {
			b.body = strings.Replace(b.body, what, with, 1)
		} else {
			i := int(at) % (len(b.body) + 1)
			b.body = b.body[:i] + with + b.body[i:]
		}
		for _, rule := range rules {
			one := held(t, rule, a, b)
			if refOne := reflect.DeepEqual(reference(rule, a), reference(rule, b)); refOne != one {
				t.Errorf("one key: %v, but one to the reference: %v\n%q\n%q", one, refOne, a.body, b.body)
			}
		}
	})
}

// Bodies with one key are one to the parsers of Node.js and Python too, where
// those read both: what one of them refuses gets no answer that is stored. The
// parser of Node.js does not know filename*, as the documents say.
func TestBodiesWithOneKeyAreOneToOtherParsers(t *testing.T) {
	type pair struct {
		A, B         string
		TypeA, TypeB string
	}
	var all, plain []pair
	rule := prepare(t, Rule{})
	r := rand.New(rand.NewPCG(1, 2))
	for len(all) < 2000 {
		a, b := respelt(r.IntN)
		if a.body != b.body && held(t, rule, a, b) {
			p := pair{a.body, b.body, a.header[0][1], b.header[0][1]}
			if all = append(all, p); !regexp.MustCompile(`(?i)filename\*`).MatchString(a.body + b.body) {
				plain = append(plain, p)
			}
		}
	}
	if len(plain) < 500 {
		t.Fatalf("only %d pairs without filename*", len(plain))
	}
	f := func(pairs []pair, program string, args ...string) {
		t.Helper()
		if _, err := exec.LookPath(program); err != nil {
			t.Logf("no %s here", program)
			return
		}
		in, err := json.Marshal(pairs)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(program, slices.Concat(args)...)
		cmd.Stdin = strings.NewReader(string(in))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%.2000s", program, err, out)
		}
		t.Logf("%s: %s", program, out)
	}
	f(plain, "node", "testdata/parse.mjs")
	f(all, "python3", "testdata/parse.py")
}
