package policy

import (
	"slices"
	"strings"
)

// Condition is one condition on an answer, on one subject: its status, a header
// field or a member of its JSON body. What is compared is text: a string is
// what it says, a number, true, false and null are as they are written. An
// object or an array is there, and equals nothing.
type Condition struct {
	Status []int  // one of these
	Header string // the field's name; several lines count as one, joined by ", "
	JSON   string // JSON pointer

	// Of Header and JSON. What is not there is in no list.
	In     []string // its value is one of these; nil: any, or none
	NotIn  []string // its value is none of these
	Exists Presence

	at int // the id of JSON's place
}

// Presence says whether something is to be there.
type Presence int8

// The presences.
const (
	Anyway  Presence = iota // it does not matter
	Present                 // it must be there; null is
	Absent
)

// MaxConditionText bounds the values that a Condition compares with, in bytes.
const MaxConditionText = 256

// subject is what a condition speaks of.
type subject struct {
	present bool
	scalar  bool
	text    string
}

func (c *Condition) holds(s subject) bool {
	switch {
	case c.Exists == Present && !s.present, c.Exists == Absent && s.present:
		return false
	case c.In != nil && !(s.present && s.scalar && slices.Contains(c.In, s.text)):
		return false
	}
	return !(s.present && s.scalar && slices.Contains(c.NotIn, s.text))
}

// pendingPlaces are where services say how far a job is.
func pendingPlaces() []string {
	return []string{
		"/status", "/state", "/job_status", "/jobStatus", "/JobStatus",
		"/data/status", "/data/state", "/job/status", "/job/state",
	}
}

// isPending says whether a word means that the work is not done. Case and what
// is between its parts do not count.
func isPending(word string) bool {
	if len(word) > 32 {
		return false
	}
	switch strings.NewReplacer("_", "", "-", "", " ", "").Replace(strings.ToLower(word)) {
	case "pending", "queued", "enqueued", "inqueue", "waiting", "scheduled", "submitted", "accepted", "received",
		"notstarted", "starting", "started", "initializing", "initialising", "preparing", "running", "working",
		"processing", "inprogress", "converting", "uploading", "rendering", "retrying":
		return true
	}
	return false
}
