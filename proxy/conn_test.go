package proxy

import (
	"net"
	"testing"
	"time"
)

func TestADeadlineIsNeverMuchSoonerThanItsTimeout(t *testing.T) {
	f := func(want time.Duration, timeouts ...time.Duration) {
		t.Helper()
		if got := slackOf(timeouts...); got != want {
			t.Errorf("%v: %v, want %v", timeouts, got, want)
		}
	}
	f(time.Second)
	f(time.Second, time.Minute, 10*time.Second)
	f(50*time.Millisecond, time.Minute, 400*time.Millisecond)
	f(time.Second, 0, time.Minute) // 0 is no timeout
}

// A deadline that is set stands for one wanted a little later, and for no
// other.
func TestWhichDeadlinesStandForOthers(t *testing.T) {
	c := &conn{conns: &connections{slack: time.Second}}
	now := time.Now()
	f := func(set, wanted time.Time, want bool) {
		t.Helper()
		if got := c.near(set, wanted); got != want {
			t.Errorf("%v for %v: %v", set, wanted, got)
		}
	}
	f(now, now, true)
	f(now, now.Add(999*time.Millisecond), true)
	f(now, now.Add(time.Second), false)
	f(now, now.Add(-time.Nanosecond), false)
	f(time.Time{}, time.Time{}, true)
	f(time.Time{}, now, false)
	f(now, time.Time{}, false)
}

// Reads that follow on each other within a short timeout each have all of it.
func TestAShortTimeoutCountsFromEachRead(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	theirs, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = theirs.Close() }()
	ours, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := &conn{TCPConn: ours.(*net.TCPConn), conns: &connections{slack: slackOf(400 * time.Millisecond)}}
	defer func() { _ = c.Close() }()
	if _, err := theirs.Write([]byte("ab")); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	read := func(deadline time.Time) {
		t.Helper()
		if err := c.SetReadDeadline(deadline); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	read(began.Add(time.Minute))
	read(began.Add(time.Minute + 400*time.Millisecond))
	if want := began.Add(time.Minute + 400*time.Millisecond); !c.reads.Equal(want) {
		t.Errorf("the deadline is %v sooner than asked for", want.Sub(c.reads))
	}
}
