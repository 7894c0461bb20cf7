package protocol

// gemini takes an answer, or a chunk of a streamed one.
func (o *outcome) gemini(d *doc) {
	d.members(func(name []byte) {
		switch string(name) {
		case "error":
			o.failed(d)
		case "modelVersion":
			o.named(d.word())
		case "usageMetadata":
			o.geminiUsage(d)
		case "promptFeedback":
			d.members(func(name []byte) {
				if string(name) != "blockReason" {
					return
				}
				if reason := d.word(); reason != "" {
					o.blocked = true
					o.finished(reason)
				}
			})
		case "candidates":
			d.elements(func(i int64) { o.candidate(d, i) })
		case "embedding":
			o.plain = true
			o.geminiVector(d)
		case "embeddings":
			o.plain = true
			d.elements(func(int64) { o.geminiVector(d) })
		case "totalTokens": // of countTokens
			d.skip()
			o.plain, o.content = true, true
		}
	})
}

// candidate takes a candidate or a piece of one. Some models and gateways name
// a terminal reason in every piece, or in an empty first one; so a candidate
// has finished when none of its content came after the reason.
func (o *outcome) candidate(d *doc, position int64) {
	index, finish, parts := position, "", false
	d.members(func(name []byte) {
		switch string(name) {
		case "index":
			if n, ok := d.count(); ok {
				index = n
			}
		case "finishReason":
			finish = d.word()
		case "content":
			d.members(func(name []byte) {
				if string(name) == "parts" {
					d.elements(func(int64) {
						parts = true
						o.geminiPart(d)
					})
				}
			})
		}
	})
	if finish == "MALFORMED_FUNCTION_CALL" {
		o.badCall = true
	}
	o.turn(index, finish)
	if _, known := o.turns[index]; known && parts && finish == "" {
		o.turns[index] = false
	}
}

// geminiPart takes a part of a candidate's content. Thoughts are no answer,
// nor is a signature alone.
func (o *outcome) geminiPart(d *doc) {
	thought, said := false, false
	d.members(func(name []byte) {
		switch string(name) {
		case "thought":
			thought = d.isTrue()
		case "thoughtSignature", "partMetadata", "videoMetadata":
		case "functionCall":
			said = true
			d.members(func(name []byte) {
				if string(name) == "args" {
					o.argued(d)
				}
			})
		default: // text, inlineData, executableCode, and what is yet to come
			said = d.filled() || said
		}
	})
	o.content = o.content || said && !thought
}

func (o *outcome) geminiVector(d *doc) {
	filled := false
	d.members(func(name []byte) {
		if string(name) == "values" {
			filled = d.filled()
		}
	})
	o.vector(filled)
}

// geminiUsage takes the usage so far, which each chunk tells as a whole.
func (o *outcome) geminiUsage(d *doc) {
	var u Usage
	d.members(func(name []byte) {
		var to *int64
		switch string(name) {
		case "promptTokenCount", "toolUsePromptTokenCount":
			to = &u.Input // with cached ones
		case "candidatesTokenCount", "thoughtsTokenCount":
			to = &u.Output
		case "cachedContentTokenCount":
			to = &u.CachedInput
		default:
			return
		}
		if n, ok := d.count(); ok {
			*to += n
			u.Known = true
		}
	})
	if u.Known {
		o.usage = u
	}
}
