package flight

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"jaegis-proxy/internal/spool"
)

type testFlight = Flight[string, int]

var errCut = errors.New("the upstream broke")

func pattern(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1, byte(n)}).Read(b)
	return b
}

// roomy is a store that is never full.
func roomy() *spool.Store { return &spool.Store{Memory: 1 << 30} }

func newFlight(st *spool.Store, window int64) *testFlight {
	return New[string, int](context.Background(), Options{Body: st.New(-1), Window: window})
}

func mustWrite(t *testing.T, f *testFlight, p []byte) {
	t.Helper()
	if err := f.Write(p, false); err != nil {
		t.Fatalf("Write of %d bytes: %v", len(p), err)
	}
}

// seat takes one more seat, as Group.Join does.
func seat(t *testing.T, f *testFlight) {
	t.Helper()
	if !f.Sit() {
		t.Fatal("no seat")
	}
}

// drain reads to the end and gives what came; a clean end is no error.
func drain(r *Reader[string, int]) ([]byte, error) {
	var got []byte
	for {
		b, err := r.Next()
		got = append(got, b...)
		if err == io.EOF {
			return got, nil
		}
		if err != nil {
			return got, err
		}
	}
}

// bodyClosed says whether the flight has given up its body.
func bodyClosed(f *testFlight) bool {
	_, err := f.body.Next(new([]byte), f.Size())
	return errors.Is(err, os.ErrClosed)
}

// land does what a leader does after the end.
func land(f *testFlight) {
	f.Settle(0)
	f.Done()
}

func TestReadersGetAllBytesWheneverTheyCome(t *testing.T) {
	want := pattern(10_000)
	steps := []func(t *testing.T, f *testFlight){
		func(*testing.T, *testFlight) {},
		func(_ *testing.T, f *testFlight) { f.Start("head", -1, false) },
		func(t *testing.T, f *testFlight) { mustWrite(t, f, want[:1]) },
		func(t *testing.T, f *testFlight) { mustWrite(t, f, want[1:6000]) },
		func(t *testing.T, f *testFlight) { mustWrite(t, f, want[6000:]) },
		func(_ *testing.T, f *testFlight) { f.Close(nil) },
		func(_ *testing.T, f *testFlight) { f.Settle(7) },
	}
	synctest.Test(t, func(t *testing.T) {
		f := newFlight(roomy(), 0)
		var wg sync.WaitGroup
		for i, step := range steps {
			step(t, f)
			for _, early := range []bool{false, true} { // reads as it comes, or once all is there
				seat(t, f)
				wg.Go(func() {
					if head, err := f.Head(t.Context()); head != "head" || err != nil {
						t.Errorf("step %d: Head = %q, %v", i, head, err)
					}
					if !early {
						<-f.Settled()
					}
					r := f.Reader(t.Context())
					defer r.Close()
					if got, err := drain(r); !bytes.Equal(got, want) || err != nil {
						t.Errorf("step %d: %d bytes, %v", i, len(got), err)
					}
				})
			}
			synctest.Wait()
		}
		f.Leave()
		f.Done()
		wg.Wait()
		if !bodyClosed(f) {
			t.Error("the body outlives its last reader")
		}
	})
}

func TestTheHeadIsGivenBeforeTheBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlight(roomy(), 0)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if head, err := f.Head(t.Context()); head != "head" || err != nil {
					t.Errorf("Head = %q, %v", head, err)
				}
			})
		}
		synctest.Wait()
		f.Start("head", -1, false)
		wg.Wait() // would hang: nothing follows
	})
}

func TestAReaderIsAnIOReader(t *testing.T) {
	f := func(memory int64) {
		t.Helper()
		fl := newFlight(&spool.Store{Memory: memory, MaxDisk: 1 << 20, Dir: t.TempDir()}, 0)
		want := pattern(3000)
		fl.Start("", int64(len(want)), false)
		if err := fl.Write(want, true); err != nil {
			t.Fatal(err)
		}
		r := fl.Reader(t.Context())
		defer r.Close()
		if err := iotest.TestReader(r, want); err != nil {
			t.Errorf("memory %d: %v", memory, err)
		}
	}
	f(1 << 20)
	f(0)
	f(1000)
}

func TestBytesAreHandedOnAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlight(roomy(), 0)
		r := f.Reader(t.Context())
		pieces := make(chan string, 10)
		go func() {
			for b, err := r.Next(); err == nil; b, err = r.Next() {
				pieces <- string(b)
			}
			close(pieces)
		}()
		f.Start("", -1, false)
		for _, want := range []string{"a", "bb", "ccc"} {
			mustWrite(t, f, []byte(want))
			synctest.Wait()
			select {
			case got := <-pieces:
				if got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			default:
				t.Fatalf("%q was written and not read", want)
			}
		}
		f.Close(nil)
		if b, ok := <-pieces; ok {
			t.Errorf("%q after the end", b)
		}
	})
}

func TestNoReaderSeesTheFinalByteBeforeTheEnd(t *testing.T) {
	for range 300 {
		f := newFlight(roomy(), 0)
		f.Start("", 6, false)
		r := f.Reader(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			for n := 0; n < 6; {
				b, err := r.Next()
				if n += len(b); err != nil {
					t.Error(err)
					return
				}
			}
			if !f.Ended() {
				t.Error("all bytes came and the flight had not ended")
			}
		})
		mustWrite(t, f, []byte("abc"))
		if err := f.Write([]byte("def"), true); err != nil {
			t.Error(err)
		}
		wg.Wait()
	}
}

func TestAnEmptyLastWriteEndsTheBody(t *testing.T) {
	f := newFlight(roomy(), 0)
	f.Start("", 0, false)
	if err := f.Write(nil, true); err != nil || !f.Ended() {
		t.Errorf("Write: %v; ended: %v", err, f.Ended())
	}
	if got, err := drain(f.Reader(t.Context())); len(got) != 0 || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestACutIsSeenAfterTheBytesThatCame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlight(roomy(), 0)
		var wg sync.WaitGroup
		for range 5 {
			seat(t, f)
			wg.Go(func() {
				r := f.Reader(t.Context())
				defer r.Close()
				for range 2 { // the error stays
					got, err := drain(r)
					if err != errCut || len(got) > 0 && string(got) != "some bytes" {
						t.Errorf("%q, %v", got, err)
					}
				}
				if r.off != int64(len("some bytes")) {
					t.Errorf("%d bytes came", r.off)
				}
			})
		}
		f.Start("", 1000, false)
		mustWrite(t, f, []byte("some "))
		synctest.Wait()
		mustWrite(t, f, []byte("bytes"))
		f.Close(errCut)
		wg.Wait()
	})
}

func TestOnlyTheFirstCloseCounts(t *testing.T) {
	f := func(first, second error) {
		t.Helper()
		fl := newFlight(roomy(), 0)
		fl.Start("", -1, false)
		fl.Close(first)
		fl.Close(second)
		if _, err := drain(fl.Reader(t.Context())); err != first {
			t.Errorf("Close(%v), Close(%v): %v", first, second, err)
		}
	}
	f(nil, errCut)
	f(errCut, nil)
}

func TestAFailureBeforeTheHeadIsGivenByHead(t *testing.T) {
	f := func(end, want error) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			fl := newFlight(roomy(), 0)
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					if head, err := fl.Head(t.Context()); head != "" || err != want {
						t.Errorf("Head = %q, %v; want %v", head, err, want)
					}
				})
			}
			synctest.Wait()
			fl.Close(end)
			wg.Wait()
		})
	}
	f(errCut, errCut)
	f(nil, errNoHead)
}

func TestWhoWaitsGoesWhenItsContextEnds(t *testing.T) {
	wait := map[string]func(context.Context, *testFlight) error{
		"Head": func(ctx context.Context, f *testFlight) error { _, err := f.Head(ctx); return err },
		"Next": func(ctx context.Context, f *testFlight) error { _, err := f.Reader(ctx).Next(); return err },
		"Read": func(ctx context.Context, f *testFlight) error {
			_, err := f.Reader(ctx).Read(make([]byte, 1))
			return err
		},
	}
	gone := errors.New("gone")
	for name, wait := range wait {
		synctest.Test(t, func(t *testing.T) {
			f := newFlight(roomy(), 0)
			ctx, cancel := context.WithCancelCause(t.Context())
			result := make(chan error, 1)
			go func() { result <- wait(ctx, f) }()
			synctest.Wait()
			if len(result) > 0 {
				t.Fatalf("%s did not wait: %v", name, <-result)
			}
			cancel(gone)
			if err := <-result; err != gone {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

func TestAReaderWhoseContextEndedReadsNoMore(t *testing.T) {
	f := newFlight(roomy(), 0)
	f.Start("", -1, false)
	mustWrite(t, f, []byte("there"))
	ctx, cancel := context.WithCancel(t.Context())
	r := f.Reader(ctx)
	cancel()
	if b, err := r.Next(); len(b) > 0 || err != context.Canceled {
		t.Errorf("Next = %q, %v", b, err)
	}
}

func TestAReaderThatDoesNotReadHoldsNobodyUp(t *testing.T) {
	f := newFlight(roomy(), 1)
	want := pattern(200_000)
	seat(t, f)
	stalled := f.Reader(t.Context())
	f.Start("", -1, false)
	for i := 0; i < len(want); i += 1000 {
		mustWrite(t, f, want[i:i+1000]) // would hang
	}
	f.Close(nil)
	for range 2 {
		r := f.Reader(t.Context())
		if got, err := drain(r); !bytes.Equal(got, want) || err != nil {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		r.Close()
		seat(t, f)
	}
	if got, err := drain(stalled); !bytes.Equal(got, want) || err != nil {
		t.Errorf("the stalled one: %d bytes, %v", len(got), err)
	}
}

func TestTheBodyGoesWithLeaderAndLastSeat(t *testing.T) {
	f := func(order string) {
		t.Helper()
		fl := newFlight(roomy(), 0)
		fl.Start("", -1, false)
		mustWrite(t, fl, []byte("x"))
		seat(t, fl)
		r := fl.Reader(t.Context())
		fl.Close(nil)
		fl.Settle(1)
		for i, c := range order {
			switch c {
			case 'd':
				fl.Done()
			case 'l':
				fl.Leave()
			case 'r':
				if got, err := drain(r); string(got) != "x" || err != nil {
					t.Errorf("%s: %q, %v", order, got, err)
				}
				r.Close()
				r.Close() // once more does nothing
			}
			if last := i == len(order)-1; bodyClosed(fl) != last {
				t.Errorf("%s: after %d steps the body is closed: %v", order, i+1, !last)
			}
		}
	}
	for _, order := range []string{"dlr", "drl", "ldr", "lrd", "rdl", "rld"} {
		f(order)
	}
}

func TestTheLeadersContextEndsWithItsWork(t *testing.T) {
	f := newFlight(roomy(), 0)
	f.Start("", -1, false)
	f.Close(nil)
	f.Settle(0)
	if err := f.Context().Err(); err != nil {
		t.Errorf("before Done: %v", err)
	}
	f.Done()
	if f.Context().Err() == nil {
		t.Error("it lives on after Done")
	}
}

func TestTheLeaderIsCalledOffOnlyWhenItsWorkIsOfNoUse(t *testing.T) {
	const yes, no = true, false
	f := func(abandon bool, steps string, want bool) {
		t.Helper()
		fl := New[string, int](t.Context(), Options{Body: roomy().New(-1), Window: 1 << 20, Abandon: abandon})
		for _, c := range steps {
			switch c {
			case 'j':
				seat(t, fl)
			case 'l':
				fl.Leave()
			case 'r':
				fl.Reader(t.Context()).Close()
			case 's':
				fl.Start("", -1, false)
			case 'S':
				fl.Start("", -1, true)
			case 'x':
				fl.Seal()
			case 'w':
				mustWrite(t, fl, []byte("w"))
			case 'c':
				fl.Close(nil)
			}
		}
		off := errors.Is(context.Cause(fl.Context()), ErrAbandoned)
		if off != want {
			t.Errorf("abandon %v, %q: called off: %v", abandon, steps, off)
		}
		if err := fl.Write([]byte("x"), false); errors.Is(err, ErrAbandoned) != want {
			t.Errorf("abandon %v, %q: then Write gives %v", abandon, steps, err)
		}
		if want && fl.Sit() {
			t.Errorf("abandon %v, %q: somebody sat down after that", abandon, steps)
		}
	}
	f(no, "", no)
	f(no, "l", no) // it may become storable
	f(no, "swl", no)
	f(no, "swlw", no)
	f(no, "sjlwl", no)
	f(no, "swr", no)
	f(no, "S", no)
	f(no, "Swl", yes)
	f(no, "Swr", yes)
	f(no, "jSwl", no)
	f(no, "jSwll", yes)
	f(no, "jSwrl", yes)
	f(no, "lS", yes) // nobody is left when it turns out not to be storable
	f(no, "swlx", yes)
	f(no, "swx", no)
	f(no, "swxl", yes)
	f(yes, "", no)
	f(yes, "l", yes)
	f(yes, "swl", yes)
	f(yes, "swr", yes)
	f(yes, "jswl", no)
	f(yes, "jswlr", yes)

	f = func(abandon bool, steps string, _ bool) { // after the end there is nothing to call off
		t.Helper()
		fl := New[string, int](t.Context(), Options{Body: roomy().New(-1), Abandon: abandon})
		fl.Start("", -1, steps == "S")
		fl.Close(nil)
		fl.Leave()
		if err := fl.Context().Err(); err != nil {
			t.Errorf("abandon %v, %q: %v", abandon, steps, err)
		}
	}
	f(no, "S", no)
	f(yes, "s", no)
}

func TestSettledAndValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlight(roomy(), 0)
		got := make(chan int, 1)
		go func() { <-f.Settled(); got <- f.Value() }()
		f.Start("", -1, false)
		f.Close(nil)
		synctest.Wait()
		if len(got) > 0 || f.Value() != 0 {
			t.Fatal("settled before Settle")
		}
		f.Settle(42)
		if v := <-got; v != 42 {
			t.Errorf("Value = %d", v)
		}
	})
}

func TestSeatsAreCounted(t *testing.T) {
	f := func(name string, bug func(*testFlight)) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Errorf("%s went unnoticed", name)
			}
		}()
		bug(newFlight(roomy(), 0))
	}
	f("a seat given back twice", func(f *testFlight) { f.Leave(); f.Leave() })
	f("a reader's seat given back by another", func(f *testFlight) { f.Reader(t.Context()); f.Leave() })
	f("a reader without a seat", func(f *testFlight) { f.Leave(); f.Reader(t.Context()) })
}

func TestReadersOfAllSpeedsAtOnce(t *testing.T) {
	const readers = 1000
	st := &spool.Store{Memory: 10_000, MaxDisk: 1 << 20, Dir: t.TempDir()}
	f := newFlight(st, 0)
	want := pattern(60_000)
	var wg sync.WaitGroup
	for i := range readers {
		seat(t, f)
		wg.Go(func() {
			r := f.Reader(t.Context())
			defer r.Close()
			off, buf := 0, make([]byte, 50+i*i/3)
			for {
				n, err := r.Read(buf)
				if !bytes.HasPrefix(want[off:], buf[:n]) {
					t.Errorf("reader %d: other bytes at %d", i, off)
					return
				}
				if off += n; err == io.EOF {
					break
				}
				if err != nil {
					t.Errorf("reader %d: %v", i, err)
					return
				}
			}
			if off != len(want) {
				t.Errorf("reader %d: EOF after %d bytes", i, off)
			}
		})
	}
	f.Start("", -1, false)
	for i := 0; i < len(want); i += 1500 {
		if err := f.Write(want[i:i+1500], i+1500 == len(want)); err != nil {
			t.Error(err)
		}
	}
	f.Leave()
	land(f)
	wg.Wait()
	if !bodyClosed(f) || st.Disk() != 0 {
		t.Errorf("body closed: %v; %d bytes on disk", bodyClosed(f), st.Disk())
	}
}
