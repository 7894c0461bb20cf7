package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"jaegis-proxy/internal/origintest"
)

// parts are n pieces of a body, no two alike, each of size bytes.
func parts(n, size int) []string {
	out := make([]string, n)
	for i := range out {
		line := fmt.Sprintf("piece %d of %d. ", i, n)
		out[i] = strings.Repeat(line, size/len(line)+1)[:size]
	}
	return out
}

// framings are the two ways in which an answer streams.
var framings = []struct {
	name    string
	chunked bool
}{{"chunked", true}, {"sized", false}}

// Callers come before the head, behind it, within the body and behind its last
// byte. All that the origin has sent is with every one of them while it holds
// back the rest, so nobody waits for the end of anything.
func TestAThousandCallersCostOneCallAndEachGetsEveryByteAsItComes(t *testing.T) {
	r := e2e(t, cachedRoute)
	for _, f := range framings {
		t.Run(f.name, func(t *testing.T) {
			path, pieces := "/c/"+f.name, parts(5, 3000)
			head, gate := make(chan struct{}), make(chan struct{})
			body := strings.Join(pieces, "")
			r.origin.On(path, origintest.Reply{Pieces: pieces, Chunked: f.chunked, HeadGate: head, Gate: gate}.Serve, origintest.Hangup)
			c := &crowd{t: t, addr: r.Addr, raw: send("POST", path, "hello")}

			early := c.add(600)
			r.awaitCalls(t, path, 1)
			open(t, head)
			each(t, early, "head", (*client).head)
			afterHead := c.add(200)
			each(t, afterHead, "head, once it was there", (*client).head)
			open(t, gate)
			each(t, c.clients, "first piece", func(c *client) error { return c.upTo(3000) })
			within := c.add(150)
			each(t, within, "head, within the body", (*client).head)
			each(t, within, "first piece, within the body", func(c *client) error { return c.upTo(3000) })
			for i := 2; i <= len(pieces); i++ {
				open(t, gate)
				// The very last byte of a body that streams comes with its end.
				n := min(3000*i, len(body)-1)
				each(t, c.clients, fmt.Sprintf("piece %d", i), func(c *client) error { return c.upTo(n) })
			}
			late := c.add(50)
			if f.chunked { // the origin still holds back the final chunk
				each(t, late, "head, behind the last piece", (*client).head)
				each(t, late, "all pieces", func(c *client) error { return c.upTo(len(body) - 1) })
			}
			open(t, gate)
			if !f.chunked {
				each(t, late, "head, behind the end", (*client).head)
			}
			each(t, c.clients, "end", func(c *client) error { return c.rest(body) })
			r.expectCalls(t, path, 1)
			if got := r.whole(t, c.raw); string(got.Body) != body {
				t.Errorf("afterwards: %d bytes", len(got.Body))
			}
			r.expectCalls(t, path, 1)
		})
	}
}

// The client that began a fetch may leave at any byte: the others never notice,
// and the call that was made is not made again.
func TestTheFirstCallerMayLeaveAtAnyByte(t *testing.T) {
	r := e2e(t, cachedRoute)
	const size, n = 1000, 4
	pieces := parts(n, size)
	body := strings.Join(pieces, "")
	for _, f := range framings {
		for _, at := range []int{-1, 0, 1, size - 1, size, size + 1, 2*size + size/2, n*size - 1} {
			for _, reset := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s at %d reset %v", f.name, at, reset), func(t *testing.T) {
					path := fmt.Sprintf("/c/%s/%d/%v", f.name, at, reset)
					head, gate := make(chan struct{}), make(chan struct{})
					r.origin.On(path, origintest.Reply{Pieces: pieces, Chunked: f.chunked, HeadGate: head, Gate: gate}.Serve, origintest.Hangup)
					c := &crowd{t: t, addr: r.Addr, raw: send("POST", path, "hello")}
					first := c.add(1)[0]
					r.awaitCalls(t, path, 1)
					others := c.add(2)
					if at >= 0 {
						open(t, head)
						each(t, c.clients, "head", (*client).head)
					}
					sent := 0
					for ; sent*size < at; sent++ {
						open(t, gate)
					}
					if at > 0 {
						each(t, []*client{first}, "the first caller's bytes", func(c *client) error { return c.upTo(at) })
					}
					first.leave(reset)
					others = append(others, c.add(2)...)
					if at < 0 {
						open(t, head)
					}
					for ; sent <= n; sent++ {
						open(t, gate)
					}
					if at >= 0 {
						each(t, others[2:], "head after the first caller left", (*client).head)
					} else {
						each(t, others, "head after the first caller left", (*client).head)
					}
					each(t, others, "end", func(c *client) error { return c.rest(body) })
					if got := r.whole(t, c.raw); string(got.Body) != body {
						t.Errorf("afterwards: %d bytes", len(got.Body))
					}
					r.expectCalls(t, path, 1)
				})
			}
		}
	}
}

// An answer that is paid for is fetched to its end though everybody has left.
func TestAnAnswerThatEverybodyLeftIsStored(t *testing.T) {
	r := e2e(t, cachedRoute)
	for _, at := range []int{-1, 0, 1500} {
		path, pieces := fmt.Sprintf("/c/%d", at), parts(3, 1000)
		head, gate := make(chan struct{}), make(chan struct{})
		r.origin.On(path, origintest.Reply{Pieces: pieces, Chunked: true, HeadGate: head, Gate: gate}.Serve, origintest.Hangup)
		c := &crowd{t: t, addr: r.Addr, raw: send("POST", path, "hello")}
		all := c.add(2)
		r.awaitCalls(t, path, 1)
		if at >= 0 {
			close(head)
			each(t, all, "head", (*client).head)
		}
		if at > 0 {
			open(t, gate)
			open(t, gate)
			each(t, all, "bytes", func(c *client) error { return c.upTo(at) })
		}
		for _, one := range all {
			one.leave(true)
		}
		if at < 0 {
			close(head)
		}
		close(gate)
		if got := r.whole(t, c.raw); string(got.Body) != strings.Join(pieces, "") {
			t.Errorf("left at %d: %d bytes", at, len(got.Body))
		}
		r.expectCalls(t, path, 1)
	}
}

// Readers are of any speed, and one that has stopped holds up nobody: what he
// has not read is on disk, within bounds, until he goes on.
func TestAReaderThatStopsHoldsUpNobody(t *testing.T) {
	r := e2e(t, `
upstreams: {origin: {url: ORIGIN}}
routes:
  - {name: stored, match: {path: /c/*}, ttl: 1h}
  - {name: streamed, match: {path: /big/*}, ttl: 1h, max_object_bytes: 100KiB}
spool: {memory: 64KiB, max_bytes: 1GiB}
`)
	pieces := parts(192, 64<<10)
	body := strings.Join(pieces, "")
	for _, path := range []string{"/c/chunked", "/c/sized", "/big/chunked"} {
		t.Run(strings.ReplaceAll(path[1:], "/", " "), func(t *testing.T) {
			gate := make(chan struct{})
			r.origin.On(path, halted(pieces, strings.HasSuffix(path, "chunked"), gate), origintest.Hangup)
			c := &crowd{t: t, addr: r.Addr, raw: send("POST", path, "hello")}
			all := c.add(5)
			each(t, all, "head", (*client).head)
			each(t, all, "first piece", func(c *client) error { return c.upTo(64 << 10) })
			close(gate)
			stopped, slow, fast := all[:1], all[1:2], all[2:]
			each(t, fast, "a fast reader's end", func(c *client) error { return c.rest(body) })
			if disk := r.metric(t, "jaegis_spool_bytes"); disk < float64(len(body)/2) {
				t.Errorf("%v bytes are on disk, while one reader stands still after the first of %d", disk, len(body))
			}
			each(t, slow, "a slow reader", func(c *client) error {
				for n := len(c.got) + 1000; n < len(body)/8; n += 1000 {
					if err := c.upTo(n); err != nil {
						return err
					}
				}
				return c.rest(body)
			})
			each(t, stopped, "the one who stopped", func(c *client) error { return c.rest(body) })
			r.expectCalls(t, path, 1)
			r.awaitNoSpool(t)
		})
	}
}

// halted sends the first piece and, once the gate is open, all others.
func halted(pieces []string, chunked bool, gate <-chan struct{}) origintest.Handler {
	return func(w *origintest.Wire, r *origintest.Request) {
		p := origintest.Reply{Pieces: pieces, Chunked: chunked}
		passed := make(chan struct{}, 1)
		passed <- struct{}{}
		p.Gate = passed
		go func() {
			<-gate
			close(passed)
		}()
		p.Serve(w, r)
	}
}

// awaitNoSpool waits until no body is on disk any more.
func (p *proc) awaitNoSpool(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(patience); p.metric(t, "jaegis_spool_bytes") != 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%v bytes stay on disk", p.metric(t, "jaegis_spool_bytes"))
		}
	}
}
