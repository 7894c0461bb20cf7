package protocol

// ollama takes a line of a stream, or a whole answer.
func (o *outcome) ollama(d *doc) {
	var u Usage
	count := func(to *int64) {
		if n, ok := d.count(); ok {
			*to, u.Known = n, true
		}
	}
	d.members(func(name []byte) {
		switch string(name) {
		case "error":
			o.failed(d)
		case "model":
			o.named(d.word())
		case "done":
			o.closed = d.isTrue()
		case "done_reason":
			o.finished(d.word())
		case "response", "image":
			o.content = d.filled() || o.content
		case "message":
			o.ollamaMessage(d)
		case "tool_calls": // of /api/generate
			d.elements(func(int64) { o.ollamaCall(d) })
		case "prompt_eval_count":
			count(&u.Input)
		case "eval_count":
			count(&u.Output)
		case "embedding":
			o.plain, o.closed = true, true
			o.vector(d.filled())
		case "embeddings":
			o.plain, o.closed = true, true
			d.elements(func(int64) { o.vector(d.filled()) })
		}
	})
	if u.Known {
		o.usage = u
	}
}

func (o *outcome) ollamaMessage(d *doc) {
	d.members(func(name []byte) {
		switch string(name) {
		case "content", "images":
			o.content = d.filled() || o.content
		case "tool_calls":
			d.elements(func(int64) { o.ollamaCall(d) })
		}
	})
}

func (o *outcome) ollamaCall(d *doc) {
	o.content = true
	d.members(func(name []byte) {
		if string(name) != "function" {
			return
		}
		d.members(func(name []byte) {
			if string(name) == "arguments" {
				o.argued(d)
			}
		})
	})
}
