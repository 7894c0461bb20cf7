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

	goredis "github.com/redis/go-redis/v9"

	"jaegis-proxy/internal/proxytest"
	"jaegis-proxy/store/storetest"
)

func machineFaults() []fault {
	return []fault{
		{"file descriptors used up", "prlimit --nofile=100, 200 connections", "alive, serves again when they are closed", noFiles},
		{"kill -9 in mid-store", "40 times SIGKILL under load with large answers", "no partial answer", killedInStore},
		{"disk full", "a tmpfs of 2 MB for spooled bodies", "large bodies are refused with a reason, others served", diskFull},
		{"clock skew", "Redis an hour ahead, and an hour behind, of the proxy", "nothing past its TTL", skewed},
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

// shim is a library for a process that is to live in another hour.
const shim = `
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *t) {
	long r = syscall(SYS_clock_gettime, id, t);
	if (r == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) t->tv_sec += SKEW;
	return r;
}

int gettimeofday(struct timeval *restrict tv, void *restrict tz) {
	struct timespec t;
	int r = clock_gettime(CLOCK_REALTIME, &t);
	tv->tv_sec = t.tv_sec;
	tv->tv_usec = t.tv_nsec / 1000;
	return r;
}

time_t time(time_t *p) {
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	if (p) *p = t.tv_sec;
	return t.tv_sec;
}
`

// skewed has Redis live in another hour than the proxy. (What the proxy's own
// clock does is for tests that give it another: a Go program asks the system
// in ways that no library reaches. faketime does not get Redis to start.)
func skewed(ctx context.Context, r *rig) error {
	cc, err := exec.LookPath("cc")
	if err != nil {
		return skip("there is no C compiler, which makes the library that shifts Redis' clock")
	}
	redis, err := exec.LookPath("redis-server")
	if err != nil {
		return err
	}
	for _, by := range []string{"3600", "-3600"} {
		if err := r.skewedBy(ctx, by, cc, redis); err != nil {
			return fmt.Errorf("%s s: %w", by, err)
		}
	}
	return nil
}

func (r *rig) skewedBy(ctx context.Context, by, cc, redis string) error {
	dir := filepath.Join(r.dir, "skewed-by"+by)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	library := filepath.Join(dir, "shim.so")
	make := exec.Command(cc, "-shared", "-fPIC", "-DSKEW="+by, "-o", library, "-x", "c", "-")
	make.Stdin = strings.NewReader(shim)
	if said, err := make.CombinedOutput(); err != nil {
		return fmt.Errorf("cc: %w: %s", err, said)
	}
	script := fmt.Sprintf("#!/bin/sh\nLD_PRELOAD=%s exec %s \"$@\"\n", library, redis)
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
	shifted, err := clockOf(ctx, s.Addr)
	if err != nil {
		return err
	}
	hits, old, err := r.pastTTL(ctx)
	if err != nil {
		return err
	}
	r.figure("Redis' clock off by %v: %d hits, past their time %d", shifted.Round(time.Second), hits, old)
	switch {
	case old > 0:
		return errors.New("an answer was given past its TTL")
	case hits == 0:
		return errors.New("nothing was ever a hit")
	case shifted.Abs() < time.Minute:
		return errors.New("the clock was not shifted")
	}
	return r.proxy.Close()
}

// pastTTL asks for what is good for a second and changes every two and a half.
func (r *rig) pastTTL(ctx context.Context) (hits, old int, err error) {
	for version := int64(1); version <= 5; version++ {
		r.origin.SetVersion(version)
		began := time.Now()
		for time.Since(began) < 2500*time.Millisecond && ctx.Err() == nil {
			asked := time.Now()
			resp, body, err := r.get("/c/skew", "a-key")
			if err != nil {
				return hits, old, err
			}
			if resp.Header.Get("X-Cache") == "HIT" {
				hits++
			}
			if asked.Sub(began) > 1500*time.Millisecond && !strings.Contains(string(body), fmt.Sprintf(`"version":%d`, version)) {
				old++
			}
		}
	}
	return hits, old, nil
}

// clockOf says by how much a Redis' clock is ahead of ours.
func clockOf(ctx context.Context, addr string) (time.Duration, error) {
	c := goredis.NewClient(&goredis.Options{Addr: addr, Protocol: 2, DisableIdentity: true, MaxRetries: -1, PoolSize: 1})
	defer func() { _ = c.Close() }()
	at, err := c.Time(ctx).Result()
	return time.Until(at), err
}
