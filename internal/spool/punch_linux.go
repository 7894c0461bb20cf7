package spool

import (
	"os"

	"golang.org/x/sys/unix"
)

// punchHole returns a run of f to the file system. It is a courtesy: a file
// system that cannot do it keeps the bytes until the file is closed.
func punchHole(f *os.File, off, n int64) {
	_ = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
}
