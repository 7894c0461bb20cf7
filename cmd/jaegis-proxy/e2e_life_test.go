package main

import (
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"jaegis-proxy/internal/origintest"
	"jaegis-proxy/store/storetest"
)

// term sends SIGTERM and waits until no new connection is taken.
func (p *proc) term(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	awaitRefusal(t, p.Addr)
}

// awaitRefusal waits until nobody listens on addr any more.
func awaitRefusal(t *testing.T, addr string) {
	t.Helper()
	storetest.Eventually(t, patience, addr+" refuses connections", func() bool {
		c, err := net.DialTimeout("tcp", addr, patience)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
}

func (p *proc) awaitExit(t *testing.T) {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		t.Fatal("the process does not end")
	}
}

// What runs at SIGTERM ends whole, whichever way it streams, and only then
// does the process end, with status 0.
func TestAtShutdownWhatRunsEndsWhole(t *testing.T) {
	r := e2e(t, cachedRoute+"shutdown_timeout: 20s\n")
	head := make(chan struct{})
	pieces := parts(4, 1000)
	r.origin.On("/c/waiting", origintest.Reply{Pieces: pieces, HeadGate: head}.Serve)
	var all []*client
	var gates []chan struct{}
	for _, path := range []string{"/c/chunked", "/c/sized", "/d/chunked"} {
		gate := make(chan struct{})
		gates = append(gates, gate)
		r.origin.On(path, origintest.Reply{Pieces: pieces, Chunked: strings.HasSuffix(path, "chunked"), Gate: gate}.Serve)
		c := (&crowd{t: t, addr: r.Addr, raw: send("POST", path, "hello")}).add(1)
		open(t, gate)
		each(t, c, "head", (*client).head)
		each(t, c, "first piece", func(c *client) error { return c.upTo(1000) })
		all = append(all, c...)
	}
	waiting := (&crowd{t: t, addr: r.Addr, raw: send("POST", "/c/waiting", "hello")}).add(1)
	r.awaitCalls(t, "/c/waiting", 1)
	r.term(t)
	select {
	case <-r.exited:
		t.Fatal("the process ended while answers were on their way")
	default:
	}
	close(head)
	for _, gate := range gates {
		close(gate)
	}
	each(t, waiting, "head of the one that waited", (*client).head)
	each(t, append(all, waiting...), "end", func(c *client) error { return c.rest(strings.Join(pieces, "")) })
	r.awaitExit(t)
	if r.err != nil {
		t.Errorf("ended with %v", r.err)
	}
}

// Past shutdown_timeout an answer is cut, and seen to be.
func TestShutdownTakesNoLongerThanItMay(t *testing.T) {
	o := origintest.New(t)
	binary, err := buildBinary()
	if err != nil {
		t.Fatal(err)
	}
	p := launch(t, binary, strings.ReplaceAll(cachedRoute, "ORIGIN", o.URL)+"shutdown_timeout: 500ms\n", nil)
	defer p.kill()
	if err := p.awaitReady(); err != nil {
		t.Fatal(err)
	}
	r := &rig{proc: p, origin: o}
	var all []*client
	for _, path := range []string{"/c/chunked", "/c/sized", "/d/chunked"} {
		o.On(path, origintest.Reply{Pieces: parts(4, 1000), Chunked: strings.HasSuffix(path, "chunked"), Gate: onlyFor(1)}.Serve)
		all = append(all, (&crowd{t: t, addr: r.Addr, raw: send("POST", path, "hello")}).add(1)...)
	}
	each(t, all, "head", (*client).head)
	each(t, all, "first piece", func(c *client) error { return c.upTo(1000) })
	r.term(t)
	each(t, all, "the cut", (*client).cut)
	r.awaitExit(t)
	if bad := trouble(p.Log()); bad != "" {
		t.Errorf("the log has %q\n%s", bad, p.log)
	}
}

// What is on its way to Redis at SIGTERM, or waits for its turn, arrives there.
func TestShutdownStoresWhatIsQueued(t *testing.T) {
	redis := storetest.StartRedis(t)
	yaml := strings.Replace(redisRoute(redis.URL, "memory: {max_bytes: 0}"), "socket_timeout: 1s", "socket_timeout: 20s", 1)
	r := e2e(t, yaml)
	const n = 6 // more than write at the same time
	gate := make(chan struct{})
	var waiting []*client
	for i := range n {
		path := fmt.Sprintf("/c/%d", i)
		r.origin.On(path, numbered(200, nil, gate))
		waiting = append(waiting, (&crowd{t: t, addr: r.Addr, raw: send("POST", path, "hello")}).add(1)...)
		r.awaitCalls(t, path, 1)
	}
	redis.Stop() // they have missed; what they write now does not arrive
	close(gate)
	each(t, waiting, "the answer", func(c *client) error {
		if got := c.s.receive("POST"); got.StatusCode != 200 || got.Err != nil {
			return fmt.Errorf("status %d, %w", got.StatusCode, got.Err)
		}
		return nil
	})
	r.term(t)
	awaitRefusal(t, r.Admin) // all is closed but for what has work to do
	redis.Cont()
	r.awaitExit(t)
	again := &rig{origin: r.origin, proc: start(t, strings.ReplaceAll(yaml, "ORIGIN", r.origin.URL))}
	for i := range n {
		if got := again.whole(t, send("POST", fmt.Sprintf("/c/%d", i), "hello")); got.xCache() != "HIT" {
			t.Errorf("answer %d of %d: %s", i, n, got.status())
		}
	}
}

// rewrites change the configuration file in one way or another.
var rewrites = []struct {
	name string
	do   func(p *proc, text string) error
}{
	{"written in place and SIGHUP", func(p *proc, text string) error {
		if err := os.WriteFile(p.Config, []byte(text), 0o600); err != nil {
			return err
		}
		return p.cmd.Process.Signal(syscall.SIGHUP)
	}},
	{"written in place", func(p *proc, text string) error { return os.WriteFile(p.Config, []byte(text), 0o600) }},
	{"replaced", func(p *proc, text string) error {
		if err := os.WriteFile(p.Config+".new", []byte(text), 0o600); err != nil {
			return err
		}
		return os.Rename(p.Config+".new", p.Config)
	}},
	{"removed and made again", func(p *proc, text string) error {
		if err := os.Remove(p.Config); err != nil {
			return err
		}
		return os.WriteFile(p.Config, []byte(text), 0o600)
	}},
}

func TestAChangedFileChangesRoutesAndDropsNothing(t *testing.T) {
	for _, rewrite := range rewrites {
		t.Run(rewrite.name, func(t *testing.T) {
			t.Parallel()
			r := e2e(t, cachedRoute)
			other := origintest.New(t)
			other.SetVersion(2)
			gate := make(chan struct{})
			pieces := parts(3, 1000)
			r.origin.On("/c/running", origintest.Reply{Pieces: pieces, Chunked: true, Gate: gate}.Serve)
			running := (&crowd{t: t, addr: r.Addr, raw: send("POST", "/c/running", "hello")}).add(1)
			kept := connect(t, r.Addr)
			open(t, gate)
			each(t, running, "head", (*client).head)
			kept.send(send("POST", "/c/a", "hello"))
			if a := kept.receive("POST").proof(t, "POST", "/c/a", "", "hello"); a.Version != 1 {
				t.Errorf("version %d", a.Version)
			}

			old, err := os.ReadFile(r.Config)
			if err != nil {
				t.Fatal(err)
			}
			if err := rewrite.do(r.proc, strings.ReplaceAll(string(old), r.origin.URL, other.URL)); err != nil {
				t.Fatal(err)
			}
			r.until(t, send("POST", "/c/a", "hello"), "answered by the new upstream", func(got *reply) bool {
				return got.proof(t, "POST", "/c/a", "", "hello").Version == 2
			})
			kept.send(send("POST", "/c/b", "hello"))
			if a := kept.receive("POST").proof(t, "POST", "/c/b", "", "hello"); a.Version != 2 {
				t.Errorf("a kept connection: version %d", a.Version)
			}
			close(gate)
			each(t, running, "end of what ran", func(c *client) error { return c.rest(strings.Join(pieces, "")) })
		})
	}
}

func TestABadFileChangesNothingAndSaysWhy(t *testing.T) {
	r := e2e(t, cachedRoute)
	old, err := os.ReadFile(r.Config)
	if err != nil {
		t.Fatal(err)
	}
	r.untilX(t, send("POST", "/c/a", "hello"), "HIT")
	change := func(text, logged string) {
		t.Helper()
		if err := os.WriteFile(r.Config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := r.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		storetest.Eventually(t, patience, "the log says "+logged, func() bool { return strings.Contains(r.Log(), logged) })
	}
	f := func(text, why string) {
		t.Helper()
		change(text, why)
		if got := r.whole(t, send("POST", "/c/a", "hello")); got.xCache() != "HIT" {
			t.Errorf("%s: %s", why, got.status())
		}
		r.whole(t, send("POST", "/d/a", "hello"))
	}
	f(string(old)+"rotues: []\n", "rotues")
	f(strings.Replace(string(old), "ttl: 1h", "ttl: never", 1), "never")
	f("upstreams: {origin: {url: \n", "yaml")
	f(string(old)+"default_upstream: nobody\n", "nobody")
	change(strings.Replace(string(old), "/c/*", "/moved/*", 1), "configuration reloaded")
	if got := r.whole(t, send("POST", "/c/a", "hello")); got.xCache() != "PASS" {
		t.Errorf("after a good file: %s", got.status())
	}
}
