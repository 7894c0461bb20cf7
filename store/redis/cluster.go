package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

const (
	// calmly is how often the cluster is asked who has what while all is well:
	// what changes then shows by redirects, but for replicas that come.
	calmly = 10 * time.Second

	// eagerly is how often while a primary does not answer: a replica is about
	// to take its place, and nobody says so unasked.
	eagerly = 200 * time.Millisecond

	// askTime bounds one node's answer.
	askTime = 400 * time.Millisecond

	slotCount = 16384
)

// cluster is the nodes of a cluster and who of them has what.
//
// Each node has a breaker of its own. One for all would either leave two thirds
// of the keys alone because of a primary that is down, or, since the calls to
// the others succeed, never open at all, and have every third request wait for
// its budget until a replica is the primary: 15 s with the defaults of Redis.
type cluster struct {
	opts  *Options
	e     endpoint
	opens *atomic.Int64

	follow *node // goes where redirects point; has no breaker
	table  atomic.Pointer[table]
	known  chan struct{} // closed when there is a table
	look   chan struct{} // asks for a new one; holds one

	nodes map[string]*member // by address; of the goroutine that asks

	mu      sync.Mutex
	since   time.Time // of lastErr
	lastErr error     // why there is no newer table; nil when there is

	stop    context.CancelFunc
	running sync.WaitGroup
}

// member is a node, and when the cluster last named it.
type member struct {
	*node
	named time.Time
}

// table says who has what. It does not change.
type table struct {
	ranges  []slots // by their first slot; they do not overlap
	shards  []*shard
	covered int    // slots that somebody has
	text    string // what the cluster said: the same text is the same table
}

type slots struct {
	first, last int
	shard       *shard
}

func openCluster(o *Options, e endpoint, opens *atomic.Int64) (*cluster, error) {
	follow, err := o.client(purpose{conns: followers, turn: o.Budget / 2, singly: true})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	c := &cluster{
		opts: o, e: e, opens: opens, stop: stop,
		follow: &node{fast: follow, bulk: follow},
		known:  make(chan struct{}), look: make(chan struct{}, 1),
		nodes: map[string]*member{}, since: time.Now(),
	}
	c.running.Go(func() { c.run(ctx) })
	return c, nil
}

// close ends all that the cluster runs. Calls under way may fail.
func (c *cluster) close() error {
	c.stop()
	c.running.Wait()
	errs := []error{c.follow.fast.Close()}
	for _, m := range c.nodes {
		errs = append(errs, m.close())
	}
	return errors.Join(errs...)
}

// shard gives who has the name. At the very start it waits for the cluster's
// first word.
func (c *cluster) shard(ctx context.Context, name string) (*shard, error) {
	t := c.table.Load()
	if t == nil {
		c.mu.Lock()
		down := c.lastErr != nil
		c.mu.Unlock()
		if down {
			return nil, ErrOpen
		}
		select {
		case <-c.known:
			t = c.table.Load()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if s := t.find(slotOf(name)); s != nil {
		return s, nil
	}
	c.changed()
	return nil, errUnserved
}

var errUnserved = errors.New("no node of the cluster has this key's slot")

func (t *table) find(slot int) *shard {
	i, _ := slices.BinarySearchFunc(t.ranges, slot, func(r slots, slot int) int { return cmp.Compare(r.last, slot) })
	if i == len(t.ranges) || t.ranges[i].first > slot {
		return nil
	}
	return t.ranges[i].shard
}

// redirect gives who follows redirects, of which there has been one.
func (c *cluster) redirect() *node {
	c.changed()
	return c.follow
}

// changed says that the table may be out of date.
func (c *cluster) changed() {
	select {
	case c.look <- struct{}{}:
	default:
	}
}

// run keeps the table up to date. It ends with ctx.
func (c *cluster) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-c.look:
		}
		c.refresh(ctx)
		// However often it is called for, once in this time is enough.
		select {
		case <-ctx.Done():
			return
		case <-time.After(eagerly):
		}
		timer.Reset(c.pause())
	}
}

func (c *cluster) pause() time.Duration {
	c.mu.Lock()
	failed := c.lastErr != nil
	c.mu.Unlock()
	if failed || c.state().Open {
		return 0
	}
	return calmly
}

// refresh asks for the table, and takes it up.
func (c *cluster) refresh(ctx context.Context) {
	said, err := c.ask(ctx)
	if err == nil {
		err = c.take(said)
	}
	if ctx.Err() != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if (err == nil) != (c.lastErr == nil) {
		c.since = time.Now()
		if err != nil {
			c.opts.Logger.Warn("no node of the cluster answers", "error", err)
		} else {
			c.opts.Logger.Info("the cluster answers again")
		}
	}
	c.lastErr = err
}

// ask has a node say who has what: one that is in use if there is any, then
// the others, then those of the configuration.
func (c *cluster) ask(ctx context.Context) ([]goredis.ClusterSlot, error) {
	var first error
	try := func(addr string, client goredis.UniversalClient) []goredis.ClusterSlot {
		ctx, cancel := context.WithTimeout(ctx, askTime)
		defer cancel()
		said, err := client.ClusterSlots(ctx).Result()
		if err == nil && len(said) == 0 {
			err = errors.New("it knows of no slots that anybody has")
		}
		if err != nil {
			if first == nil {
				first = fmt.Errorf("%s: %w", addr, explain(err))
			}
			return nil
		}
		return absolute(said, addr)
	}
	for _, m := range c.inOrder() {
		if said := try(m.addr, m.fast); said != nil {
			return said, nil
		}
	}
	for _, addr := range c.e.addrs {
		client := c.opts.clientTo(&c.e, addr, purpose{conns: 1})
		said := try(addr, client)
		_ = client.Close()
		if said != nil {
			return said, nil
		}
	}
	return nil, first
}

// inOrder lists the nodes in the order in which they are to be asked: at random,
// those in use first.
func (c *cluster) inOrder() []*member {
	var used, rest []*member
	for _, m := range c.nodes {
		if _, ok := m.breaker.enter(); ok {
			used = append(used, m)
		} else {
			rest = append(rest, m)
		}
	}
	rand.Shuffle(len(used), func(i, j int) { used[i], used[j] = used[j], used[i] })
	rand.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	return append(used, rest...)
}

// absolute fills in what a node leaves out of addresses: those who ask are to
// know its own. One that calls itself 127.0.0.1 to somebody on another machine
// is meant too.
func absolute(said []goredis.ClusterSlot, origin string) []goredis.ClusterSlot {
	host, port, err := net.SplitHostPort(origin)
	if err != nil {
		return said
	}
	for _, s := range said {
		for i := range s.Nodes {
			h, p, err := net.SplitHostPort(s.Nodes[i].Addr)
			if err != nil {
				continue
			}
			if ip := net.ParseIP(h); h == "" || h == "?" || ip != nil && ip.IsLoopback() && !isLoopback(host) {
				h = host
			}
			if p == "0" {
				p = port
			}
			s.Nodes[i].Addr = net.JoinHostPort(h, p)
		}
	}
	return said
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// take makes a table of what the cluster said, with nodes for all whom it names,
// and closes those whom it has not named for so long that no call can be under
// way.
func (c *cluster) take(said []goredis.ClusterSlot) error {
	now := time.Now()
	slices.SortFunc(said, func(a, b goredis.ClusterSlot) int { return cmp.Compare(a.Start, b.Start) })
	var text strings.Builder
	t := &table{}
	byText := map[string]*shard{}
	for _, s := range said {
		if len(s.Nodes) == 0 {
			continue
		}
		who := ""
		for _, n := range s.Nodes {
			who += n.Addr + " "
		}
		fmt.Fprintf(&text, "%d %d %s\n", s.Start, s.End, who)
		sh := byText[who]
		if sh == nil {
			var err error
			if sh, err = c.newShard(s.Nodes, now); err != nil {
				return err
			}
			byText[who], t.shards = sh, append(t.shards, sh)
		}
		t.ranges, t.covered = append(t.ranges, slots{s.Start, s.End, sh}), t.covered+s.End-s.Start+1
	}
	t.text = text.String()
	if old := c.table.Load(); old == nil || old.text != t.text {
		c.table.Store(t)
		if old == nil {
			close(c.known)
		}
	}
	for addr, m := range c.nodes {
		if now.Sub(m.named) > 2*c.opts.SocketTimeout+calmly {
			delete(c.nodes, addr)
			_ = m.close()
		}
	}
	return nil
}

func (c *cluster) newShard(named []goredis.ClusterNode, now time.Time) (*shard, error) {
	s := &shard{}
	for i, n := range named {
		if i > 0 && !c.opts.ReadReplicas {
			break
		}
		m := c.nodes[n.Addr]
		if m == nil {
			node, err := c.openNode(n.Addr)
			if err != nil {
				return nil, err
			}
			m = &member{node: node}
			c.nodes[n.Addr] = m
		}
		m.named = now
		if i == 0 {
			s.primary = m.node
		} else {
			s.replicas = append(s.replicas, m.node)
		}
	}
	return s, nil
}

func (c *cluster) openNode(addr string) (*node, error) {
	l := c.opts.lanes()
	fast, bulk := c.opts.purposes(l)
	fast.replicas = c.opts.ReadReplicas
	n := &node{addr: addr, inCluster: true, fast: c.opts.clientTo(&c.e, addr, fast), bulk: c.opts.clientTo(&c.e, addr, bulk)}
	return n, n.open(c.opts, l, c.opens)
}

// state tells of the primaries that are left alone, of slots that nobody has,
// and of a cluster that does not answer at all.
func (c *cluster) state() State {
	c.mu.Lock()
	state, err := State{Since: c.since}, c.lastErr
	c.mu.Unlock()
	if err != nil {
		state.LastError = err.Error()
	}
	t := c.table.Load()
	if t == nil {
		state.Open = err != nil
		return state
	}
	var down []string
	for _, s := range t.shards {
		one, at := s.primary.breaker.state(), s.primary.addr+": "
		if one.Open {
			down = append(down, at+one.LastError)
		}
		if one.Since.After(state.Since) {
			state.Since = one.Since
		}
		if one.LastError != "" && state.LastError == "" {
			state.LastError = at + one.LastError
		}
		if one.Refused != "" && state.Refused == "" {
			state.Refused = at + one.Refused
		}
	}
	switch {
	case len(down) > 0:
		state.Open, state.LastError = true, fmt.Sprintf("%d of %d primaries: %s", len(down), len(t.shards), strings.Join(down, "; "))
	case t.covered < slotCount:
		state.Open, state.LastError = true, fmt.Sprintf("%d of %d slots are served by nobody", slotCount-t.covered, slotCount)
	}
	return state
}

// slotOf gives the slot of a name as the cluster counts them: CRC-16/XMODEM of
// what is within the first braces, if there is anything, or of all of it.
func slotOf(name string) int {
	if open := strings.IndexByte(name, '{'); open >= 0 {
		if n := strings.IndexByte(name[open+1:], '}'); n > 0 {
			name = name[open+1 : open+1+n]
		}
	}
	var crc uint16
	for i := range len(name) {
		crc ^= uint16(name[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc) % slotCount
}
