package protocol

import (
	"bytes"
	"slices"
	"strings"
)

// What an answer can make us remember is bounded.
const (
	maxEvent  = 16 << 20 // bytes of one event, and of the arguments of all tool calls
	maxBody   = 64 << 20 // bytes of an answer in one JSON text
	maxWord   = 256      // bytes of a model's name, a terminal reason, an error's type
	maxFinish = 16       // different terminal reasons
	maxParts  = 1024     // choices, and tool calls
	maxCount  = 1 << 53  // tokens, and indices: what JSON carries exactly
)

// An outcome gathers what the events of an answer say.
type outcome struct {
	failure string
	finish  []string
	model   string
	usage   Usage
	closed  bool // the end mark has come
	blocked bool // the prompt was refused: there will be no candidates
	plain   bool // an answer that names no terminal reason by its nature
	content bool
	hollow  bool // a vector without numbers
	badCall bool
	tooMany bool           // something came in greater numbers than we remember
	turns   map[int64]bool // by index of choice or candidate: it has finished
	calls   map[call]*arguments
	size    int             // bytes of arguments, all calls
	latest  map[int64]int64 // by index of choice: its latest tool call
	cost    anthropicCost   // what has come of it
}

// A call is where the pieces of a tool call's arguments belong.
type call struct {
	choice, index int64
	legacy        bool // the one function_call of a choice, before there were tool calls
}

type arguments struct {
	text []byte
	free bool // nothing at all is as good as an empty object
}

// turn notes a choice, and the terminal reason if one came with it.
func (o *outcome) turn(index int64, finish string) {
	if o.turns == nil {
		o.turns = map[int64]bool{}
	}
	if _, known := o.turns[index]; !known && len(o.turns) == maxParts {
		o.tooMany = true
		return
	}
	o.turns[index] = finish != "" || o.turns[index]
	o.finished(finish)
}

// finished notes a terminal reason.
func (o *outcome) finished(word string) {
	if word == "" || slices.Contains(o.finish, word) {
		return
	}
	if len(o.finish) == maxFinish {
		o.tooMany = true
		return
	}
	o.finish = append(o.finish, word)
}

// unfinished says whether a choice has begun and not finished.
func (o *outcome) unfinished() bool {
	for _, done := range o.turns {
		if !done {
			return true
		}
	}
	return false
}

// settled says whether either all choices have finished or none names an end
// at all; that one has an end and another has none is half an answer.
func (o *outcome) settled() bool { return len(o.finish) == 0 || !o.unfinished() }

// argue adds a piece to a tool call's arguments.
func (o *outcome) argue(c call, piece []byte) *arguments {
	if o.calls == nil {
		o.calls = map[call]*arguments{}
	}
	a := o.calls[c]
	if a == nil {
		a = &arguments{}
		if len(o.calls) == maxParts {
			o.tooMany = true
			return a
		}
		o.calls[c] = a
	}
	if o.size += len(piece); o.size > maxEvent {
		o.tooMany = true
		return a
	}
	a.text = append(a.text, piece...)
	return a
}

// argued takes arguments that came all at once: JSON, or a text of JSON.
func (o *outcome) argued(d *doc) {
	if d.kind() != '"' {
		d.skip() // checked with the text that it stands in
		return
	}
	if !valid(d.text()) {
		o.badCall = true
	}
}

func (o *outcome) badArguments() bool {
	if o.badCall {
		return true
	}
	for _, a := range o.calls {
		if a.free && len(bytes.TrimSpace(a.text)) == 0 {
			continue
		}
		if !valid(a.text) {
			return true
		}
	}
	return false
}

// named notes the model; the first that is named counts.
func (o *outcome) named(model string) {
	if o.model == "" {
		o.model = model
	}
}

// vector notes a vector, and whether there is anything in it.
func (o *outcome) vector(filled bool) {
	if filled {
		o.content = true
	} else {
		o.hollow = true
	}
}

// failed takes an error, in whatever way it is given: an object, a text, or
// null when there is none.
func (o *outcome) failed(d *doc) {
	switch d.kind() {
	case 'n', 'f':
		d.skip()
		return
	case '"':
		if d.filled() {
			o.fail("")
		}
		return
	case '{':
	default:
		d.skip()
		o.fail("")
		return
	}
	var kind, status, code string
	d.members(func(name []byte) {
		switch string(name) {
		case "type":
			kind = d.word()
		case "status":
			status = d.word()
		case "code":
			if d.kind() == '0' {
				code = string(d.raw())
			} else {
				code = d.word()
			}
		}
	})
	for _, word := range []string{kind, status, code} {
		if word != "" {
			o.fail(word)
			return
		}
	}
	o.fail("")
}

// fail notes an error; the first counts. The word becomes a token.
func (o *outcome) fail(word string) {
	if o.failure != "" {
		return
	}
	const longest = 64
	o.failure = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-', r == '.':
			return r
		}
		return '_'
	}, word)
	if len(o.failure) > longest {
		o.failure = o.failure[:longest]
	}
	if o.failure == "" {
		o.failure = "error"
	}
}

// answer says what has come; Whole is for the Reader to say.
func (o *outcome) answer(kind Kind) Answer {
	return Answer{
		Error: o.failure, HasFinish: kind.HasFinish() && !o.plain,
		Finish: slices.Clone(o.finish), BadToolArguments: o.badArguments(),
		Empty: !o.content || o.hollow, Model: o.model, Usage: o.usage,
	}
}
