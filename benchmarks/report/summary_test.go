package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

const raw = `round	server	body	requests	seconds	p50_us	p99_us	failed	cpu_us	upstream
1	barefast	1KB	1000	1.0	100	200	0	10000	0
1	nginx	1KB	800	1.0	150	300	0	16000	800
1	jaegis	1KB	900	1.0	120	250	0	9900	0
2	barefast	1KB	500	1.0	110	220	0	10000	0
2	nginx	1KB	400	1.0	160	310	2	12000	400
2	jaegis	1KB	450	1.0	130	260	0	11700	0
3	barefast	1KB	1000	2.0	120	240	0	10000	0
3	nginx	1KB	800	2.0	170	320	0	16000	800
3	jaegis	1KB	900	2.0	140	270	0	10800	0
`

func samples(t *testing.T) []Sample {
	t.Helper()
	s, err := readSamples(strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRatiosAreTakenWithinARound(t *testing.T) {
	f := func(c Cell, server string, cpu, ratio, rate float64, misses bool) {
		t.Helper()
		near := func(a, b float64) bool { return a-b < 1e-9 && b-a < 1e-9 }
		if c.Server != server || !near(c.CPU, cpu) || !near(c.CPURatio, ratio) || !near(c.Rate, rate) || c.Misses() != misses {
			t.Errorf("got %+v, want %s %v %v %v %v", c, server, cpu, ratio, rate, misses)
		}
	}
	cells := summarize(samples(t))
	if len(cells) != 3 {
		t.Fatalf("%d cells", len(cells))
	}
	f(cells[0], "barefast", 10, 1, 500, false)
	f(cells[1], "nginx", 20, 2, 400, true) // of 2, 1.5 and 2
	f(cells[2], "jaegis", 12, 1.2, 450, false)
}

func TestTheReportTellsFailuresAndMisses(t *testing.T) {
	text := markdown(About{Date: "2026-01-02"}, summarize(samples(t)))
	for _, want := range []string{
		"| 1KB | jaegis-proxy | 12.0 µs | 1.20 | 450 | 0.90 | 0.13 ms | 0.26 ms | 0 |",
		"**nginx failed 2 of 2000 requests with 1KB.**",
		"With 1KB, nginx did not hit",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestThePlotIsWellFormedAndGivesNoBarToMisses(t *testing.T) {
	svg := plot(summarize(samples(t)))
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(svg, "<rect x="); n != 2 {
		t.Errorf("%d bars, want 2:\n%s", n, svg)
	}
}

func TestUnreadableLinesAreErrors(t *testing.T) {
	f := func(in string) {
		t.Helper()
		if _, err := readSamples(strings.NewReader(in)); err == nil {
			t.Errorf("%q was taken", in)
		}
	}
	f("")
	f("heading\n")
	f("heading\n1\tbarefast\tx\n")
	f("heading\n1\tbarefast\t1KB\t0\t1.0\t0\t0\t0\t0\t0\n")
}
