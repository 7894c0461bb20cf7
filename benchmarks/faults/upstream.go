package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"jaegis-proxy/internal/origintest"
)

func upstreamFaults() []fault {
	return []fault{
		{"upstream stalls before its answer", "an upstream that says nothing, first_byte_timeout 2s", "504 at the deadline, one call, nothing stored", stallsBefore},
		{"upstream stalls in its answer", "an upstream that stops half-way, idle_timeout 1s", "cut visibly at the deadline, nothing stored", stallsWithin},
		{"upstream cuts its answer", "FIN and RST in a body with and without a length, on a chunk boundary, in a chunk, in the last one", "no cut answer ends cleanly, none is stored", cuts},
		{"slow reader", "a client that reads 1 of 256 MB, and one that reads all", "bounded memory, the other is served", slowReader},
		{"leader leaves", "50 ask the same, the first one resets its connection", "all others have the whole answer, one call", leaderLeaves},
	}
}

func stallsBefore(ctx context.Context, r *rig) error {
	if err := r.start("", nil); err != nil {
		return err
	}
	r.origin.On("/c/stall", func(w *origintest.Wire, _ *origintest.Request) { w.Wait(make(chan struct{})) })
	began := time.Now()
	resp, _, err := r.get("/c/stall", "")
	if err != nil {
		return err
	}
	r.figure("%d after %d ms", resp.StatusCode, time.Since(began).Milliseconds())
	calls := r.origin.CallsTo("/c/stall")
	r.figure("calls %d", calls)
	r.origin.On("/c/stall")
	if resp.StatusCode != http.StatusGatewayTimeout || calls != 1 {
		err = fmt.Errorf("status %d, %d calls", resp.StatusCode, calls)
	}
	return errors.Join(err, r.notStored("/c/stall"), r.alive())
}

// notStored asks again, and sees that the upstream is asked again.
func (r *rig) notStored(target string) error {
	before := r.origin.Calls()
	resp, _, err := r.get(target, "")
	if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("X-Cache") != "MISS" || r.origin.Calls() != before+1 {
		return errors.Join(fmt.Errorf("%s, asked again: %v: a broken answer was stored", target, resp), err)
	}
	return nil
}

func stallsWithin(ctx context.Context, r *rig) error {
	if err := r.start("", nil); err != nil {
		return err
	}
	r.origin.On("/c/half", func(w *origintest.Wire, _ *origintest.Request) {
		w.Head(200, "Content-Length: 1000")
		w.Raw("half of it")
		w.Wait(make(chan struct{}))
	})
	began := time.Now()
	_, body, err := r.get("/c/half", "")
	r.figure("cut after %d ms, with %d bytes", time.Since(began).Milliseconds(), len(body))
	r.origin.On("/c/half")
	if err == nil {
		return errors.New("a cut answer ended cleanly")
	}
	return errors.Join(r.notStored("/c/half"), r.alive())
}

func cuts(ctx context.Context, r *rig) error {
	if err := r.start("", nil); err != nil {
		return err
	}
	pieces := []string{strings.Repeat("a", 3000), strings.Repeat("b", 40_000)}
	laundered, stored, all := 0, 0, 0
	for _, reply := range []origintest.Reply{
		{Pieces: pieces, Claim: 50_000, End: origintest.EndCut},
		{Pieces: pieces, Claim: 50_000, End: origintest.EndReset},
		{Pieces: pieces, Chunked: true, End: origintest.EndCut},
		{Pieces: pieces, Chunked: true, End: origintest.EndInChunk},
		{Pieces: pieces, Chunked: true, End: origintest.EndHalfLast},
		{Pieces: pieces, Chunked: true, End: origintest.EndReset},
	} {
		for range 30 {
			all++
			target := fmt.Sprintf("/c/cut-%d", all)
			r.origin.On(target, reply.Serve)
			if resp, _, err := r.get(target, ""); err == nil && resp.StatusCode == http.StatusOK {
				laundered++
			}
			r.origin.On(target)
			if r.notStored(target) != nil {
				stored++
			}
		}
	}
	r.figure("%d cut answers, ended cleanly %d, stored %d", all, laundered, stored)
	if laundered+stored > 0 {
		return errors.New("a cut answer was taken for a whole one")
	}
	return r.alive()
}

func slowReader(ctx context.Context, r *rig) error {
	if err := r.start("", nil); err != nil {
		return err
	}
	const size = 256 << 20
	piece := strings.Repeat("0123456789abcdef", 4096)
	r.origin.On("/c/big", func(w *origintest.Wire, _ *origintest.Request) {
		w.Head(200, "Content-Type: application/octet-stream", fmt.Sprintf("Content-Length: %d", size))
		for range size / len(piece) {
			w.Raw(piece)
		}
	})
	before := r.rss() // the answer is too large to be stored: each reader may cause a call
	slow, err := net.Dial("tcp", r.proxy.Addr)
	if err != nil {
		return err
	}
	defer func() { _ = slow.Close() }()
	if _, err := io.WriteString(slow, "GET /c/big HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
		return err
	}
	if _, err := io.ReadFull(slow, make([]byte, 1<<20)); err != nil {
		return err
	}
	n, most, err := r.drain(ctx, "/c/big")
	r.figure("calls %d, memory %d MB before and %d MB at most", r.origin.CallsTo("/c/big"), before>>20, most>>20)
	if n != size {
		err = errors.Join(err, fmt.Errorf("the other reader had %d bytes", n))
	}
	if most > before+100<<20 {
		err = errors.Join(err, fmt.Errorf("%d MB of memory", most>>20))
	}
	return errors.Join(err, r.alive())
}

// drain reads an answer as fast as it comes, and looks at the proxy's memory.
func (r *rig) drain(ctx context.Context, target string) (n, most int64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.proxy.Addr+target, nil)
	if err != nil {
		return 0, 0, err
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	for {
		k, err := io.CopyN(io.Discard, resp.Body, 8<<20)
		n, most = n+k, max(most, r.rss())
		if errors.Is(err, io.EOF) {
			return n, most, nil
		}
		if err != nil {
			return n, most, err
		}
	}
}

func leaderLeaves(ctx context.Context, r *rig) error {
	if err := r.start("", nil); err != nil {
		return err
	}
	gate := make(chan struct{})
	r.origin.On("/c/one", origintest.Reply{Pieces: []string{"first ", "second"}, Gate: gate}.Serve)
	leader, err := net.Dial("tcp", r.proxy.Addr)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(leader, "GET /c/one HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
		return err
	}
	if err := r.until(ctx, "the leader's call", func() bool { return r.origin.CallsTo("/c/one") == 1 }); err != nil {
		return err
	}
	const followers = 49
	var wg sync.WaitGroup
	var whole counter
	for range followers {
		wg.Go(func() {
			if _, body, err := r.get("/c/one", ""); err == nil && string(body) == "first second" {
				whole.Add(1)
			}
		})
	}
	if err := r.until(ctx, "all connections", func() bool { return r.metric("jaegis_connections") >= followers+1 }); err != nil {
		return err
	}
	gate <- struct{}{}
	if tcp, ok := leader.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = leader.Close()
	close(gate)
	wg.Wait()
	calls := r.origin.CallsTo("/c/one")
	r.figure("%d of %d others had the whole, calls %d", whole.Load(), followers, calls)
	if whole.Load() != followers || calls != 1 {
		return errors.New("the leader's leaving touched others")
	}
	return r.alive()
}
