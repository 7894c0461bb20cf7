package policy

import "slices"

// Answer is what the gates need to know of an AI answer that has come to its
// end: plain values that whoever read it fills in.
type Answer struct {
	Whole            bool     // seen to the protocol's own end
	Error            string   // a token, when the answer is or holds an error in spite of its status
	Finish           []string // terminal reasons in the provider's words
	HasFinish        bool     // answers of its kind name a terminal reason
	BadToolArguments bool     // the arguments of a tool call are no valid JSON
	Empty            bool     // no text, no tool call, no vector
}

// Gates say which AI answers may be stored. The zero value is the strictest:
// of the answers that name a terminal reason it lets none through.
type Gates struct {
	Finish                []string // the terminal reasons under which an answer is stored, in the provider's words
	AllowEmpty            bool
	AllowBadToolArguments bool
}

// The reasons why a gate keeps an answer from being stored.
const (
	ReasonAnswerError         Reason = "answer-error"
	ReasonIncomplete          Reason = "incomplete"
	ReasonFinishLength        Reason = "finish-length"
	ReasonFinishContentFilter Reason = "finish-content-filter"
	ReasonFinishRefusal       Reason = "finish-refusal"
	ReasonFinishOther         Reason = "finish-other"
	ReasonNoFinish            Reason = "no-finish" // it names no terminal reason, and should
	ReasonToolArguments       Reason = "tool-arguments"
	ReasonEmpty               Reason = "empty"
)

// Judge gives the first reason why an answer may not be stored, or none. An
// error comes before all else: what follows from it says less. Every terminal
// reason of the answer must be allowed.
func (g *Gates) Judge(a *Answer) Reason {
	switch {
	case a.Error != "":
		return ReasonAnswerError
	case !a.Whole:
		return ReasonIncomplete
	}
	for _, word := range a.Finish {
		if !slices.Contains(g.Finish, word) {
			return finishReason(word)
		}
	}
	switch {
	case a.HasFinish && len(a.Finish) == 0:
		return ReasonNoFinish
	case a.BadToolArguments && !g.AllowBadToolArguments:
		return ReasonToolArguments
	case a.Empty && !g.AllowEmpty:
		return ReasonEmpty
	}
	return ""
}

// finishReason maps the providers' words for how an answer ended onto few: the
// result is a metric's label.
func finishReason(word string) Reason {
	switch word {
	case "length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded", "MAX_TOKENS":
		return ReasonFinishLength
	case "content_filter", "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII",
		"IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "MODEL_ARMOR", "JAILBREAK":
		return ReasonFinishContentFilter
	case "refusal":
		return ReasonFinishRefusal
	}
	return ReasonFinishOther
}

// When says which requests may be answered from the cache by how much chance
// they ask for. The zero value takes all.
type When struct {
	HasTemperatureMax bool
	TemperatureMax    float64
	Seed              bool // only requests that name a seed
}

// Holds says whether a request is among them. One that names no temperature is
// not known to ask for little: the providers' default is 1.
func (w *When) Holds(hasTemperature bool, temperature float64, hasSeed bool) bool {
	if w.HasTemperatureMax && !(hasTemperature && temperature <= w.TemperatureMax) {
		return false
	}
	return hasSeed || !w.Seed
}
