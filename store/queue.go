package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
)

// minCost is what any job counts for at least, in bytes, so that a bound on
// bytes bounds the number of jobs too.
const minCost = 1 << 10

// ErrQueueNotDrained is what Close returns when its context ended before the
// work did.
var ErrQueueNotDrained = errors.New("write queue not drained")

// QueueOptions are the bounds of a Queue.
type QueueOptions struct {
	MaxBytes int64 // of jobs waiting and running together; 64 MiB if not positive
	Workers  int   // jobs run at the same time; 4 if not positive
	Logger   *slog.Logger
}

// QueueStats is a Queue's state at one moment.
type QueueStats struct {
	Depth   int   // jobs waiting, not those running
	Bytes   int64 // cost of the jobs waiting and running
	Dropped int64 // jobs refused or thrown away, ever
	Panics  int64 // jobs that panicked, ever
}

// Queue runs work later and in the background: writes to a store, after the
// client has its bytes. It is bounded by the memory that its jobs hold, and it
// never makes anybody wait: what does not fit is dropped and counted. Jobs
// start in the order in which they came. It is safe for concurrent use.
type Queue struct {
	opts   QueueOptions
	ctx    context.Context // of the jobs
	cancel context.CancelFunc
	done   chan struct{} // closed when every worker has returned

	mu      sync.Mutex
	wake    sync.Cond // of mu: a job has come, or closed is set
	waiting []task
	bytes   int64
	dropped int64
	panics  int64
	closed  bool
}

type task struct {
	cost int64
	job  func(ctx context.Context)
}

// NewQueue starts a queue. Its workers end at Close.
func NewQueue(opts QueueOptions) *Queue {
	if opts.MaxBytes <= 0 {
		opts.MaxBytes = 64 << 20
	}
	if opts.Workers <= 0 {
		opts.Workers = 4
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	q := &Queue{opts: opts, done: make(chan struct{})}
	q.wake.L = &q.mu
	q.ctx, q.cancel = context.WithCancel(context.Background())
	var workers sync.WaitGroup
	for range opts.Workers {
		workers.Go(q.work)
	}
	go func() {
		workers.Wait()
		close(q.done)
	}()
	return q
}

// Submit queues job, which holds about cost bytes of memory until it has run.
// It never blocks; false means that there was no room for it, or that the
// queue is closed, and that job will not run. The context given to job ends
// when Close gives up on it.
func (q *Queue) Submit(cost int64, job func(ctx context.Context)) bool {
	cost = max(cost, minCost)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || cost > q.opts.MaxBytes-q.bytes {
		q.dropped++
		return false
	}
	q.bytes += cost
	q.waiting = append(q.waiting, task{cost, job})
	q.wake.Signal()
	return true
}

// Stats gives the queue's state.
func (q *Queue) Stats() QueueStats {
	q.mu.Lock()
	defer q.mu.Unlock()
	return QueueStats{Depth: len(q.waiting), Bytes: q.bytes, Dropped: q.dropped, Panics: q.panics}
}

// Close refuses further work and waits until what is queued is done. If ctx
// ends first, it throws away the jobs that have not begun, ends the context of
// those that have, and returns ErrQueueNotDrained without waiting for them.
func (q *Queue) Close(ctx context.Context) error {
	q.mu.Lock()
	q.closed = true
	q.wake.Broadcast()
	q.mu.Unlock()
	defer q.cancel()
	select {
	case <-q.done:
		return nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	lost := len(q.waiting)
	for _, t := range q.waiting {
		q.bytes -= t.cost
	}
	q.dropped += int64(lost)
	q.waiting = nil
	return fmt.Errorf("%w: %d jobs dropped: %w", ErrQueueNotDrained, lost, ctx.Err())
}

func (q *Queue) work() {
	for {
		t, ok := q.next()
		if !ok {
			return
		}
		panicked := q.run(t.job)
		q.mu.Lock()
		q.bytes -= t.cost
		if panicked {
			q.panics++
		}
		q.mu.Unlock()
	}
}

// next waits for a job; false means that there will be no more.
func (q *Queue) next() (task, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) == 0 {
		if q.closed {
			return task{}, false
		}
		q.wake.Wait()
	}
	t := q.waiting[0]
	q.waiting[0] = task{} // let go of the job's memory
	q.waiting = q.waiting[1:]
	return t, true
}

// run keeps a panic in one job from ending the process, and says that it
// happened: a lost write is no reason to stop serving.
func (q *Queue) run(job func(context.Context)) (panicked bool) {
	defer func() {
		if p := recover(); p != nil {
			panicked = true
			q.opts.Logger.Error("queued job panicked", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	job(q.ctx)
	return false
}
