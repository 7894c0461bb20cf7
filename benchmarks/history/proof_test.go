package main

import (
	"bytes"
	"testing"
)

// Every ask of a plan knows its own answers, and takes no other for one.
func TestAnAnswerProvesItself(t *testing.T) {
	p := newPlan(8)
	var scratch []byte
	seen := map[string]bool{}
	for i, a := range p.asks {
		f := func(want verdict, what string, body []byte, ended bool) {
			t.Helper()
			got := a.verify(body, ended, &scratch)
			if got.verdict != want {
				t.Errorf("%s %s: %s: %v, want %v", a.method, a.target, what, got.verdict, want)
			}
			if want == good && (got.version != 12 || got.made != 345) {
				t.Errorf("%s: version %d, made at %d", a.target, got.version, got.made)
			}
		}
		whole := a.appendAnswer(nil, 12, 345)
		f(good, "its own", whole, true)
		f(good, "its own, cut after the end", whole, false)
		for _, n := range []int{0, 1, len(a.prefix) - 1, len(a.prefix) + 3, len(a.prefix) + 40, len(whole) / 2, len(whole) - 1} {
			f(cutCleanly, "cut", whole[:n], true)
			f(cutVisibly, "cut", whole[:n], false)
		}
		for n := range whole {
			other := bytes.Clone(whole)
			other[n] ^= 1
			if v := a.verify(other, true, &scratch).verdict; v == good || v == cutCleanly {
				t.Fatalf("%s: byte %d changed: %v", a.target, n, v)
			}
		}
		f(wrong, "too long", append(bytes.Clone(whole), 'x'), true)
		middle := len(a.prefix) + 2*(numberSize+1)
		mixed := append(bytes.Clone(whole[:middle]), a.appendAnswer(nil, 13, 345)[middle:]...)
		f(wrong, "of two versions", mixed, true)
		f(wrong, "an error", []byte(`{"error":{"type":"jaegis_internal","message":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}}`), true)
		theirs := *a
		theirs.tenant = "mallory"
		theirs.size = max(a.size, coreSize(theirs.tenant))
		f(crossTenant, "another tenant's", theirs.appendAnswer(nil, 12, 345), true)
		if id := a.hash + a.from + a.tenant; seen[id] && a.route != "origin" {
			t.Errorf("%s is there twice", a.target)
		} else {
			seen[id] = true
		}
		next := p.asks[(i+1)%len(p.asks)]
		if next.hash == a.hash && next.tenant == a.tenant {
			continue // answers for all, asked for by another
		}
		if v := a.verify(next.appendAnswer(nil, 12, 345), true, &scratch).verdict; v != wrong && v != crossTenant {
			t.Errorf("%s took the answer of %s: %v", a.target, next.target, v)
		}
	}
}
