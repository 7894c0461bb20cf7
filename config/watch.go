package config

import (
	"reflect"
	"time"
)

// pollInterval is how often the file is looked at. A change is taken up once
// the file has been the same for two looks: editors and copies write in
// pieces, and half a file may well be a valid one.
const pollInterval = time.Second

// Watcher follows the configuration's file and reports each new tree. It reads
// the path once a second, which for a file of this size costs next to nothing
// and cannot miss a change: not one within the resolution of the file's time,
// nor one by which it is replaced, removed and made again, or reached through
// another symbolic link.
type Watcher struct {
	src    Sources
	report func(*Config, Problems, error)
	reload chan struct{}
	stop   chan struct{}
	done   chan struct{}
}

// Watch follows src.File, and calls report with what Load gives each time that
// it has changed since current was loaded from it: a tree, or an error, upon
// which the caller keeps the tree that it has. Calls come one at a time, from
// the Watcher's goroutine, until Close. Without a file there is nothing to
// follow, and only Reload makes calls.
func Watch(src Sources, current *Config, report func(cfg *Config, warnings Problems, err error)) *Watcher {
	w := &Watcher{
		src: src, report: report,
		reload: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	go w.run(current)
	return w
}

// Reload asks for a report whether or not the file has changed, as after
// SIGHUP. It does not wait for it.
func (w *Watcher) Reload() {
	select {
	case w.reload <- struct{}{}:
	default: // one is due already
	}
}

// Close ends the watch and waits for a report that is under way. It must be
// called once, and not from within a report.
func (w *Watcher) Close() {
	close(w.stop)
	<-w.done
}

func (w *Watcher) run(current *Config) {
	defer close(w.done)
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	// The file may have changed between the load of current and now.
	taken := w.look()
	if cfg, warnings, err := w.load(taken); !reflect.DeepEqual(cfg, current) {
		w.report(cfg, warnings, err)
	}
	last := taken
	for {
		select {
		case <-w.stop:
			return
		case <-w.reload:
			last = w.look()
		case <-tick.C:
			now := w.look()
			settled := now == last
			last = now
			if !settled || now == taken {
				continue
			}
		}
		taken = last
		w.report(w.load(taken))
	}
}

// sight is the file at one look.
type sight struct {
	readable bool
	data     string
}

func (w *Watcher) look() sight {
	if w.src.File == "" {
		return sight{}
	}
	data, problem := readFile(w.src.File)
	return sight{readable: problem == nil, data: string(data)}
}

// load loads exactly what was seen: read again, it might be something else.
func (w *Watcher) load(s sight) (*Config, Problems, error) {
	if s.readable {
		return load(w.src, []byte(s.data))
	}
	return Load(w.src)
}
