package redis

import "sync/atomic"

// FillStats counts what became of a Fills' claims since it was made, and what
// became of leases and of what was followed.
type FillStats struct {
	Held int // leases at this moment

	Led      int64 // claims that got the lease
	Followed int64 // that follow another node
	Landed   int64 // that found that another node's answer has just been stored
	Left     int64 // that found another node at it, and wanted no more
	Alone    int64 // of which the holder said that they cannot follow
	Busy     int64 // that could not follow because too many did
	Failed   int64 // that Redis gave no answer to

	Passed int64 // holders that were found to be gone by who wanted to follow
	Lost   int64 // leases that this node lost
	Fenced int64 // writes that were refused because their lease was lost
}

type fillCounts struct {
	led, followed, landed, left, alone, busy, failed, passed, lost atomic.Int64
}

// Stats gives the counts.
func (f *Fills) Stats() FillStats {
	c := &f.counts
	return FillStats{
		Held: len(f.held()),
		Led:  c.led.Load(), Followed: c.followed.Load(), Landed: c.landed.Load(), Left: c.left.Load(), Alone: c.alone.Load(),
		Busy: c.busy.Load(), Failed: c.failed.Load(), Passed: c.passed.Load(), Lost: c.lost.Load(),
		Fenced: f.s.counts.fenced.Load(),
	}
}
