package protocol

import "bytes"

// completion takes a chat completion, an older text completion, or a chunk of
// either. Members come in any order: some servers sort them by name, and what
// a choice says comes before its index.
func (o *outcome) completion(d *doc) {
	d.members(func(name []byte) {
		switch string(name) {
		case "object":
			if d.word() == "error" { // how some servers say it
				o.fail("")
			}
		case "error":
			o.failed(d)
		case "model":
			o.named(d.word())
		case "usage":
			o.openAIUsage(d)
		case "choices":
			d.elements(func(i int64) { o.choice(d, i) })
		}
	})
}

// A toolDelta is what one tool_calls element brings.
type toolDelta struct {
	index     int64
	numbered  bool // it has an index
	named     bool // it has an id: where there is no index, this begins a call
	function  bool
	arguments []byte
}

func (o *outcome) choice(d *doc, position int64) {
	index, finish := position, ""
	var tools []toolDelta
	var legacy *toolDelta
	d.members(func(name []byte) {
		switch string(name) {
		case "index":
			if n, ok := d.count(); ok {
				index = n
			}
		case "finish_reason":
			finish = d.word()
		case "error": // how a gateway says that one choice broke off
			o.failed(d)
		case "text":
			o.content = d.filled() || o.content
		case "message", "delta":
			tools, legacy = o.message(d, string(name) == "message")
		}
	})
	o.turn(index, finish)
	for i := range tools {
		o.toolCall(index, &tools[i])
	}
	if legacy != nil {
		o.argue(call{choice: index, legacy: true}, legacy.arguments)
	}
}

// message takes a message or a delta of one, and gives the tool calls in it.
func (o *outcome) message(d *doc, whole bool) (tools []toolDelta, legacy *toolDelta) {
	d.members(func(name []byte) {
		switch string(name) {
		case "content", "audio", "images":
			o.content = d.filled() || o.content
		case "refusal":
			if d.filled() { // comes with finish_reason "stop"
				o.content = true
				o.finished("refusal")
			}
		case "tool_calls":
			d.elements(func(i int64) {
				t := o.toolDelta(d)
				if whole {
					t.index, t.numbered = i, true
				}
				tools = append(tools, t)
			})
		case "function_call":
			if d.kind() == '{' {
				o.content = true
				legacy = &toolDelta{arguments: o.functionArguments(d)}
			}
		}
	})
	return tools, legacy
}

func (o *outcome) toolDelta(d *doc) toolDelta {
	var t toolDelta
	o.content = true
	d.members(func(name []byte) {
		switch string(name) {
		case "index":
			t.index, t.numbered = d.count()
		case "id":
			t.named = d.filled()
		case "function":
			t.function = true
			t.arguments = o.functionArguments(d)
		}
	})
	return t
}

// functionArguments gives a copy of the arguments' text.
func (o *outcome) functionArguments(d *doc) []byte {
	var text []byte
	d.members(func(name []byte) {
		if string(name) != "arguments" {
			return
		}
		if d.kind() == '"' {
			text = bytes.Clone(d.text())
		} else if d.kind() == '{' {
			text = bytes.Clone(d.raw()) // how some servers give them
		}
	})
	return text
}

// toolCall adds a piece to the call that it belongs to. Some servers leave the
// index out: then a piece with an id begins a call, and one without goes on.
func (o *outcome) toolCall(choice int64, t *toolDelta) {
	if !t.function {
		return // custom tools take any text
	}
	if o.latest == nil {
		o.latest = map[int64]int64{}
	}
	latest, begun := o.latest[choice]
	switch {
	case t.numbered:
	case t.named && begun:
		t.index = latest + 1
	default:
		t.index = latest
	}
	if begun || len(o.latest) < maxParts {
		o.latest[choice] = t.index
	}
	o.argue(call{choice: choice, index: t.index}, t.arguments)
}

// openAIUsage takes the usage of completions, responses and embeddings, which
// is told as a whole; null until it is known. Some tell the total alone, which
// then counts as input.
func (o *outcome) openAIUsage(d *doc) {
	var u Usage
	var total int64
	hasInput, hasOutput := false, false
	take := func(to *int64) {
		if n, ok := d.count(); ok {
			*to, u.Known = n, true
		}
	}
	d.members(func(name []byte) {
		switch string(name) {
		case "prompt_tokens", "input_tokens":
			take(&u.Input)
			hasInput = true
		case "completion_tokens", "output_tokens":
			take(&u.Output)
			hasOutput = true
		case "total_tokens":
			take(&total)
		case "prompt_cache_hit_tokens":
			take(&u.CachedInput)
		case "prompt_tokens_details", "input_tokens_details":
			d.members(func(name []byte) {
				if string(name) == "cached_tokens" {
					take(&u.CachedInput)
				}
			})
		}
	})
	switch {
	case !hasInput:
		u.Input = max(u.Input, total-u.Output)
	case !hasOutput:
		u.Output = max(0, total-u.Input)
	}
	if u.Known {
		o.usage = u
	}
}

// moderations takes the verdicts on texts.
func (o *outcome) moderations(d *doc) {
	d.members(func(name []byte) {
		switch string(name) {
		case "error":
			o.failed(d)
		case "model":
			o.named(d.word())
		case "results":
			d.elements(func(int64) { o.vector(d.filled()) })
		}
	})
}

// embeddings takes the answer to an embeddings request.
func (o *outcome) embeddings(d *doc) {
	d.members(func(name []byte) {
		switch string(name) {
		case "object":
			if d.word() == "error" {
				o.fail("")
			}
		case "error":
			o.failed(d)
		case "model":
			o.named(d.word())
		case "usage":
			o.openAIUsage(d)
		case "data":
			d.elements(func(int64) {
				filled := false
				d.members(func(name []byte) {
					if string(name) == "embedding" {
						filled = d.filled()
					}
				})
				o.vector(filled)
			})
		}
	})
}
