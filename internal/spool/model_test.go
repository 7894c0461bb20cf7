package spool

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
)

// TestRandomWorkAgreesWithAByteSlice does random writes, reads and releases
// and compares all that can be seen with a plain slice of bytes.
func TestRandomWorkAgreesWithAByteSlice(t *testing.T) {
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 1))
		st := &Store{Memory: rng.Int64N(100_000), MaxDisk: rng.Int64N(3 << 20), Dir: t.TempDir()}
		if rng.IntN(4) == 0 {
			st.Memory = rng.Int64N(10)
		}
		m := &model{t: t, rng: rng, noise: rand.NewChaCha8([32]byte{byte(seed)}), st: st, s: st.New(rng.Int64N(200_000) - 50_000)}
		for range 100 {
			m.step()
		}
		if err := m.s.Close(); err != nil || st.Disk() != 0 {
			t.Errorf("Close: %v, with %d bytes left on disk", err, st.Disk())
		}
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
}

type model struct {
	t        *testing.T
	rng      *rand.Rand
	noise    *rand.ChaCha8
	st       *Store
	s        *Spool
	data     []byte
	released int64
	held     []heldSlice
}

type heldSlice struct {
	off int64
	b   []byte
}

func (m *model) step() {
	switch k := m.rng.IntN(10); {
	case k < 4:
		m.write()
	case k < 6:
		m.next()
	case k < 8:
		m.readAt()
	case k == 8:
		m.bytes()
	default:
		m.release()
	}
	m.check()
}

func (m *model) write() {
	p := make([]byte, m.rng.IntN(1<<m.rng.IntN(19)))
	_, _ = m.noise.Read(p)
	n, err := m.s.Write(p)
	m.data = append(m.data, p[:n]...)
	if err == nil && n == len(p) {
		return
	}
	if !errors.Is(err, ErrFull) {
		m.t.Errorf("Write = %d of %d, %v", n, len(p), err)
	}
	if m.s.memory < m.st.Memory || m.st.Disk() < m.st.MaxDisk {
		m.t.Errorf("full with %d of %d in memory and %d of %d on disk", m.s.memory, m.st.Memory, m.st.Disk(), m.st.MaxDisk)
	}
}

// offset is one that can be read still.
func (m *model) offset() int64 {
	return m.released + m.rng.Int64N(int64(len(m.data))-m.released+1)
}

func (m *model) next() {
	off := m.offset()
	scratch := make([]byte, m.rng.IntN(5000))
	inScratch := false
	b, err := m.s.Next(&scratch, off)
	if len(b) > 0 && len(scratch) > 0 {
		inScratch = &b[0] == &scratch[0]
	}
	switch {
	case err != nil:
		m.t.Errorf("Next at %d: %v", off, err)
	case len(b) == 0 != (off == int64(len(m.data))):
		m.t.Errorf("Next at %d of %d gave %d bytes", off, len(m.data), len(b))
	case !bytes.HasPrefix(m.data[off:], b):
		m.t.Errorf("Next at %d gave other bytes", off)
	case !inScratch && len(b) > 0:
		m.held = append(m.held, heldSlice{off, b})
	}
}

func (m *model) readAt() {
	off := m.offset()
	p := make([]byte, m.rng.IntN(len(m.data)+10))
	n, err := m.s.ReadAt(p, off)
	want := min(len(p), len(m.data)-int(off))
	if n != want || !bytes.Equal(p[:n], m.data[off:int(off)+n]) {
		m.t.Errorf("ReadAt %d gave %d bytes, want %d equal ones", off, n, want)
	}
	if n < len(p) && err != io.EOF || n == len(p) && err != nil {
		m.t.Errorf("ReadAt %d of %d gave %v", n, len(p), err)
	}
}

func (m *model) bytes() {
	b, err := m.s.Bytes()
	switch {
	case err == nil && !bytes.Equal(b, m.data):
		m.t.Errorf("Bytes gave %d other bytes", len(b))
	case err != nil && m.released == 0:
		m.t.Errorf("Bytes: %v", err)
	case err != nil && !errors.Is(err, os.ErrClosed):
		m.t.Errorf("Bytes: %v", err)
	}
}

func (m *model) release() {
	m.released = m.offset()
	m.s.Release(m.released)
}

// check looks at bounds, sizes and the slices that are held.
func (m *model) check() {
	if got := m.s.Size(); got != int64(len(m.data)) {
		m.t.Fatalf("Size = %d, want %d", got, len(m.data))
	}
	if m.s.memory > m.st.Memory || m.s.memory < 0 || m.st.Disk() > m.st.MaxDisk || m.st.Disk() < 0 {
		m.t.Errorf("%d of %d in memory, %d of %d on disk", m.s.memory, m.st.Memory, m.st.Disk(), m.st.MaxDisk)
	}
	var disk, memory int64
	for _, e := range m.s.extents {
		memory += int64(cap(e.mem))
		if e.mem == nil {
			disk += e.size
		}
	}
	if disk != m.st.Disk() || memory != m.s.memory {
		m.t.Errorf("holds %d on disk and %d in memory, counts %d and %d", disk, memory, m.st.Disk(), m.s.memory)
	}
	for _, h := range m.held[max(0, len(m.held)-10):] {
		if !bytes.HasPrefix(m.data[h.off:], h.b) {
			m.t.Fatalf("a slice taken at %d has changed", h.off)
		}
	}
}

func TestReadersReadWhileTheWriterWritesAndReleases(t *testing.T) {
	st := &Store{Memory: 50_000, MaxDisk: 1 << 20, Dir: t.TempDir()}
	s := st.New(-1)
	want := pattern(1 << 20)
	var written int64 // guarded by grown.L
	var done atomic.Int64
	var wg sync.WaitGroup
	grown := sync.NewCond(&sync.Mutex{})
	const half = 1 << 19
	for i := range 8 {
		wg.Go(func() {
			var scratch []byte
			off := int64(0)
			if i%2 == 1 {
				off = half // not affected by the release of the first half
			}
			for off < int64(len(want)) {
				grown.L.Lock()
				for written <= off {
					grown.Wait()
				}
				grown.L.Unlock()
				b, err := s.Next(&scratch, off)
				if err != nil || len(b) == 0 || !bytes.HasPrefix(want[off:], b) {
					t.Errorf("at %d: %d bytes, %v", off, len(b), err)
					done.Add(1)
					return
				}
				off += int64(len(b))
			}
			done.Add(1)
		})
	}
	wg.Go(func() {
		for p := range bytesInPieces(want, 3333) {
			if _, err := s.Write(p); err != nil {
				t.Error(err)
			}
			grown.L.Lock()
			written = s.Size()
			grown.L.Unlock()
			grown.Broadcast()
		}
		s.Release(0)
	})
	wg.Wait()
	if done.Load() != 8 {
		t.Errorf("%d readers ended", done.Load())
	}
	s.Release(half)
	if got := readFrom(t, s, half); !bytes.Equal(got, want[half:]) {
		t.Error("the second half is wrong after the first was released")
	}
	_ = s.Close()
	if st.Disk() != 0 {
		t.Errorf("%d bytes on disk", st.Disk())
	}
}

// TestAReaderMayRaceWithCloseButNeverGetsOtherBytes: what is read is right, or
// it is os.ErrClosed.
func TestAReaderMayRaceWithCloseButNeverGetsOtherBytes(t *testing.T) {
	want := pattern(40_000)
	for range 50 {
		st := &Store{Memory: 10_000, MaxDisk: 1 << 20, Dir: t.TempDir()}
		s := st.New(-1)
		mustWrite(t, s, want)
		reading := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			close(reading)
			buf := make([]byte, 500)
			for off := int64(0); ; off = (off + 7919) % 39_000 {
				n, err := s.ReadAt(buf, off)
				if !bytes.Equal(buf[:n], want[off:int(off)+n]) {
					t.Errorf("other bytes at %d", off)
				}
				if err != nil {
					if !errors.Is(err, os.ErrClosed) {
						t.Errorf("at %d: %v", off, err)
					}
					return
				}
			}
		})
		<-reading
		_ = s.Close()
		wg.Wait()
	}
}
