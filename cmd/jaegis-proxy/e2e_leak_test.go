package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"jaegis-proxy/internal/origintest"
	"jaegis-proxy/store/storetest"
)

// files are the open files of the process, and those of them that are temporary.
func (p *proc) files(t *testing.T) (all, temporary int) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Skip("no /proc here")
	}
	for _, e := range entries {
		if name, err := os.Readlink(dir + "/" + e.Name()); err == nil && strings.Contains(name, "(deleted)") {
			temporary++
		}
	}
	return len(entries), temporary
}

// storm is a load of everything: hits, misses, streams that are read, left,
// cut or never begun, uploads that stop.
func (r *rig) storm(t *testing.T, round int) {
	t.Helper()
	big := strings.Repeat("x", 300_000)
	r.origin.On("/c/cut", origintest.Reply{Pieces: []string{big}, Chunked: true, End: origintest.EndCut}.Serve)
	r.origin.On("/c/none", origintest.Hangup)
	held := func(w *origintest.Wire, q *origintest.Request) {
		origintest.Reply{Pieces: []string{big, "never"}, Chunked: true, Gate: onlyFor(1)}.Serve(w, q)
	}
	for _, path := range []string{"/c/held", "/cancel/held", "/d/held"} {
		r.origin.On(path, held)
	}
	for i := range 10 {
		r.whole(t, send("POST", fmt.Sprintf("/c/%d?pad=200000", i), "hello"))
		r.whole(t, send("POST", fmt.Sprintf("/d/%d?pad=200000&chunk=9000", i), big))
		r.do(t, send("POST", "/c/cut", "hello"))
		r.do(t, send("POST", "/c/none", "hello"))
		stopped := connect(t, r.Addr)
		stopped.send("POST /c/stopped HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n" + big)
		_ = stopped.c.Close()
		silent := connect(t, r.Addr)
		_ = silent.c.Close()
	}
	for i, path := range []string{"/c/held", "/cancel/held", "/d/held"} {
		c := &crowd{t: t, addr: r.Addr, raw: send("POST", fmt.Sprintf("%s?%d", path, round), "hello")}
		for k, one := range c.add(6) {
			if k%2 == 0 {
				each(t, []*client{one}, path, (*client).head)
			}
			if k%3 == 0 && one.resp != nil {
				each(t, []*client{one}, path, func(c *client) error { return c.upTo(1000) })
			}
			one.leave(i%2 == 0)
		}
	}
}

func TestNothingIsLeftBehindByALoadWithAborts(t *testing.T) {
	dir := t.TempDir() // of this process alone
	r := e2e(t, fmt.Sprintf(`
upstreams: {origin: {url: ORIGIN, idle_timeout: 1s}}
routes:
  - {name: cancel, match: {path: /cancel/*}, ttl: 1h, on_abandon: cancel}
  - {name: cached, match: {path: /c/*}, ttl: 1h}
spool: {memory: 64KiB, dir: %q}
`, dir))
	r.storm(t, 0) // what is made once is made
	settled := func() (goroutines float64, files int) {
		storetest.Eventually(t, patience, "clients, fetches and bodies are gone", func() bool {
			return r.metric(t, "jaegis_connections")+r.metric(t, "jaegis_flights")+r.metric(t, "jaegis_spool_bytes") == 0
		})
		files, _ = r.files(t)
		return r.metric(t, "go_goroutines"), files
	}
	goroutines, files := settled()
	for round := range 4 {
		r.storm(t, round+1)
	}
	// Connections that are kept to the upstream come and go: a leak would be of
	// one for each of hundreds of requests.
	const some = 20
	storetest.Eventually(t, patience, fmt.Sprintf("about %v goroutines and %d files, as before", goroutines, files), func() bool {
		g, f := settled()
		return g <= goroutines+some && f <= files+some
	})
	if _, temporary := r.files(t); temporary != 0 {
		t.Errorf("%d temporary files are open", temporary)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("temporary files are left: %v, %v", left, err)
	}
}
