package flight

import "context"

// A signal wakes all who wait for a change. The lock of its owner guards it.
type signal struct {
	c chan struct{} // closed at the next change; nil while nobody waits
}

func (s *signal) broadcast() {
	if s.c != nil {
		close(s.c)
		s.c = nil
	}
}

// waitLocked waits for the next s, without the lock.
func (f *Flight[H, V]) waitLocked(ctx context.Context, s *signal) error {
	if s.c == nil {
		s.c = make(chan struct{})
	}
	wake := s.c
	f.mu.Unlock()
	defer f.mu.Lock()
	select {
	case <-wake:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Write appends p to the body; with last, p ends it, and no reader sees its
// final byte before the end. It waits only when the flight is sealed and its
// fastest reader is a window behind, or when there is no room left. The error
// is ErrAbandoned, the spool's, or the cause of the end of Context.
func (f *Flight[H, V]) Write(p []byte, last bool) error {
	for {
		if err := f.makeWay(); err != nil {
			return err
		}
		n, err := f.append(p, last)
		if p = p[n:]; err != nil || len(p) == 0 {
			return err
		}
	}
}

// append writes what there is room for.
func (f *Flight[H, V]) append(p []byte, last bool) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.body.Write(p)
	f.size += int64(n)
	f.ended = f.ended || last && n == len(p)
	f.came.broadcast()
	if err != nil {
		f.sealed = true
		err = f.waitForRoomLocked(err)
	}
	return n, err
}

// makeWay gives up what all readers of a sealed flight have passed, and waits
// while its fastest reader is too far behind. A seat without a reader counts
// as one that has read nothing: it will read or leave.
func (f *Flight[H, V]) makeWay() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.sealed && !f.abandoned && f.size-f.front >= f.window {
		if err := f.waitLocked(f.ctx, &f.passed); err != nil {
			return err
		}
	}
	if f.abandoned {
		return ErrAbandoned
	}
	f.releaseLocked()
	return nil
}

// waitForRoomLocked waits until readers have passed bytes that could be given
// up. Without any prospect of that it gives the spool's own error.
func (f *Flight[H, V]) waitForRoomLocked(full error) error {
	for {
		switch {
		case f.abandoned:
			return ErrAbandoned
		case f.seats == f.resting:
			return full // nobody to wait for
		case f.releaseLocked():
			return nil
		case f.forgoLocked():
			continue
		case f.released == f.size:
			return full
		}
		if err := f.waitPatientlyLocked(); err != nil {
			return err
		}
	}
}

// waitPatientlyLocked waits for readers to pass on, and after a while cuts off
// those that others wait for.
func (f *Flight[H, V]) waitPatientlyLocked() error {
	if f.patience <= 0 {
		return f.waitLocked(f.ctx, &f.passed)
	}
	ctx, cancel := context.WithTimeout(f.ctx, f.patience)
	defer cancel()
	err := f.waitLocked(ctx, &f.passed)
	if f.ctx.Err() == nil && err != nil {
		f.dropLocked()
		return nil
	}
	return err
}

// releaseLocked gives up the bytes of a sealed flight that nobody will read
// any more, and says whether there were any.
func (f *Flight[H, V]) releaseLocked() bool {
	if !f.sealed {
		return false
	}
	low := f.slowestLocked()
	if low <= f.released {
		return false
	}
	f.released = low
	f.body.Release(low)
	return true
}

// slowestLocked is the offset below which nobody will read any more. A seat
// without a reader may still want the first byte.
func (f *Flight[H, V]) slowestLocked() int64 {
	if f.seats > len(f.readers) {
		return 0
	}
	low := f.size
	for r := range f.readers {
		if r.cut == nil {
			low = min(low, r.lowLocked())
		}
	}
	return low
}

// forgoLocked keeps nothing any more that was only kept to be read again, and
// says whether there was anything.
func (f *Flight[H, V]) forgoLocked() (found bool) {
	for r := range f.readers {
		found = found || r.keeps && r.kept < r.off
		r.keeps = false
	}
	return found
}

// dropLocked cuts off the readers that are furthest behind, when there is one
// that has read all there is and has to wait for them.
func (f *Flight[H, V]) dropLocked() {
	low, waiting := f.slowestLocked(), false
	for r := range f.readers {
		waiting = waiting || r.cut == nil && !r.rests && r.off == f.size
	}
	if !waiting || low == f.size || f.seats > len(f.readers) {
		return
	}
	for r := range f.readers {
		if r.cut == nil && r.off == low {
			r.cut = ErrLagging
		}
	}
	f.came.broadcast()
}
