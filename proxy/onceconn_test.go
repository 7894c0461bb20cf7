package proxy

import (
	"context"
	"errors"
	"net"
	"net/http/httptrace"
	"testing"
)

// onPipe gives a once-connection that a request has, and the upstream's end.
func onPipe(t *testing.T) (c *onceConn, upstream net.Conn, a *attempt, ctx context.Context) {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { _, _ = ours.Close(), theirs.Close() })
	c = &onceConn{Conn: ours}
	ctx, cancel := context.WithCancelCause(t.Context())
	a = &attempt{cancel: cancel}
	a.gotConn(httptrace.GotConnInfo{Conn: c})
	return c, theirs, a, ctx
}

func TestAConnectionThatEndsWithinAWriteEndsTheRequest(t *testing.T) {
	c, upstream, _, ctx := onPipe(t)
	wrote := make(chan error, 1)
	go func() {
		_, err := c.Write([]byte("GET / HTTP/1.1"))
		wrote <- err
	}()
	// The write is under way until all is read: the pipe holds nothing.
	if _, err := upstream.Read(make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if !errors.Is(context.Cause(ctx), errNotResent) {
		t.Errorf("bytes were read by the upstream, but the request may be sent again: %v", context.Cause(ctx))
	}
	if err := <-wrote; err == nil {
		t.Error("the write succeeded")
	}
}

func TestAConnectionThatEndsUnusedLeavesTheRequestToAnother(t *testing.T) {
	c, _, _, ctx := onPipe(t)
	_ = c.Close()
	if err := context.Cause(ctx); err != nil {
		t.Errorf("nothing was written, and the request ends: %v", err)
	}
}

func TestAWriteThatFailsCountsForNothing(t *testing.T) {
	c, _, _, ctx := onPipe(t)
	_ = c.Conn.Close()
	if _, err := c.Write([]byte("GET / HTTP/1.1")); err == nil {
		t.Fatal("a write to a closed pipe succeeded")
	}
	_ = c.Close()
	if err := context.Cause(ctx); err != nil {
		t.Errorf("no byte was taken, and the request ends: %v", err)
	}
}

func TestAConnectionMayEndOnceTheAnswerHasBegun(t *testing.T) {
	c, upstream, a, ctx := onPipe(t)
	go func() { _, _ = upstream.Read(make([]byte, 100)) }()
	if _, err := c.Write([]byte("GET / HTTP/1.1")); err != nil {
		t.Fatal(err)
	}
	a.answered()
	_ = c.Close()
	if err := context.Cause(ctx); err != nil {
		t.Errorf("the answer had begun, and the request ends: %v", err)
	}
}

// What an earlier request wrote on a kept connection says nothing of this one.
func TestOnlyARequestsOwnBytesCount(t *testing.T) {
	c, upstream, first, _ := onPipe(t)
	go func() { _, _ = upstream.Read(make([]byte, 100)) }()
	if _, err := c.Write([]byte("GET / HTTP/1.1")); err != nil {
		t.Fatal(err)
	}
	first.answered()
	ctx, cancel := context.WithCancelCause(t.Context())
	second := &attempt{cancel: cancel}
	second.gotConn(httptrace.GotConnInfo{Conn: c})
	_ = c.Close()
	if err := context.Cause(ctx); err != nil {
		t.Errorf("it wrote nothing, and ends: %v", err)
	}
}
