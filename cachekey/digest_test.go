package cachekey

import (
	"io"
	"strings"
	"testing"
)

// mustDigest has a body digested in pieces of many sizes while it comes in: the
// key must be the one given, and the body must not be read again unless it has
// to be.
func mustDigest(t testing.TB, rule *Rule, w wire, want Key) {
	t.Helper()
	d := &Deriver{Secret: []byte("s")}
	for _, size := range []int{1, 7, 1000, windowSize - 1, windowSize + 1, 1 << 30} {
		if len(w.body)/size > 20_000 {
			continue
		}
		for _, declared := range []int64{int64(len(w.body)), -1} {
			if got := digestedIn(t, d, rule, w, size, declared); got != want {
				t.Errorf("in pieces of %d, declared %d: another key: %.200q", size, declared, w.body)
			}
		}
	}
}

// digestedIn gives the key of a request whose body comes in pieces of a size.
func digestedIn(t testing.TB, d *Deriver, rule *Rule, w wire, size int, declared int64) Key {
	t.Helper()
	g, err := d.Digest(rule, w.request().Headers, declared)
	if err != nil {
		t.Fatal(err)
	}
	for rest := w.body; rest != ""; {
		n := min(size, len(rest))
		_, _ = io.WriteString(g, rest[:n])
		rest = rest[n:]
	}
	req := w.inFile()
	if req.Body.Content, err = g.Content(req.Body); err != nil {
		t.Fatal(err)
	}
	req.Body.File = failing{} // whoever reads it now is found out
	return mustDerive(t, d, rule, req)
}

type failing struct{}

func (failing) ReadAt([]byte, int64) (int, error) { return 0, io.ErrClosedPipe }

func TestABodyDigestedWhileItComesHasTheSameKey(t *testing.T) {
	long := strings.Repeat("0123456789\r\n--", 20_000)
	for _, rule := range fuzzRules(t) {
		d := &Deriver{Secret: []byte("s")}
		for _, w := range []wire{
			post(""), post("x"), post(long), jsonPost(`{"a":1}`), jsonPost(`{"a" : "` + long[:12] + `"}`),
			jsonPost("\"" + long + "\""), coded("gzip", gzipped(`{"a":1}`)), coded("br", long), coded("gzip", long), coded("gzip", gzipped(long)).with("Content-Encoding: gzip"),
			post("a=b&c", "Content-Type: application/x-www-form-urlencoded"), post(long, "Content-Type: application/x-www-form-urlencoded"),
			formData("b", filePart, "A: b\r\n\r\n"+long, filePart+long), formData("b", long), formData("b"), post("--b\r\n"+long, "Content-Type: multipart/form-data; boundary=b"),
			post(long, "Content-Type: multipart/form-data"), post(long+"--b--", "Content-Type: multipart/form-data; boundary=b"),
			post(gzipped(formData("b", filePart, long).body), "Content-Type: multipart/form-data; boundary=b", "Content-Encoding: gzip"),
			formData("b", "A: "+strings.Repeat("x", 3*windowSize)+"\r\n\r\n"+long),
		} {
			mustDigest(t, rule, w, mustDerive(t, d, rule, w.request()))
		}
	}
	rule, d := prepare(t, Rule{}), &Deriver{Secret: []byte("s")}
	for _, n := range []int{maxText, maxText + 1} {
		w := jsonPost(`"` + strings.Repeat("x", n-2) + `"`)
		key := mustDerive(t, d, rule, w.request())
		for _, declared := range []int64{int64(n), -1} {
			if digestedIn(t, d, rule, w, 1<<20, declared) != key {
				t.Errorf("JSON of %d bytes, declared %d: another key", n, declared)
			}
		}
	}
}

func TestContentCountsOnlyForHowItWasRead(t *testing.T) {
	d := &Deriver{}
	one, two := prepare(t, Rule{}), prepare(t, Rule{Ignore: []string{"/a"}})
	w := jsonPost(`{"a":1,"b":2}`)
	req := w.request()
	c, err := d.Content(one, req.Headers, req.Body)
	if err != nil {
		t.Fatal(err)
	}
	req.Body.Content = c
	if mustDerive(t, d, two, req) != mustDerive(t, d, two, w.request()) {
		t.Error("another rule took it")
	}
	if mustDerive(t, d, one, req) != mustDerive(t, d, one, w.request()) {
		t.Error("another key")
	}
	other := post(w.body, "Content-Type: text/plain")
	plain := other.request()
	plain.Body.Content = c
	if mustDerive(t, d, one, plain) != mustDerive(t, d, one, other.request()) {
		t.Error("another Content-Type took it")
	}
	req.Body.Bytes = []byte(`{"a":1,"b":3}`) // not read again
	if mustDerive(t, d, one, req) != mustDerive(t, d, one, w.request()) {
		t.Error("read again")
	}
}

func TestDigesterIsStrict(t *testing.T) {
	g, err := new(Deriver).Digest(prepare(t, Rule{}), nil, -1)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(g, "abc")
	if _, err := g.Content(Body{Bytes: []byte("ab"), Size: 2}); err == nil {
		t.Error("took a body that it has not read")
	}
	if _, err := new(Deriver).Digest(&Rule{}, nil, -1); err == nil {
		t.Error("took a rule that is not prepared")
	}
	if _, err := new(Deriver).Content(&Rule{}, nil, Body{}); err == nil {
		t.Error("took a rule that is not prepared")
	}
	g, _ = new(Deriver).Digest(prepare(t, Rule{}), pairs{{"Content-Type", "multipart/form-data; boundary=b"}}, -1)
	_, _ = io.WriteString(g, "no multipart")
	if _, err := g.Content(Body{File: failing{}, Size: 12}); err == nil {
		t.Error("a body that cannot be read again has a key")
	}
}
