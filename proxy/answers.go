package proxy

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"jaegis-proxy/internal/protocol"
	"jaegis-proxy/policy"
	"jaegis-proxy/store"
)

// answer is what the leader knows of an answer whose protocol it reads.
type answer struct {
	reader  *protocol.Reader
	stream  bool
	chunks  []chunk // in which a stream came, where it is to be replayed at that pace
	began   time.Time
	refused policy.Reason // why the answer itself is not stored
}

// heldBack bounds the answers whose verdict is waited for before their head is
// given on. They come in one piece when a model is done: nobody waits longer
// for their end than for their beginning.
const heldBack = 4 << 20

// readAnswer has the answer read as what the route's protocol says that it is.
func (l *leader) readAnswer(resp *Response, head *answerHead) {
	if l.route.readsAnswers() && head.decision.Store && resp.Status/100 != 2 {
		head.decision.Store, head.decision.Reason = false, policy.ReasonStatus
		l.p.metrics.notStored(l.route, policy.ReasonStatus)
	}
	if !l.route.readsAnswers() || resp.Status/100 != 2 || l.about.Method == "HEAD" {
		return
	}
	contentType := resp.Header.Get("Content-Type")
	l.ai = &answer{
		reader: protocol.NewReader(l.route.Protocol, contentType),
		stream: isStream(contentType) || protocol.ReadRequest(l.route.Protocol, l.req.Path, l.req.Body.bytes).Stream, began: l.p.now(),
	}
	if resp.Header.Get("Content-Encoding") != "" && head.decision.Store { // asked for without: what cannot be read cannot be judged
		head.decision.Store, head.decision.Reason = false, reasonCoded
	}
	head.undecided = head.decision.Store
}

const (
	reasonCoded policy.Reason = "coded" // the upstream coded an answer that must be read
)

// readsAnswers says whether the route's answers are read as they come.
func (r *Route) readsAnswers() bool { return r.Protocol != "" && r.Protocol != protocol.None }

// note takes down a piece of the answer.
func (l *leader) note(p []byte) {
	if l.look != nil {
		l.look.write(p)
	}
	a := l.ai
	if a == nil || len(p) == 0 {
		return
	}
	a.reader.Write(p)
	if a.stream && l.route.Pace.Original {
		a.chunks = append(a.chunks, chunk{end: l.size, at: l.p.now().Sub(a.began)})
	}
	if a.stream && a.reader.Ended() {
		l.f.Keep() // clients may leave now: all is there that they waited for
	}
}

// takeIn reads an answer that is no stream to its end before anybody gets its
// head, so that the verdict on the answer itself is in that head. An answer
// above the bound is given on as it comes.
func (l *leader) takeIn(resp *Response, head *answerHead) error {
	bound := l.holdBack(head)
	if bound == 0 {
		return nil
	}
	buf := getBuffer(32 << 10)
	defer putBuffer(buf)
	for len(l.prefix) <= bound {
		n, err := resp.Body.Read(*buf)
		l.prefix = append(l.prefix, (*buf)[:n]...)
		l.note((*buf)[:n])
		if err == io.EOF {
			l.whole = true
			l.decide(head)
			return nil
		}
		if err != nil {
			return err
		}
		if l.refusedEarly(head) {
			return nil
		}
		if len(bytes.TrimSpace(l.prefix)) == 0 { // sent to keep the connection alive: the client is to see that too
			return nil
		}
	}
	return nil
}

// decide gives the verdict on the answer itself, once all of it is there.
func (l *leader) decide(head *answerHead) {
	if l.look != nil {
		l.conclude(head)
		return
	}
	if !head.undecided {
		return
	}
	head.undecided = false
	reason := l.gate()
	if reason == "" {
		l.p.refused.Invalidate(l.joinKey)
		return
	}
	head.decision.Store, head.decision.Reason = false, reason
	l.ai.refused = reason
	l.p.refused.Set(l.joinKey, reason)
	l.p.metrics.notStored(l.route, reason)
}

// isErrorAlone says whether the answer is an error, and nothing that speaks of
// what was asked.
func (l *leader) isErrorAlone() bool {
	if l.ai == nil {
		return false
	}
	a := l.ai.reader.Answer()
	return a.Error != "" && a.Empty
}

// gate says why the answer must not be stored; empty when it may.
func (l *leader) gate() policy.Reason {
	if l.route.Protocol == protocol.OpenAIEmbeddings && l.whole && !l.answersBatch() {
		return reasonItems
	}
	a := l.ai.reader.Answer()
	return l.route.Gates.Judge(&policy.Answer{
		Whole: a.Whole, Error: a.Error, Finish: a.Finish, HasFinish: a.HasFinish,
		BadToolArguments: a.BadToolArguments, Empty: a.Empty,
	})
}

// answersBatch says whether an answer has a vector for each input that was
// asked for, as far as those can be told.
func (l *leader) answersBatch() bool {
	split, ok := protocol.SplitBatch(l.route.Protocol, l.req.Body.bytes)
	if !ok {
		return true
	}
	all := make([]int, split.Len())
	for i := range all {
		all[i] = i
	}
	_, err := split.Take(all, l.prefix)
	return err == nil
}

// withoutCookies takes the cookies off an answer that is read: they are of
// whoever guards the API, no SDK wants them, and nobody may be given another's.
// What it gives is for the one client of shadow mode, who gets what there would
// be without us.
func (l *leader) withoutCookies(resp *Response) (back []store.Field) {
	if l.why == fetchPass || !l.route.readsAnswers() {
		return nil
	}
	if l.route.Shadow {
		for _, v := range resp.Header["Set-Cookie"] {
			back = append(back, store.Field{Name: "Set-Cookie", Value: v})
		}
	}
	resp.Header.Del("Set-Cookie")
	return back
}

// ofThatRequest says whether a field of an AI answer speaks of the request that
// fetched it, and not of the answer: it is not stored.
func ofThatRequest(name string) bool {
	switch name {
	case "Set-Cookie", "Retry-After", "Openai-Organization", "Openai-Project", "Anthropic-Organization-Id":
		return true
	}
	return strings.HasPrefix(name, "X-Ratelimit-") || strings.HasPrefix(name, "Anthropic-Ratelimit-")
}

// ofNobody drops those fields.
func ofNobody(fields []store.Field) []store.Field {
	return slices.DeleteFunc(slices.Clone(fields), func(f store.Field) bool { return ofThatRequest(f.Name) })
}

// usage is what the answer took.
func (l *leader) usage() store.Usage {
	if l.ai == nil {
		return store.Usage{}
	}
	a := l.ai.reader.Answer()
	return store.Usage{Model: a.Model, In: a.Usage.Input, Out: a.Usage.Output, Cached: a.Usage.CachedInput}
}

// joiners counts who joined a fetch, by tenant, until it is known what that saves
// each of them.
type joiners struct {
	mu    sync.Mutex
	by    map[string]int
	ended bool
	saves func(tenant string) // once it has ended; nil: nothing
}

func (j *joiners) add(tenant string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.ended {
		if j.saves != nil {
			j.saves(tenant)
		}
		return
	}
	if j.by == nil {
		j.by = map[string]int{}
	}
	j.by[tenant]++
}

// leave takes one back, if there is any.
func (j *joiners) leave(tenant string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.by[tenant] > 0 {
		j.by[tenant]--
	}
}

// end has it counted what those save who have joined, and who got the head in
// time and are only now about to say so; nothing with nil.
func (j *joiners) end(saves func(tenant string)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for tenant, n := range j.by {
		for range n {
			if saves != nil {
				saves(tenant)
			}
		}
	}
	j.by, j.ended, j.saves = nil, true, saves
}

// account counts what the answer cost and, unless it was a failure, what it
// saved those who joined.
func (l *leader) account(failed bool) {
	l.took = l.p.now().Sub(l.started)
	took, u := l.took, l.usage()
	if l.why != fetchPass || u != (store.Usage{}) {
		l.p.savings.spent(l.route.Name, l.tenant, u, took)
	}
	saves := func(tenant string) { l.p.savings.saved(l.route.Name, tenant, u, took) }
	if l.ai != nil && l.ai.refused == policy.ReasonAnswerError || failed {
		saves = nil // there was nothing to save
	}
	l.joined.end(saves)
	l.tellSpan()
}

// tellSpan puts what the answer says of itself on its span. What it does not
// say is left out.
func (l *leader) tellSpan() {
	if l.aiSpan == nil || l.ai == nil {
		return
	}
	a := l.ai.reader.Answer()
	if a.Model != "" {
		l.aiSpan.SetAttributes(attribute.String("gen_ai.response.model", a.Model))
	}
	if len(a.Finish) > 0 {
		l.aiSpan.SetAttributes(attribute.StringSlice("gen_ai.response.finish_reasons", a.Finish))
	}
	if a.Usage.Known {
		l.aiSpan.SetAttributes(
			attribute.Int64("gen_ai.usage.input_tokens", a.Usage.Input),
			attribute.Int64("gen_ai.usage.output_tokens", a.Usage.Output),
		)
	}
}

// failed says whether a stale answer is better than this one: what RFC 5861
// names and, where the TTL is the route's, also that the upstream is overrun.
func (c *call) failed(head *answerHead) bool {
	return head.errorStatus() || c.route.Rule.Freshness == policy.FreshnessRoute && (head.status == 429 || head.status == 529)
}
