package main

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"jaegis-proxy/internal/origintest"
	"jaegis-proxy/store/storetest"
)

// soon is a cache section in which a busy machine has time enough, and a Redis
// that fails is known soon enough.
const soon = "redis: {url: REDIS, budget: 300ms, socket_timeout: 2s}\n  memory: {max_bytes: 64MiB}"

// midAnswer starts two nodes whose clients have had the first piece of an answer
// that the first of them fetches.
func midAnswer(t *testing.T, path string, gate chan struct{}, upTo int, first, then func(*origintest.Wire, *origintest.Request)) (n *nodes, own, others []*client) {
	t.Helper()
	n = startNodes(t, 2, soon)
	n.origin.On(path, first, then)
	raw := send("POST", path, "hello")
	own = n.all[0].clients(t, 20, raw)
	n.awaitCalls(t, path, 1)
	others = n.all[1].clients(t, 20, raw)
	n.all[1].awaitClaims(t, "followed", 1)
	all := append(own, others...)
	each(t, all, "head", (*client).head)
	open(t, gate)
	each(t, all, "first piece", func(c *client) error { return c.upTo(upTo) })
	return n, own, others
}

// Redis is away for less than two seconds in mid-answer, and empty when it is
// back: nobody is cut, and the upstream is asked once.
func TestARestartOfRedisInMidAnswerCutsNobody(t *testing.T) {
	faults := []struct {
		name         string
		break_, mend func(*storetest.RedisServer)
	}{
		{"killed", (*storetest.RedisServer).Kill, (*storetest.RedisServer).Restart},
		{"stopped", (*storetest.RedisServer).Stop, (*storetest.RedisServer).Cont},
	}
	for _, f := range framings {
		for _, fault := range faults {
			t.Run(f.name+", "+fault.name, func(t *testing.T) {
				path, pieces, gate := "/c/a", parts(5, 3000), make(chan struct{})
				body := strings.Join(pieces, "")
				n, own, others := midAnswer(t, path, gate, 3000, origintest.Reply{Pieces: pieces, Chunked: f.chunked, Gate: gate}.Serve, origintest.Hangup)
				fault.break_(n.redis)
				open(t, gate)
				each(t, own, "second piece", func(c *client) error { return c.upTo(6000) })
				time.Sleep(1500 * time.Millisecond)
				fault.mend(n.redis)
				each(t, others, "second piece", func(c *client) error { return c.upTo(6000) })
				close(gate)
				each(t, append(own, others...), "all of it", func(c *client) error { return c.rest(body) })
				n.expectCalls(t, path, 1)
			})
		}
	}
}

// Redis dies in mid-answer and stays away. The nodes that read by way of it fetch
// the answer themselves, and go on with that where it is the same.
func TestTheEndOfRedisInMidAnswerFailsNobody(t *testing.T) {
	for _, f := range framings {
		t.Run(f.name, func(t *testing.T) {
			path, pieces, gate := "/c/a", parts(5, 3000), make(chan struct{})
			body, fields := strings.Join(pieces, ""), []string{"ETag: \"a\"", "Content-Type: text/plain"}
			n, own, others := midAnswer(t, path, gate, 3000,
				origintest.Reply{Fields: fields, Pieces: pieces, Chunked: f.chunked, Gate: gate}.Serve,
				origintest.Reply{Fields: fields, Pieces: pieces, Chunked: f.chunked}.Serve)
			n.redis.Kill()
			each(t, others, "all of it", func(c *client) error { return c.rest(body) })
			n.expectCalls(t, path, 2)
			close(gate)
			each(t, own, "all of it", func(c *client) error { return c.rest(body) })
			if got := n.all[1].untilX(t, send("POST", path, "hello"), "HIT"); string(got.Body) != body { // in its memory
				t.Errorf("%d bytes afterwards", len(got.Body))
			}
			n.expectCalls(t, path, 2)
			n.all[1].wantTakenOver(t, "whole")
		})
	}
}

// The second answer is another: not a byte of it is given, and those who had the
// beginning of the first see that it is cut.
func TestTwoAnswersAreNeverMixed(t *testing.T) {
	fields := []string{"ETag: \"a\"", "Content-Type: text/plain"}
	pieces := parts(4, 3000)
	second := []struct {
		name  string
		reply origintest.Reply
		as    string
	}{
		{"one byte of what was given", origintest.Reply{Fields: fields, Pieces: changed(pieces, 2999), Chunked: true}, "other"},
		{"shorter than what was given", origintest.Reply{Fields: fields, Pieces: []string{pieces[0][:2000]}, Chunked: true}, "other"},
		{"status", origintest.Reply{Status: 203, Fields: fields, Pieces: pieces, Chunked: true}, "other"},
		{"type", origintest.Reply{Fields: []string{"ETag: \"a\"", "Content-Type: text/html"}, Pieces: pieces, Chunked: true}, "other"},
		{"version", origintest.Reply{Fields: []string{"ETag: \"b\"", "Content-Type: text/plain"}, Pieces: pieces, Chunked: true}, "other"},
		{"coding", origintest.Reply{Fields: append([]string{"Content-Encoding: gzip"}, fields...), Pieces: pieces, Chunked: true}, "other"},
		{"for one caller", origintest.Reply{Fields: append([]string{"Set-Cookie: a=b"}, fields...), Pieces: pieces, Chunked: true}, "other"},
		{"selected by a header", origintest.Reply{Fields: append([]string{"Vary: X-Kind"}, fields...), Pieces: pieces, Chunked: true}, "other"},
		{"an error", origintest.Reply{Status: 500, Pieces: []string{"broken"}}, "other"},
		{"cut", origintest.Reply{Fields: fields, Pieces: pieces[:2], Chunked: true, End: origintest.EndCut}, "failed"},
	}
	for _, of := range second {
		t.Run(of.name, func(t *testing.T) {
			t.Parallel()
			path, gate := "/c/a", make(chan struct{})
			n, own, others := midAnswer(t, path, gate, 3000, origintest.Reply{Fields: fields, Pieces: pieces, Chunked: true, Gate: gate}.Serve, of.reply.Serve)
			n.redis.Kill()
			each(t, others, "the end of half an answer", func(c *client) error {
				b, err := io.ReadAll(c.resp.Body)
				if c.got = append(c.got, b...); err == nil || !strings.HasPrefix(strings.Join(pieces, ""), string(c.got)) {
					return fmt.Errorf("%d bytes, %v", len(c.got), err)
				}
				return nil
			})
			close(gate)
			each(t, own, "all of it", func(c *client) error { return c.rest(strings.Join(pieces, "")) })
			n.expectCalls(t, path, 2)
			n.all[1].wantTakenOver(t, of.as)
		})
	}
}

// wantTakenOver fails the test unless one fetch was taken over, with that result.
func (p *proc) wantTakenOver(t *testing.T, result string) {
	t.Helper()
	storetest.Eventually(t, patience, "one that is "+result, func() bool {
		return strings.Contains(p.adminGet(t, "/metrics"), fmt.Sprintf("jaegis_taken_over_total{result=%q,route=\"cached\"} 1\n", result))
	})
}

// changed gives the pieces with one byte changed.
func changed(pieces []string, at int) []string {
	all := []byte(strings.Join(pieces, ""))
	all[at]++
	return []string{string(all)}
}
