package main

import "sync"

// verdict is what is wrong with an answer, if anything is.
type verdict int

const (
	good        verdict = iota
	cutVisibly          // no violation: the client can see it
	wrong               // another request's answer, or none that anybody was given
	crossTenant         // another tenant's
	cutCleanly          // not the whole, and the end says that it is
	prePurge            // older than a purge that was acknowledged before it was asked for
	expired             // past its time
	tooNew              // newer than anything that the upstream had
	implausible         // Cache-Status says what cannot be
	failed              // no answer, or an error, where there was no reason for one
	verdicts
)

var verdictNames = [verdicts]string{
	good: "good", cutVisibly: "cut visibly", wrong: "wrong", crossTenant: "cross-tenant", cutCleanly: "cut, but ended cleanly",
	prePurge: "older than a purge", expired: "expired", tooNew: "newer than the upstream", implausible: "implausible Cache-Status", failed: "failed requests",
}

func (v verdict) String() string { return verdictNames[v] }

// isViolation says whether it must not happen.
func (v verdict) isViolation() bool { return v > cutVisibly }

// outcome is what an answer says was done.
type outcome int

const (
	fetched outcome = iota // or the upstream's to another who asked at the same time
	fetchedAlone
	hit
	stale
)

// answered is what a client has been given, times in nanoseconds since the
// beginning of all.
type answered struct {
	ask         *ask
	node        int
	incarnation int // of the node
	asked       int64
	came        int64
	outcome     outcome
	version     int64
	made        int64
	newest      int64 // version of the upstream when the answer had come
}

// mark is a purge that has been acknowledged.
type mark struct {
	scope       int
	node        int // that acknowledged it
	incarnation int
	version     int64 // of the upstream before it was asked for: nothing older may be given
	acked       int64
	soft        bool // older ones may be given still, as stale
	local       bool // it says nothing of other nodes, nor of this one once started anew

	newest int64 // the greatest version of this mark and all before it of the same scope
}

// rules are the bounds within which a purge has its effect, in nanoseconds.
type rules struct {
	shared       bool  // nodes share a ledger; else a purge is of one node alone
	grace        int64 // after the acknowledgement, on other nodes that are connected
	disconnected int64 // the same, on nodes that are not
	slack        int64 // past their lifetime that answers may be given: clocks are read before and after
	settled      int64 // purges older than this hold for all requests that still run
}

// checker tells whether an answer may be given, after purges. It has no clock.
// It is safe for concurrent use.
//
// A purge holds at once on the node that acknowledged it, and after grace on
// all others. On a node that was disturbed between the acknowledgement and the
// request (it or its way to the ledger was frozen, killed or cut) it holds
// after disconnected at the latest.
type checker struct {
	rules rules
	marks []marks // by scope

	mu         sync.RWMutex
	disturbed  [][]interval // by node
	lateness   int64        // the longest that a purge took to have its effect on an undisturbed node
	lateExcuse int64        // the same, on a disturbed one
	late       int64        // answers that were older than a purge, within the bounds
}

// marks are the purges of one scope, in the order of their acknowledgements.
type marks struct {
	mu      sync.Mutex
	hard    []mark
	soft    []mark
	settled [2]int64 // the greatest version among those taken out, hard and soft
}

// maxLocal is how many purges of single nodes are kept of each scope.
const maxLocal = 32

// interval is a time; to is 0 while it lasts.
type interval struct{ from, to int64 }

func newChecker(scopes, nodes int, r rules) *checker {
	return &checker{rules: r, marks: make([]marks, scopes), disturbed: make([][]interval, nodes)}
}

// grow makes room for more scopes. It must be called before all else.
func (c *checker) grow(scopes int) { c.marks = make([]marks, scopes) }

// purged notes that a purge has been acknowledged.
func (c *checker) purged(m mark) {
	s := &c.marks[m.scope]
	s.mu.Lock()
	defer s.mu.Unlock()
	list, settled := &s.hard, &s.settled[0]
	if m.soft {
		list, settled = &s.soft, &s.settled[1]
	}
	// Two that came at the same time may be noted in either order.
	at := len(*list)
	for at > 0 && (*list)[at-1].acked > m.acked {
		at--
	}
	*list = append(*list, mark{})
	copy((*list)[at+1:], (*list)[at:])
	(*list)[at] = m
	for i := at; i < len(*list); i++ {
		(*list)[i].newest = (*list)[i].version
		if i > 0 {
			(*list)[i].newest = max((*list)[i].version, (*list)[i-1].newest)
		}
	}
	if m.local || !c.rules.shared { // those of one node say nothing of others
		if len(*list) > maxLocal {
			*list = append((*list)[:0], (*list)[len(*list)-maxLocal:]...)
		}
		return
	}
	old := 0
	for old < len(*list) && (*list)[old].acked < m.acked-c.rules.settled {
		old++
	}
	if old > 0 {
		*settled = max(*settled, (*list)[old-1].newest)
		*list = append((*list)[:0], (*list)[old:]...)
	}
}

// disturb notes that from now on a node may not hear of purges; undisturb, that
// it does again.
func (c *checker) disturb(node int, now int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.disturbed[node] = append(c.disturbed[node], interval{from: now})
}

func (c *checker) undisturb(node int, now int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.disturbed[node]
	for i := range list {
		if list[i].to == 0 {
			list[i].to = now
			return // one disturbance ends: others may last
		}
	}
}

// wasDisturbed says whether a node was, at any moment of a time.
func (c *checker) wasDisturbed(node int, from, to int64) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, i := range c.disturbed[node] {
		if i.from <= to && (i.to == 0 || i.to >= from) {
			return true
		}
	}
	return false
}

// judge says whether an answer, which is one to what was asked, may be given.
// With prePurge comes the purge.
func (c *checker) judge(a *answered) (verdict, *mark) {
	if a.version > a.newest || a.made > a.came {
		return tooNew, nil
	}
	for _, s := range a.ask.scopes {
		if v, m := c.judgeScope(&c.marks[s], a); v != good {
			return v, m
		}
	}
	if age := a.asked - a.made; age > int64(a.ask.lifetime)+c.rules.slack {
		return expired, nil
	}
	// Who says that it was fetched for this request must have asked after that.
	if a.outcome == fetchedAlone && a.made < a.asked {
		return implausible, nil
	}
	return good, nil
}

func (c *checker) judgeScope(s *marks, a *answered) (verdict, *mark) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.version < s.settled[0] {
		return prePurge, &mark{version: s.settled[0]}
	}
	if m := c.broken(s.hard, a); m != nil {
		return prePurge, m
	}
	if a.outcome != hit {
		return good, nil // after a soft purge, only what claims to be fresh is wrong
	}
	if a.version < s.settled[1] {
		return prePurge, &mark{version: s.settled[1], soft: true}
	}
	if m := c.broken(s.soft, a); m != nil {
		return prePurge, m
	}
	return good, nil
}

// broken finds the purge, of a scope that the answer belongs to, after which it
// must not be given.
func (c *checker) broken(list []mark, a *answered) *mark {
	longest := max(c.rules.grace, c.rules.disconnected)
	for i := len(list) - 1; i >= 0; i-- {
		m := &list[i]
		if m.newest <= a.version {
			return nil // and so are all before it
		}
		if m.version <= a.version || m.acked > a.asked {
			continue
		}
		if c.holds(m, a, longest) {
			found := *m
			return &found
		}
	}
	return nil
}

// holds says whether a purge that was acknowledged before an answer was asked
// for, and is newer, had to have its effect by then.
func (c *checker) holds(m *mark, a *answered, longest int64) bool {
	switch since := a.asked - m.acked; {
	case m.node == a.node && m.incarnation == a.incarnation:
		return true
	case m.local || !c.rules.shared:
		return false
	case since > longest:
		return true
	case since <= c.rules.grace:
		c.noteLate(since, &c.lateness)
		return false
	case c.wasDisturbed(a.node, m.acked-c.rules.grace, a.asked):
		c.noteLate(since, &c.lateExcuse)
		return false
	}
	return true
}

func (c *checker) noteLate(since int64, most *int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.late++
	*most = max(*most, since)
}
