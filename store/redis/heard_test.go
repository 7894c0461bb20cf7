package redis

import (
	"strconv"
	"testing"
	"time"
)

// A sentinel's word counts as of when it had heard from so many others that
// with it they are most.
func TestASentinelsWordIsAsOldAsWhatItHasHeardFromMost(t *testing.T) {
	other := func(hello, pinged, answered int) map[string]string {
		return map[string]string{"last-hello-message": strconv.Itoa(hello), "last-ping-sent": strconv.Itoa(pinged), "last-ok-ping-reply": strconv.Itoa(answered)}
	}
	f := func(want int, others ...map[string]string) {
		t.Helper()
		ago, ok := mostHeard(others)
		if ok != (want >= 0) || ok && ago != time.Duration(want)*time.Millisecond {
			t.Errorf("%v: %v, %v; want %d ms", others, ago, ok, want)
		}
	}
	f(0) // it is the only one
	f(700, other(700, 0, 300))
	f(700, other(700, 0, 300), other(1900, 0, 300))                     // of three, with it two
	f(1900, other(700, 0, 300), other(1900, 0, 300), other(9000, 0, 1)) // of four, with it three
	f(700, other(90000, 90000, 91000), other(700, 1, 1000))             // one is down, the other is being asked
	f(90000, other(90000, 90000, 91000), other(95000, 9, 95000))
	f(-1, other(500, 500, 500), other(500, 500, 501)) // it has just begun, and heard nothing yet
	f(500, other(500, 500, 500), other(500, 0, 100))
	f(-1, map[string]string{}, map[string]string{})
}
