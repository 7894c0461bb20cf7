package proxy

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"
)

// errClientGone is why work for a client ends that has left.
var errClientGone = errors.New("the client has left")

// watcher notices a client that leaves while its request waits, by peeking at
// the socket when it becomes readable. Bytes that come instead are the next
// request: the client is still there, and the watch is over. While a watcher
// runs, nobody else may read from the connection.
type watcher struct {
	ctx    context.Context // ends when the client leaves
	cancel context.CancelCauseFunc
	conn   *conn
	done   chan struct{}
}

// watch begins to watch; nil where the connection cannot be watched.
func watch(ctx context.Context, nc net.Conn) *watcher {
	k, ok := nc.(*conn)
	if !ok {
		return nil
	}
	raw, err := k.SyscallConn()
	if err != nil || k.interrupt(time.Time{}) != nil {
		return nil
	}
	w := &watcher{conn: k, done: make(chan struct{})}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	go func() {
		defer close(w.done)
		var gone bool
		if err := raw.Read(func(fd uintptr) bool {
			var ready bool
			gone, ready = peek(fd)
			return ready
		}); err == nil && gone {
			w.cancel(errClientGone)
		}
	}()
	return w
}

// peek looks at a readable socket: gone after FIN or a reset, ready when there
// is anything to say.
func peek(fd uintptr) (gone, ready bool) {
	var b [1]byte
	n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	switch {
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EINTR):
		return false, false
	case err != nil || n == 0:
		return true, true
	}
	return false, true
}

// stop ends the watch and waits for that.
func (w *watcher) stop() {
	if w == nil {
		return
	}
	_ = w.conn.interrupt(time.Unix(1, 0)) // fails only on a closed connection, which ends the watch too
	<-w.done
	_ = w.conn.interrupt(time.Time{})
	w.cancel(nil)
}
