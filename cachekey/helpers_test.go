package cachekey

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// pairs are header lines in the order in which they came.
type pairs [][2]string

func (p pairs) Values(name string) [][]byte {
	var out [][]byte
	for _, line := range p {
		if strings.EqualFold(line[0], name) {
			out = append(out, []byte(line[1]))
		}
	}
	return out
}

// wire is a request in a form that is easy to write down and to change.
type wire struct {
	method, upstream, host, path, query string
	header                              pairs
	body                                string
}

func (w wire) request() *Request {
	return &Request{
		Method: []byte(w.method), Upstream: w.upstream, Host: []byte(w.host),
		Path: []byte(w.path), Query: []byte(w.query), Headers: w.header,
		Body: Body{Bytes: []byte(w.body), Size: int64(len(w.body))},
	}
}

// inFile is the same request with its body in a file.
func (w wire) inFile() *Request {
	req := w.request()
	req.Body = Body{File: strings.NewReader(w.body), Size: int64(len(w.body))}
	return req
}

// with gives w with more header lines.
func (w wire) with(lines ...string) wire {
	header := append(pairs(nil), w.header...)
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		header = append(header, [2]string{name, value})
	}
	w.header = header
	return w
}

// post is a POST of a body with the header lines given.
func post(body string, lines ...string) wire {
	w := wire{method: "POST", upstream: "https://api.example.com", path: "/v1/x", body: body}
	return w.with(lines...)
}

func jsonPost(body string) wire { return post(body, "Content-Type: application/json") }

// formData is a multipart body with this boundary.
func formData(boundary string, parts ...string) wire {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString("--" + boundary + "\r\n" + p + "\r\n")
	}
	b.WriteString("--" + boundary + "--\r\n")
	return post(b.String(), "Content-Type: multipart/form-data; boundary="+boundary)
}

func prepare(t testing.TB, rule Rule) *Rule {
	t.Helper()
	if rule.Namespace == "" {
		rule.Namespace = "documents"
	}
	if err := rule.Prepare(); err != nil {
		t.Fatal(err)
	}
	return &rule
}

func mustDerive(t testing.TB, d *Deriver, rule *Rule, req *Request) Key {
	t.Helper()
	key, err := d.Derive(rule, req)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// kindOf gives the body kind that a request was read as.
func kindOf(t testing.TB, rule *Rule, w wire) string {
	t.Helper()
	var d Deriver
	parts, err := d.Explain(rule, w.request())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		if p.Name == "body kind" {
			return p.Value
		}
	}
	t.Fatal("no body kind")
	return ""
}

func gzipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write([]byte(s))
	w.Close()
	return b.String()
}

func deflated(s string) string {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	w.Write([]byte(s))
	w.Close()
	return b.String()
}

func zstdCoded(s string) string {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	return string(w.EncodeAll([]byte(s), nil))
}
