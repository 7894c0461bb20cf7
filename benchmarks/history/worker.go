package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// counts are what one client has seen.
type counts struct {
	operations int64
	outcomes   map[string]int64 // by X-Cache, joined ones apart
	verdicts   [verdicts]int64
	excused    int64 // errors because the proxy was ended
	gone       int64 // cut because a proxy was ended, frozen or cut off
	upstream   int64 // errors of the upstream, passed on
	left       int64 // answers that the client did not wait for
	bytes      int64
}

// worker asks one node, a batch of requests at a time on one connection, and
// judges what comes. It is for one goroutine.
type worker struct {
	r       *run
	id      int
	node    *node
	rng     *rand.Rand
	client  client
	opened  int64 // the node's incarnation at that time
	reply   reply
	scratch []byte
	batch   []*ask
	out     []byte
	counts  counts
}

// maxBatch is how many requests are sent before the first answer is read.
const maxBatch = 8

func newWorker(r *run, id int, n *node) *worker {
	w := &worker{r: r, id: id, node: n, rng: rand.New(rand.NewPCG(r.opts.seed, uint64(id)))}
	w.client.addr = n.Addr
	w.counts.outcomes = map[string]int64{}
	return w
}

// work goes on until there is nothing left to do or ctx ends.
func (w *worker) work(ctx context.Context) {
	defer w.client.close()
	for ctx.Err() == nil {
		incarnation, ok := w.node.await(ctx)
		if !ok {
			return
		}
		if w.opened != incarnation {
			w.client.close()
			w.opened = incarnation
		}
		w.pick()
		n := w.r.left.Add(-int64(len(w.batch))) + int64(len(w.batch))
		if n <= 0 {
			return
		}
		w.batch = w.batch[:min(int64(len(w.batch)), n)]
		switch dice := w.rng.IntN(1000); {
		case dice < 10:
			w.put(w.batch[0], incarnation)
		case dice < 12:
			w.leave()
		default:
			w.round(incarnation)
		}
	}
}

// pick chooses what to ask: one thing most of the time, several at once at
// others, and popular things more often.
func (w *worker) pick() {
	n := 1
	if w.rng.IntN(4) == 0 {
		n = 2 + w.rng.IntN(maxBatch-1)
	}
	w.batch = w.batch[:0]
	for range n {
		w.batch = append(w.batch, w.r.plan.pick(w.rng))
	}
}

// pick chooses an ask, the first ones more often.
func (p *plan) pick(rng *rand.Rand) *ask {
	u := rng.Float64()
	return p.asks[int(u*u*u*float64(len(p.asks)))]
}

// round sends the batch and takes its answers.
func (w *worker) round(incarnation int64) {
	w.out = w.out[:0]
	for _, a := range w.batch {
		if w.rng.IntN(8) == 0 {
			w.out = append(w.out, a.wireGzip...)
		} else {
			w.out = append(w.out, a.wire...)
		}
	}
	asked, before := w.r.now(), w.r.kills.Load()
	err := w.client.connect()
	if err == nil {
		err = w.client.send(w.out)
	}
	for i, a := range w.batch {
		if err == nil {
			err = w.client.receive(&w.reply, false)
		}
		if err != nil {
			w.noReply(w.batch[i:], asked, incarnation, err)
			return
		}
		w.judge(a, asked, incarnation, before)
		if w.reply.closes {
			w.client.close()
			if rest := w.batch[i+1:]; len(rest) > 0 { // nothing was said of these
				w.r.left.Add(int64(len(rest)))
			}
			return
		}
	}
}

// noReply counts requests to which nothing came. When the node was ended
// meanwhile that is no wonder.
func (w *worker) noReply(asks []*ask, asked, incarnation int64, err error) {
	w.client.close()
	w.counts.operations += int64(len(asks))
	if w.node.incarnation.Load() != incarnation {
		w.counts.excused += int64(len(asks))
		return
	}
	for _, a := range asks {
		rec := w.record(a, asked, incarnation)
		rec.Detail = err.Error()
		w.violation(failed, rec, nil)
	}
}

// judge looks at the answer to one ask.
func (w *worker) judge(a *ask, asked, incarnation, kills int64) {
	r := &w.reply
	w.counts.operations++
	w.counts.bytes += int64(len(r.body))
	rec := w.record(a, asked, incarnation)
	rec.Status, rec.Cache, rec.Bytes = r.status, r.xCache, len(r.body)
	v, purge := w.verdict(a, rec, kills)
	rec.Verdict = v.String()
	w.r.history.clients[w.id].add(rec)
	switch {
	case v.isViolation():
		rec.Detail = fmt.Sprintf("%s; %v", r.cacheStatus, r.err)
		if v == failed || v == wrong {
			rec.Detail += fmt.Sprintf("; %.300q", r.body)
		}
		w.violation(v, rec, purge)
	default:
		w.counts.verdicts[v]++
	}
}

// verdict judges it, and fills in what the answer says of itself.
func (w *worker) verdict(a *ask, rec *record, kills int64) (verdict, *mark) {
	r := &w.reply
	out, plausible := outcomeOf(r)
	w.counts.outcomes[name(r)]++
	p := a.verify(r.body, r.whole, &w.scratch)
	rec.Version, rec.Made = p.version, p.made
	switch {
	case r.status >= 500 && a.bad:
		if p.verdict != good && !isOurs(r) {
			return max(p.verdict, failed), nil
		}
		w.counts.upstream++
		return good, nil
	case r.status != http.StatusOK:
		return failed, nil
	case p.verdict == cutVisibly:
		return w.excuse(a, rec, kills), nil
	case p.verdict != good:
		return p.verdict, nil
	case !r.whole:
		return w.excuse(a, rec, kills), nil // after the last byte
	case !plausible:
		return implausible, nil
	}
	return w.r.checker.judge(&answered{
		ask: a, node: w.node.index, incarnation: rec.Run, asked: rec.Begun, came: rec.Ended,
		outcome: out, version: p.version, made: p.made, newest: w.r.version.Load(),
	})
}

// noticeTime is more than it takes the others to notice that a proxy is gone: up
// to then they may have somebody join an answer that it fetches.
const noticeTime = 3 * time.Second

// gone notes that a proxy is about to be.
func (r *run) gone() {
	r.goneAt.Store(r.now())
	r.kills.Add(1)
}

// excuse says whether an answer may be cut where the client can see it: by the
// upstream, or because a proxy is gone, which may be the one that fetched it.
func (w *worker) excuse(a *ask, rec *record, kills int64) verdict {
	switch {
	case a.bad:
		return cutVisibly
	case w.node.incarnation.Load() != int64(rec.Run), w.r.kills.Load() != kills, kills > 0 && rec.Begun-w.r.goneAt.Load() < int64(noticeTime):
		w.counts.gone++
		return cutVisibly
	}
	return failed
}

// outcomeOf reads what the answer says was done, and whether its two fields say
// the same.
func outcomeOf(r *reply) (o outcome, plausible bool) {
	rest, ours := strings.CutPrefix(r.cacheStatus, "jaegis; ")
	says, _, _ := strings.Cut(rest, ";")
	switch r.xCache {
	case "HIT":
		return hit, ours && says == "hit"
	case "STALE":
		return stale, ours && (says == "hit" || says == "fwd=stale") // the upstream failed
	case "MISS":
		o = fetchedAlone
		if strings.Contains(rest, "; collapsed") {
			o = fetched
		}
		return o, ours && strings.HasPrefix(says, "fwd=")
	}
	return fetched, false
}

func name(r *reply) string {
	if r.xCache == "MISS" && strings.Contains(r.cacheStatus, "; collapsed") {
		return "JOINED"
	}
	return r.xCache
}

// isOurs says whether it is the proxy's own word that the upstream failed.
func isOurs(r *reply) bool {
	return (r.status == http.StatusBadGateway || r.status == http.StatusGatewayTimeout) && strings.Contains(string(r.body), `"type":"jaegis_upstream`)
}

func (w *worker) record(a *ask, asked, incarnation int64) *record {
	return &record{
		Kind: "request", Begun: asked, Ended: w.r.now(), Node: w.node.index, Run: int(incarnation), Client: w.id,
		Ask: a.id, Method: a.method, Target: a.target, Tenant: a.tenant,
	}
}

func (w *worker) violation(v verdict, rec *record, purge *mark) {
	w.counts.verdicts[v]++
	w.r.violation(v, rec, purge)
}

// put has the upstream change what a URI stands for. Whoever then asks the same
// node must see the change.
func (w *worker) put(a *ask, incarnation int64) {
	if a.wirePut == nil {
		w.r.left.Add(1)
		return
	}
	w.r.left.Add(int64(len(w.batch) - 1))
	asked := w.r.now()
	err := w.client.connect()
	if err == nil {
		err = w.client.send(a.wirePut)
	}
	if err == nil {
		err = w.client.receive(&w.reply, false)
	}
	if err != nil {
		w.noReply([]*ask{a}, asked, incarnation, err)
		return
	}
	w.counts.operations++
	rec := w.record(a, asked, incarnation)
	rec.Method, rec.Status, rec.Cache = "PUT", w.reply.status, w.reply.xCache
	version, err := strconv.ParseInt(w.reply.version, 10, 64)
	if w.reply.status != http.StatusNoContent || err != nil {
		rec.Detail = w.reply.cacheStatus
		w.violation(failed, rec, nil)
		return
	}
	rec.Version = version
	w.r.history.clients[w.id].add(rec)
	w.r.checker.purged(mark{scope: a.uri, node: w.node.index, incarnation: int(incarnation), version: version, acked: w.r.now(), local: true})
}

// leave asks and does not wait for the answer.
func (w *worker) leave() {
	w.r.left.Add(int64(len(w.batch) - 1))
	w.counts.operations++
	w.counts.left++
	if w.client.connect() == nil {
		_ = w.client.send(w.batch[0].wire) // whatever becomes of it
	}
	w.client.close()
}
