package policy

import (
	"strings"
	"testing"
)

func TestRFC9111Section4_1FieldLines(t *testing.T) {
	same := func(want string, forms ...[]string) {
		t.Helper()
		for _, lines := range forms {
			if got := NormalizeFieldLines(lines); got != want {
				t.Errorf("%q: %q, want %q", lines, got, want)
			}
		}
	}
	same("1, 2", []string{"1", "2"}, []string{"1, 2"}, []string{"1,2"}, []string{" 1\t, 2 "})
	same("1, 2", []string{" 1", "\t2 "})
	same("2, 1", []string{"2", "1"})
	same("", nil, []string{""}, []string{" "})
	same("1, , 2", []string{"1,,2"}, []string{"1", "", "2"})
	same("a b, c  d", []string{"a b,c  d"})
	same(`"a,  b", c`, []string{`"a,  b" ,c`}, []string{`"a,  b"`, "c"})
	same(`"a\",  b", c`, []string{`"a\",  b",c`})
	same(`"a ,b`, []string{`"a ,b`})  // the quotes do not close
	same(`a\, b`, []string{`a\,  b`}) // no escapes outside quotes
}

func TestRFC9110Section12_5_4Languages(t *testing.T) {
	f := func(want string, lines ...string) {
		t.Helper()
		if got := NormalizeLanguage(lines); got != want {
			t.Errorf("%q: %q, want %q", lines, got, want)
		}
	}
	f("de,en", "en, de")
	f("de,en", "eN, De")
	f("de,en", " en ,   de")
	f("de,en", "en", "de")
	f("de,en", "de, en")
	f("de,fr;q=0.5", "fr;q=0.5, de;q=1.0")
	f("de,fr;q=0.5", "FR ; Q=0.500,de")
	f("a,c,b;q=0.05,*;q=0", "*;q=0,a,b;q=0.05,c;q=1.")
	f("en-us,en;q=0.9", "en-US,en;q=0.9")
	f("en", ",en,,")
	f("")
	for _, bad := range []string{"en;q=2", "en;q=", "en;q=0.5555", "en;q=-1", "en;q=1.001", "en;x=1", "en;q=0.5;x=1", "en de", "en--us", "toolonglanguage", "é", "en;q=.5", "en;", `"en,de"`} {
		f(bad, bad)
		f("EN,  de, "+bad, "EN,  de", bad)
	}
}

func FuzzNormalize(f *testing.F) {
	f.Add(`"a,  b" ,c;q=0.5`, "EN ,de;q=1.0")
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, normalize := range []func([]string) string{NormalizeFieldLines, NormalizeLanguage} {
			once := normalize([]string{a, b})
			if again := normalize([]string{once}); again != once {
				t.Errorf("%q, %q: %q, then %q", a, b, once, again)
			}
			if joined := normalize([]string{a + ", " + b}); joined != once {
				t.Errorf("%q, %q: %q, in one line %q", a, b, once, joined)
			}
		}
		if got := NormalizeFieldLines([]string{a, b}); squeeze(got) != squeeze(a+","+b) {
			t.Errorf("%q, %q became %q", a, b, got)
		}
	})
}

// squeeze takes away all that normalising a field may.
func squeeze(s string) string { return strings.NewReplacer(" ", "", "\t", "").Replace(s) }
