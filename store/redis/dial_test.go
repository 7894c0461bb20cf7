package redis

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

func TestKeepAliveIsWhatTheOptionsSay(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	f := func(keepAlive net.KeepAliveConfig, want map[int]int) {
		t.Helper()
		o := withDefaults(Options{URL: "redis://" + l.Addr().String(), KeepAlive: keepAlive})
		e, err := o.endpoint()
		if err != nil {
			t.Fatal(err)
		}
		conn, err := o.dialer(&e)(t.Context(), "", e.addrs[0])
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		raw, err := conn.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		err = raw.Control(func(fd uintptr) {
			on, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_KEEPALIVE)
			if err != nil || (on != 0) != keepAlive.Enable {
				t.Errorf("%+v: keep-alive is %d, %v", keepAlive, on, err)
			}
			for option, value := range want {
				if got, err := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, option); err != nil || got != value {
					t.Errorf("%+v: option %d is %d, %v; want %d", keepAlive, option, got, err, value)
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	f(net.KeepAliveConfig{}, nil)
	f(net.KeepAliveConfig{Enable: true, Idle: 7 * time.Second, Interval: 3 * time.Second, Count: 4}, map[int]int{
		syscall.TCP_KEEPIDLE: 7, syscall.TCP_KEEPINTVL: 3, syscall.TCP_KEEPCNT: 4,
	})
}

// TestConnectingEndsWithItsTimeout connects to a server that has no room left
// for those who wait to be accepted: their first packets are dropped.
func TestConnectingEndsWithItsTimeout(t *testing.T) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(fd) }()
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: name.(*syscall.SockaddrInet4).Port}).String()
	for {
		conn, err := net.DialTimeout("tcp", addr, 500*time.Millisecond)
		if err != nil {
			break
		}
		defer func() { _ = conn.Close() }()
	}
	const timeout = 300 * time.Millisecond
	o := withDefaults(Options{URL: "redis://" + addr, ConnectTimeout: timeout})
	e, err := o.endpoint()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, err = o.dialer(&e)(t.Context(), "", addr)
	took := time.Since(began)
	if !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v; want a timeout", err)
	}
	if took < timeout || took > timeout+2*time.Second {
		t.Errorf("took %v", took)
	}
}
