package flight

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"jaegis-proxy/internal/spool"
)

// lead writes body in pieces and ends; the result is the first error.
func lead(f *testFlight, body []byte, piece int) <-chan error {
	result := make(chan error, 1)
	go func() {
		var err error
		for len(body) > 0 && err == nil {
			k := min(piece, len(body))
			err = f.Write(body[:k], k == len(body))
			body = body[k:]
		}
		f.Close(err)
		result <- err
	}()
	return result
}

// take reads exactly n bytes, none of which has to be waited for by the test.
func take(t *testing.T, r *Reader[string, int], want []byte) {
	t.Helper()
	got := make([]byte, 0, len(want))
	for len(got) < len(want) {
		b := make([]byte, len(want)-len(got))
		n, err := r.Read(b)
		if got = append(got, b[:n]...); err != nil {
			t.Fatalf("after %d bytes of %d: %v", len(got), len(want), err)
		}
	}
	if !bytes.Equal(got, want) {
		t.Fatal("other bytes came")
	}
}

func TestASealedFlightWithOneReaderNeedsLittleMemoryAndNoDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &spool.Store{Memory: 256 << 10, MaxDisk: 1 << 30, Dir: t.TempDir()}
		f := newFlight(st, 64<<10)
		want := pattern(4 << 20)
		f.Start("", -1, true)
		end := lead(f, want, 16<<10)
		synctest.Wait() // the leader has run ahead as far as it can, before anybody reads
		if n := f.Size(); n != 64<<10 {
			t.Errorf("the leader is %d bytes ahead, want its window", n)
		}
		r := f.Reader(t.Context())
		defer r.Close()
		for off := 0; off < len(want); off += 32 << 10 {
			take(t, r, want[off:off+32<<10])
			synctest.Wait()
			if ahead := f.Size() - int64(off+32<<10); ahead > 64<<10 {
				t.Fatalf("the leader is %d bytes ahead", ahead)
			}
			if st.Disk() > 0 {
				t.Fatalf("%d bytes on disk", st.Disk())
			}
		}
		if err := <-end; err != nil {
			t.Error(err)
		}
		if got, err := drain(r); len(got) > 0 || err != nil {
			t.Errorf("%d bytes more, %v", len(got), err)
		}
	})
}

func TestAWindowOfZeroIsLockstep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlight(roomy(), 0)
		f.Start("", -1, true)
		end := lead(f, []byte("abcdef"), 2)
		r := f.Reader(t.Context())
		for _, want := range []string{"ab", "cd", "ef"} {
			synctest.Wait()
			if b, err := r.Next(); string(b) != want || err != nil {
				t.Errorf("%q, %v; want %q", b, err, want)
			}
		}
		if err := <-end; err != nil {
			t.Error(err)
		}
	})
}

func TestTheFastestReaderSetsThePaceAndTheSlowestLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &spool.Store{Memory: 20_000, MaxDisk: 1 << 20, Dir: t.TempDir()}
		f := newFlight(st, 10_000)
		want := pattern(300_000)
		seat(t, f)
		fast, slow := f.Reader(t.Context()), f.Reader(t.Context())
		f.Start("", -1, true)
		end := lead(f, want, 1000)
		take(t, fast, want) // would hang if the slow one held it up
		if err := <-end; err != nil {
			t.Error(err)
		}
		fast.Close()
		if got, err := drain(slow); !bytes.Equal(got, want) || err != nil {
			t.Errorf("the slow one: %d bytes, %v", len(got), err)
		}
		slow.Close()
		land(f)
		if st.Disk() != 0 {
			t.Errorf("%d bytes on disk", st.Disk())
		}
	})
}

func TestWhenTheFastestLeavesTheNextOneSetsThePace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlight(roomy(), 100)
		want := pattern(10_000)
		seat(t, f)
		fast, slow := f.Reader(t.Context()), f.Reader(t.Context())
		f.Start("", -1, true)
		end := lead(f, want, 10)
		take(t, fast, want[:5000])
		fast.Close()
		synctest.Wait()
		if n := f.Size(); n != 5100 {
			t.Errorf("the leader is at %d, want a window past the one that left", n)
		}
		take(t, slow, want)
		if err := <-end; err != nil {
			t.Error(err)
		}
	})
}

// fullFlight is one whose leader waits for room: 1000 bytes came.
func fullFlight(t *testing.T, want []byte) (*testFlight, *spool.Store, <-chan error) {
	t.Helper()
	st := &spool.Store{Memory: 600, MaxDisk: 400, Dir: t.TempDir()}
	f := newFlight(st, 1<<20)
	seat(t, f)
	f.Start("", -1, false)
	end := lead(f, want, 70)
	synctest.Wait()
	if n := f.Size(); n != 1000 || !f.Sealed() {
		t.Fatalf("%d bytes came, sealed: %v; want 1000 and a seal", n, f.Sealed())
	}
	if f.Sit() {
		t.Fatal("a sealed flight admits another reader")
	}
	return f, st, end
}

func TestAFullFlightGoesOnAsItsReadersDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		want := pattern(5000)
		f, st, end := fullFlight(t, want)
		a, b := f.Reader(t.Context()), f.Reader(t.Context())
		for off := 0; off < len(want); off += 500 {
			take(t, a, want[off:off+500])
			take(t, b, want[off:off+500])
			synctest.Wait()
		}
		if err := <-end; err != nil {
			t.Error(err)
		}
		if got, err := drain(a); len(got) > 0 || err != nil {
			t.Errorf("%d bytes more, %v", len(got), err)
		}
		a.Close()
		b.Close()
		land(f)
		if st.Disk() != 0 || !bodyClosed(f) {
			t.Errorf("%d bytes on disk", st.Disk())
		}
	})
}

func TestAFullFlightWaitsForTheSlowestUntilItLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		want := pattern(5000)
		f, _, end := fullFlight(t, want)
		fast, slow := f.Reader(t.Context()), f.Reader(t.Context())
		take(t, fast, want[:1000])
		synctest.Wait()
		if n := f.Size(); n != 1000 {
			t.Errorf("%d bytes came while there was no room", n)
		}
		slow.Close()
		take(t, fast, want[1000:])
		if err := <-end; err != nil {
			t.Error(err)
		}
	})
}

func TestAFullFlightCutsOffTheSlowestThatOthersWaitFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		want := pattern(5000)
		f, _, end := fullFlight(t, want)
		f.patience = time.Second
		fast, slow := f.Reader(t.Context()), f.Reader(t.Context())
		take(t, slow, want[:100])
		take(t, fast, want[:1000])
		take(t, fast, want[1000:]) // waits until the slow one is cut off
		if err := <-end; err != nil {
			t.Error(err)
		}
		if _, err := drain(slow); !errors.Is(err, ErrLagging) {
			t.Errorf("the slow reader ends with %v", err)
		}
		slow.Close()
		fast.Close()
		land(f)
		if !bodyClosed(f) {
			t.Error("the body is still held")
		}
	})
}

func TestAFullFlightNeverCutsOffItsOnlyReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		want := pattern(5000)
		f, _, end := fullFlight(t, want)
		f.patience = time.Second
		slow := f.Reader(t.Context())
		f.Reader(t.Context()).Close()
		time.Sleep(time.Hour) // of the bubble's time
		if got, err := drain(slow); !bytes.Equal(got, want) || err != nil {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if err := <-end; err != nil {
			t.Error(err)
		}
	})
}

func TestAFullFlightWhoseReadersLeaveIsCalledOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _, end := fullFlight(t, pattern(5000))
		f.Reader(t.Context()).Close()
		f.Leave()
		if err := <-end; !errors.Is(err, ErrAbandoned) {
			t.Errorf("the leader got %v", err)
		}
	})
}

func TestAFullFlightThatNobodyReadsEndsAtOnce(t *testing.T) {
	f := newFlight(&spool.Store{Memory: 100}, 1<<20)
	f.Start("", -1, false)
	f.Leave()
	if err := f.Write(pattern(200), false); !errors.Is(err, spool.ErrFull) {
		t.Errorf("Write: %v", err)
	}
}

func TestASpoolThatNeverHasRoomCutsTheBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlight(&spool.Store{}, 1<<20)
		f.Start("", -1, false)
		r := f.Reader(t.Context())
		if err := <-lead(f, pattern(10), 10); !errors.Is(err, spool.ErrFull) {
			t.Errorf("the leader got %v", err)
		}
		if got, err := drain(r); len(got) > 0 || !errors.Is(err, spool.ErrFull) {
			t.Errorf("the reader got %d bytes, %v", len(got), err)
		}
	})
}

func TestAWaitingLeaderGoesWithItsContext(t *testing.T) {
	f := func(full bool) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			st := roomy()
			if full {
				st = &spool.Store{Memory: 100}
			}
			fl := New[string, int](ctx, Options{Body: st.New(-1), Window: 50})
			fl.Start("", -1, !full)
			end := lead(fl, pattern(1000), 10)
			synctest.Wait()
			if len(end) > 0 {
				t.Fatal("the leader did not wait")
			}
			cancel()
			if err := <-end; !errors.Is(err, ctx.Err()) {
				t.Errorf("full %v: %v", full, err)
			}
		})
	}
	f(false)
	f(true)
}

// A sealed flight keeps what one of its readers may read again, and no more.
func TestWhatAReaderKeepsCanBeReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := roomy()
		f := newFlight(st, 1<<20)
		want := pattern(10_000)
		f.Start("", -1, true)
		r := f.Reader(t.Context())
		r.Keep(0)
		mustWrite(t, f, want[:5000])
		take(t, r, want[:5000])
		mustWrite(t, f, want[5000:])
		got := make([]byte, 3000)
		again := func(off int64) error {
			err := r.Again(got, off)
			if err == nil && !bytes.Equal(got, want[off:off+int64(len(got))]) {
				t.Errorf("other bytes at %d", off)
			}
			return err
		}
		if err := again(1000); err != nil {
			t.Error(err)
		}
		r.Keep(2000)
		mustWrite(t, f, nil)
		if err := again(1000); !errors.Is(err, ErrLagging) {
			t.Errorf("what it keeps no more: %v", err)
		}
		if err := again(2000); err != nil {
			t.Error(err)
		}
		r.Close()
		if err := again(2000); !errors.Is(err, ErrLagging) {
			t.Errorf("after it has left: %v", err)
		}
	})
}

// Where there is no room, what is kept to be read again goes first, and nobody
// waits for that.
func TestWhatIsKeptToBeReadAgainHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		want := pattern(5000)
		f, _, end := fullFlight(t, want)
		a, b := f.Reader(t.Context()), f.Reader(t.Context())
		a.Keep(0)
		began := time.Now()
		for off := 0; off < len(want); off += 500 {
			take(t, a, want[off:off+500])
			take(t, b, want[off:off+500])
			synctest.Wait()
		}
		if err := <-end; err != nil || time.Since(began) > 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if err := a.Again(make([]byte, 100), 0); !errors.Is(err, ErrLagging) {
			t.Errorf("what was given up: %v", err)
		}
		a.Close()
		b.Close()
	})
}
