package config

import "testing"

func TestVariablesAreReplaced(t *testing.T) {
	lookup := lookupIn([]string{"A=1", "EMPTY=", "NESTED=${A}", "A=2", "novalue"})
	f := func(text, want string, missing int) {
		t.Helper()
		e, err := expand(text, lookup)
		if err != nil || e.text != want || len(e.missing) != missing {
			t.Errorf("%q: %+v, %v, want %q and %d missing", text, e, err, want, missing)
		}
	}
	f("", "", 0)
	f("plain", "plain", 0)
	f("${A}", "2", 0) // the last of two counts
	f("x${A}y${A}z", "x2y2z", 0)
	f("${EMPTY}", "", 0)
	f("${EMPTY:-d}", "d", 0)
	f("${NO:-d}", "d", 0)
	f("${NO:-}", "", 0)
	f("${NO:-a:-b}", "a:-b", 0)
	f("${NO}", "", 1)
	f("${NO}${NO2}", "", 2)
	f("${NESTED}", "${A}", 0) // not expanded again
	f("$$", "$", 0)
	f("$${A}", "${A}", 0)
	f("$A 5$ $", "$A 5$ $", 0)
	for _, bad := range []string{"${A", "${}", "${1A}", "${A-x}", "${A B}", "x${"} {
		if e, err := expand(bad, lookup); err == nil {
			t.Errorf("%q gives %q", bad, e.text)
		}
	}
}

func FuzzExpand(f *testing.F) {
	f.Add("$${A} $ ${B:-x}")
	f.Fuzz(func(t *testing.T, s string) {
		lookup := func(string) (string, bool) { return "value", true }
		_, _ = expand(s, lookup) // does not panic
		if e, err := expand(escape(s), lookup); err != nil || e.text != s || len(e.names) > 0 {
			t.Errorf("%q is escaped as %q, which gives %+v, %v", s, escape(s), e, err)
		}
	})
}
