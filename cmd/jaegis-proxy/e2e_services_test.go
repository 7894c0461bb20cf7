package main

import (
	archive "archive/zip"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The tests in this file put real document services behind the running
// program: jsreport and apertium-apy as they are, and LibreOffice by a small
// server of its own (testdata/services). Each is configured as
// docs/documents.md tells.

// service is the proxy, a tap behind it that counts, and a document service.
type service struct {
	*proc
	tap *tap
}

// serveBehind starts a proxy. SERVICE in its configuration stands for the service.
func serveBehind(t *testing.T, yaml string, at *url.URL) *service {
	t.Helper()
	tap := startTap(t, at)
	return &service{proc: start(t, strings.ReplaceAll(yaml, "SERVICE", tap.URL)), tap: tap}
}

// needProgram wants a file that a Debian package brings. Where it is missing
// the test is skipped, in CI it fails: `make tools` installs it there.
func needProgram(t *testing.T, file, pkg string) {
	t.Helper()
	if _, err := exec.LookPath(file); err == nil {
		return
	}
	if _, err := os.Stat(file); err == nil {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("there is no %s: `make tools` installs it, from the Debian package %s", file, pkg)
	}
	t.Skipf("there is no %s: the Debian package %s has it, and `make tools` installs it", file, pkg)
}

func startLibreOffice(t *testing.T) *url.URL {
	t.Helper()
	needPackage(t, "services", "multer")
	needProgram(t, "soffice", "libreoffice-writer-nogui")
	_, out := startScript(t, "services", os.Environ(), "node", "libreoffice.mjs")
	return printedURL(t, out)
}

func startApertium(t *testing.T) *url.URL {
	t.Helper()
	needProgram(t, "apertium-apy", "apertium-apy")
	needProgram(t, "/usr/share/apertium/modes/eng-spa.mode", "apertium-eng-spa")
	for _, program := range []string{"file", "zip", "unzip"} {
		needProgram(t, program, program)
	}
	_, out := startScript(t, "services", append(os.Environ(), "LC_ALL=C.UTF-8"), "/usr/bin/python3", "apertium.py") // Debian's own Python has the package
	return printedURL(t, out)
}

func startJSReport(t *testing.T) *url.URL {
	t.Helper()
	needPackage(t, "services", "@jsreport/jsreport-core")
	_, out := startScript(t, "services", os.Environ(), "node", "jsreport.mjs")
	return printedURL(t, out)
}

// docx is a document of Word that says text.
func docx(t *testing.T, text string) []byte {
	t.Helper()
	const (
		xml    = `<?xml version="1.0" encoding="UTF-8" standalone="yes"?>`
		types  = `http://schemas.openxmlformats.org/package/2006/content-types`
		rels   = `http://schemas.openxmlformats.org/package/2006/relationships`
		part   = `application/vnd.openxmlformats-officedocument.wordprocessingml.`
		office = `http://schemas.openxmlformats.org/officeDocument/2006/relationships/`
		w      = ` xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">`
	)
	var b bytes.Buffer
	z := archive.NewWriter(&b)
	for _, f := range [][2]string{
		{"[Content_Types].xml", `<Types xmlns="` + types + `"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>` +
			`<Override PartName="/word/document.xml" ContentType="` + part + `document.main+xml"/><Override PartName="/word/styles.xml" ContentType="` + part + `styles+xml"/><Override PartName="/word/settings.xml" ContentType="` + part + `settings+xml"/></Types>`},
		{"_rels/.rels", `<Relationships xmlns="` + rels + `"><Relationship Id="rId1" Type="` + office + `officeDocument" Target="word/document.xml"/></Relationships>`},
		{"word/_rels/document.xml.rels", `<Relationships xmlns="` + rels + `"><Relationship Id="rId1" Type="` + office + `styles" Target="styles.xml"/><Relationship Id="rId2" Type="` + office + `settings" Target="settings.xml"/></Relationships>`},
		{"word/document.xml", `<w:document` + w + `<w:body><w:p><w:r><w:t>` + text + `</w:t></w:r></w:p></w:body></w:document>`},
		{"word/styles.xml", `<w:styles` + w + `</w:styles>`},
		{"word/settings.xml", `<w:settings` + w + `</w:settings>`},
	} {
		file, err := z.Create(f[0])
		if err == nil {
			_, err = file.Write([]byte(xml + f[1]))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// docxText is the text of a document of Word, with its markup.
func docxText(t *testing.T, document []byte) string {
	t.Helper()
	z, err := archive.NewReader(bytes.NewReader(document), int64(len(document)))
	if err != nil {
		t.Fatalf("%v: %.100q", err, document)
	}
	text, err := z.Open("word/document.xml")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(text); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

const docxType = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"

// written is a file of these bytes.
func written(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// uploads has curl and Node.js upload documents: the same again, another one,
// and one under another name, of which renamed is what becomes. Each of them
// is the first to send something, and gets what the other has fetched. The
// first answer must be right.
func (s *service) uploads(t *testing.T, target, to, renamed string, right func(answer []byte) bool) {
	t.Helper()
	one, other := written(t, docx(t, "The house is big.")), written(t, docx(t, "The dog is big."))
	clients := uploaders(t)[:2]
	curl, node := &clients[0], &clients[1]
	f := func(u *uploader, path, name, want, sum string) string {
		t.Helper()
		x, got := u.sent(t, form{s.URL + target, to, path, name, docxType})
		if x != want || sum != "" && got != sum {
			t.Errorf("%s, %s: %s, digest %s, want %s and %s", u.name, name, x, got, want, sum)
		}
		if n := len(s.tap.taken()); n != map[string]int{"MISS": 1, "HIT": 0}[want] {
			t.Errorf("%s, %s: %d calls to the service", u.name, name, n)
		}
		return got
	}
	first := f(curl, one, "house.docx", "MISS", "")
	f(curl, one, "house.docx", "HIT", first)
	f(node, one, "house.docx", "HIT", first)
	second := f(node, other, "house.docx", "MISS", "")
	f(node, other, "house.docx", "HIT", second)
	f(curl, other, "house.docx", "HIT", second)
	if first == second {
		t.Error("another document has the same answer")
	}
	if renamed == "HIT" {
		f(curl, one, "renamed.docx", "HIT", first)
		f(node, other, "renamed.docx", "HIT", second)
	} else {
		third := f(node, one, "renamed.docx", "MISS", "")
		f(curl, one, "renamed.docx", "HIT", third)
	}
	f(curl, one, "house.docx", "HIT", first)
	resp, answer, err := postForm(form{s.URL + target, to, one, "house.docx", docxType}) // a third client
	if err != nil || resp.Header.Get("X-Cache") != "HIT" || !right(answer) {
		t.Errorf("%v, %s, %d bytes: %.300q", err, resp.Header.Get("Cache-Status"), len(answer), answer)
	}
}

// documented gives the configurations that docs/documents.md has for a service,
// with SERVICE in the place of its URL.
func documented(t *testing.T, name string, n int) []string {
	t.Helper()
	manual, err := os.ReadFile("../../docs/documents.md")
	if err != nil {
		t.Fatal(err)
	}
	section, _, _ := strings.Cut(between(string(manual), "\n### "+name+"\n", "\n## "), "\n### ")
	var all []string
	for _, text := range strings.Split(section, "```yaml\n")[1:] {
		text, _, _ = strings.Cut(text, "```")
		all = append(all, regexp.MustCompile(`"http://[^"]*"`).ReplaceAllString(text, "SERVICE"))
	}
	if len(all) != n {
		t.Fatalf("docs/documents.md has %d configurations for %s, want %d", len(all), name, n)
	}
	return all
}

// servicesBy starts a proxy for each of two configurations: one to which another
// name is another file, and one to which it is not.
func servicesBy(t *testing.T, start func(*testing.T) *url.URL, named, unnamed string, f func(t *testing.T, s *service, renamed string)) {
	t.Helper()
	for renamed, yaml := range map[string]string{"MISS": named, "HIT": unnamed} {
		t.Run("renamed: "+renamed, func(t *testing.T) {
			t.Parallel()
			f(t, serveBehind(t, yaml, start(t)), renamed)
		})
	}
}

const documentsPreset = "upstreams: {docs: {url: SERVICE, preset: documents}}\n"

// No two conversions by LibreOffice give the same PDF: it holds the time. So
// the same bytes come from the cache.
func TestLibreOfficeConvertsADocumentOnce(t *testing.T) {
	t.Parallel()
	yaml := documented(t, "LibreOffice", 2)
	servicesBy(t, startLibreOffice, yaml[0], yaml[1], func(t *testing.T, s *service, renamed string) {
		s.uploads(t, "/convert", "pdf", renamed, func(answer []byte) bool {
			return bytes.HasPrefix(answer, []byte("%PDF-")) && bytes.Contains(answer, []byte("%%EOF"))
		})
		if renamed == "HIT" {
			return
		}
		path := written(t, docx(t, "A field of the form counts."))
		resp, answer, err := postForm(form{s.URL + "/convert", "txt", path, "a.docx", docxType})
		if err != nil || resp.Header.Get("X-Cache") != "MISS" || !strings.Contains(string(answer), "A field of the form counts.") {
			t.Errorf("to text: %v, %s: %q", err, resp.Header.Get("Cache-Status"), answer)
		}
		for range 2 { // what fails is never stored
			resp, answer, err = postForm(form{s.URL + "/convert", "exe", path, "a.docx", docxType})
			if err != nil || resp.StatusCode != http.StatusBadRequest || resp.Header.Get("X-Cache") != "MISS" {
				t.Errorf("to what it cannot: %v, %d, %s: %q", err, resp.StatusCode, resp.Header.Get("Cache-Status"), answer)
			}
		}
		if n := len(s.tap.taken()); n != 3 {
			t.Errorf("%d calls to the service, want 3", n)
		}
	})
}

func TestApertiumTranslatesADocumentOnce(t *testing.T) {
	t.Parallel()
	servicesBy(t, startApertium, documentsPreset, documented(t, "Apertium", 1)[0], func(t *testing.T, s *service, renamed string) {
		s.uploads(t, "/translateDoc?langpair=eng%7Cspa", "", renamed, func(answer []byte) bool {
			return strings.Contains(docxText(t, answer), "La casa es grande")
		})
		path := written(t, docx(t, "The house is big."))
		resp, _, err := postForm(form{s.URL + "/translateDoc?langpair=eng%7Cnone", "", path, "house.docx", docxType})
		if err != nil || resp.StatusCode != http.StatusBadRequest || len(s.tap.taken()) != 1 {
			t.Errorf("to another language: %v, %d, %s", err, resp.StatusCode, resp.Header.Get("Cache-Status"))
		}
		if renamed == "MISS" {
			return // the preset has POST alone
		}
		for _, want := range []string{"MISS", "HIT"} {
			resp, answer := ask(t, "GET", s.URL+"/translate?langpair=eng%7Cspa&q=the+house", "")
			if resp.Header.Get("X-Cache") != want || !strings.Contains(answer, "La casa") {
				t.Errorf("a text: %s, want %s: %s", resp.Header.Get("Cache-Status"), want, answer)
			}
		}
	})
}

// report has curl and Node.js ask for a report, and gives the digest. Each of
// them writes the JSON in another order.
func (s *service) report(t *testing.T, request any, want, sum string) string {
	t.Helper()
	text, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	path := written(t, text)
	for _, u := range []uploader{
		{"curl", func(t *testing.T, f form) (string, error) {
			return curl(t, "-H", "Content-Type: application/json", "--data-binary", "@"+f.path, f.url)
		}},
		{"node", func(_ *testing.T, f form) (string, error) {
			return output("node", "testdata/post.mjs", f.url, f.path)
		}},
	} {
		said, err := u.upload(t, form{url: s.URL + "/api/report", path: path})
		if err != nil {
			t.Fatal(err)
		}
		x, got := u.told(t, said)
		if x != want || sum != "" && got != sum {
			t.Errorf("%s, %.100s: %s, digest %s, want %s and %s", u.name, text, x, got, want, sum)
		}
		want, sum = "HIT", got
	}
	return sum
}

type object map[string]any

// Helpers of a template that make up numbers, and documents of Word that hold
// the time, make every report another one.
func TestJSReportRendersAReportOnce(t *testing.T) {
	t.Parallel()
	s := serveBehind(t, documented(t, "jsreport", 1)[0], startJSReport(t))
	html := object{"recipe": "html", "engine": "handlebars", "content": "<h1>Dear {{name}}, {{now}}</h1>", "helpers": "function now () { return Math.random() }"}
	word := object{"recipe": "docx", "engine": "handlebars", "docx": object{"templateAsset": object{"encoding": "base64", "content": base64.StdEncoding.EncodeToString(docx(t, "Dear {{name}}"))}}}
	for _, template := range []object{html, word} {
		first := s.report(t, object{"template": template, "data": object{"name": "Ada"}}, "MISS", "")
		if other := s.report(t, object{"template": template, "data": object{"name": "Zoë"}}, "MISS", ""); other == first {
			t.Error("another name, and the same report")
		}
		s.report(t, object{"template": template, "data": object{"name": "Ada"}}, "HIT", first)
		if n := len(s.tap.taken()); n != 2 {
			t.Errorf("%v: %d calls to jsreport, want 2", template["recipe"], n)
		}
	}
	text, _ := json.Marshal(object{"template": word, "data": object{"name": "Ada"}})
	resp, answer := ask(t, "POST", s.URL+"/api/report", string(text), "Content-Type", "application/json")
	if resp.Header.Get("X-Cache") != "HIT" || !strings.Contains(docxText(t, []byte(answer)), "Dear Ada") {
		t.Errorf("%s: %s", resp.Header.Get("Cache-Status"), docxText(t, []byte(answer)))
	}
}

// A report of a template that jsreport keeps is asked for by the template's
// name. Whoever changes the template purges its reports.
func TestReportsOfAChangedTemplateArePurged(t *testing.T) {
	t.Parallel()
	s := serveBehind(t, documented(t, "jsreport", 1)[0], startJSReport(t))
	json := []string{"Content-Type", "application/json"}
	created, _, _ := s.asksAs(t, "", "POST", "/odata/templates", `{"name":"letter","recipe":"html","engine":"handlebars","content":"Dear {{name}}"}`, json...)
	id := between(created, `"_id":"`, `"`)
	want := func(x, text string) {
		t.Helper()
		answer, got, status := s.asksAs(t, "", "POST", "/api/report", `{"template":{"name":"letter"},"data":{"name":"Ada"}}`, json...)
		if got != x || answer != text {
			t.Errorf("%s: %q, want %s: %q", status, answer, x, text)
		}
	}
	want("MISS", "Dear Ada")
	want("HIT", "Dear Ada")
	resp, answer := ask(t, "PATCH", fmt.Sprintf("%s/odata/templates('%s')", s.URL, id), `{"content":"Hello {{name}}"}`, json...)
	if resp.StatusCode >= http.StatusBadRequest {
		t.Fatal(resp.Status, answer)
	}
	want("HIT", "Dear Ada") // nobody has told the proxy
	s.purge(t, `{"tag":"template:letter"}`)
	want("MISS", "Hello Ada")
	want("HIT", "Hello Ada")
}

// between is what stands between two texts.
func between(s, before, after string) string {
	_, s, _ = strings.Cut(s, before)
	s, _, _ = strings.Cut(s, after)
	return s
}

// However the name of a file is written, each client gets what the service
// makes of it: multer reads some spellings of one name as two. So it is where
// callers share answers; one caller's own spellings are one.
func TestMulterReadsTheNamesThatItWasSent(t *testing.T) {
	t.Parallel()
	needPackage(t, "services", "multer")
	_, out := startScript(t, "services", os.Environ(), "node", "names.mjs")
	at := printedURL(t, out)
	ask := func(base, name string) (x, names string) {
		body := "--b\r\nContent-Disposition: form-data; name=\"file\"; " + name + "\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--\r\n"
		resp, names := ask(t, "POST", base+"/convert", body, "Content-Type", "multipart/form-data; boundary=b")
		return resp.Header.Get("X-Cache"), names
	}
	by := func(scope, headers string) *service {
		return serveBehind(t, documentsPreset+"routes: [{name: docs-convert, match: {methods: [POST], path: /convert*}, upstream: docs, namespace: documents, scope: "+scope+", key: {multipart: {headers: "+headers+"}}}]\n", at)
	}
	spellings := []string{
		`filename="naïve.pdf"`, `filename*=UTF-8''na%C3%AFve.pdf`, `filename="naïve.pdf"; filename*=UTF-8''na%C3%AFve.pdf`,
		`filename="a.pdf"`, `filename*=UTF-8''a.pdf`, `filename=""`, `filename*=UTF-8''`,
	}
	for _, s := range []*service{by("credential", "meaning"), by("public", "auto")} {
		for range 2 {
			for _, name := range spellings {
				_, right := ask(at.String(), name)
				if _, got := ask(s.URL, name); got != right {
					t.Errorf("%s: %s, want %s", name, got, right)
				}
			}
		}
		if x, names := ask(s.URL, `filename=a.pdf; filename*=utf-8''a.pdf`); x != "HIT" || !strings.Contains(names, `["a.pdf"]`) {
			t.Errorf("a name that is written twice: %s %s", x, names)
		}
	}
	for _, same := range []*service{by("public", "rfc8187"), serveBehind(t, documentsPreset, at)} {
		for i, name := range spellings[:3] {
			if x, names := ask(same.URL, name); (x == "HIT") != (i > 0) {
				t.Errorf("%s: %s %s", name, x, names)
			}
		}
	}
}
