package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// record is one line of the history. Times are in nanoseconds since the
// beginning of the run, by a monotonic clock.
type record struct {
	Kind   string // request, purge or fault
	Begun  int64
	Ended  int64
	Node   int // -1: not of one node
	Run    int // of the node: how often it has been started anew
	Client int

	Ask     int // requests: which; its target below
	Method  string
	Target  string
	Tenant  string
	Status  int
	Version int64
	Made    int64 // when the upstream made the answer
	Bytes   int
	Cache   string // X-Cache
	Detail  string // Cache-Status of violations; what else is to be said
	Verdict string
	Scope   string // purges: kind and value
	Soft    bool
}

// ring keeps the last records of one client, or of the purges, or of the
// faults. It is safe for concurrent use.
type ring struct {
	mu      sync.Mutex
	records []record
	next    int
}

func newRing(size int) *ring { return &ring{records: make([]record, 0, size)} }

func (r *ring) add(rec *record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.records) < cap(r.records) {
		r.records = append(r.records, *rec)
		return
	}
	r.records[r.next] = *rec
	r.next = (r.next + 1) % len(r.records)
}

// since gives copies of the records that ended at that time or later and which
// keep wants.
func (r *ring) since(from int64, keep func(*record) bool) []record {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []record
	for i := range r.records {
		if rec := &r.records[i]; rec.Ended >= from && keep(rec) {
			out = append(out, *rec)
		}
	}
	return out
}

const (
	clientRing = 2000
	eventRing  = 20_000

	// around is how much of the history before a violation is kept.
	around = 30 * time.Second

	// maxKept is how many violations are kept with their history: the first
	// ones tell the most.
	maxKept = 20
)

// history holds what happened, as far back as the rings reach, and writes down
// what belongs to violations. It is safe for concurrent use.
type history struct {
	clients []*ring
	purges  *ring
	faults  *ring

	mu    sync.Mutex
	file  *os.File // made for the first violation
	dir   string
	kept  int
	wrote error
}

func newHistory(clients int, dir string) *history {
	h := &history{purges: newRing(eventRing), faults: newRing(eventRing), dir: dir}
	for range clients {
		h.clients = append(h.clients, newRing(clientRing))
	}
	return h
}

// keep writes a violation and all that has to do with it: requests for the same
// answer, purges that covered it, and all faults.
func (h *history) keep(bad *record, covers func(*record) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.kept++; h.kept > maxKept || h.wrote != nil {
		return
	}
	from := bad.Begun - int64(around)
	var all []record
	for _, c := range h.clients {
		all = append(all, c.since(from, func(r *record) bool { return r.Ask == bad.Ask })...)
	}
	all = append(all, h.purges.since(from, covers)...)
	all = append(all, h.faults.since(from, func(*record) bool { return true })...)
	slices.SortFunc(all, func(a, b record) int { return int(a.Begun - b.Begun) })
	h.wrote = h.write(bad, all)
}

func (h *history) write(bad *record, all []record) error {
	if h.file == nil {
		f, err := os.Create(filepath.Join(h.dir, fmt.Sprintf("history-%d.jsonl", os.Getpid())))
		if err != nil {
			return err
		}
		h.file = f
	}
	w := bufio.NewWriter(h.file)
	enc := json.NewEncoder(w)
	if err := enc.Encode(struct {
		Violation string
		Record    record
	}{bad.Verdict, *bad}); err != nil {
		return err
	}
	for i := range all {
		if err := enc.Encode(&all[i]); err != nil {
			return err
		}
	}
	return w.Flush()
}

// close gives the file's path; empty when nothing was kept.
func (h *history) close() (path string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.file == nil {
		return "", h.wrote
	}
	if err := h.file.Close(); err != nil && h.wrote == nil {
		h.wrote = err
	}
	return h.file.Name(), h.wrote
}
