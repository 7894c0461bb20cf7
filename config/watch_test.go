package config

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// watched is a Watcher over a file in a directory of its own, under a clock
// that stands still until looks is called.
type watched struct {
	t       *testing.T
	dir     string
	file    string
	w       *Watcher
	mu      sync.Mutex
	reports []string // the TTL of documents, or the error
}

// watch runs body over a file that holds a TTL of 1 s.
func watch(t *testing.T, body func(*watched)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &watched{t: t, dir: t.TempDir()}
		w.file = filepath.Join(w.dir, "proxy.yaml")
		w.write("1s")
		src := Sources{File: w.file}
		cfg, _, err := Load(src)
		if err != nil {
			t.Fatal(err)
		}
		w.w = Watch(src, cfg, w.report)
		synctest.Wait()
		body(w)
		w.w.Close()
	})
}

func (w *watched) report(cfg *Config, _ Problems, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.reports = append(w.reports, err.Error())
		return
	}
	w.reports = append(w.reports, cfg.Cache.TTL["documents"].String())
}

func text(ttl string) string { return docs + "cache: {ttl: {documents: " + ttl + "}}\n" }

func (w *watched) write(ttl string) { w.put(w.file, text(ttl)) }

func (w *watched) put(file, content string) {
	w.t.Helper()
	w.must(os.WriteFile(file, []byte(content), 0o600))
}

func (w *watched) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// looks lets the watcher look at the file n times, and wants the reports given
// since the last call.
func (w *watched) looks(n int, want ...string) {
	w.t.Helper()
	time.Sleep(time.Duration(n) * pollInterval)
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if got := strings.Join(w.reports, "|"); got != strings.Join(want, "|") {
		w.t.Errorf("reported %q, want %q", w.reports, want)
	}
	w.reports = nil
}

func TestAnUnchangedFileIsNotReported(t *testing.T) {
	watch(t, func(w *watched) {
		w.looks(5)
		w.write("1s") // the same again
		w.looks(5)
	})
}

func TestAChangeIsReportedOnceItHasSettled(t *testing.T) {
	watch(t, func(w *watched) {
		w.write("2s")
		w.looks(1)
		w.write("3s") // still being written
		w.looks(1)
		w.looks(1, "3s")
		w.looks(5)
	})
}

func TestAChangeThatTheFilesTimeDoesNotShowIsReported(t *testing.T) {
	watch(t, func(w *watched) {
		info, err := os.Stat(w.file)
		w.must(err)
		w.write("4s") // of the same length
		w.must(os.Chtimes(w.file, info.ModTime(), info.ModTime()))
		w.looks(2, "4s")
	})
}

func TestAFileMayBeReplacedRemovedAndMadeAgain(t *testing.T) {
	watch(t, func(w *watched) {
		other := filepath.Join(w.dir, "other")
		w.put(other, text("2s"))
		w.must(os.Rename(other, w.file))
		w.looks(2, "2s")

		w.must(os.Remove(w.file))
		w.looks(1) // between remove and create
		w.write("3s")
		w.looks(2, "3s")

		w.must(os.Remove(w.file))
		w.looks(3, w.file+": there is no such file; give the path of the configuration with --config")
		w.write("3s")
		w.looks(3, "3s")
		w.write("4s")
		w.looks(3, "4s")
	})
}

// A ConfigMap's files are links into a directory that is itself a link, which
// is what changes.
func TestLinksMayChangeAnywhereInThePath(t *testing.T) {
	watch(t, func(w *watched) {
		for _, version := range []string{"v1", "v2"} {
			w.must(os.Mkdir(filepath.Join(w.dir, version), 0o700))
		}
		w.put(filepath.Join(w.dir, "v1", "proxy.yaml"), text("11s"))
		w.put(filepath.Join(w.dir, "v2", "proxy.yaml"), text("12s"))
		current, swap := filepath.Join(w.dir, "current"), filepath.Join(w.dir, "swap")
		w.must(os.Symlink("v1", current))
		w.must(os.Remove(w.file))
		w.must(os.Symlink("current/proxy.yaml", w.file))
		w.looks(2, "11s")
		w.must(os.Symlink("v2", swap))
		w.must(os.Rename(swap, current))
		w.must(os.RemoveAll(filepath.Join(w.dir, "v1")))
		w.looks(2, "12s")
	})
}

func TestABadFileIsReportedOnceAsAnErrorAndAGoodOneAfterwards(t *testing.T) {
	watch(t, func(w *watched) {
		w.put(w.file, "lsiten: :1\n")
		w.looks(5, w.file+":1: lsiten: unknown key; did you mean listen?")
		w.write("1s") // what it was at first
		w.looks(2, "1s")
	})
}

func TestReloadReportsAtOnceAndWithoutAChange(t *testing.T) {
	watch(t, func(w *watched) {
		w.w.Reload()
		w.looks(0, "1s")
		w.write("2s")
		w.w.Reload()
		w.looks(0, "2s")
		w.looks(5)
	})
}

func TestAChangeBetweenLoadAndWatchIsNotMissed(t *testing.T) {
	watch(t, func(w *watched) {
		cfg, _, err := Load(Sources{File: w.file})
		w.must(err)
		w.write("2s")
		second := Watch(Sources{File: w.file}, cfg, w.report)
		synctest.Wait()
		second.Close()
		w.looks(0, "2s")
	})
}

func TestWithoutAFileOnlyReloadReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watched{t: t}
		src := Sources{Flags: flags(t, "--upstream", "http://docs")}
		cfg, _, err := Load(src)
		w.must(err)
		w.w = Watch(src, cfg, w.report)
		w.looks(5)
		w.w.Reload()
		w.looks(0, "1h")
		w.w.Close()
	})
}
