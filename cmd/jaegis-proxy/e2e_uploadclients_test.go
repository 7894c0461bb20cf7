package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const clientRoutes = `
upstreams: {origin: {url: ORIGIN}}
routes:
  - {name: cached, match: {path: /c/*}, ttl: 1h}
  - {name: unnamed, match: {path: /unnamed/*}, ttl: 1h, key: {multipart: {ignore: [filename], ignore_fields: [to]}}}
`

// form is what is uploaded: a field "to", and a file by this name and of this
// type.
type form struct{ url, to, path, name, kind string }

// An uploader sends a form as one kind of client does, and says what came: the
// status, X-Cache, and the SHA-256 of the body.
type uploader struct {
	name   string
	upload func(t *testing.T, f form) (string, error)
}

// uploaders are the clients that this machine has. The first two always are.
func uploaders(t *testing.T) []uploader {
	t.Helper()
	all := []uploader{{"curl", uploadByCurl}, {"node", uploadByNode}, {"go", uploadByGo}}
	if exec.Command("python3", "-c", "import requests").Run() == nil {
		all = append(all, uploader{"requests", uploadByRequests})
	}
	return all
}

// output runs a program and gives what it says.
func output(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

func uploadByCurl(t *testing.T, f form) (string, error) {
	quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(f.name)
	return curl(t, "--form-string", "to="+f.to, "-F", fmt.Sprintf(`file=@"%s";filename="%s";type=%s`, f.path, quoted, f.kind), f.url)
}

// curl runs it, and gives what an uploader says.
func curl(t *testing.T, args ...string) (string, error) {
	out := filepath.Join(t.TempDir(), "out")
	said, err := output("curl", append([]string{"-sS", "-o", out, "-w", "%{http_code} %header{x-cache}"}, args...)...)
	if err != nil {
		return "", err
	}
	body, err := os.ReadFile(out)
	return fmt.Sprintf("%s %x", said, sha256.Sum256(body)), err
}

func uploadByNode(_ *testing.T, f form) (string, error) {
	return output("node", "testdata/upload.mjs", f.url, f.to, f.path, f.name, f.kind)
}

func uploadByRequests(_ *testing.T, f form) (string, error) {
	return output("python3", "testdata/upload.py", f.url, f.to, f.path, f.name, f.kind)
}

func uploadByGo(t *testing.T, f form) (string, error) {
	resp, body, err := postForm(f)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d %s %x", resp.StatusCode, resp.Header.Get("X-Cache"), sha256.Sum256(body)), nil
}

// postForm sends a form and gives the whole answer.
func postForm(f form) (resp *http.Response, body []byte, err error) {
	file, err := os.ReadFile(f.path)
	if err != nil {
		return nil, nil, err
	}
	var sent bytes.Buffer
	w := multipart.NewWriter(&sent)
	_ = w.WriteField("to", f.to)
	part, _ := w.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {multipart.FileContentDisposition("file", f.name)}, "Content-Type": {f.kind},
	})
	_, _ = part.Write(file)
	_ = w.Close()
	resp, err = http.Post(f.url, w.FormDataContentType(), &sent)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err = io.ReadAll(resp.Body)
	return resp, body, err
}

// sent uploads and takes the answer apart.
func (u *uploader) sent(t *testing.T, f form) (x, sum string) {
	t.Helper()
	said, err := u.upload(t, f)
	if err != nil {
		t.Fatal(err)
	}
	return u.told(t, said)
}

// told takes apart what an uploader says of a good answer.
func (u *uploader) told(t *testing.T, said string) (x, sum string) {
	t.Helper()
	words := strings.Fields(said)
	if len(words) != 3 || words[0] != "200" {
		t.Fatalf("%s: %q", u.name, said)
	}
	return words[1], words[2]
}

// files makes two files, so large that they are spooled and that curl waits
// for leave to send them.
func files(t *testing.T) (one, two string) {
	t.Helper()
	dir := t.TempDir()
	for i, path := range []*string{&one, &two} {
		*path = filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(*path, []byte(content(fmt.Sprint(i), 2_500_000)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return one, two
}

// Each client is answered from the cache when it sends the same file again, and
// from the upstream when it sends another one, or the same by another name
// unless the route does not care for that.
func TestClientsThatUploadTheSameFileAgainGetHits(t *testing.T) {
	r := e2e(t, clientRoutes)
	one, two := files(t)
	for _, u := range uploaders(t) {
		t.Run(u.name, func(t *testing.T) {
			f := func(path, file, name, want, sum string) string {
				t.Helper()
				x, got := u.sent(t, form{r.URL + path + u.name, "pdf", file, name, "text/plain"})
				if x != want || sum != "" && got != sum {
					t.Errorf("%s as %s: %s, digest %s, want %s and %s", path, name, x, got, want, sum)
				}
				return got
			}
			sum := f("/c/", one, "a.txt", "MISS", "")
			f("/c/", one, "a.txt", "HIT", sum)
			f("/c/", two, "a.txt", "MISS", "")
			f("/c/", one, "b.txt", "MISS", "")
			f("/c/", one, "a.txt", "HIT", sum)
			r.expectCalls(t, "/c/"+u.name, 3)
			sum = f("/unnamed/", one, "a.txt", "MISS", "")
			f("/unnamed/", one, "b.txt", "HIT", sum)
			f("/unnamed/", one, `naïve "c".txt`, map[bool]string{true: "MISS", false: "HIT"}[u.name == "go"], "") // a backslash is not understood
			f("/unnamed/", two, "a.txt", "MISS", "")
			f("/unnamed/", one, "a.txt", "HIT", sum)
		})
	}
}

// All of them share what one of them has fetched, however each writes the
// names.
func TestClientsOfOtherKindsShareAnUpload(t *testing.T) {
	r := e2e(t, clientRoutes)
	one, _ := files(t)
	for path, name := range map[string]string{"/c/plain": "a.txt", "/c/other": "naïve file (1).txt"} {
		sums := map[string]bool{}
		for i, u := range uploaders(t) {
			x, sum := u.sent(t, form{r.URL + path, "pdf", one, name, "text/plain"})
			if sums[sum] = true; i > 0 && x != "HIT" {
				t.Errorf("%s, %q: %s", u.name, name, x)
			}
		}
		if len(sums) != 1 {
			t.Errorf("%q: %d different answers", name, len(sums))
		}
		r.expectCalls(t, path, 1)
	}
}
