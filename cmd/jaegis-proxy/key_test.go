package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const keyConfig = `
upstreams: {docs: {url: "http://127.0.0.1:9"}}
routes:
  - name: convert
    match: {methods: [POST], path: "/convert/*"}
    upstream: docs
    namespace: documents
    key: {ignore: [/user], multipart: {ignore: [filename], ignore_fields: [trace]}}
    max_cached_request_bytes: 10kB
`

// runKey runs the command and gives what it printed.
func runKey(t *testing.T, stdin string, args ...string) (out, errs string, code int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "jaegis.yaml")
	if err := os.WriteFile(file, []byte(keyConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	var o, e bytes.Buffer
	args = append([]string{"key", "--config", file}, args...)
	code = dispatch(context.Background(), commands(), args, stdio{In: strings.NewReader(stdin), Out: &o, Err: &e})
	return o.String(), e.String(), code
}

// keyOf gives the key in the command's JSON.
func keyOf(t *testing.T, args ...string) string {
	t.Helper()
	out, errs, code := runKey(t, "", append(args, "--json")...)
	var v struct{ Key string }
	if err := json.Unmarshal([]byte(out), &v); err != nil || code != exitOK {
		t.Fatalf("%v: code %d, %v, %s", args, code, err, errs)
	}
	return v.Key
}

func TestKeyIsTheSameForRequestsThatMeanTheSame(t *testing.T) {
	base := []string{"/convert/a", "-H", "content-type: application/json", "-d"}
	f := func(same bool, args ...string) {
		t.Helper()
		if (keyOf(t, append(base, `{"a":1,"b":2}`)...) == keyOf(t, args...)) != same {
			t.Errorf("%v: same key %v", args, !same)
		}
	}
	f(true, append(base, `{"b":2, "a":1}`)...)
	f(true, append(base, `{"a":1,"b":2,"user":"u"}`)...)
	f(true, append(base, `{"a":1,"b":2}`, "-X", "POST", "-H", "Accept: */*")...)
	f(false, append(base, `{"a":1,"b":3}`)...)
	f(false, append(base, `{"a":1,"b":2}`, "-H", "Authorization: Bearer x")...)
	f(false, append(base, `{"a":1,"b":2}`, "-H", "Accept: text/csv")...)
	f(false, "/convert/b", "-H", "content-type: application/json", "-d", `{"a":1,"b":2}`)
}

func TestKeyShowsWhatMadeItAndNoCredential(t *testing.T) {
	out, errs, code := runKey(t, "from standard input", "/convert/a?q=1", "-d", "@-", "-H", "Authorization: Bearer very-secret")
	if code != exitOK {
		t.Fatalf("code %d: %s", code, errs)
	}
	for _, want := range []string{"route   convert", "jaegis:documents:", `"/convert/a"`, `"q=1"`, "(19 bytes)", "credential"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	if strings.Contains(out, "very-secret") {
		t.Errorf("the credential is shown:\n%s", out)
	}
}

func TestKeyShowsThePartsOfAnUpload(t *testing.T) {
	form := upload("b", file("file", "naïve.pdf", "application/pdf", "%PDF"), file("trace", "", "text/plain", "1"), part{"Content-Disposition: form-data; name=to\r\n", "pdf"}, part{"A: b \r\n", "x"})
	args := []string{"/convert/a", "-H", form.fields[0], "-d", "@-"}
	out, errs, code := runKey(t, form.body, args...)
	for _, want := range []string{
		`  body ignores     "field trace" (11 bytes)`,
		fmt.Sprintf(`  part             name="file" filename="naïve.pdf" type="application/pdf" sha256=%x (4 bytes)`, sha256.Sum256([]byte("%PDF"))),
		`  part             name="trace" filename="" type="text/plain" left out (1 bytes)`,
		fmt.Sprintf(`  part             name="to" sha256=%x (3 bytes)`, sha256.Sum256([]byte("pdf"))),
		"of header and bytes as they came (10 bytes)",
	} {
		if !strings.Contains(out, want) || code != exitOK {
			t.Errorf("%s is missing in\n%s%s", want, out, errs)
		}
	}
	renamed := upload("c", file("file", "b.pdf", "application/pdf", "%PDF"), part{"Content-Disposition: form-data; name=\"to\"\r\n", "pdf"}, part{"A: b \r\n", "x"})
	other, _, _ := runKey(t, renamed.body, "/convert/a", "-H", renamed.fields[0], "-d", "@-")
	if key := strings.Split(out, "\n")[1]; !strings.HasPrefix(key, "key     jaegis:") || key != strings.Split(other, "\n")[1] {
		t.Errorf("another key for a renamed file:\n%s\n%s", out, other)
	}
}

func TestKeySaysWhyThereIsNone(t *testing.T) {
	f := func(wantOut, wantErr string, wantCode int, args ...string) {
		t.Helper()
		out, errs, code := runKey(t, "", args...)
		if code != wantCode || !strings.Contains(out, wantOut) || !strings.Contains(errs, wantErr) {
			t.Errorf("%v: code %d\n%s%s", args, code, out, errs)
		}
	}
	f("the cache is not asked (method)", "", exitOK, "/convert/a", "-X", "PUT")
	f("the cache is not asked (method)", "", exitOK, "/other", "-d", "x")
	f("the cache is not asked (request-no-store)", "", exitOK, "/convert/a", "-d", "x", "-H", "cache-control: no-store")
	f("the cache is not asked (request-too-large)", "", exitOK, "/convert/a", "-d", strings.Repeat("x", 10_001))
	f("the cache is not asked (method-override)", "", exitOK, "/convert/a", "-d", "x", "-H", "x-http-method-override: PUT")
	f("", "name its path", exitUsage)
	f("", "must begin with", exitUsage, "convert")
	f("", `must be "Name: value"`, exitUsage, "/convert/a", "-H", "nonsense")
	f("", "no such file", exitUsage, "/convert/a", "-d", "@/does/not/exist")
	f("", `unexpected argument "/second"`, exitUsage, "/convert/a", "/second")
}
