package spool

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/iotest"
)

func pattern(n int) []byte {
	b := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{byte(n)})
	_, _ = rng.Read(b)
	return b
}

func mustWrite(t *testing.T, s *Spool, p []byte) {
	t.Helper()
	if n, err := s.Write(p); n != len(p) || err != nil {
		t.Fatalf("Write of %d bytes = %d, %v", len(p), n, err)
	}
}

// readFrom reads all bytes from off on, with Next.
func readFrom(t *testing.T, s *Spool, off int64) []byte {
	t.Helper()
	var got, scratch []byte
	for {
		b, err := s.Next(&scratch, off)
		if err != nil {
			t.Fatalf("Next at %d: %v", off, err)
		}
		if len(b) == 0 {
			return got
		}
		got = append(got, b...)
		off += int64(len(b))
	}
}

func TestWhatWasWrittenIsReadAgain(t *testing.T) {
	f := func(memory, disk int64, hint int64, size int) {
		t.Helper()
		st := &Store{Memory: memory, MaxDisk: disk, Dir: t.TempDir()}
		s := st.New(hint)
		want := pattern(size)
		for p := range bytesInPieces(want, 1000) {
			mustWrite(t, s, p)
		}
		for range 2 {
			if got := readFrom(t, s, 0); !bytes.Equal(got, want) {
				t.Errorf("memory %d, hint %d: Next gave other bytes", memory, hint)
			}
			if got, err := s.Bytes(); err != nil || !bytes.Equal(got, want) {
				t.Errorf("memory %d, hint %d: Bytes gave %d other bytes, %v", memory, hint, len(got), err)
			}
			tail := want[max(0, size-5000):] // one byte at a time takes long
			if err := iotest.TestReader(io.NewSectionReader(s, int64(size-len(tail)), int64(len(tail))), tail); err != nil {
				t.Errorf("memory %d, hint %d: %v", memory, hint, err)
			}
		}
		if s.memory > memory {
			t.Errorf("%d bytes of memory, more than %d", s.memory, memory)
		}
		if err := s.Close(); err != nil || st.Disk() != 0 {
			t.Errorf("Close: %v, with %d bytes left on disk", err, st.Disk())
		}
	}
	for _, size := range []int{0, 1, 999, 4096, 4097, 70000, 300000} {
		for _, hint := range []int64{-1, 0, 1, int64(size) - 1, int64(size), int64(size) + 1} {
			f(1<<20, 0, hint, size)    // memory alone
			f(0, 1<<20, hint, size)    // disk alone
			f(5000, 1<<20, hint, size) // both
		}
	}
}

func bytesInPieces(b []byte, n int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(b) > 0 {
			k := min(n, len(b))
			if !yield(b[:k]) {
				return
			}
			b = b[k:]
		}
	}
}

func TestMemoryIsUsedUpBeforeDisk(t *testing.T) {
	st := &Store{Memory: 10000, MaxDisk: 1 << 20, Dir: t.TempDir()}
	s := st.New(-1)
	defer s.Close()
	mustWrite(t, s, pattern(10000))
	if st.Disk() != 0 || s.file != nil {
		t.Fatalf("%d bytes on disk while they fit into memory", st.Disk())
	}
	mustWrite(t, s, pattern(1234))
	if st.Disk() != 1234 {
		t.Errorf("%d bytes on disk, want 1234", st.Disk())
	}
	runs := len(s.extents)
	mustWrite(t, s, pattern(100))
	if len(s.extents) != runs {
		t.Error("bytes behind each other on disk are kept as two runs")
	}
}

func TestTheFileHasNoName(t *testing.T) {
	dir := t.TempDir()
	st := &Store{MaxDisk: 100, Dir: dir}
	s := st.New(-1)
	defer s.Close()
	mustWrite(t, s, []byte("on disk"))
	if st.Disk() != 7 {
		t.Fatalf("%d bytes on disk, want 7", st.Disk())
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) != 0 {
		t.Errorf("the directory holds %v, %v", left, err)
	}
	if got := readFrom(t, s, 0); string(got) != "on disk" {
		t.Errorf("read %q", got)
	}
}

func TestAKnownSizeTakesOnePieceOfMemory(t *testing.T) {
	st := &Store{Memory: 1 << 20}
	piece := pattern(1000)
	allocs := testing.AllocsPerRun(100, func() {
		s := st.New(-1)
		s.Expect(100_000)
		for range 100 {
			if _, err := s.Write(piece); err != nil {
				t.Fatal(err)
			}
		}
		b, err := s.Bytes()
		if err != nil || len(b) != 100_000 || cap(s.extents[0].mem) != 100_000 {
			t.Fatalf("%d bytes in a piece of %d, %v", len(b), cap(s.extents[0].mem), err)
		}
	})
	if allocs > 3 { // the spool, its list of extents, the bytes
		t.Errorf("%v allocations", allocs)
	}
}

func TestAHintAboveTheBoundReservesNothing(t *testing.T) {
	s := (&Store{Memory: 1 << 20}).New(1 << 40)
	defer s.Close()
	mustWrite(t, s, []byte("x"))
	if s.memory > 4<<10 {
		t.Errorf("%d bytes of memory for one byte", s.memory)
	}
}

func TestAFullSpoolKeepsWhatItHasAndReleaseMakesRoom(t *testing.T) {
	f := func(memory, disk int64) {
		t.Helper()
		st := &Store{Memory: memory, MaxDisk: disk, Dir: t.TempDir()}
		s := st.New(-1)
		room := int(memory + disk)
		want := pattern(room + 100)
		n, err := s.Write(want)
		if n != room || !errors.Is(err, ErrFull) {
			t.Fatalf("Write = %d, %v; want %d, ErrFull", n, err, room)
		}
		if n, err := s.Write(want[room:]); n != 0 || !errors.Is(err, ErrFull) {
			t.Fatalf("Write to a full spool = %d, %v", n, err)
		}
		if got := readFrom(t, s, 0); !bytes.Equal(got, want[:room]) {
			t.Fatal("a full spool lost bytes")
		}
		s.Release(int64(room))
		if st.Disk() != 0 || s.memory != 0 {
			t.Errorf("%d bytes on disk and %d in memory after the release of all", st.Disk(), s.memory)
		}
		mustWrite(t, s, want[room:])
		if got := readFrom(t, s, int64(room)); !bytes.Equal(got, want[room:]) {
			t.Error("bytes after a release are wrong")
		}
		if _, err := s.Next(new([]byte), 0); !errors.Is(err, os.ErrClosed) {
			t.Errorf("Next below the release: %v", err)
		}
		if b, err := s.Bytes(); err == nil {
			t.Errorf("Bytes gave %d bytes of a body that is not whole", len(b))
		}
		if err := s.Close(); err != nil || st.Disk() != 0 {
			t.Errorf("Close: %v, with %d bytes left on disk", err, st.Disk())
		}
	}
	f(1000, 0)
	f(0, 1000)
	f(5000, 3000)
	f(100_000, 3<<20)
}

func TestTheEndOfAReleasedSpoolIsEmpty(t *testing.T) {
	s := (&Store{Memory: 10}).New(10)
	mustWrite(t, s, pattern(10))
	s.Release(10)
	var scratch []byte
	if b, err := s.Next(&scratch, 10); len(b) != 0 || err != nil {
		t.Errorf("Next at the end = %d bytes, %v", len(b), err)
	}
	if n, err := s.ReadAt(make([]byte, 1), 10); n != 0 || err != io.EOF {
		t.Errorf("ReadAt at the end = %d, %v", n, err)
	}
	if b, err := s.Next(&scratch, 9); len(b) != 0 || !errors.Is(err, os.ErrClosed) {
		t.Errorf("Next below the end = %d bytes, %v", len(b), err)
	}
}

func TestOffsetsOutsideAreErrors(t *testing.T) {
	f := func(write int, off int64) {
		t.Helper()
		s := (&Store{Memory: 100}).New(-1)
		mustWrite(t, s, pattern(write))
		if b, err := s.Next(new([]byte), off); len(b) != 0 || !errors.Is(err, os.ErrClosed) {
			t.Errorf("Next at %d of %d = %d bytes, %v", off, write, len(b), err)
		}
	}
	f(0, -1)
	f(0, 1)
	f(10, -1)
	f(10, 11)
}

func TestDiskIsGivenUpInStepsOfAMegabyte(t *testing.T) {
	st := &Store{MaxDisk: 4 << 20, Dir: t.TempDir()}
	s := st.New(-1)
	defer s.Close()
	want := pattern(3<<20 + 7)
	mustWrite(t, s, want)
	s.Release(1<<20 - 1)
	if st.Disk() != 3<<20+7 {
		t.Errorf("%d bytes on disk after less than a step", st.Disk())
	}
	s.Release(2<<20 + 5)
	if st.Disk() != 1<<20+7 {
		t.Errorf("%d bytes on disk, want a megabyte and 7", st.Disk())
	}
	if got := readFrom(t, s, 2<<20+5); !bytes.Equal(got, want[2<<20+5:]) {
		t.Error("the rest is wrong")
	}
}

func TestASteadyTrickleTakesMemoryOncePerPiece(t *testing.T) {
	s := (&Store{Memory: 1 << 20}).New(-1)
	piece := pattern(100)
	for range 2000 {
		mustWrite(t, s, piece)
	}
	off := s.Size()
	allocs := testing.AllocsPerRun(6000, func() {
		mustWrite(t, s, piece)
		off += int64(len(piece))
		s.Release(off)
	})
	if allocs > 0.1 {
		t.Errorf("%v allocations for each write that is released at once", allocs)
	}
}

func TestAllSpoolsShareTheDisk(t *testing.T) {
	st := &Store{MaxDisk: 1000, Dir: t.TempDir()}
	a, b := st.New(-1), st.New(-1)
	mustWrite(t, a, pattern(600))
	if n, err := b.Write(pattern(600)); n != 400 || !errors.Is(err, ErrFull) {
		t.Errorf("Write = %d, %v; want 400, ErrFull", n, err)
	}
	_ = a.Close()
	if st.Disk() != 400 {
		t.Errorf("%d bytes on disk, want 400", st.Disk())
	}
	mustWrite(t, b, pattern(600))
	_ = b.Close()
	if st.Disk() != 0 {
		t.Errorf("%d bytes on disk, want none", st.Disk())
	}
}

func TestTheDiskBoundHoldsForManyWritersAtOnce(t *testing.T) {
	st := &Store{MaxDisk: 100_000, Dir: t.TempDir()}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			piece := pattern(777)
			for range 20 {
				s := st.New(-1)
				var err error
				for n := 0; n < 50 && err == nil; n++ {
					_, err = s.Write(piece)
					if d := st.Disk(); d > st.MaxDisk {
						t.Errorf("%d bytes on disk", d)
					}
				}
				if err != nil && !errors.Is(err, ErrFull) {
					t.Error(err)
				}
				s.Release(20 * 777)
				_ = s.Close()
			}
		})
	}
	wg.Wait()
	if st.Disk() != 0 {
		t.Errorf("%d bytes on disk at the end", st.Disk())
	}
}

func TestADiskThatFailsIsAFullSpool(t *testing.T) {
	st := &Store{Memory: 10, MaxDisk: 1 << 20, Dir: filepath.Join(t.TempDir(), "gone")}
	s := st.New(-1)
	n, err := s.Write(pattern(30))
	if n != 10 || !errors.Is(err, ErrFull) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Write = %d, %v; want 10, ErrFull and why", n, err)
	}
	if st.Disk() != 0 {
		t.Errorf("%d bytes counted that are not on disk", st.Disk())
	}
	if got := readFrom(t, s, 0); !bytes.Equal(got, pattern(30)[:10]) {
		t.Error("the bytes before the failure are wrong")
	}
}

func TestAClosedSpoolGivesNothingButSlicesStayGood(t *testing.T) {
	st := &Store{Memory: 5000, MaxDisk: 5000, Dir: t.TempDir()}
	s := st.New(-1)
	want := pattern(8000)
	mustWrite(t, s, want)
	held, err := s.Next(new([]byte), 0)
	if err != nil || len(held) == 0 {
		t.Fatal(len(held), err)
	}
	s.Release(6000)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
	if !bytes.Equal(held, want[:len(held)]) {
		t.Error("a slice that is held has changed")
	}
	if _, err := s.Next(new([]byte), 7000); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Next: %v", err)
	}
	if b, err := s.Bytes(); b != nil || !errors.Is(err, os.ErrClosed) {
		t.Errorf("Bytes: %d bytes, %v", len(b), err)
	}
	if n, err := s.Write([]byte("x")); n != 0 || !errors.Is(err, os.ErrClosed) {
		t.Errorf("Write: %d, %v", n, err)
	}
	s.Release(8000)
	if st.Disk() != 0 {
		t.Errorf("%d bytes on disk", st.Disk())
	}
}

func TestAppendingToASliceDoesNotTouchTheSpool(t *testing.T) {
	s := (&Store{Memory: 1 << 20}).New(10)
	mustWrite(t, s, []byte("abcdefg"))
	b, _ := s.Next(new([]byte), 0)
	whole, _ := s.Bytes()
	_, _ = append(b, "XYZ"...), append(whole, "XYZ"...)
	mustWrite(t, s, []byte("hij"))
	_, _ = append(b, "XYZ"...), append(whole, "XYZ"...)
	if got := readFrom(t, s, 0); string(got) != "abcdefghij" {
		t.Errorf("read %q", got)
	}
}

func TestRoomIsWhatIsLeftOfTheBound(t *testing.T) {
	st := &Store{Memory: 10, MaxDisk: 100, Dir: t.TempDir()}
	s := st.New(-1)
	for i, want := range []int64{100, 70, 20, 0} {
		if got := st.Room(); got != want {
			t.Errorf("step %d: room for %d, want %d", i, got, want)
		}
		_, _ = s.Write(pattern([]int{40, 50, 100, 1}[i])) // the last ones do not fit
	}
	if err := s.Close(); err != nil || st.Room() != 100 {
		t.Errorf("room for %d when all is closed, %v", st.Room(), err)
	}
}
