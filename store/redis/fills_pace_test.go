package redis_test

import (
	"strings"
	"testing"
	"time"

	"jaegis-proxy/store"
	"jaegis-proxy/store/redis"
	"jaegis-proxy/store/storetest"
)

// giveAll has all of an answer at hand, and gives its body.
func (a *answer) giveAll(size int) (content string) {
	content = strings.Repeat("0123456789abcdef", size/16)
	a.give(head("h"))
	for i := 0; i < len(content); i += 1 << 20 {
		a.give(body(content[i : i+1<<20]))
	}
	a.give(end("e"))
	return content
}

func wantRest(t *testing.T, p store.Pieces, want string) {
	t.Helper()
	if got, last, err := rest(p); err != nil || got != want || last.Kind != store.PieceEnd {
		t.Errorf("%d of %d bytes, %q, %v", len(got), len(want), last.Kind, err)
	}
}

// An answer that is larger than what is kept, and at hand faster than a node can
// read it, waits for that.
func TestALargeAnswerComesOverAThinLine(t *testing.T) {
	t.Parallel()
	server := storetest.StartRedis(t)
	line := startNetwork(t, server.Addr)
	line.worsen("bandwidth", map[string]any{"rate": 12000}) // KB/s
	holder := openNode(t, redis.Options{URL: server.URL, Budget: patient}, redis.FillOptions{})
	reader := openNode(t, redis.Options{URL: "redis://" + line.addr, Budget: patient}, redis.FillOptions{})
	a, key := newAnswer(), storetest.Key("k")
	holder.leads(t, key, a)
	p := reader.follows(t, key)
	wantRest(t, p, a.giveAll(48<<20))
}

// Who stands still is not waited for: it has to do without the rest.
func TestALargeAnswerDoesNotWaitForOneWhoStandsStill(t *testing.T) {
	t.Parallel()
	n := nodesOf(t, storetest.StartRedis(t), 3)
	a, key := newAnswer(), storetest.Key("k")
	n[0].leads(t, key, a)
	still, goesOn := n[1].follows(t, key), n[2].follows(t, key)
	began := time.Now()
	content := a.giveAll(48 << 20)
	wantPiece(t, still, head("h"))
	wantRest(t, goesOn, content)
	t.Logf("after %v", time.Since(began))
	if got, _, err := rest(still); err == nil || !strings.Contains(err.Error(), "more has come") {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
