package config

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Number is a number that may be left out.
type Number struct {
	Set bool
	V   float64 // 0 unless Set
}

// String gives the shortest text that UnmarshalText reads back; "" for none.
func (n Number) String() string {
	if !n.Set {
		return ""
	}
	return strconv.FormatFloat(n.V, 'f', -1, 64)
}

// MarshalYAML gives the number, or null for none.
func (n Number) MarshalYAML() (any, error) {
	if !n.Set {
		return nil, nil
	}
	return n.V, nil
}

// UnmarshalText reads a decimal number; "" is none.
func (n *Number) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*n = Number{}
		return nil
	}
	v, err := parseFloat(string(text))
	if err == nil {
		*n = Number{Set: true, V: v}
	}
	return err
}

// Choice is a yes or no that may be left out.
type Choice struct {
	Set bool
	V   bool // false unless Set
}

// String gives "true" or "false"; "" for none.
func (c Choice) String() string {
	if !c.Set {
		return ""
	}
	return strconv.FormatBool(c.V)
}

// MarshalYAML gives the bool, or null for none.
func (c Choice) MarshalYAML() (any, error) {
	if !c.Set {
		return nil, nil
	}
	return c.V, nil
}

// UnmarshalText reads what a bool may be; "" is none.
func (c *Choice) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*c = Choice{}
		return nil
	}
	v, err := parseBool(string(text))
	if err == nil {
		*c = Choice{Set: true, V: v}
	}
	return err
}

// parseFloat reads a decimal number, with an exponent perhaps. Hexadecimal
// floats, infinities and NaN, which strconv takes as well, it does not.
func parseFloat(text string) (float64, error) {
	s := strings.TrimSpace(text)
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || strings.Trim(s, "+-.0123456789eE") != "" {
		return 0, errors.New("not a number; write 2.5")
	}
	return v, nil
}

// Pace is how fast the events of a stored stream are sent. The zero Pace is at
// once.
type Pace struct {
	Original  bool    // as they came from the upstream
	PerSecond float64 // events per second; 0 for no such pace
}

// The bounds of Pace.PerSecond: time.Duration holds what a second divided by
// either comes to.
const (
	slowest = 0.001
	fastest = 1e6
)

// String gives "original", "20/s", or "" for at once.
func (p Pace) String() string {
	switch {
	case p.Original:
		return "original"
	case p.PerSecond == 0:
		return ""
	}
	return strconv.FormatFloat(p.PerSecond, 'f', -1, 64) + "/s"
}

// MarshalText gives String.
func (p Pace) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads "original", "20/s" or "20 events/s"; "" is at once.
func (p *Pace) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	switch s {
	case "":
		*p = Pace{}
		return nil
	case "original":
		*p = Pace{Original: true}
		return nil
	}
	number, ok := strings.CutSuffix(s, "/s")
	number = strings.TrimSuffix(number, "events")
	n, err := parseFloat(number)
	if !ok || err != nil {
		return errors.New(`not a pace; write original, 20/s or "20 events/s", or nothing for at once`)
	}
	if !paced(n) {
		return errors.New("not from 0.001 to 1000000 events a second")
	}
	*p = Pace{PerSecond: n}
	return nil
}

func paced(n float64) bool { return !math.IsNaN(n) && n >= slowest && n <= fastest }
