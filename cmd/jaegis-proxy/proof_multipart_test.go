package main

import (
	"net/http"
	"strings"
	"testing"
)

// part is one part of a multipart body: its header lines and its bytes.
type part struct{ head, body string }

// file is a part as a form sends a file.
func file(name, filename, contentType, body string) part {
	return part{`Content-Disposition: form-data; name="` + name + `"; filename="` + filename + "\"\r\nContent-Type: " + contentType + "\r\n", body}
}

// upload is a POST to /c/upload of parts.
func upload(boundary string, parts ...part) asked {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString("--" + boundary + "\r\n" + p.head + "\r\n" + p.body + "\r\n")
	}
	return asked{http.MethodPost, "/c/upload", []string{"Content-Type: multipart/form-data; boundary=" + boundary}, b.String() + "--" + boundary + "--\r\n"}
}

// 27: a client that makes up a boundary for each request, as all do, is
// answered from the cache.
func TestABoundaryOfAnUploadDoesNotCount(t *testing.T) {
	r := e2e(t, proofRoutes)
	parts := []part{file("file", "a.docx", "application/octet-stream", "\x00\x01PK\r\n--x"), {"Content-Disposition: form-data; name=\"to\"\r\n", "pdf"}}
	quoted := upload("q u", parts...)
	quoted.fields = []string{`Content-Type: multipart/form-data; boundary="q u"`}
	r.together(t, upload("one", parts...), upload("----WebKitFormBoundary7MA4YWxkTrZu0gW", parts...), upload("0", parts...), upload(strings.Repeat("b", 70), parts...), quoted)
}

// 27: and everything else about an upload does.
func TestUploadsThatDifferAreApart(t *testing.T) {
	r := e2e(t, proofRoutes)
	f := file("file", "a.docx", "text/plain", "one")
	to := part{"Content-Disposition: form-data; name=\"to\"\r\n", "pdf"}
	all := []asked{
		upload("b", f, to), upload("b", to, f), upload("b", f), upload("b", to), upload("b", f, f), upload("b", f, to, to), upload("b"),
		upload("b", file("file", "a.docx", "text/plain", "two"), to),
		upload("b", file("file", "b.docx", "text/plain", "one"), to),
		upload("b", file("elif", "a.docx", "text/plain", "one"), to),
		upload("b", file("file", "a.docx", "text/html", "one"), to),
		upload("b", file("file", "a.docx", "text/plain", "one\r\n"), to),
		upload("b", file("file", "a.docx", "text/plain", "onepdf"), part{to.head, ""}),
		upload("b", file(`file"; filename="a.docx`, "", "text/plain", "one"), to),
		upload("b", part{f.head + to.head, "one"}, part{"", "pdf"}),
		upload("b", part{f.head + "X-More: 1\r\n", "one"}, to),
		upload("b", part{f.head, "one\r\n\r\n--c\r\n" + to.head + "\r\npdf"}),
		upload("c", part{f.head, "one\r\n\r\n--b\r\n" + to.head + "\r\npdf"}),
	}
	other := upload("b", f, to)
	other.fields = []string{"Content-Type: multipart/mixed; boundary=b"}
	r.apart(t, append(all, other)...)
}

// 27: where programs differ about what a body's parts are, its bytes and its
// Content-Type are the key.
func TestUploadsThatCanBeReadInTwoWaysAreApart(t *testing.T) {
	r := e2e(t, proofRoutes)
	const two = "--a\r\n\r\n1\r\n--b\r\n\r\n2\r\n--a--\r\n--b--\r\n"
	var all []asked
	for _, contentType := range []string{
		"multipart/form-data; boundary=a", "multipart/form-data; boundary=b", "multipart/form-data; boundary=a; boundary=b", "multipart/form-data; boundary=b; boundary=a",
		"multipart/form-data; boundary=", "multipart/form-data", `multipart/form-data; boundary="a`, "multipart/form-data; boundary=a,b", "multipart/form-data; boundary*=us-ascii''a", "text/plain",
	} {
		all = append(all, asked{http.MethodPost, "/c/two", []string{"Content-Type: " + contentType}, two})
	}
	all = append(all, bodies("/c/two", "multipart/form-data; boundary=a",
		"--a\r\n\r\n1\r\n--a--\r\n", "preamble\r\n--a\r\n\r\n1\r\n--a--\r\n", "--a\r\n\r\n1\r\n--a--\r\nepilogue", "--a\r\n\r\n1\r\n--a--\r\n--a\r\n\r\n2\r\n--a--\r\n",
		"--a\n\n1\n--a--\n", "--a\r\n\r\n1\r\n--a", "--a\r\n\r\n1\r\n--a-", "--a \r\n\r\n1\r\n--a--\r\n", "--a\r\n\r\n1\r\n--aa\r\n\r\n2\r\n--a--\r\n", "--a\r\n\r\n1\n--a\r\n\r\n2\r\n--a--\r\n", "--a--\r\n", "",
	)...)
	r.apart(t, all...)
}
