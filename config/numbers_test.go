package config

import "testing"

func TestNumbersMayBeLeftOut(t *testing.T) {
	f := func(text string, want Number) {
		t.Helper()
		var got Number
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
		var again Number
		if err := again.UnmarshalText([]byte(got.String())); err != nil || again != want {
			t.Errorf("%q prints as %q, which is %+v, %v", text, got, again, err)
		}
	}
	f("", Number{})
	f("0", Number{Set: true})
	f("0.2", Number{Set: true, V: 0.2})
	f(" 1e3 ", Number{Set: true, V: 1000})
	f("-1", Number{Set: true, V: -1})
	for _, bad := range []string{"x", "1,5", "NaN", "inf", "0x1p4", "1_0", "1e999", "."} {
		var n Number
		if err := n.UnmarshalText([]byte(bad)); err == nil || n != (Number{}) {
			t.Errorf("%q is %+v", bad, n)
		}
	}
}

func TestNumbersInTheTree(t *testing.T) {
	load := func(value string) Number {
		t.Helper()
		return mustLoad(t, docs+"routes: [{name: r, ttl: 1, protocol: ollama, when: {temperature_max: "+value+"}}]\n").Routes[0].When.TemperatureMax
	}
	for value, want := range map[string]Number{
		"0": {Set: true}, "0.5": {Set: true, V: 0.5}, "": {}, "null": {}, `""`: {}, `"0"`: {Set: true},
	} {
		if got := load(value); got != want {
			t.Errorf("%q: %+v, want %+v", value, got, want)
		}
	}
	refused(t, "routes: [{name: r, ttl: 1, when: {temperature_max: low}}]", "routes[0].when.temperature_max", `"low": not a number; write 2.5`)
	refused(t, "routes: [{name: r, ttl: 1, when: {temperature_max: [0]}}]", "routes[0].when.temperature_max", "a list where a number belongs")
}

func TestPaces(t *testing.T) {
	f := func(text string, want Pace, printed string) {
		t.Helper()
		var got Pace
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want || got.String() != printed {
			t.Errorf("%q: %+v, printed %q, %v", text, got, got, err)
		}
		var again Pace
		if err := again.UnmarshalText([]byte(got.String())); err != nil || again != want {
			t.Errorf("%q prints as %q, which is %+v, %v", text, got, again, err)
		}
	}
	f("", Pace{}, "")
	f("original", Pace{Original: true}, "original")
	f("20/s", Pace{PerSecond: 20}, "20/s")
	f("0.5 /s", Pace{PerSecond: 0.5}, "0.5/s")
	f("20 events/s", Pace{PerSecond: 20}, "20/s")
	f("1000000/s", Pace{PerSecond: 1e6}, "1000000/s")
	f("0.001/s", Pace{PerSecond: 0.001}, "0.001/s")
	for _, bad := range []string{"20", "fast", "0/s", "-1/s", "/s", "events/s", "20 bytes/s", "NaN/s", "1e7/s", "0.0001/s", "20/m"} {
		var p Pace
		if err := p.UnmarshalText([]byte(bad)); err == nil || p != (Pace{}) {
			t.Errorf("%q is %+v", bad, p)
		}
	}
	refused(t, "routes: [{name: r, ttl: 1, replay: {pace: 20/m}}]", "routes[0].replay.pace", `"20/m": not a pace; write original, 20/s or "20 events/s"`)
}
