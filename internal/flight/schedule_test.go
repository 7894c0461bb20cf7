package flight

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"jaegis-proxy/internal/spool"
)

// TestRandomSchedules lets leaders write and callers join, read, wait and leave
// in random order, and checks each byte and each end. The bubble's clock makes
// the order; a wake-up that is lost is a deadlock, which synctest reports.
func TestRandomSchedules(t *testing.T) {
	for seed := range uint64(400) {
		synctest.Test(t, func(t *testing.T) {
			newSchedule(t, seed).run()
		})
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
}

// schedule is one random run over one key.
type schedule struct {
	t     *testing.T
	rng   *rand.Rand // for the set-up; each goroutine has one of its own
	st    *spool.Store
	group Group[string, *answer, int]
	want  []byte
	plan  plan
	wg    sync.WaitGroup

	mu      sync.Mutex
	answers map[*Flight[*answer, int]]*answer
}

// plan is what the leaders of a run do.
type plan struct {
	window  int64
	abandon bool
	sealed  bool
	sealAt  int // bytes after which the leader seals; -1 for never
	cutAt   int // bytes after which it fails; -1 for never
	piece   int
	pause   time.Duration
}

// answer is what a leader did, known once it is done.
type answer struct {
	done chan struct{}
	end  error
	sent int64
}

func newSchedule(t *testing.T, seed uint64) *schedule {
	rng := rand.New(rand.NewPCG(seed, 2))
	s := &schedule{t: t, rng: rng, answers: map[*Flight[*answer, int]]*answer{}, want: pattern(rng.IntN(50_000))}
	s.st = &spool.Store{Memory: 1 << 20}
	if rng.IntN(2) == 0 {
		s.st = &spool.Store{Memory: 1 + rng.Int64N(20_000), MaxDisk: rng.Int64N(30_000), Dir: t.TempDir()}
	}
	s.plan = plan{
		window: rng.Int64N(10_000), abandon: rng.IntN(3) == 0, sealed: rng.IntN(4) == 0, sealAt: -1, cutAt: -1,
		piece: 1 + rng.IntN(8000), pause: time.Duration(rng.IntN(3)) * time.Millisecond,
	}
	if rng.IntN(4) == 0 {
		s.plan.sealAt = rng.IntN(len(s.want) + 1)
	}
	if rng.IntN(3) == 0 {
		s.plan.cutAt = rng.IntN(len(s.want) + 1)
	}
	return s
}

func (s *schedule) run() {
	callers := 1 + s.rng.IntN(12)
	for range callers {
		rng := rand.New(rand.NewPCG(s.rng.Uint64(), 3))
		s.wg.Go(func() { s.call(rng) })
	}
	s.wg.Wait()
	if n := s.group.Len(); n != 0 {
		s.t.Errorf("%d flights are left", n)
	}
	if d := s.st.Disk(); d != 0 {
		s.t.Errorf("%d bytes are left on disk", d)
	}
	for f := range s.answers {
		if _, err := f.body.Next(new([]byte), f.size); err == nil || f.seats != 0 || len(f.readers) != 0 {
			s.t.Errorf("a flight is left with %d seats, %d readers and its body: %v", f.seats, len(f.readers), err == nil)
		}
	}
}

// nap lets the others run for a random while of the bubble's time.
func nap(rng *rand.Rand, most time.Duration) { time.Sleep(time.Duration(rng.Int64N(int64(most) + 1))) }

// lead is one leader's life.
func (s *schedule) lead(rng *rand.Rand, f *Flight[*answer, int], a *answer) {
	err := s.fetch(rng, f, a)
	f.Close(err)
	a.end = err
	close(a.done)
	nap(rng, time.Millisecond)
	if err == nil && !f.Sealed() {
		if b, err := f.Body(); err != nil || !bytes.Equal(b, s.want) {
			s.t.Errorf("the leader's Body gave %d bytes, %v", len(b), err)
		}
	}
	f.Settle(1)
	nap(rng, time.Millisecond)
	s.group.Forget("k", f)
	f.Done()
}

// fetch writes the body and notes how much of it came.
func (s *schedule) fetch(rng *rand.Rand, f *Flight[*answer, int], a *answer) error {
	nap(rng, 5*time.Millisecond)
	f.Start(a, int64(rng.IntN(2)*(len(s.want)+1)-1), s.plan.sealed)
	for off := 0; ; {
		nap(rng, s.plan.pause)
		if s.plan.sealAt >= 0 && off >= s.plan.sealAt {
			f.Seal()
		}
		if s.plan.cutAt >= 0 && off >= s.plan.cutAt {
			return errCut
		}
		k := min(1+rng.IntN(s.plan.piece), len(s.want)-off)
		last := off+k == len(s.want)
		err := f.Write(s.want[off:off+k], last && rng.IntN(2) == 0)
		if a.sent = f.Size(); err != nil {
			if errors.Is(err, ErrAbandoned) {
				s.checkAbandoned(f)
			}
			return err
		}
		if off += k; last {
			return nil
		}
	}
}

func (s *schedule) checkAbandoned(f *Flight[*answer, int]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seats != 0 || !f.sealed && !f.abandon {
		s.t.Errorf("abandoned with %d seats, sealed: %v, abandon: %v", f.seats, f.sealed, f.abandon)
	}
}

// call is one caller's life.
func (s *schedule) call(rng *rand.Rand) {
	nap(rng, 20*time.Millisecond)
	f, leader := s.group.Join("k", func() *Flight[*answer, int] {
		return New[*answer, int](context.Background(), Options{Body: s.st.New(-1), Window: s.plan.window, Abandon: s.plan.abandon})
	})
	if leader {
		a := &answer{done: make(chan struct{})}
		s.mu.Lock()
		s.answers[f] = a
		s.mu.Unlock()
		own := rand.New(rand.NewPCG(rng.Uint64(), 4))
		s.wg.Go(func() { s.lead(own, f, a) })
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if rng.IntN(6) == 0 {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(rng.IntN(30))*time.Millisecond)
		defer cancel()
	}
	a, err := f.Head(ctx)
	if err != nil || rng.IntN(6) == 0 {
		if err != nil && err != context.DeadlineExceeded {
			s.t.Errorf("Head: %v", err)
		}
		f.Leave()
		return
	}
	r := f.Reader(ctx)
	s.read(rng, r, a)
	r.Close()
}

// read reads at a random pace, to the end or to a random point, and checks
// what comes.
func (s *schedule) read(rng *rand.Rand, r *Reader[*answer, int], a *answer) {
	stop := len(s.want) + 1
	if rng.IntN(4) == 0 {
		stop = rng.IntN(stop)
	}
	pause := time.Duration(rng.IntN(4)) * time.Millisecond
	buf := make([]byte, 1+rng.IntN(10_000))
	for off := 0; off < stop; {
		nap(rng, pause)
		b, err := readSome(rng, r, buf)
		if off+len(b) > len(s.want) || !bytes.Equal(b, s.want[off:off+len(b)]) {
			s.t.Errorf("other bytes at %d", off)
			return
		}
		if off += len(b); err != nil {
			s.checkEnd(r, a, off, err)
			return
		}
	}
}

func readSome(rng *rand.Rand, r *Reader[*answer, int], buf []byte) ([]byte, error) {
	if rng.IntN(2) == 0 {
		return r.Next()
	}
	n, err := r.Read(buf)
	return buf[:n], err
}

// checkEnd: io.EOF for a whole body and for no other, and a cut one with all
// that came and the leader's error.
func (s *schedule) checkEnd(r *Reader[*answer, int], a *answer, off int, err error) {
	if r.ctx.Err() != nil && err == r.ctx.Err() {
		return
	}
	<-a.done
	want := a.end
	if want == nil {
		want = io.EOF
	}
	if err != want || int64(off) != a.sent || err == io.EOF && off != len(s.want) {
		s.t.Error(fmt.Errorf("a reader ends after %d bytes with %w; the leader after %d with %w", off, err, a.sent, want))
	}
}
