package protocol

// anthropicCost is usage as Anthropic tells it: cached tokens beside the
// others, and in parts, of which a later one has the totals so far.
type anthropicCost struct {
	input, written, read, output int64
	known                        bool
}

// anthropicEvent is what an event says beside its larger objects.
type anthropicEvent struct {
	kind  string
	index int64
	piece []byte // of the JSON of a tool's input, a copy
}

// anthropic takes an event of a stream, or a whole message: what they say has
// the same names.
func (o *outcome) anthropic(d *doc, name []byte) {
	e := anthropicEvent{kind: string(name)}
	o.anthropicMembers(d, &e)
	switch e.kind {
	case "message_stop":
		o.closed = true
	case "error":
		o.fail("")
	}
	if e.piece != nil {
		o.argue(call{index: e.index}, e.piece).free = true
	}
}

func (o *outcome) anthropicMembers(d *doc, e *anthropicEvent) {
	d.members(func(name []byte) {
		switch string(name) {
		case "type":
			e.kind = d.word()
		case "index":
			e.index, _ = d.count()
		case "error":
			o.failed(d)
		case "message": // of message_start; in an error it would be a text
			o.anthropicMembers(d, &anthropicEvent{})
		case "delta":
			o.anthropicDelta(d, e)
		case "content_block":
			o.anthropicBlock(d)
		case "content":
			d.elements(func(int64) { o.anthropicBlock(d) })
		case "stop_reason":
			o.finished(d.word())
		case "model":
			o.named(d.word())
		case "usage":
			o.anthropicUsage(d)
		case "input_tokens": // the answer of count_tokens
			d.skip()
			o.plain, o.content = true, true
		}
	})
}

func (o *outcome) anthropicDelta(d *doc, e *anthropicEvent) {
	d.members(func(name []byte) {
		switch string(name) {
		case "text":
			o.content = d.filled() || o.content
		case "partial_json":
			e.piece = append([]byte{}, d.text()...)
		case "stop_reason":
			o.finished(d.word())
		}
	})
}

// anthropicBlock takes a block of content, or the beginning of one. All but
// thinking are an answer; a text only if it says something.
func (o *outcome) anthropicBlock(d *doc) {
	var kind string
	said := false
	d.members(func(name []byte) {
		switch string(name) {
		case "type":
			kind = d.word()
		case "text":
			said = d.filled()
		case "input":
			o.argued(d)
		}
	})
	switch kind {
	case "", "thinking", "redacted_thinking":
	case "text":
		o.content = o.content || said
	default:
		o.content = true
	}
}

func (o *outcome) anthropicUsage(d *doc) {
	c := &o.cost
	d.members(func(name []byte) {
		var to *int64
		switch string(name) {
		case "input_tokens":
			to = &c.input
		case "cache_creation_input_tokens":
			to = &c.written
		case "cache_read_input_tokens":
			to = &c.read
		case "output_tokens":
			to = &c.output
		default:
			return
		}
		if n, ok := d.count(); ok {
			*to, c.known = n, true
		}
	})
	o.usage = Usage{Known: c.known, Input: c.input + c.written + c.read, Output: c.output, CachedInput: c.read}
}
