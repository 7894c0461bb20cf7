package main

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// warmFiles has the files that requests of the tests name.
func warmFiles(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"a.pdf": "%PDF-a", "b.txt": "line\r\none\n", "c d.bin": "\x00\x01"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// told is a request in a form that can be compared: method, where to, headers
// that were asked for, body.
func told(t *testing.T, r *warmRequest) string {
	t.Helper()
	out := r.method + " " + r.url.String()
	for _, name := range []string{"Authorization", "Content-Type", "Accept", "Accept-Encoding", "X-A", "Cookie", "User-Agent"} {
		if v := r.header.Values(name); v != nil && !strings.HasPrefix(v[0], "multipart/") && (name != "Accept" || v[0] != "*/*") {
			out += "|" + name + ": " + strings.Join(v, ",")
		}
	}
	if r.body == nil {
		return out
	}
	in := r.body.reader()
	body, err := io.ReadAll(in)
	if err != nil || in.Close() != nil {
		t.Fatal(err)
	}
	if n, err := r.body.length(); err != nil || n != -1 && n != int64(len(body)) {
		t.Errorf("%s: length %d of %d bytes, %v", out, n, len(body), err)
	}
	_, params, _ := mime.ParseMediaType(r.header.Get("Content-Type"))
	if params["boundary"] == "" {
		return out + "|" + string(body)
	}
	for form := multipart.NewReader(strings.NewReader(string(body)), params["boundary"]); ; {
		p, err := form.NextRawPart()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(p)
		out += fmt.Sprintf("|%s %q %s %s", p.FormName(), p.FileName(), p.Header.Get("Content-Type"), text)
	}
}

func TestWarmReadsRequests(t *testing.T) {
	dir := warmFiles(t)
	f := func(text, want string) {
		t.Helper()
		w := newWarmReader(strings.NewReader(text+"\n/end"), dir, []string{"TOKEN=s3cret"})
		r, err := w.next()
		if err != nil {
			t.Errorf("%s: %v", text, err)
			return
		}
		if got := told(t, r); got != want {
			t.Errorf("%s:\n got %s\nwant %s", text, got, want)
		}
		var bad *lineError
		if _, err := w.next(); !errors.As(err, &bad) || bad.line != strings.Count(text, "\n")+2 {
			t.Errorf("%s: it took more than that: %v", text, err)
		}
	}
	f(`{"path":"/a?b=c"}`, "GET /a?b=c")
	f(`{"url":"http://localhost:1/a","method":"delete"}`, "DELETE http://localhost:1/a")
	f(`{"path":"/a","body":"text","headers":{"x-a":["1","2"]}}`, "POST /a|X-A: 1,2|text")
	f(`{"path":"/a","body":{"b": 1.0},"method":"PUT"}`, `PUT /a|Content-Type: application/json|{"b": 1.0}`)
	f(`{"path":"/a","body":[1],"headers":{"Content-Type":"x/y"}}`, `POST /a|Content-Type: x/y|[1]`)
	f(`{"path":"/a","body_file":"a.pdf","headers":{"Content-Type":"application/pdf"}}`, `POST /a|Content-Type: application/pdf|%PDF-a`)
	f(`{"path":"/a","form":{"b":["1","2"],"a":"x y"}}`, `POST /a|Content-Type: application/x-www-form-urlencoded|a=x+y&b=1&b=2`)
	f(`{"path":"/a","multipart":[{"name":"f","file":"a.pdf"},{"name":"g","value":"v"},{"name":"h","file":"b.txt","type":"x/y","filename":"z"}]}`,
		"POST /a|f \"a.pdf\" application/pdf %PDF-a|g \"\"  v|h \"z\" x/y line\r\none\n")

	f(`curl http://localhost:8080/a`, "GET http://localhost:8080/a")
	f(`curl localhost:8080/a`, "GET http://localhost:8080/a")
	f(`curl -sS -X PUT /a -H 'X-A: it''s' -H "X-A: 2"`, "PUT /a|X-A: its,2")
	f(`curl -XPOST /a -d a=1 --data "b=$TOKEN" -d @b.txt`, "POST /a|Content-Type: application/x-www-form-urlencoded|a=1&b=s3cret&lineone")
	f(`curl /a --data-raw @x --data-binary @b.txt -H 'Content-Type: text/plain'`, "POST /a|Content-Type: text/plain|@x&line\r\none\n")
	f(`curl /a --data-binary '@c d.bin' -H 'Content-Type:'`, "POST /a|\x00\x01")
	f(`curl '/a?x=1' -G -d b=2 --data-urlencode 'c=x y&z'`, "GET /a?x=1&b=2&c=x+y%26z")
	f(`curl /a --json '{"x":' --json '1}'`, `POST /a|Content-Type: application/json|Accept: application/json|{"x":1}`)
	f(`curl -u u:p /a -I --compressed -A me`, "HEAD /a|Authorization: Basic dTpw|Accept-Encoding: deflate, gzip, zstd|User-Agent: me")
	f(`curl http://u:p@127.0.0.1/a -b 'a=b' -b c=d`, "GET http://127.0.0.1/a|Authorization: Basic dTpw|Cookie: a=b;c=d")
	f(`curl /a -F f=@a.pdf -F 'g=@"b.txt";type=text/x; charset=y;filename="n.txt"' -F 'h=<b.txt' -F 'i=v;type=application/json' --form-string 'j=@k;type=l'`,
		"POST /a|f \"a.pdf\" application/pdf %PDF-a|g \"n.txt\" text/x; charset=y line\r\none\n|h \"\"  line\r\none\n|i \"\" application/json v|j \"\"  @k;type=l")
	f("curl /a \\\n  -H 'X-A: 1' \\\n  -d 'two\nlines'", "POST /a|Content-Type: application/x-www-form-urlencoded|X-A: 1|two\nlines")
	f(`curl $'/a\x41' -d $'it\'s\n'`, "POST /aA|Content-Type: application/x-www-form-urlencoded|it's\n")
	f(`curl /a#fragment -L -k -o x --max-time 5 # a comment`, "GET /a")
	f("# a comment\n\n  curl /a", "GET /a")
}

func TestWarmTellsWhatIsWrongWithALine(t *testing.T) {
	dir := warmFiles(t)
	f := func(text, want string) {
		t.Helper()
		w := newWarmReader(strings.NewReader("\n"+text), dir, nil)
		_, err := w.next()
		var bad *lineError
		if !errors.As(err, &bad) || bad.line != 2 || !strings.Contains(bad.what, want) || strings.Contains(bad.what, "s3cret") {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	f(`GET /a`, "neither a JSON object nor a curl command")
	f(`{"path":"/a"`, "no whole JSON object")
	f(`{"path":"/a"} {}`, "something follows")
	f(`{"path":"/a","boby":"s3cret"}`, `unknown field "boby"`)
	f(`{"path":1}`, "path is a number")
	f(`{"path":"a"}`, "path must begin with /")
	f(`{}`, "either url or path")
	f(`{"path":"/a","url":"/a"}`, "either url or path")
	f(`{"url":"ftp://h/a"}`, `scheme "ftp"`)
	f(`{"url":"http://u:s3cret@h:x/"}`, "cannot be read")
	f(`{"path":"/a","method":"G T"}`, "method is none")
	f(`{"path":"/a","headers":{"a b":"s3cret"}}`, `"a b" is no header name`)
	f(`{"path":"/a","headers":{"a":"s3cret\nb"}}`, "the value of a has a line end")
	f(`{"path":"/a","headers":{"a":1}}`, "a string, or a list of strings")
	f(`{"path":"/a","body":"x","body_file":"a.pdf"}`, "write one of body")
	f(`{"path":"/a","body_file":"nothing"}`, "no such file")
	f(`{"path":"/a","body_file":"."}`, "is no file")
	f(`{"path":"/a","multipart":[{"value":"x"}]}`, "multipart[0] has no name")
	f(`{"path":"/a","multipart":[{"name":"x"}]}`, "multipart[0]: write either value or file")
	f(`{"path":"/a","multipart":[{"name":"x","file":"nothing"}]}`, "no such file")
	f(`{"path":"/a","body":"`+strings.Repeat("x", maxWarmRequest)+`"}`, "name its body as a file")

	f(`curl`, "names 0 URLs")
	f(`curl /a /b`, "names 2 URLs")
	f(`curl '/a`, "")
	f(`curl "$(cat s3cret)"`, "runs another command")
	f(`curl /a | jq .`, "pipes")
	f(`curl /a > x`, "pipes")
	f(`curl '' $&0000`+"\xfc000000000", "no shell command")
	f(`curl /a; curl /b`, "several commands")
	f(`curl "/a?$UNSET"`, "UNSET")
	f(`curl --proxy http://s3cret /a`, "curl's flag --proxy is not understood")
	f(`curl -xs3cret /a`, "curl's flag -x is not understood")
	f(`curl -d @nothing /a`, "no such file")
	f(`curl -d @- /a`, "without a name")
	f(`curl -F f /a`, "NAME=@FILE")
	f(`curl -F 'f=@a.pdf;encoder=base64' /a`, "type= and filename=")
	f(`curl -F f=@a.pdf -d s3cret /a`, "both data and a form")
	f(`curl -H @s3cret /a`, "names a file")
	f(`curl -H s3cret /a`, "must be")
	f(`curl -u s3cret /a`, "no password")
	f(`curl -b jar /a`, "names a file")
	f(`curl /a -H`, "needs an argument")
}

func TestFatesAreReadFromCacheStatus(t *testing.T) {
	f := func(field, want string) {
		t.Helper()
		h := http.Header{}
		if field != "" {
			h.Set("Cache-Status", field)
		}
		got, err := fateOf(&http.Response{Header: h})
		if want == "" && err == nil || want != "" && (err != nil || got.String() != want) {
			t.Errorf("%s: %v %v, want %q", field, got, err, want)
		}
	}
	f("jaegis; hit; ttl=3", "from the cache")
	f("other; hit, jaegis; fwd=miss; fwd-status=200; stored", "stored")
	f("jaegis; fwd=miss; collapsed", "joined another request")
	f("jaegis; fwd=miss; fwd-status=200; detail=store-when-json", "not stored (store-when-json)")
	f("jaegis; fwd=bypass; detail=when", "not stored (when)")
	f("jaegis; fwd=method", "not stored (method)")
	f("jaegis; fwd=miss; fwd-status=200", "not decided yet")
	f("", "")
	f("jaegis; hit, cdn; hit", "")
	f(";;", "")
}

// The file is short, and is read in one piece; what counts is where its
// requests end.
func TestWarmKnowsHowFarInTheFileItIs(t *testing.T) {
	requests := []string{"{\"path\": \"/a\"}\n", "# b\n\ncurl /b \\\n  -X POST\n", "no request\n", `{"path": "/c"}`, ""}
	w := newWarmReader(strings.NewReader(strings.Join(requests, "")), t.TempDir(), nil)
	want := int64(0)
	for i, text := range requests {
		want += int64(len(text))
		if _, err := w.next(); w.read != want {
			t.Errorf("after request %d: %d bytes, want %d; %v", i, w.read, want, err)
		}
	}
}

// Whatever stands in a file, reading it ends, and fails by line alone.
func FuzzWarmRequests(f *testing.F) {
	f.Add("curl -X POST 'http://h/a' -H \"A: b\" -F 'f=v;type=x' \\\n -d \"x\n\"\n{\"path\":\"/a\",\"multipart\":[{\"name\":\"x\",\"value\":\"y\"}]}\n")
	f.Add("curl $'\\x41' ${A:-b} $((1+1)) {a,b} ~\ncurl <<E\nx\nE\n")
	f.Fuzz(func(t *testing.T, text string) {
		w := newWarmReader(strings.NewReader(text), t.TempDir(), []string{"A=b"})
		for lines := 0; ; lines++ {
			_, err := w.next()
			var bad *lineError
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil && !errors.As(err, &bad) {
				t.Fatalf("%q: %v", text, err)
			}
			if lines > strings.Count(text, "\n")+1 {
				t.Fatalf("%q: more requests than lines", text)
			}
		}
	})
}
