package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"jaegis-proxy/internal/proxytest"
	"jaegis-proxy/store/storetest"
)

func machineFaults() []fault {
	return []fault{
		{"file descriptors used up", "prlimit --nofile=100, 200 connections", "alive, serves again when they are closed", noFiles},
		{"kill -9 in mid-store", "40 times SIGKILL under load with large answers", "no partial answer", killedInStore},
		{"disk full", "a tmpfs of 2 MB for spooled bodies", "large bodies are refused with a reason, others served", diskFull},
		{"clock skew", "Redis an hour ahead, and an hour behind, of the proxy (faketime)", "nothing past its TTL", skewed},
	}
}

func noFiles(ctx context.Context, r *rig) error {
	if _, err := exec.LookPath("prlimit"); err != nil {
		return skip("there is no prlimit: it is in Debian's util-linux")
	}
	if err := r.start("", func(o *proxytest.Options) { o.Wrap = []string{"prlimit", "--nofile=100:100"} }); err != nil {
		return err
	}
	conns, err := dial(r.proxy.Addr, 200)
	defer func() { closeAll(conns) }()
	if err != nil {
		return err
	}
	for _, c := range conns {
		_, _ = c.Write([]byte("GET /c/x HTTP/1.1\r\nHost: h\r\n")) // those that nobody has accepted take it too
	}
	select {
	case <-ctx.Done():
	case <-time.After(2 * time.Second):
	}
	if !r.proxy.Running() {
		return fmt.Errorf("it has ended: %s", r.proxy.Log())
	}
	closeAll(conns)
	began := time.Now()
	err = r.until(ctx, "an answer", func() bool { return r.alive() == nil })
	r.figure("serves again %d ms after they are closed", time.Since(began).Milliseconds())
	s := r.load(ctx, clients, docs, time.Second, small)
	return errors.Join(err, s.err())
}

func killedInStore(ctx context.Context, r *rig) error {
	s, err := r.redis(storetest.ServerOptions{})
	if err != nil {
		return err
	}
	if err := r.start(noMemory+"compression: {enabled: false}, redis: {url: \""+s.URL+"\"}", nil); err != nil {
		return err
	}
	const query = "pad=1500000" // several chunks
	wrong, asked := 0, 0
	var why string
	for range 40 {
		during, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		var got *seen
		wg.Go(func() { got = r.load(during, 8, 200, time.Minute, query) })
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(20+rand.IntN(60)) * time.Millisecond):
		}
		err := r.proxy.Kill()
		cancel()
		wg.Wait()
		wrong, asked = wrong+got.wrong, asked+len(got.took)
		if got.wrong > 0 {
			why = got.why
		}
		if err = errors.Join(err, r.proxy.Restart()); err != nil {
			return err
		}
	}
	all := r.load(ctx, 4, 200, 3*time.Second, query)
	wrong += all.wrong
	r.figure("%d requests in between, wrong %d; after that %d, failed %d, hits %d", asked, wrong, len(all.took), all.failures, all.hits)
	if wrong > 0 {
		err = fmt.Errorf("something partial was stored: %s", why)
	}
	return errors.Join(err, all.err())
}

func diskFull(ctx context.Context, r *rig) error {
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		return skip("only root may mount a small file system")
	}
	small := filepath.Join(r.dir, "disk")
	if err := os.Mkdir(small, 0o700); err != nil {
		return err
	}
	if said, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=2m", "none", small).CombinedOutput(); err != nil {
		return skip("mounting is not allowed here: %s", bytes.TrimSpace(said))
	}
	r.closers = append(r.closers, func() error { return exec.Command("umount", small).Run() })
	err := r.start("", func(o *proxytest.Options) { o.Config += fmt.Sprintf("spool: {dir: %q, memory: 64KiB}\n", small) })
	if err != nil {
		return err
	}
	statuses := map[int]int{}
	for n := range 20 {
		resp, err := r.client.Post(fmt.Sprintf("http://%s/c/upload-%d", r.proxy.Addr, n), "application/octet-stream", bytes.NewReader(make([]byte, 8<<20)))
		if err != nil {
			statuses[0]++ // the connection was closed while it was sent
			continue
		}
		statuses[resp.StatusCode]++
		_ = resp.Body.Close()
	}
	s := r.load(ctx, clients, docs, 2*time.Second, "pad=300")
	large, _, lerr := r.get("/c/large?pad=8000000", "")
	r.figure("20 bodies of 8 MB: by status %v (0: cut off)", statuses)
	r.figure("others: %d requests, failed %d; an answer of 8 MB: %s", len(s.took), s.failures, outcome(large, lerr))
	if statuses[http.StatusOK] > 0 || statuses[http.StatusInternalServerError] > 0 {
		err = errors.New("a body that there was no room for was not refused as it should be")
	}
	return errors.Join(err, s.err(), r.alive())
}

func outcome(resp *http.Response, err error) string {
	if err != nil {
		return "cut visibly"
	}
	return fmt.Sprintf("status %d", resp.StatusCode)
}

// skewed has Redis live in another hour than the proxy. (What the proxy's own
// clock does is for tests that give it another: a Go program asks the system
// in ways that faketime does not reach.)
func skewed(ctx context.Context, r *rig) error {
	program, err := exec.LookPath("faketime")
	if err != nil {
		return skip("there is no faketime: it is in Debian's package of that name")
	}
	redis, err := exec.LookPath("redis-server")
	if err != nil {
		return err
	}
	for _, by := range []string{"+3600s", "-3600s"} {
		if err := r.skewedBy(ctx, by, program, redis); err != nil {
			return fmt.Errorf("%s: %w", by, err)
		}
	}
	return nil
}

func (r *rig) skewedBy(ctx context.Context, by, faketime, redis string) error {
	dir := filepath.Join(r.dir, "bin"+by)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	script := fmt.Sprintf("#!/bin/sh\nexec %s -f %s %s \"$@\"\n", faketime, by, redis)
	if err := os.WriteFile(filepath.Join(dir, "redis-server"), []byte(script), 0o700); err != nil {
		return err
	}
	path := os.Getenv("PATH")
	if err := os.Setenv("PATH", dir+":"+path); err != nil {
		return err
	}
	s, err := r.redis(storetest.ServerOptions{})
	if err = errors.Join(err, os.Setenv("PATH", path)); err != nil {
		return err
	}
	if err := r.start(noMemory+"redis: {url: \""+s.URL+"\"}", func(o *proxytest.Options) {
		o.Config = strings.Replace(o.Config, "ttl: 1h", "ttl: 1s", 1)
	}); err != nil {
		return err
	}
	hits, old := 0, 0
	for version := int64(1); version <= 5; version++ {
		r.origin.SetVersion(version)
		began := time.Now()
		for time.Since(began) < 2500*time.Millisecond && ctx.Err() == nil {
			asked := time.Now()
			resp, body, err := r.get("/c/skew", "a-key")
			if err != nil {
				return err
			}
			if resp.Header.Get("X-Cache") == "HIT" {
				hits++
			}
			if asked.Sub(began) > 1500*time.Millisecond && !strings.Contains(string(body), fmt.Sprintf(`"version":%d`, version)) {
				old++
			}
		}
	}
	r.figure("%s: %d hits, past their time %d", by, hits, old)
	switch {
	case old > 0:
		return errors.New("an answer was given past its TTL")
	case hits == 0:
		return errors.New("nothing was ever a hit")
	}
	return r.proxy.Close()
}
