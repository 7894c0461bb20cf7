package protocol

import "bytes"

// A Reader reads an answer as it comes and says how it ended. What it keeps is
// bounded: one event, one answer in a single JSON text, the arguments of tool
// calls. What is larger counts as not whole. It is not safe for concurrent use.
//
// It looks at the answer's identity: content codings must be undone before.
//
//	kind            stream                end mark
//	openai-chat     server-sent events    [DONE]
//	openai-responses  "                   response.completed, .incomplete, .failed
//	anthropic-messages  "                 message_stop
//	gemini            "                   none: a finishReason for each candidate, and the body's end
//	ollama          lines                 done: true
//
// An error ends a stream too, but more may follow it.
type Reader struct {
	kind    Kind
	form    form
	out     outcome
	doc     doc
	events  events
	lines   lines
	body    []byte // formBody: what has come
	judged  int    // formBody: the length of body that verdict is about; -1 for none
	verdict Answer
	bad     bool // an event could not be read
	full    bool // an event or the body is too large: no more is read
	late    bool // something came after the end
	again   bool // [DONE] came after another end mark, which is allowed once
}

// NewReader makes a Reader for an answer with the given Content-Type.
func NewReader(kind Kind, contentType string) *Reader {
	if !kind.HasFinish() && kind != OpenAIEmbeddings && kind != OpenAIModerations {
		kind = None
	}
	return &Reader{kind: kind, form: formOf(contentType), judged: -1}
}

// Write takes the next piece of the answer, of any size. It keeps nothing of p.
func (r *Reader) Write(p []byte) {
	if r.kind == None || r.full {
		return
	}
	switch r.form {
	case formEvents:
		r.events.write(p, r.event)
		if r.events.held() > maxEvent {
			r.full, r.events = true, events{}
		}
	case formLines:
		r.lines.write(p, func(line []byte) { r.event(nil, line) })
		if len(r.lines.line) > maxEvent {
			r.full, r.lines = true, lines{}
		}
	default:
		if len(r.body)+len(p) > maxBody {
			r.full, r.body = true, nil
			return
		}
		r.body = append(r.body, p...)
	}
}

// event takes one event. Past the end only [DONE] may come, where it is not
// the end mark itself: some gateways put it after every stream.
func (r *Reader) event(name, data []byte) {
	isDone := string(bytes.TrimSpace(data)) == "[DONE]"
	if r.out.closed {
		if isDone && r.kind != OpenAIChat && !r.again {
			r.again = true
		} else {
			r.late = true
		}
		return
	}
	if data == nil {
		return // no data, no event
	}
	if isDone {
		r.out.closed = r.kind == OpenAIChat || r.kind == Gemini
		r.bad = r.bad || !r.out.closed
		return
	}
	r.doc.begin(data)
	r.take(name, data)
	if !r.doc.end() || r.out.tooMany {
		r.bad, r.out.closed = true, false
	}
	if string(name) == "error" {
		r.out.fail("")
	}
}

// take reads one JSON text of a stream.
func (r *Reader) take(name, data []byte) {
	switch r.kind {
	case OpenAIChat:
		r.out.completion(&r.doc)
	case OpenAIResponses:
		r.out.responseEvent(&r.doc, name, data)
	case OpenAIEmbeddings:
		r.out.embeddings(&r.doc)
	case OpenAIModerations:
		r.out.moderations(&r.doc)
	case AnthropicMessages:
		r.out.anthropic(&r.doc, name)
	case Gemini:
		r.out.gemini(&r.doc)
	case Ollama:
		r.out.ollama(&r.doc)
	}
}

// Ended says that a stream's own end mark has come: all is there, although the
// connection may be open still. It never is for Gemini's streams, in which
// more may follow whatever looks like an end, nor for answers in one JSON text,
// which end as their transfer does.
func (r *Reader) Ended() bool {
	return r.form != formBody && r.kind != Gemini && r.out.closed
}

// Answer says what has come. It may be asked at any time, and is final after
// the body's end. An answer in one JSON text is read through at each call that
// comes after more of it.
func (r *Reader) Answer() Answer {
	switch {
	case r.kind == None:
		return Answer{Whole: true}
	case r.form == formBody:
		if r.judged != len(r.body) {
			r.judged, r.verdict = len(r.body), r.judge()
		}
		a := r.verdict
		a.Finish = append([]string(nil), a.Finish...)
		return a
	}
	a := r.out.answer(r.kind)
	a.Whole = r.ended() && !r.bad && !r.full && !r.late && !r.events.pending() && !r.lines.pending() && r.out.settled()
	return a
}

// ended says whether the stream may end here.
func (r *Reader) ended() bool {
	o := &r.out
	if r.kind == Gemini && (len(o.turns) > 0 || o.blocked) {
		return !o.unfinished()
	}
	return o.closed && r.kind != Gemini || o.failure != ""
}

// judge reads an answer in one JSON text.
func (r *Reader) judge() Answer {
	var o outcome
	d, done := &r.doc, true
	d.begin(r.body)
	first := d.kind()
	switch {
	case first != '{' && (first != '[' || r.kind != Gemini):
		return Answer{HasFinish: r.kind.HasFinish(), Empty: true}
	case r.kind == OpenAIChat:
		o.completion(d)
	case r.kind == OpenAIResponses:
		o.response(d)
	case r.kind == OpenAIEmbeddings:
		o.embeddings(d)
	case r.kind == OpenAIModerations:
		o.moderations(d)
	case r.kind == AnthropicMessages:
		o.anthropic(d, nil)
	case r.kind == Gemini && first == '[':
		d.elements(func(int64) { o.gemini(d) })
	case r.kind == Gemini:
		o.gemini(d)
	case r.kind == Ollama:
		o.ollama(d)
		done = o.closed || o.failure != ""
	}
	a := o.answer(r.kind)
	a.Whole = done && d.end() && !r.full && !o.tooMany && o.settled()
	return a
}
