package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jaegis-proxy/store/storetest"
)

// Keys are changed node by node: who has the new and the old key reads what
// either has written, who has one alone asks the upstream for the rest, and
// nobody takes away what another can read. In Redis nothing can be read.
func TestEncryptionAtRestAndTheChangeOfKeys(t *testing.T) {
	dir := t.TempDir()
	redis := storetest.StartRedis(t, "--dir", dir, "--save", "1 1")
	o := serveVersions(t)
	old, next := strings.Repeat("a1", 32), strings.Repeat("b2", 32)
	node := func(keys string) *proc {
		return start(t, fmt.Sprintf("cache: {memory: {max_bytes: 0}, compression: {enabled: false}, redis: {url: %q}, encryption: {keys: [%s]}}\nupstreams: {u: {url: %q}}\nroutes: [{name: all, ttl: 1h, scope: public}]\n", redis.URL, keys, o.URL))
	}
	o.n.Store(1000)
	hit := func(p *proc, path string) bool {
		t.Helper()
		resp, body := ask(t, "GET", p.URL+path, "", "Jaegis-Cache-Tags", "plain-to-see")
		if body != "v1000" {
			t.Fatalf("%s: %q", path, body)
		}
		return resp.Header.Get("X-Cache") == "HIT"
	}
	stored := func(p *proc, path string) {
		t.Helper()
		for deadline := time.Now().Add(patience); !hit(p, path); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("never a hit")
			}
		}
	}
	a, b, c := node(old), node(next+", "+old), node(next)
	stored(a, "/of-a")
	stored(b, "/of-b")
	if !hit(b, "/of-a") {
		t.Error("who has the old key too does not read what it wrote")
	}
	if resp, body := ask(t, "GET", c.URL+"/of-a", "", "Cache-Control", "only-if-cached"); resp.StatusCode != 504 {
		t.Errorf("read without its key: %d %s", resp.StatusCode, body)
	}
	if resp, body := ask(t, "GET", a.URL+"/of-b", "", "Cache-Control", "only-if-cached"); resp.StatusCode != 504 {
		t.Errorf("read without its key: %d %s", resp.StatusCode, body)
	}
	if !hit(c, "/of-b") || !hit(a, "/of-a") || !hit(b, "/of-a") || !hit(b, "/of-b") {
		t.Error("somebody has taken away what another can read")
	}
	if n := c.metric(t, `jaegis_store_unopened_total\{reason="unknown_key",store="redis"\}`); n < 1 {
		t.Errorf("%v values without a key were counted", n)
	}
	for _, p := range []*proc{a, b, c} {
		if log := p.Log(); strings.Contains(log, old) || strings.Contains(log, next) {
			t.Error("a key is in the log")
		}
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		if file, err := os.ReadFile(filepath.Join(dir, "dump.rdb")); err == nil && strings.Contains(string(file), "jaegis:") {
			if strings.Contains(string(file), "v1000") || strings.Contains(string(file), "max-age") || strings.Contains(string(file), "plain-to-see") {
				t.Error("what is stored can be read in the file of Redis")
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("Redis never saved")
		}
	}
}
