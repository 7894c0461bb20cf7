package cachekey

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// onePart is a form of one part with these header lines.
func onePart(lines ...string) wire {
	return formData("b", strings.Join(lines, "\r\n")+"\r\n\r\n%PDF")
}

// disp is a part that has this Content-Disposition alone.
func disp(value string) wire { return onePart("Content-Disposition: " + value) }

func TestHowTheHeaderOfAPartIsWrittenDoesNotCount(t *testing.T) {
	same(t, Rule{},
		onePart(`Content-Disposition: form-data; name="file"; filename="a.pdf"`, "Content-Type: application/pdf", "X-More: 1"),
		onePart(`content-disposition: form-data; name="file"; filename="a.pdf"`, "CONTENT-TYPE: application/pdf", "x-more: 1"),
		onePart("X-More: 1", "Content-Type: application/pdf", `Content-Disposition: form-data; name="file"; filename="a.pdf"`),
		onePart(`Content-Disposition:form-data;name="file";filename="a.pdf"`, "Content-Type:application/pdf", "X-More:1"),
		onePart("Content-Disposition: form-data; name=file;filename=a.pdf", "Content-Type: application/pdf", "X-More: 1"),
		onePart(`Content-Disposition: form-data; filename="a.pdf"; name="file"`, "Content-Type: application/pdf", "X-More: 1"),
		onePart(`Content-Disposition: form-data; name="file"; filename="a.pdf"; filename*=UTF-8''a.pdf`, "Content-Type: application/pdf", "X-More: 1"),
		onePart(`Content-Disposition: form-data; name=file; filename=a.pdf; filename*=utf-8''%61.pdf`, "Content-Type: application/pdf", "X-More: 1"), // .NET
		onePart(`Content-Disposition: form-data; filename*=UTF-8''a%2Epdf; filename="a.pdf"; name="file"`, "Content-Type: application/pdf", "X-More: 1"),
	)
	same(t, Rule{}, disp(`form-data; name="f"; filename="my file.pdf"`), disp(`form-data; name="f"; filename="my file.pdf"; filename*=UTF-8''my%20file.pdf`))
	same(t, Rule{}, disp(`form-data; name="f"; filename*=UTF-8''na%C3%AFve.pdf`), disp(`form-data;filename*=utf-8''n%61%c3%afve.pdf;name=f`))
	same(t, Rule{}, disp(`form-data; name=""`), disp(`form-data;name=""`))
	same(t, Rule{}, onePart("A:"), onePart("A: "))
}

// What the second way to write a name comes to depends on the upstream.
// Measured were PHP 8.2, cgi and python-multipart of Python and formidable,
// which know no filename* and take a part that has it alone for a field, or a
// file without a name; busboy and multer, which read a plain name as Latin-1;
// and werkzeug, tornado, Django, email and Go, to which both are one.
func TestNamesThatUpstreamsReadDifferentlyAreApart(t *testing.T) {
	names := []wire{
		disp(`form-data; name="f"; filename="naïve.pdf"`),
		disp(`form-data; name="f"; filename*=UTF-8''na%C3%AFve.pdf`),
		disp(`form-data; name="f"; filename="naïve.pdf"; filename*=UTF-8''na%C3%AFve.pdf`),
	}
	differ(t, Rule{}, append(names,
		disp(`form-data; name="f"; filename="a.pdf"`), disp(`form-data; name="f"; filename*=UTF-8''a.pdf`),
		disp(`form-data; name="f"; filename=""`), disp(`form-data; name="f"; filename*=UTF-8''`), disp(`form-data; name="f"; filename=""; filename*=UTF-8''`), disp(`form-data; name="f"`),
		disp(`form-data; name="f"; filename*="a.pdf"`), disp(`form-data; name="f"; filename*=a.pdf`),
		disp(`form-data; name="f"; filename*=UTF-8''UTF-8%27%27a`), disp(`form-data; name="f"; filename*=UTF-8''UTF-8''a`),
	)...)
	extended := Rule{Multipart: Multipart{Extended: true}}
	same(t, extended, names...)
	same(t, extended, disp(`form-data; name="f"; filename="a.pdf"`), disp(`form-data; name="f"; filename*=UTF-8''a.pdf`), disp(`form-data; name="f"; filename*=utf-8''%61.pdf; filename="a.pdf"`))
	differ(t, extended, append(names[:1:1],
		disp(`form-data; name="f"; filename="a.pdf"; filename*=UTF-8''b.pdf`), disp(`form-data; name="f"; filename="b.pdf"; filename*=UTF-8''a.pdf`), disp(`form-data; name="f"; filename="a.pdf"`),
		disp(`form-data; name="f"; filename*=latin1''a.pdf`), disp(`form-data; name="f"; filename*=UTF-8'en'a.pdf`), disp(`form-data; name="f"; filename=""`), disp(`form-data; name="f"; filename*=UTF-8''`),
	)...)
}

// Some look for "name=" anywhere, cut at each ";", or take the first or the
// last of two.
func TestTheOrderOfParametersCountsWhereSomeLookAtIt(t *testing.T) {
	f := func(a, b string) {
		t.Helper()
		differ(t, Rule{}, disp("form-data; "+a), disp("form-data; "+b))
	}
	f(`name="f"; filename="name=g"`, `filename="name=g"; name="f"`)
	f(`name="f"; filename="x name=g"`, `filename="x name=g"; name="f"`)
	f(`name="x filename=g"; filename="y"`, `filename="y"; name="x filename=g"`)
	f(`name="f"; x="name=g"`, `x="name=g"; name="f"`)
	f(`name="f"; x-name="g"`, `x-name="g"; name="f"`)
	f(`name="f"; Name2="g"`, `Name2="g"; name="f"`)
	f(`name="f"; name*=UTF-8''g`, `name*=UTF-8''g; name="f"`)
	f(`filename*0=a; filename*1=b`, `filename*1=b; filename*0=a`)
	f(`name="a;b"; filename="x"`, `filename="x"; name="a;b"`)
	f(`Filename="x"; name="f"`, `name="f"; Filename="x"`)
}

// No client writes these, and of each there is a program that reads it as
// something else, or not at all.
func TestSpaceAndQuotesThatNoClientWritesAreApart(t *testing.T) {
	differ(t, Rule{},
		onePart(`Content-Disposition: form-data; name="f"; filename="x"`, "Content-Type: a/b"),
		onePart(`Content-Disposition: form-data ; name="f"; filename="x"`, "Content-Type: a/b"),
		onePart(`Content-Disposition: form-data;  name="f"; filename="x"`, "Content-Type: a/b"),
		onePart("Content-Disposition: form-data;\tname=\"f\"; filename=\"x\"", "Content-Type: a/b"),
		onePart(`Content-Disposition: form-data; name="f" ; filename="x"`, "Content-Type: a/b"),
		onePart(`Content-Disposition:  form-data; name="f"; filename="x"`, "Content-Type: a/b"),
		onePart(`Content-Disposition: form-data; name="f"; filename="x"`, "Content-Type:  a/b"),
		onePart(`Content-Disposition: form-data; name="f"; filename="x"`, "Content-Type:\ta/b"),
	)
	differ(t, Rule{}, disp(`form-data; name="f"; filename="'x'"`), disp(`form-data; name="f"; filename='x'`), disp(`form-data; name="f"; filename=x`))
	differ(t, Rule{}, disp(`form-data; name="f"; filename="x*y"`), disp(`form-data; name="f"; filename=x*y`))
	differ(t, Rule{}, disp(`form-data; name="f"; filename="UTF-8''x"`), disp(`form-data; name="f"; filename=UTF-8''x`))
	differ(t, Rule{}, onePart("A:"), onePart("A:  "), onePart("A:\t"))
	differ(t, Rule{}, disp(`form-data; name="f"; filename="%41"`), disp(`form-data; name="f"; filename="A"`), disp(`form-data; name="%66"; filename="A"`))
}

func TestDispositionsThatSomeReadDifferentlyAreApart(t *testing.T) {
	differ(t, Rule{},
		disp(`form-data; name="f"`),
		disp(`form-data; name="f"; filename=""`),
		disp(`form-data; name="f"; filename="x"`),
		disp(`form-data; name="x"; filename="f"`),
		disp(`form-data; name="f"; filename="x "`),
		disp(`form-data; name="f"; filename=" x"`),
		disp(`form-data; name="f"; filename="X"`),
		disp(`form-data; name="f"; filename="a/x"`),
		disp(`form-data; name="f"; filename="a\x"`),
		disp(`form-data; name="f"; filename="a\\x"`),
		disp(`form-data; name="f"; filename="a\"x"`),
		disp(`form-data; name="f"; filename="a%22x"`),
		disp(`form-data; name="f"; filename*=UTF-8''a%22x`),
		disp(`form-data; name="f"; filename*=UTF-8''a%2522x`),
		disp(`form-data; name="f"; filename="a\x"; filename*=UTF-8''a%5Cx`),
		disp(`form-data; name="f"; filename*=UTF-8''a%5Cx`),
		disp(`form-data; name="f"; filename*=UTF-8'en'x`),
		disp(`form-data; name="f"; filename*=iso-8859-1''x`),
		disp(`form-data; name="f"; filename*="UTF-8''x"`),
		disp(`form-data; name="f"; filename*=UTF-8''%ff`),
		disp(`form-data; name="f"; filename*=UTF-8''%`),
		disp(`form-data; name="f"; filename*=UTF-8''%zz`),
		disp(`form-data; name="f"; filename*=UTF-8''x%00`),
		disp(`form-data; name="f"; filename*=UTF-8''x%0d%0a`),
		disp(`form-data; name="f"; filename*=UTF-8''=?utf-8?q?x?=`),
		disp(`form-data; name="f"; filename*=UTF-8''%3D?utf-8?q?x?%3D`),
		disp(`form-data; name="f"; filename="=?utf-8?q?x?="`),
		disp(`form-data; name="f"; filename*0=x`),
		disp(`form-data; name="f"; filename*0="x"`),
		disp(`form-data; name="f"; filename*0*=UTF-8''x`),
		disp(`form-data; name="f"; filename="x"; filename*=UTF-8''y`),
		disp(`form-data; name="f"; filename*=UTF-8''y; filename="x"`),
		disp(`form-data; name="f"; filename="y"; filename*=UTF-8''x`),
		disp(`form-data; name="f"; filename="y"`),
		disp(`form-data; name="f"; filename="x"; filename="y"`),
		disp(`form-data; name="f"; filename="y"; filename="x"`),
		disp(`form-data; name="f"; filename="x"; filename="x"`),
		disp(`form-data; name="f"; filename="x"; Filename="x"`),
		disp(`form-data; name="f"; Filename="x"`),
		disp(`form-data; name="f"; name*=UTF-8''x`),
		disp(`form-data; name*=UTF-8''f`),
		disp(`form-data; name="f;filename=x"`),
		disp(`form-data; name=f;filename=x;`),
		disp(`form-data; name="f" filename="x"`),
		disp(`form-data; name ="f"; filename="x"`),
		disp(`form-data; name= "f"; filename="x"`),
		disp(`form-data; name='f'; filename='x'`),
		disp(`form-data; name=f x`),
		disp(`form-data; name="f`),
		disp(`form-data; name=`),
		disp(`form-data; ; name="f"`),
		disp(`form-data; name`),
		disp(`form-data; name="f"; size=1`),
		disp(`form-data; name="a;b"; filename="x"`),
		disp(`form-data; filename="x"; name="a;b"`), // to who cuts at each ";"
		disp(`Form-Data; name="f"`),
		disp(`attachment; name="f"`),
		disp(`form-data`),
		disp(``),
		onePart("A: b"),
	)
}

func TestHeadersOfPartsThatSomeReadDifferentlyAreApart(t *testing.T) {
	many := strings.TrimSuffix(strings.Repeat("%d: x\r\n", maxPartLines+1), "\r\n")
	numbers := func(offset int) string {
		lines := strings.Split(many, "\r\n")
		for i := range lines {
			lines[i] = fmt.Sprintf(lines[i], (i+offset)%len(lines))
		}
		return strings.Join(lines, "\r\n")
	}
	differ(t, Rule{},
		onePart("A: 1", "B: 2"),
		onePart("A: 1", "A: 2"), onePart("A: 2", "A: 1"), onePart("A: 1", "a: 1"), onePart("a: 1", "A: 1"),
		onePart("A: 1\r\n B: 2"), onePart("A: 1\r\n\tB: 2"), onePart("A: 1 B: 2"),
		onePart("A: 1\nB: 2"), onePart("A: 1\rB: 2"), onePart("A: 1\r\r\nB: 2"),
		onePart("A : 1", "B: 2"), onePart(" A: 1", "B: 2"), onePart("A: 1 ", "B: 2"), onePart("A: 1\x00", "B: 2"), onePart("A: 1\x7f", "B: 2"),
		onePart("A 1", "B: 2"), onePart(": 1", "B: 2"), onePart("B: 2"), onePart("Ä: 1", "B: 2"),
		onePart("A: b", "Content-Transfer-Encoding: base64"), onePart("A: b", "Content-Transfer-Encoding: binary"), onePart("A: b"),
		onePart("Content-Type: text/plain"), onePart("Content-Type: Text/Plain"), onePart("Content-Type: text/plain;charset=a"), onePart("Content-Type: text/plain; charset=a"),
		formData("b", "A: 1\r\nB: 2\r\n"), formData("b", "A: 1\r\nB: 2"), formData("b", "A: 1\n\nB: 2\r\n\r\nx"), formData("b", "\nA: 1\r\n\r\nx"),
		formData("b", "\r\nA: 1\r\n\r\nx"), formData("b", "A: 1\r\n\r\n\r\nx"), formData("b", "A: 1\r\n\r\nx"), formData("b", "\r\n\r\nx"), formData("b", "\r\nx"), formData("b", "x"),
		onePart(numbers(0)), onePart(numbers(1)),
		onePart("A: "+strings.Repeat("x", maxPartHeader), "B: 2"), onePart("B: 2", "A: "+strings.Repeat("x", maxPartHeader)),
	)
	rule := prepare(t, Rule{})
	for _, w := range []wire{onePart(numbers(0)), onePart("A: " + strings.Repeat("x", maxPartHeader))} {
		if got := kindOf(t, rule, w); got != "multipart" {
			t.Errorf("%.50q: %s", w.body, got)
		}
	}
}

func TestTheLongestHeaderOfAPartIsRead(t *testing.T) {
	f := func(n int, one bool) {
		t.Helper()
		long := "A: " + strings.Repeat("x", n-len("A: \r\nB: 2\r\n\r\n"))
		a, b := onePart(long, "B: 2"), onePart("b:2 "[:3], long)
		d, r := &Deriver{Secret: []byte("s")}, prepare(t, Rule{})
		if got := mustDerive(t, d, r, a.request()) == mustDerive(t, d, r, b.request()); got != one {
			t.Errorf("%d bytes: one key: %v", n, got)
		}
		for _, w := range []wire{a, b} {
			mustDigest(t, r, w, mustDerive(t, d, r, w.request()))
		}
	}
	f(maxPartHeader, true)
	f(maxPartHeader+2, false)
}

func TestWhatIsIgnoredOfPartsDoesNotCount(t *testing.T) {
	f := `Content-Disposition: form-data; name="f"; filename=`
	names := Rule{Multipart: Multipart{Ignore: []string{IgnoreFilename}}}
	same(t, names, onePart(f+`"x"`), onePart(f+`"y"`), onePart(f+`"ï"`), onePart(f+`"x"; filename*=UTF-8''y`), onePart(f+`"ï"; filename*=UTF-8''%C3%AF`))
	same(t, names, disp(`form-data; name="f"; filename*=UTF-8''x`), disp(`form-data; name="f"; filename*=utf-8''%C3%AF`))
	same(t, Rule{Multipart: Multipart{Ignore: []string{IgnoreFilename}, Extended: true}}, onePart(f+`"x"`), onePart(f+`y`), disp(`form-data; name="f"; filename*=UTF-8''x`))
	// To some, a name that is empty or written in the other way makes a field.
	differ(t, names, onePart(f+`"x"`), onePart(f+`""`), disp(`form-data; name="f"; filename*=UTF-8''x`), disp(`form-data; name="f"; filename*=UTF-8''`), onePart(f+`"x"; filename*=latin1''y`), onePart(f+`""; filename*=UTF-8''x`))
	differ(t, names, onePart(f+`"x"`), disp(`form-data; name="f"`), disp(`form-data; name="g"; filename="x"`), onePart(f+`"x"`, "Content-Type: a/b"), onePart(f+`"a\x"`), onePart(f+`x y`))

	types := Rule{Multipart: Multipart{Ignore: []string{IgnoreContentType}}}
	same(t, types, onePart(f+`"x"`), onePart(f+`"x"`, "Content-Type: a/b"), onePart("content-type: c/d", f+`"x"`))
	differ(t, types, onePart(f+`"x"`), onePart(f+`"y"`), onePart(f+`"x"`, "Content-Types: a/b"), onePart(f+`"x"`, "Content-Type: a/b ", "C: d"))

	file := f + "\"x\"\r\n\r\n%PDF"
	field := func(disposition, value string) string {
		return "Content-Disposition: " + disposition + "\r\n\r\n" + value
	}
	fields := Rule{Multipart: Multipart{IgnoreFields: []string{"trace", "id"}}}
	same(t, fields, formData("b", file), formData("b", field(`form-data; name="trace"`, "1"), file), formData("b", file, field(`form-data; name=id`, strings.Repeat("x", 3*windowSize)), field(`form-data; name="trace"`, "")))
	differ(t, fields, formData("b", file), formData("b", file, file), formData("b", file, field(`form-data; name="Trace"`, "1")), formData("b", file, field(`form-data; name="trace"; name*=UTF-8''x`, "1")),
		formData("b", file, field(`attachment; name="trace"`, "1")), formData("b", file, field(`form-data; name="tr\ace"`, "1")), formData("b", field(`form-data; name="trace2"`, "1"), file))

	exact := Rule{Multipart: Multipart{Exact: true}}
	same(t, exact, formData("b", file), formData("c", file))
	differ(t, exact, onePart(f+`"x"`), onePart(f+`x`), onePart(f+`"x"`, "A: b"), onePart("A: b", f+`"x"`), onePart(f+`"x"`, "a: b"))
}

// A rule that leaves something out makes keys of its own, even of bodies that
// have nothing of it: an answer that was stored before is not to be given to
// those who differ in what counted then.
func TestWhatIsIgnoredOfPartsIsInTheKey(t *testing.T) {
	seen := map[Key]string{}
	w := disp(`form-data; name="f"`)
	for _, m := range []Multipart{
		{}, {Exact: true}, {Extended: true}, {Extended: true, Ignore: []string{"filename"}}, {Ignore: []string{"filename"}}, {Ignore: []string{"content_type"}}, {Ignore: []string{"content_type", "filename"}},
		{IgnoreFields: []string{"filename"}}, {IgnoreFields: []string{"a", "b"}}, {IgnoreFields: []string{"a"}},
	} {
		key := mustDerive(t, &Deriver{}, prepare(t, Rule{Multipart: m}), w.request())
		if was, ok := seen[key]; ok {
			t.Errorf("%+v has the key of %s", m, was)
		}
		seen[key] = fmt.Sprintf("%+v", m)
	}
	same(t, Rule{Multipart: Multipart{Ignore: []string{"filename", "content_type"}, IgnoreFields: []string{"b", "a", "b"}}}, w)
	if mustDerive(t, &Deriver{}, prepare(t, Rule{Multipart: Multipart{IgnoreFields: []string{"b", "a", "b"}}}), w.request()) !=
		mustDerive(t, &Deriver{}, prepare(t, Rule{Multipart: Multipart{IgnoreFields: []string{"a", "b"}}}), w.request()) {
		t.Error("the order of ignored fields counts")
	}
}

func TestMultipartRulesAreChecked(t *testing.T) {
	f := func(m Multipart, want string) {
		t.Helper()
		r := Rule{Namespace: "n", Multipart: m}
		if err := r.Prepare(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", m, err)
		}
	}
	f(Multipart{Ignore: []string{"name"}}, `"name" cannot be ignored`)
	f(Multipart{Exact: true, Ignore: []string{"filename"}}, "leave nothing to ignore")
	f(Multipart{Exact: true, IgnoreFields: []string{"x"}}, "leave nothing to ignore")
	f(Multipart{Exact: true, Extended: true}, "leave nothing to ignore or to decode")
}

func TestExplainShowsTheParts(t *testing.T) {
	rule := prepare(t, Rule{Multipart: Multipart{IgnoreFields: []string{"trace"}}})
	w := formData("b",
		"Content-Disposition: form-data; name=\"f\"; filename*=UTF-8''a.pdf\r\nContent-Type: application/pdf\r\n\r\n%PDF",
		"Content-Disposition: form-data; name=\"trace\"\r\n\r\n1", "Content-Disposition: form-data; name=\"to\"\r\n\r\npdf", "\r\nA: b\n\r\n", "A : b\r\n\r\nx")
	d := &Deriver{Memo: NewMemo(1 << 20)}
	for range 3 { // the memo does not spare the reading
		parts, err := d.Explain(rule, w.request())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range parts {
			if p.Name == "part" {
				got = append(got, fmt.Sprintf("%s %d", p.Value, p.Length))
			}
		}
		want := []string{
			fmt.Sprintf(`name="f" filename="a.pdf" type="application/pdf" sha256=%x 4`, sha256.Sum256([]byte("%PDF"))),
			`name="trace" left out 1`,
			fmt.Sprintf(`name="to" sha256=%x 3`, sha256.Sum256([]byte("pdf"))),
			fmt.Sprintf(`name="" sha256=%x 7`, sha256.Sum256([]byte("A: b\n\r\n"))),
			fmt.Sprintf(`sha256=%x of header and bytes as they came 10`, sha256.Sum256([]byte("A : b\r\n\r\nx"))),
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q, want\n%q", got, want)
		}
		mustDerive(t, d, rule, w.request())
	}
}
