// Package spool holds a body of unknown size in bounded memory and, past that
// bound, in a temporary file. One goroutine appends; any number read what is
// there, from any offset, as often as they like.
//
// It knows nothing of HTTP and never waits: who must wait for more bytes, or
// for room, does so in package flight.
package spool

import (
	"errors"
	"io"
	"os"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
)

// ErrFull is returned by Write when neither memory nor disk has room. What was
// written before it stays readable, and Release may make room again.
var ErrFull = errors.New("spool is full")

// Store makes spools that share one bound on disk space. The zero value has no
// memory and no disk. It is safe for concurrent use.
type Store struct {
	Memory  int64  // bytes of memory for each spool
	Dir     string // where temporary files go; empty means os.TempDir
	MaxDisk int64  // bytes of disk for all spools together

	disk atomic.Int64
}

// Disk is the number of bytes that all spools of the store hold on disk.
func (st *Store) Disk() int64 { return st.disk.Load() }

// Room is the number of bytes of disk that there is still room for by the
// store's own bound.
func (st *Store) Room() int64 { return max(0, st.MaxDisk-st.disk.Load()) }

// reserve takes up to want bytes of the store's disk space and says how many
// there were.
func (st *Store) reserve(want int64) int64 {
	for {
		used := st.disk.Load()
		got := min(want, st.MaxDisk-used)
		if got <= 0 {
			return 0
		}
		if st.disk.CompareAndSwap(used, used+got) {
			return got
		}
	}
}

// New gives an empty spool. sizeHint is the expected size in bytes, or
// negative when it is not known: a body of known size that fits into memory
// takes one allocation. Whoever makes a spool must close it.
func (st *Store) New(sizeHint int64) *Spool {
	return &Spool{store: st, hint: sizeHint}
}

// An extent is a run of bytes in one place.
type extent struct {
	start int64
	size  int64
	mem   []byte // its bytes, when in memory; len(mem) == size
}

func (e *extent) end() int64 { return e.start + e.size }

// Spool is one body. Write and Close are for its single writer; everything
// else may be called by anyone at any time. Bytes below Size never change, so
// a slice that was handed out stays good for as long as it is held.
type Spool struct {
	store *Store
	hint  int64

	mu      sync.RWMutex
	extents []extent // in order, without gaps; the first may start above 0 after Release
	size    int64
	memory  int64 // bytes reserved in memory
	disk    int64 // bytes on disk
	file    *os.File
	closed  bool
	holds   int // that are not closed
}

// Expect says what size the body will have, if that is known by now. It is
// for before the first Write.
func (s *Spool) Expect(size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hint = size
}

// Size is the number of bytes written so far.
func (s *Spool) Size() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.size
}

// Write appends p: to memory while there is room, then to disk. With ErrFull
// or a disk error the first n bytes were written.
func (s *Spool) Write(p []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, os.ErrClosed
	}
	for n < len(p) {
		k := s.appendMemoryLocked(p[n:])
		if k == 0 {
			k, err = s.appendDiskLocked(p[n:])
		}
		n += k
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// appendMemoryLocked copies what fits into memory and says how much that was.
func (s *Spool) appendMemoryLocked(p []byte) int {
	if last := s.lastLocked(); last != nil && last.mem != nil && len(last.mem) < cap(last.mem) {
		k := min(len(p), cap(last.mem)-len(last.mem))
		last.mem = append(last.mem, p[:k]...)
		last.size += int64(k)
		s.size += int64(k)
		return k
	}
	room := s.store.Memory - s.memory
	if room <= 0 {
		return 0
	}
	seg := min(s.segmentSizeLocked(len(p)), room)
	s.memory += seg
	s.extents = append(s.extents, extent{start: s.size, mem: make([]byte, 0, seg)})
	return s.appendMemoryLocked(p)
}

// segmentSizeLocked is the size of the next piece of memory: all of the hint
// for the first one, then growing with the body up to 64 KiB.
func (s *Spool) segmentSizeLocked(want int) int64 {
	const smallest, largest = 4 << 10, 64 << 10
	if s.size == 0 && s.hint > 0 && s.hint <= s.store.Memory {
		return s.hint
	}
	return min(max(smallest, int64(want), s.size), largest)
}

func (s *Spool) lastLocked() *extent {
	if len(s.extents) == 0 {
		return nil
	}
	return &s.extents[len(s.extents)-1]
}

// Next gives the bytes at off that can be had at once: a slice of the spool's
// own memory or, when they are on disk, up to len(*scratch) of them read into
// *scratch, which is made when it is empty. The slice is empty when off is the
// present size, and must not be written to. Bytes that are not there, because
// they were given up or have not come, are os.ErrClosed.
func (s *Spool) Next(scratch *[]byte, off int64) ([]byte, error) {
	s.mu.RLock()
	e, ok := s.findLocked(off)
	file := s.file
	s.mu.RUnlock()
	switch {
	case !ok:
		return nil, os.ErrClosed
	case off == e.end():
		return nil, nil
	case e.mem != nil:
		return slices.Clip(e.mem[off-e.start:]), nil
	}
	if len(*scratch) == 0 {
		*scratch = make([]byte, 32<<10)
	}
	b := (*scratch)[:min(int64(len(*scratch)), e.end()-off)]
	n, err := file.ReadAt(b, off)
	if n > 0 {
		err = nil
	}
	return b[:n], err
}

// findLocked gives the extent that holds off, or an empty one for the end.
func (s *Spool) findLocked(off int64) (extent, bool) {
	if s.freedLocked() || off < 0 || off > s.size {
		return extent{}, false
	}
	if off == s.size {
		return extent{start: off}, true
	}
	i := sort.Search(len(s.extents), func(i int) bool { return s.extents[i].end() > off })
	if i == len(s.extents) || s.extents[i].start > off {
		return extent{}, false // given up
	}
	return s.extents[i], true
}

// ReadAt implements io.ReaderAt over the bytes written so far.
func (s *Spool) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		rest := p[n:]
		b, err := s.Next(&rest, off+int64(n))
		if err != nil {
			return n, err
		}
		if len(b) == 0 {
			return n, io.EOF
		}
		n += copy(rest, b)
	}
	return n, nil
}

// Bytes gives the whole body in one piece: the spool's own memory when it lies
// there in one piece, a copy otherwise. The slice must not be written to.
func (s *Spool) Bytes() ([]byte, error) {
	s.mu.RLock()
	size, closed, first := s.size, s.freedLocked(), extent{}
	if len(s.extents) == 1 {
		first = s.extents[0]
	}
	s.mu.RUnlock()
	if closed {
		return nil, os.ErrClosed
	}
	if first.mem != nil && first.start == 0 && cap(first.mem) <= 2*len(first.mem) {
		return slices.Clip(first.mem), nil
	}
	b := make([]byte, size)
	if n, err := s.ReadAt(b, 0); int64(n) < size {
		return nil, err
	}
	return b, nil
}

// Release says that bytes below off will not be read again. Runs that lie
// below it are given up whole, those on disk also in steps of a megabyte. The
// piece of memory that the next bytes go to stays.
func (s *Spool) Release(off int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := 0
	for ; i < len(s.extents) && s.extents[i].end() <= off; i++ {
		e := &s.extents[i]
		if i == len(s.extents)-1 && len(e.mem) < cap(e.mem) {
			break // a body that comes in drops would take new memory for each
		}
		s.memory -= int64(cap(e.mem))
		if e.mem == nil {
			s.dropDiskLocked(e, e.size)
		}
	}
	s.extents = slices.Delete(s.extents, 0, i)
	if len(s.extents) > 0 && s.extents[0].mem == nil {
		const step = 1 << 20
		e := &s.extents[0]
		s.dropDiskLocked(e, max(0, off-e.start)/step*step)
	}
}

// Close gives up memory and file, once no Hold is left. Slices that were handed
// out stay good; later reads fail with os.ErrClosed. It may be called more than
// once.
func (s *Spool) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return s.freeLocked()
}

func (s *Spool) freedLocked() bool { return s.closed && s.holds == 0 }

// freeLocked frees what is held when nobody needs it any more.
func (s *Spool) freeLocked() error {
	if !s.freedLocked() {
		return nil
	}
	s.store.disk.Add(-s.disk)
	s.extents = nil
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// Hold keeps the bytes of a spool readable whatever its owner does, until it is
// closed itself. It is for one goroutine.
type Hold struct{ s *Spool }

// Hold takes one, nil if the spool was closed and nobody holds it any more.
func (s *Spool) Hold() *Hold {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.freedLocked() {
		return nil
	}
	s.holds++
	return &Hold{s}
}

// Next is the spool's.
func (h *Hold) Next(scratch *[]byte, off int64) ([]byte, error) { return h.s.Next(scratch, off) }

// Close ends the hold. It is to be called once.
func (h *Hold) Close() {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	h.s.holds--
	_ = h.s.freeLocked() // an unlinked file: nothing to lose
}
