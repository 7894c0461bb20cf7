package spool

import (
	"errors"
	"os"
)

// appendDiskLocked writes what there is room for to the file and says how
// much that was.
func (s *Spool) appendDiskLocked(p []byte) (int, error) {
	k := s.store.reserve(int64(len(p)))
	if k == 0 {
		return 0, ErrFull
	}
	n, err := s.writeFileLocked(p[:k])
	s.store.disk.Add(int64(n) - k)
	s.disk += int64(n)
	if n > 0 {
		if last := s.lastLocked(); last != nil && last.mem == nil {
			last.size += int64(n)
		} else {
			s.extents = append(s.extents, extent{start: s.size, size: int64(n)})
		}
		s.size += int64(n)
	}
	if err != nil {
		return n, errors.Join(ErrFull, err)
	}
	return n, nil
}

// writeFileLocked writes p at the spool's present size. The file is unlinked
// as soon as it exists, so it cannot outlive the process.
func (s *Spool) writeFileLocked(p []byte) (int, error) {
	if s.file == nil {
		f, err := os.CreateTemp(s.store.Dir, "jaegis-spool-*")
		if err != nil {
			return 0, err
		}
		if err := os.Remove(f.Name()); err != nil {
			return 0, errors.Join(err, f.Close())
		}
		s.file = f
	}
	return s.file.WriteAt(p, s.size)
}

// dropDiskLocked gives up the first n bytes of a run on disk.
func (s *Spool) dropDiskLocked(e *extent, n int64) {
	if n == 0 {
		return
	}
	punchHole(s.file, e.start, n)
	e.start, e.size = e.start+n, e.size-n
	s.disk -= n
	s.store.disk.Add(-n)
}
