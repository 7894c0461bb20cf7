package cachekey

import (
	"strings"
	"testing"
)

const filePart = "Content-Disposition: form-data; name=\"file\"; filename=\"a.pdf\"\r\nContent-Type: application/pdf\r\n\r\n%PDF"

func TestBoundarySaysNothing(t *testing.T) {
	big := "A: b\r\n\r\n" + strings.Repeat("\r\n-- not a boundary\r\n", 20_000)
	same(t, Rule{},
		formData("aaa", filePart, big, "X: y\r\n\r\n"),
		formData("----WebKitFormBoundary7MA4YWxkTrZu0gW", filePart, big, "X: y\r\n\r\n"),
		formData("+_Part-1.2", filePart, big, "X: y\r\n\r\n"),
	)
	w := formData("b", filePart)
	quoted := post(w.body, `Content-Type: multipart/form-data;boundary="b"`)
	same(t, Rule{}, w, quoted)
	same(t, Rule{}, w, post(strings.TrimSuffix(w.body, "\r\n"), w.header[0][0]+": "+w.header[0][1]))
	const odd = "----=_Part_1.2:(a'b)/c?,"
	same(t, Rule{}, w, post(strings.ReplaceAll(w.body, "--b", "--"+odd), `Content-Type: multipart/form-data; boundary="`+odd+`"`))
}

// Some programs find no form, or no parts, where a type is written as no
// client writes it, and answer all the same.
func TestAMultipartTypeThatSomeDoNotTakeForOneIsApart(t *testing.T) {
	body := formData("b", filePart).body
	differ(t, Rule{},
		post(body, "Content-Type: multipart/form-data; boundary=b"),
		post(body, "Content-Type: Multipart/Form-Data; boundary=b"),
		post(body, "Content-Type: multipart/form-data; Boundary=b"),
		post(body, "Content-Type: multipart/form-data ; boundary=b"),
		post(body, "Content-Type: multipart/form-data;  boundary=b"),
		post(body, "Content-Type: multipart/form-data;\tboundary=b"),
		post(body, "Content-Type: multipart/form-data; boundary=b;"),
		post(body, "Content-Type: multipart/form-data;; boundary=b"),
		post(body, "Content-Type: multipart/form-data; boundary=b "),
	)
	for _, odd := range []string{"=b", "a'b", "a/b", "a:b", "a?b", "a(b)c"} {
		w := post(strings.ReplaceAll(body, "--b", "--"+odd), "Content-Type: multipart/form-data; boundary="+odd)
		if got := kindOf(t, prepare(t, Rule{}), w); got != "raw" {
			t.Errorf("%s without quotes: %s", odd, got)
		}
		w.header[0][1] = `multipart/form-data; boundary="` + odd + `"`
		same(t, Rule{}, w, formData("b", filePart))
	}
}

func TestEverythingThatAPartSaysCounts(t *testing.T) {
	differ(t, Rule{},
		formData("b"),
		formData("b", filePart),
		formData("b", filePart, filePart),
		formData("b", strings.Replace(filePart, "file\"", "fili\"", 1)),
		formData("b", strings.Replace(filePart, "a.pdf", "b.pdf", 1)),
		formData("b", strings.Replace(filePart, "application/pdf", "text/plain", 1)),
		formData("b", "Content-Transfer-Encoding: quoted-printable\r\n"+filePart),
		formData("b", filePart+"\r\n"),
		formData("b", filePart+"="),
		formData("b", filePart+"=\r\n"),
		formData("b", "A: 1\r\n\r\nx", "B: 2\r\n\r\ny"),
		formData("b", "B: 2\r\n\r\ny", "A: 1\r\n\r\nx"),
		formData("b", "A: 1\r\nB: 2\r\n\r\nx"),
		formData("b", "A: 1\r\n\r\nxB: 2\r\n\r\ny"),
		formData("b", "A: 1\r\n\r\nx", ""),
		formData("b", "", "A: 1\r\n\r\nx"),
		formData("b", ""),
		formData("b", "", ""),
	)
	w := formData("b", filePart)
	for i := range filePart {
		changed := []byte(filePart)
		changed[i] ^= 2
		differ(t, Rule{}, w, formData("b", string(changed)))
	}
}

func TestParametersOfAMultipartTypeCount(t *testing.T) {
	body := formData("b", filePart).body
	differ(t, Rule{},
		post(body, "Content-Type: multipart/form-data; boundary=b"),
		post(body, "Content-Type: multipart/form-data; boundary=b; charset=utf-8"),
		post(body, "Content-Type: multipart/mixed; boundary=b"),
		post(body, "Content-Type: multipart/related; boundary=b; start=\"<a>\""),
		post(body, "Content-Type: multipart/related; boundary=b; start=\"<b>\""),
	)
}

func TestMultipartOfDoubtfulShapeIsHashedAsItIs(t *testing.T) {
	rule := prepare(t, Rule{})
	f := func(contentType, body string) {
		t.Helper()
		w := post(body, "Content-Type: "+contentType)
		if got := kindOf(t, rule, w); got != "raw" {
			t.Errorf("%q: %s", body, got)
		}
		other := strings.ReplaceAll(body, "--b", "--c")
		if contentType == "multipart/form-data; boundary=b" && other != body {
			differ(t, Rule{}, w, post(other, "Content-Type: multipart/form-data; boundary=c"))
		}
	}
	const b = "multipart/form-data; boundary=b"
	f(b, "preamble\r\n--b\r\n\r\nx\r\n--b--")
	f(b, "\r\n--b\r\n\r\nx\r\n--b--")
	f(b, "--b\r\n\r\nx\r\n--b")
	f(b, "--b\r\n\r\nx\r\n--b-")
	f(b, "--b\r\n\r\nx\r\n--b\r\n")
	f(b, "--b\r\n\r\nx")
	f(b, "--b\r\n\r\nx\r\n--b--epilogue")
	f(b, "--b\r\n\r\nx\r\n--b-- \r\n")
	f(b, "--b\r\n\r\nx\r\n--b--\n")
	f(b, "--b\r\n\r\nx\r\n--b--\r")
	f(b, "--b\r\n\r\nx\r\n--b--\r\n\r\n")
	f(b, "--b\r\n\r\nx\r\n--b--\r\nepilogue")
	f(b, "--b\r\n\r\nx\r\n--b--\r\n"+strings.Repeat(" ", 2*windowSize)+"!")
	f(b, "--b\r\n\r\nx\r\n--b--\r\n--b\r\n\r\ny\r\n--b--")
	f(b, "--b\r\n\r\nx\n--b\r\n\r\ny\r\n--b--") // a delimiter to those who take LF
	f(b, "--b\n\nx\n--b--")
	f(b, "--b\r\n\r\nx\r\n--bb\r\n\r\ny\r\n--b--") // a delimiter to those who look at its beginning
	f(b, "--b \r\n\r\nx\r\n--b--")
	f(b, "--b\r\n\r\nx --b y\r\n--b--")
	f(b, "--b\r\n--b--")
	f(b, "--c\r\n\r\nx\r\n--c--")
	f(b, "-")
	f("multipart/form-data", "--b--")
	f("multipart/form-data; boundary=", "----")
	f("multipart/form-data; boundary=---", "-------")
	f("multipart/form-data; boundary=b; boundary=c", "--b--")
	f("multipart/form-data; boundary=c; boundary=b", "--b--")
	f("multipart/form-data; boundary=b; boundary*=utf-8''c", "--b--")
	f("multipart/form-data; boundary*0=b", "--b--")
	f(`multipart/form-data; boundary="b\b"`, "--bb--")
	f(`multipart/form-data; boundary="b `, "--b --")
	f(`multipart/form-data; boundary="b "`, "--b --")
	f(`multipart/form-data; boundary="b@"`, "--b@--")
	f("multipart/form-data; boundary=b@", "--b@--")
	f("multipart/form-data; boundary="+strings.Repeat("b", 71), "--"+strings.Repeat("b", 71)+"--")
	f("multipart/form-data; boundary=b", strings.Repeat("--b\r\n\r\n\r\n", maxParts+1)+"--b--")
}

func TestMultipartOfTheMostPartsIsRead(t *testing.T) {
	w := post(strings.Repeat("--b\r\n\r\n\r\n", maxParts)+"--b--", "Content-Type: multipart/form-data; boundary=b")
	if got := kindOf(t, prepare(t, Rule{}), w); got != "multipart" {
		t.Error(got)
	}
}

func TestDelimiterIsFoundWhereverTheWindowEnds(t *testing.T) {
	const boundary = "some-boundary"
	for n := windowSize - 60; n < windowSize+20; n++ {
		first := "A: b\r\n\r\n" + strings.Repeat("x", n)
		w := formData(boundary, first, "second")
		if got := kindOf(t, prepare(t, Rule{}), w); got != "multipart" {
			t.Fatalf("%d: %s", n, got)
		}
		same(t, Rule{}, w, formData("b", first, "second"))
		differ(t, Rule{}, w, formData(boundary, first+"second"), formData(boundary, first, "secone"))
	}
}
