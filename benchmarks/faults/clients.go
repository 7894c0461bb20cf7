package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"jaegis-proxy/internal/proxytest"
)

func clientFaults() []fault {
	return []fault{
		{"slowloris", "500 connections that send a byte of a head now and then", "other clients are served, the slow ones are cut off", slowloris},
		{"10,000 idle connections", "own client, one request on each", "other clients are served, at most 40 KB each", idle},
	}
}

// dial opens n connections.
func dial(addr string, n int) (conns []net.Conn, err error) {
	for range n {
		c, err := net.DialTimeout("tcp", addr, 10*time.Second)
		if err != nil {
			return conns, err
		}
		conns = append(conns, c)
	}
	return conns, nil
}

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		_ = c.Close()
	}
}

func slowloris(ctx context.Context, r *rig) error {
	if err := r.start("", func(o *proxytest.Options) { o.Config += "limits: {header_timeout: 2s}\n" }); err != nil {
		return err
	}
	before := r.load(ctx, clients, docs, time.Second, small)
	conns, err := dial(r.proxy.Addr, 500)
	defer func() { closeAll(conns) }()
	if err != nil {
		return err
	}
	drips, stop := context.WithCancel(ctx)
	dripped := make(chan int)
	go func() { dripped <- drip(drips, conns) }() // ends with stop
	during := r.load(ctx, clients, docs, 4*time.Second, small)
	stop()
	left := <-dripped
	r.figure("p99 %.1f ms before, %.1f ms during, failed %d", before.p(0.99), during.p(0.99), during.failures)
	r.figure("cut off %d of %d", len(conns)-left, len(conns))
	if left > 0 {
		err = fmt.Errorf("%d slow connections are still there after twice their time", left)
	}
	return errors.Join(before.err(), during.err(), err, r.alive())
}

// drip sends a byte on each, five times a second, and says how many still take
// it in the end.
func drip(ctx context.Context, conns []net.Conn) (left int) {
	head := "GET /c/slow HTTP/1.1\r\nX-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	alive := map[net.Conn]bool{}
	for _, c := range conns {
		alive[c] = true
	}
	for i := range head {
		for c := range alive {
			if _, err := c.Write([]byte{head[i]}); err != nil {
				delete(alive, c)
			}
		}
		select {
		case <-ctx.Done():
			return len(alive)
		case <-time.After(200 * time.Millisecond):
		}
	}
	return len(alive)
}

func idle(ctx context.Context, r *rig) error {
	if err := r.start("", nil); err != nil {
		return err
	}
	if s := r.load(ctx, clients, docs, time.Second, small); s.err() != nil {
		return s.err()
	}
	const many = 10_000
	before := r.rss()
	conns, err := dial(r.proxy.Addr, many)
	defer func() { closeAll(conns) }()
	if err != nil {
		return skip("%d connections, then %v: the limit of open files is too low", len(conns), err)
	}
	buf := make([]byte, 4096)
	for _, c := range conns {
		if _, err := io.WriteString(c, "GET /c/0?pad=1 HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
			return err
		}
		if _, err := c.Read(buf); err != nil {
			return err
		}
	}
	each := (r.rss() - before) / many
	during := r.load(ctx, clients, docs, 2*time.Second, small)
	r.figure("%.1f KB each", float64(each)/1024)
	r.figure("others: p99 %.1f ms, failed %d", during.p(0.99), during.failures)
	if each > 40<<10 {
		err = fmt.Errorf("%d bytes each", each)
	}
	return errors.Join(err, during.err())
}
