package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// upstreamBody is an answer's body with a limit on silence. A read error is
// one of the errors of this package, never a bare network error.
type upstreamBody struct {
	ctx     context.Context
	body    io.ReadCloser
	idle    time.Duration
	timer   *time.Timer
	release func()
	once    sync.Once
}

func newUpstreamBody(ctx context.Context, body io.ReadCloser, idle time.Duration, cancel context.CancelCauseFunc, release func()) *upstreamBody {
	b := &upstreamBody{ctx: ctx, body: body, idle: idle, release: release}
	if idle > 0 {
		b.timer = time.AfterFunc(idle, func() { cancel(errIdle) })
	}
	return b
}

func (b *upstreamBody) Read(p []byte) (int, error) {
	if b.timer != nil {
		b.timer.Reset(b.idle)
	}
	n, err := b.body.Read(p)
	if b.timer != nil {
		b.timer.Stop()
	}
	if err == nil || err == io.EOF { // not what wraps it: that is a cut
		return n, err
	}
	if cause := context.Cause(b.ctx); cause != nil {
		return n, cause
	}
	if errors.Is(err, errMalformedAnswer) {
		return n, err
	}
	return n, fmt.Errorf("%w: %w", errBroken, err)
}

func (b *upstreamBody) Close() error {
	b.once.Do(func() {
		if b.timer != nil {
			b.timer.Stop()
		}
		b.release()
	})
	return b.body.Close()
}
