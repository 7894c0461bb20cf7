package encoding

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestAccepts(t *testing.T) {
	f := func(header string, accepted, refused string) {
		t.Helper()
		for _, c := range strings.Fields(accepted) {
			if !Accepts(header, c) {
				t.Errorf("%q does not accept %s", header, c)
			}
		}
		for _, c := range strings.Fields(refused) {
			if Accepts(header, c) {
				t.Errorf("%q accepts %s", header, c)
			}
		}
	}
	// nothing is said: only identity
	f("", "identity", "gzip zstd")
	f(" ,, ,\t", "identity", "gzip zstd")
	// named
	f("gzip", "gzip x-gzip GZIP identity", "zstd deflate br")
	f("gzip, deflate, br, zstd", "gzip deflate br zstd identity", "compress")
	f("GZip;Q=0.5 ,\tZSTD ;\tq=1.000", "gzip zstd", "br")
	f("x-gzip", "gzip x-gzip", "x-zstd zstd")
	f("x-compress, x-zstd", "compress x-zstd", "zstd")
	f("gzip;q=0.001", "gzip", "")
	f("gzip;q=0", "identity", "gzip x-gzip")
	f("gzip;q=0.000", "identity", "gzip")
	// everything else
	f("*", "gzip zstd anything identity", "")
	f("*;q=0", "", "gzip identity")
	f("*;q=0, gzip", "gzip", "zstd identity")
	f("gzip;q=0, *", "zstd identity", "gzip x-gzip")
	f("identity;q=0, *", "gzip", "identity")
	f("identity;q=0", "", "identity gzip")
	f("*;q=0, identity", "identity", "gzip")
	f("identity;q=0.5, gzip;q=1.0, *;q=0", "identity gzip", "br")
	// a malformed member is as if it were not there
	f("gz ip, zstd", "zstd identity", "gzip gz ip")
	f("gzip/zstd", "identity", "gzip zstd")
	f(`"gzip"`, "identity", "gzip")
	f("gzip q=0", "identity", "gzip")
	f(";q=1, zstd", "zstd", "gzip")
	f("gzip\x00", "identity", "gzip")
	f("g\u017Fip", "identity", "gzip")
	f("z\u017Ftd", "identity", "zstd")
	// a malformed weight is none at all
	for _, q := range []string{"", "2", "1.1", "1.001", "0.0001", "1.0000", "-1", "+1", ".5", "0,5", "0x1", "1e0", " 1", "1 1", "01", "one", "\"1\""} {
		f("gzip;q="+q, "identity", "gzip")
	}
	f("gzip;q=1.", "gzip", "") // the grammar has digits optional
	f("gzip;q=0.", "", "gzip")
	f("gzip;q", "", "gzip")
	f("gzip;q =1", "", "gzip")
	f("gzip; q= 1", "", "gzip")
	f("*;q=x", "", "gzip identity")
	// other parameters say nothing, the least of several weights counts
	f("gzip;level=9", "gzip", "")
	f("gzip;", "gzip", "")
	f("gzip;;q=0", "", "gzip")
	f("gzip;q=1;q=0", "", "gzip")
	f("gzip;q=0;q=1", "", "gzip")
	f("gzip, x-gzip;q=0", "", "gzip")
	f("gzip;q=0, gzip", "", "gzip")
	f("*;q=0, *", "", "gzip identity")
	f("*, *;q=0", "", "gzip identity")
	// what is no coding is not accepted
	if Accepts("*", "") || Accepts("*, a b", "a b") || Accepts("*", "gzip, zstd") {
		t.Error("something is accepted that is no coding")
	}
}

func TestPrefer(t *testing.T) {
	f := func(header, offers, want string) {
		t.Helper()
		if got := Prefer(header, strings.Fields(offers)...); got != want {
			t.Errorf("Prefer(%q, %s) = %q, want %q", header, offers, got, want)
		}
	}
	f("gzip, zstd", "zstd gzip identity", "zstd")
	f("gzip, zstd", "gzip zstd identity", "gzip")
	f("gzip;q=0.5, zstd;q=0.4", "zstd gzip", "gzip")
	f("gzip;q=0.001", "identity gzip", "gzip") // named is better than not mentioned
	f("gzip;q=0.5, identity", "gzip identity", "identity")
	f("gzip;q=0.5, *", "gzip identity", "identity")
	f("gzip;q=0.5, *;q=0.1", "identity gzip", "gzip")
	f("br", "gzip identity", "identity")
	f("br", "gzip", "")
	f("", "gzip identity", "identity")
	f("*;q=0", "gzip identity", "")
	f("*", "zstd gzip", "zstd")
	f("X-GZIP", "gzip", "gzip")
	f("gzip", "", "")
}

func TestNegotiationAllocatesNothing(t *testing.T) {
	header := "gzip;q=0.5, deflate , BR;q=0.1,\tx-gzip, *;q=0"
	if n := testing.AllocsPerRun(100, func() { Accepts(header, "zstd") }); n != 0 {
		t.Errorf("Accepts: %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { Prefer(header, "zstd", "gzip", "identity") }); n != 0 {
		t.Errorf("Prefer: %v allocations", n)
	}
}

// naive is a reading of RFC 9110 by regular expressions.
func naive(header, coding string) bool {
	token := regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
	exact := regexp.MustCompile(`^(0(\.[0-9]{0,3})?|1(\.0{0,3})?)$`)
	name := func(s string) string {
		switch s = strings.ToLower(s); s {
		case "x-gzip", "x-compress":
			return s[2:]
		}
		return s
	}
	if !token.MatchString(coding) {
		return false
	}
	said := map[string][]bool{}
	for _, member := range strings.Split(header, ",") {
		parts := strings.Split(member, ";")
		for i := range parts {
			parts[i] = strings.Trim(parts[i], " \t")
		}
		if !token.MatchString(parts[0]) {
			continue
		}
		ok := true
		for _, p := range parts[1:] {
			if regexp.MustCompile(`^[qQ][ \t]*(=|$)`).MatchString(p) {
				q := strings.TrimPrefix(strings.ToLower(p), "q=")
				weight, err := strconv.ParseFloat(q, 64)
				ok = ok && exact.MatchString(q) && err == nil && weight > 0
			}
		}
		said[name(parts[0])] = append(said[name(parts[0])], ok)
	}
	if v, ok := said[name(coding)]; ok && coding != "*" {
		return !slices.Contains(v, false)
	}
	if v, ok := said["*"]; ok {
		return !slices.Contains(v, false)
	}
	return name(coding) == "identity"
}

func FuzzAccepts(f *testing.F) {
	for _, header := range []string{
		"", "gzip", "gzip;q=0.5, *;q=0", "x-gzip ; q=1.000,identity;q=0", "*", "gzip;q", "gzip;Q =1", "a b;q=1,gzip;q=1.", ";;,,", "gzip;q=1;q=0", "\t*\t;\tq=0.",
	} {
		for _, coding := range []string{"gzip", "x-gzip", "identity", "zstd", "*", ""} {
			f.Add(header, coding)
		}
	}
	f.Fuzz(func(t *testing.T, header, coding string) {
		got, want := Accepts(header, coding), naive(header, coding)
		if got != want {
			t.Errorf("Accepts(%q, %q) = %v, want %v", header, coding, got, want)
		}
		offer := Prefer(header, coding, "identity")
		if offer != "" && !Accepts(header, offer) || offer == "" && (got || Accepts(header, "identity")) {
			t.Errorf("Prefer(%q, %q, identity) = %q", header, coding, offer)
		}
	})
}

func BenchmarkAccepts(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Accepts("gzip, deflate, br, zstd", "gzip")
	}
}
