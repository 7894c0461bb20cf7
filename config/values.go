package config

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration whose text form is Go's ("90m", "1h30m",
// "50ms"); a bare number counts seconds.
type Duration time.Duration

// String gives the shortest text that UnmarshalText reads back.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText gives String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads "90m", "1.5s" or a bare number of seconds.
func (d *Duration) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	if v, err := time.ParseDuration(s); err == nil {
		*d = Duration(v)
		return nil
	}
	seconds, err := strconv.ParseFloat(s, 64)
	if err != nil || !decimal(s) {
		return errors.New("not a duration; write 90m, 1h30m, 50ms or a number of seconds")
	}
	if math.Abs(seconds) > math.MaxInt64/float64(time.Second)/2 {
		return errors.New("too long; a duration is at most about 146 years")
	}
	*d = Duration(math.Round(seconds * float64(time.Second)))
	return nil
}

// decimal says whether s has the characters of a plain decimal number only;
// strconv would take hexadecimal floats, infinities and NaN as well.
func decimal(s string) bool {
	return strings.Trim(s, "+-.0123456789") == ""
}

// Size is a number of bytes. Its text form has a unit ("64MiB", "1.5GB"); a
// bare number counts bytes.
type Size int64

// The binary units of Size.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
	TiB Size = 1 << 40
)

// String gives the shortest exact text: the largest binary unit that divides
// the size.
func (s Size) String() string {
	if s != 0 {
		for _, u := range sizeUnits() {
			if u.binary && s%u.size == 0 {
				return strconv.FormatInt(int64(s/u.size), 10) + u.name
			}
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalText gives String.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads "64MiB", "64 MB", "1.5GiB" or a bare number of bytes.
// Units are read in any case: KiB, MiB, GiB and TiB count in 1024s, kB, MB, GB
// and TB in 1000s.
func (s *Size) UnmarshalText(text []byte) error {
	str := strings.TrimSpace(string(text))
	number, unit := str, Size(1)
	for _, u := range sizeUnits() {
		if n, ok := cutSuffixFold(str, u.name); ok {
			number, unit = strings.TrimSpace(n), u.size
			break
		}
	}
	// Exact arithmetic: a float would round sizes above 8 PiB, and would let
	// fractions of a byte through.
	var value *big.Rat
	ok := decimal(number) // checked first: SetString would work long on 1e999999999
	if ok {
		value, ok = new(big.Rat).SetString(number)
	}
	if !ok {
		return errors.New("not a size; write 64MiB, 10GB or a number of bytes")
	}
	value.Mul(value, new(big.Rat).SetInt64(int64(unit)))
	switch {
	case !value.IsInt():
		return errors.New("not a whole number of bytes")
	case !value.Num().IsInt64():
		return errors.New("too large; a size is at most 8 EiB")
	}
	*s = Size(value.Num().Int64())
	return nil
}

type sizeUnit struct {
	name   string
	size   Size
	binary bool
}

// sizeUnits lists the units, larger ones first, "B" last, so that the first
// suffix found is the right one.
func sizeUnits() [9]sizeUnit {
	return [...]sizeUnit{
		{"TiB", TiB, true}, {"GiB", GiB, true}, {"MiB", MiB, true}, {"KiB", KiB, true},
		{"TB", 1e12, false}, {"GB", 1e9, false}, {"MB", 1e6, false}, {"kB", 1e3, false},
		{"B", 1, false},
	}
}

func cutSuffixFold(s, suffix string) (string, bool) {
	n := len(s) - len(suffix)
	if n < 0 || !strings.EqualFold(s[n:], suffix) {
		return s, false
	}
	return s[:n], true
}

// Mask is what is printed in place of a secret.
const Mask = "****"

// Secret is a string that never prints itself: every way of formatting or
// marshalling it gives Mask, or nothing when it is empty. Convert it to string
// to use it.
type Secret string

// String gives Mask, or "" for an empty secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return Mask
}

// Format makes every verb print String, %x and %q included.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// MarshalText gives String.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// SecretURL is a URL that may hold a password, which never prints: every way
// of formatting or marshalling it shows Mask in the password's place (or in
// that of a name without a password). Convert
// it to string to use it.
type SecretURL string

// String gives the URL with its credentials masked.
func (u SecretURL) String() string {
	s := string(u)
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		// Not a URL: there is no telling which part of it is secret.
		return Secret(s).String()
	}
	// The last @ ends the user information, even where an unescaped one or a
	// slash stands in the password.
	at := strings.LastIndexByte(rest, '@')
	if at < 0 {
		return s
	}
	user, _, found := strings.Cut(rest[:at], ":")
	if !found {
		return scheme + "://" + Mask + rest[at:] // a lone name is often a token
	}
	return scheme + "://" + user + ":" + Mask + rest[at:]
}

// Format makes every verb print String.
func (u SecretURL) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(u.String())) }

// MarshalText gives String.
func (u SecretURL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }
