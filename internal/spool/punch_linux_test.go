package spool

import (
	"syscall"
	"testing"
)

func TestReleaseGivesBlocksBackToTheFileSystem(t *testing.T) {
	s := (&Store{MaxDisk: 8 << 20, Dir: t.TempDir()}).New(-1)
	defer s.Close()
	mustWrite(t, s, pattern(8<<20))
	if err := s.file.Sync(); err != nil {
		t.Fatal(err)
	}
	blocks := func() int64 {
		info, err := s.file.Stat()
		if err != nil {
			t.Fatal(err)
		}
		return info.Sys().(*syscall.Stat_t).Blocks
	}
	before := blocks()
	if err := syscall.Fallocate(int(s.file.Fd()), 3, 0, 4096); err != nil {
		t.Skipf("the file system cannot punch holes: %v", err)
	}
	s.Release(6 << 20)
	if after := blocks(); after > before/2 {
		t.Errorf("%d blocks of %d are still held after the release of three quarters", after, before)
	}
}
