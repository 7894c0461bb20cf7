package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

const (
	// witnessEvery is how often the sentinels are asked who the primary is, and
	// witnessHaste the least pause where it may have changed.
	witnessEvery = time.Second
	witnessHaste = 200 * time.Millisecond

	// doubtAfter is how old their word gets before it is told that there is none:
	// they say hello to each other every two seconds.
	doubtAfter = 10 * time.Second
)

// witnesses are the sentinels, who say which server has the ledger.
//
// A primary does not know that it is none any more: cut off from its sentinels,
// it goes on for whoever is cut off with it, while purges are acknowledged at
// its successor. One sentinel may be cut off with them, and knows of no
// successor either. But no successor is named without most of the sentinels, so
// that who has heard from most of them at a time knows who was the primary then.
// That is what is asked of each: whom it takes for the primary, and when it last
// heard from enough others. Where they contradict each other they are about to
// agree, and none of them is believed.
type witnesses struct {
	opts  *Options
	e     endpoint
	asked []*goredis.SentinelClient
	word  atomic.Pointer[word]
	known chan struct{} // closed when there is a word
	look  chan struct{} // asks for a new one; holds one

	stop    context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	why    error // why there was no news when they were last asked
	at     string
	client goredis.UniversalClient // of the server there, which follows the ledger
	closed bool
}

// word is what the sentinels say. It does not change.
type word struct {
	primary string
	asOf    time.Time
}

func openWitnesses(o *Options, e endpoint) *witnesses {
	ctx, stop := context.WithCancel(context.Background())
	w := &witnesses{opts: o, e: e, known: make(chan struct{}), look: make(chan struct{}, 1), stop: stop}
	for _, addr := range e.addrs {
		w.asked = append(w.asked, o.sentinelClient(&e, addr))
	}
	w.running.Go(func() { w.run(ctx) })
	return w
}

// close ends all of it. Calls under way may fail.
func (w *witnesses) close() error {
	w.stop()
	w.running.Wait()
	var errs []error
	for _, c := range w.asked {
		errs = append(errs, c.Close())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed = true; w.client != nil {
		errs = append(errs, w.client.Close())
	}
	return errors.Join(errs...)
}

// follower gives a client of the server that has the ledger, and its address. At
// the very start it waits for the sentinels' first word.
func (w *witnesses) follower(ctx context.Context) (goredis.UniversalClient, string, error) {
	select {
	case <-w.known:
	case <-ctx.Done():
		w.mu.Lock()
		defer w.mu.Unlock()
		return nil, "", fmt.Errorf("%w: %w", errNoWord, cmp.Or(w.why, ctx.Err()))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, "", goredis.ErrClosed
	}
	if at := w.word.Load().primary; w.client == nil || at != w.at {
		if w.client != nil {
			_ = w.client.Close()
		}
		w.at, w.client = at, w.opts.clientTo(&w.e, at, journalPurpose)
	}
	return w.client, w.at, nil
}

// asOf says until when the server there was the primary, as far as is known.
func (w *witnesses) asOf(at string) time.Time {
	if said := w.word.Load(); said.primary == at {
		return said.asOf
	}
	return time.Unix(0, 0) // not any more
}

// doubt says why it is not known whether the primary still is one; nothing
// without witnesses. At the very start it waits for their first word.
func (w *witnesses) doubt(ctx context.Context) error {
	if w == nil {
		return nil
	}
	select {
	case <-w.known:
	case <-ctx.Done():
		return errNoWord
	}
	if time.Since(w.word.Load().asOf) > doubtAfter {
		return errNoWord
	}
	return nil
}

var errNoWord = errors.New("no sentinel that hears from most of the others says who the primary is")

// changed says that it may be another one by now.
func (w *witnesses) changed() {
	select {
	case w.look <- struct{}{}:
	default:
	}
}

// run asks until ctx ends.
func (w *witnesses) run(ctx context.Context) {
	began, doubted := time.Now(), false
	for ctx.Err() == nil {
		err := w.ask(ctx)
		w.mu.Lock()
		w.why = err
		w.mu.Unlock()
		since := began
		if said := w.word.Load(); said != nil {
			since = said.asOf
		}
		if doubt := time.Since(since) > doubtAfter; doubt != doubted && ctx.Err() == nil {
			if doubted = doubt; doubt {
				w.opts.Logger.Warn(errNoWord.Error(), slog.Time("since", since), slog.Any("error", err))
			} else {
				w.opts.Logger.Info("the sentinels say again who the primary is")
			}
		}
		pause := time.NewTimer(witnessEvery)
		select {
		case <-ctx.Done():
		case <-pause.C:
		case <-w.look:
			select {
			case <-ctx.Done():
			case <-time.After(witnessHaste):
			}
		}
		pause.Stop()
	}
}

// ask asks all of them, and takes their word where it is news and they agree.
func (w *witnesses) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	words, errs := make([]word, len(w.asked)), make([]error, len(w.asked))
	var asking sync.WaitGroup
	for i, c := range w.asked {
		asking.Go(func() { words[i], errs[i] = w.testimony(ctx, c) })
	}
	asking.Wait()
	last := w.word.Load()
	var news word
	for i, said := range words {
		switch {
		case errs[i] != nil || last != nil && !said.asOf.After(last.asOf):
		case news.primary != "" && news.primary != said.primary:
			return fmt.Errorf("they contradict each other: %s, %s", news.primary, said.primary)
		case said.asOf.After(news.asOf):
			news = said
		}
	}
	if news.primary == "" {
		return errors.Join(errs...)
	}
	if w.word.Store(&news); last == nil {
		close(w.known)
	}
	return nil
}

// testimony asks one sentinel.
func (w *witnesses) testimony(ctx context.Context, c *goredis.SentinelClient) (word, error) {
	sent, name := time.Now(), w.opts.MasterName
	addr, err := c.GetMasterAddrByName(ctx, name).Result()
	switch {
	case errors.Is(err, goredis.Nil):
		return word{}, unknownPrimary{name}.err()
	case err != nil:
		return word{}, explain(err)
	case len(addr) != 2:
		return word{}, errors.New("no address")
	}
	others, err := c.Sentinels(ctx, name).Result()
	if err != nil {
		return word{}, explain(err)
	}
	if len(others) == 0 && len(w.asked) > 1 {
		return word{}, errors.New("a sentinel knows of no others yet")
	}
	ago, ok := mostHeard(others)
	if !ok {
		return word{}, errors.New("a sentinel has not heard from most of the others since it began")
	}
	return word{net.JoinHostPort(addr[0], addr[1]), sent.Add(-ago)}, nil
}

// mostHeard says how long ago a sentinel had heard from so many of the others
// that they are most of all sentinels together with it.
func mostHeard(others []map[string]string) (ago time.Duration, ok bool) {
	var heard []time.Duration
	for _, other := range others {
		since := func(what string) time.Duration {
			ms, err := strconv.ParseInt(other[what], 10, 32)
			if err != nil {
				return 1 << 40
			}
			return time.Duration(ms) * time.Millisecond
		}
		// Both count from its own start at first: then it has had no answer yet.
		const atOnce = 10 * time.Millisecond
		if asked := since("last-ping-sent"); asked > 0 && asked+atOnce >= since("last-ok-ping-reply") {
			continue
		}
		heard = append(heard, since("last-hello-message"))
	}
	enough := (len(others) + 1) / 2 // and itself
	slices.Sort(heard)
	switch {
	case enough == 0:
		return 0, true
	case len(heard) < enough:
		return 0, false
	}
	return heard[enough-1], true
}
