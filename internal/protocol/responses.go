package protocol

import "bytes"

// A responseEvent is what stands in an event of a Responses stream beside the
// larger objects. Its type may come last.
type responseEvent struct {
	kind      string
	output    int64  // output_index
	delta     []byte // a copy
	arguments []byte // a copy; nil when there are none
	code      string
	filled    bool // the delta is not empty
}

// responseEvent takes an event of a stream. It is read twice where its type
// says that there is more in it: at the end, and when an item is done.
func (o *outcome) responseEvent(d *doc, name, data []byte) {
	e := responseEvent{kind: string(name)}
	d.members(func(name []byte) {
		switch string(name) {
		case "type":
			e.kind = d.word()
		case "output_index":
			e.output, _ = d.count()
		case "delta":
			text := d.text()
			e.delta, e.filled = bytes.Clone(text), len(text) > 0
		case "arguments":
			e.arguments = append([]byte{}, d.text()...)
		case "code":
			e.code = d.word()
		case "error":
			o.failed(d)
		}
	})
	if !d.end() {
		return
	}
	switch e.kind {
	case "response.created", "response.in_progress", "response.queued":
		if o.model == "" {
			d.begin(data)
			d.members(func(name []byte) {
				if string(name) == "response" {
					o.responseModel(d)
				}
			})
		}
	case "response.output_text.delta", "response.output_audio.delta":
		o.content = o.content || e.filled
	case "response.refusal.delta":
		if e.filled {
			o.content = true
			o.finished("refusal")
		}
	case "response.function_call_arguments.delta":
		o.content = true
		o.argue(call{index: e.output}, e.delta)
	case "response.function_call_arguments.done":
		o.settle(e.output, e.arguments)
	case "response.output_item.done":
		d.begin(data)
		d.members(func(name []byte) {
			if string(name) == "item" {
				o.responseItem(d)
			}
		})
	case "response.completed", "response.incomplete", "response.failed":
		d.begin(data)
		o.responseEnd(d, e.kind)
	case "error":
		o.fail(e.code)
	}
}

// settle takes the arguments of a call as the server says that they are: they
// stand in the place of the pieces.
func (o *outcome) settle(output int64, text []byte) {
	o.content = true
	a := o.argue(call{index: output}, nil)
	o.size -= len(a.text)
	a.text = a.text[:0]
	o.argue(call{index: output}, text)
}

func (o *outcome) responseModel(d *doc) {
	d.members(func(name []byte) {
		if string(name) == "model" {
			o.named(d.word())
		}
	})
}

// responseEnd takes the last event of a stream. What the response says of
// itself must agree with it.
func (o *outcome) responseEnd(d *doc, kind string) {
	d.members(func(name []byte) {
		if string(name) == "response" {
			o.response(d)
		}
	})
	switch kind {
	case "response.completed":
		o.finished("completed")
	case "response.incomplete":
		if len(o.finish) == 0 {
			o.finished("incomplete")
		}
	case "response.failed":
		o.fail("")
	}
	o.closed = true
}

// response takes a response object, which is also the whole answer where there
// is no stream.
func (o *outcome) response(d *doc) {
	var status, reason string
	counted := false // it is a count of tokens, not a response
	d.members(func(name []byte) {
		switch string(name) {
		case "object":
			counted = d.word() == "response.input_tokens"
		case "model":
			o.named(d.word())
		case "status":
			status = d.word()
		case "error":
			o.failed(d)
		case "incomplete_details":
			d.members(func(name []byte) {
				if string(name) == "reason" {
					reason = d.word()
				}
			})
		case "usage":
			o.openAIUsage(d)
		case "output":
			d.elements(func(int64) { o.responseItem(d) })
		}
	})
	switch {
	case counted:
		o.plain, o.content = true, true
	case status == "failed":
		o.fail("")
	case reason != "":
		o.finished(reason)
	default:
		o.finished(status) // completed; incomplete; or cancelled, queued, in_progress
	}
}

// responseItem takes one item of a response's output. All but reasoning are
// an answer; a message only if it says something.
func (o *outcome) responseItem(d *doc) {
	var kind string
	said := false
	var arguments []byte
	d.members(func(name []byte) {
		switch string(name) {
		case "type":
			kind = d.word()
		case "arguments":
			arguments = append([]byte{}, d.text()...)
		case "content":
			d.elements(func(int64) { said = o.responsePart(d) || said })
		}
	})
	switch kind {
	case "", "reasoning", "compaction":
	case "message":
		o.content = o.content || said
	case "function_call":
		o.content = true
		o.badCall = o.badCall || !valid(arguments)
	default:
		o.content = true
	}
}

// responsePart takes a part of a message, and says whether there is something
// in it.
func (o *outcome) responsePart(d *doc) bool {
	var kind string
	said := false
	d.members(func(name []byte) {
		switch string(name) {
		case "type":
			kind = d.word()
		case "text", "refusal":
			said = d.filled() || said
		}
	})
	if kind == "refusal" && said {
		o.finished("refusal")
	}
	return said
}
