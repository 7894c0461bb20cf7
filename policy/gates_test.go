package policy

import (
	"math"
	"slices"
	"testing"
)

func TestGatesJudge(t *testing.T) {
	strict := Gates{Finish: []string{"stop", "tool_calls", "STOP"}}
	good := Answer{Whole: true, HasFinish: true, Finish: []string{"stop"}}
	f := func(rule string, g Gates, change func(a *Answer), want Reason) {
		t.Helper()
		a := good
		change(&a)
		if got := g.Judge(&a); got != want {
			t.Errorf("%s: got %q, want %q", rule, got, want)
		}
	}
	finish := func(words ...string) func(*Answer) { return func(a *Answer) { a.Finish = words } }

	f("a clean answer is stored", strict, func(*Answer) {}, "")
	f("several clean ends are", strict, finish("stop", "tool_calls"), "")
	f("a cut one is not", strict, func(a *Answer) { a.Whole = false }, ReasonIncomplete)
	f("an error comes first", strict, func(a *Answer) { *a = Answer{Error: "overloaded_error", Empty: true} }, ReasonAnswerError)
	f("an error counts in a whole answer too", strict, func(a *Answer) { a.Error = "server_error" }, ReasonAnswerError)
	f("one unclean end among clean ones counts", strict, finish("stop", "length"), ReasonFinishLength)
	f("no end where one should be", strict, finish(), ReasonNoFinish)
	f("no end where none should be", strict, func(a *Answer) { a.Finish, a.HasFinish = nil, false }, "")
	f("an end counts wherever it is", strict, func(a *Answer) { a.Finish, a.HasFinish = []string{"SAFETY"}, false }, ReasonFinishContentFilter)
	f("words are compared as they are", strict, finish("Stop"), ReasonFinishOther)
	f("bad arguments", strict, func(a *Answer) { a.BadToolArguments = true }, ReasonToolArguments)
	f("bad arguments of a cut call are told by the cut", strict,
		func(a *Answer) { a.Finish, a.BadToolArguments = []string{"length"}, true }, ReasonFinishLength)
	f("bad arguments by choice", Gates{Finish: strict.Finish, AllowBadToolArguments: true}, func(a *Answer) { a.BadToolArguments = true }, "")
	f("nothing in it", strict, func(a *Answer) { a.Empty = true }, ReasonEmpty)
	f("nothing in it, by choice", Gates{Finish: strict.Finish, AllowEmpty: true}, func(a *Answer) { a.Empty = true }, "")
	f("what a route allows is allowed", Gates{Finish: []string{"length", "stop"}}, finish("length"), "")
	f("the zero gates let no end through", Gates{}, func(*Answer) {}, ReasonFinishOther)
	f("the zero gates let vectors through", Gates{}, func(a *Answer) { a.Finish, a.HasFinish = nil, false }, "")
}

// A reason is a metric's label: whatever a provider says, there are few.
func TestFinishReasonsAreFew(t *testing.T) {
	for want, words := range map[Reason][]string{
		ReasonFinishLength:        {"length", "max_tokens", "MAX_TOKENS", "max_output_tokens", "model_context_window_exceeded", "model_length"},
		ReasonFinishContentFilter: {"content_filter", "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY"},
		ReasonFinishRefusal:       {"refusal"},
		ReasonFinishOther:         {"pause_turn", "load", "unload", "OTHER", "LANGUAGE", "MALFORMED_FUNCTION_CALL", "in_progress", "cancelled", "?"},
	} {
		for _, word := range words {
			if got := (&Gates{}).Judge(&Answer{Whole: true, HasFinish: true, Finish: []string{word}}); got != want {
				t.Errorf("%s: got %s, want %s", word, got, want)
			}
		}
	}
}

func FuzzGatesJudge(f *testing.F) {
	f.Add("stop", "length", true)
	f.Fuzz(func(t *testing.T, first, second string, whole bool) {
		known := []Reason{"", ReasonIncomplete, ReasonFinishLength, ReasonFinishContentFilter, ReasonFinishRefusal, ReasonFinishOther}
		g := Gates{Finish: []string{"stop"}}
		got := g.Judge(&Answer{Whole: whole, HasFinish: true, Finish: []string{first, second}})
		if !slices.Contains(known, got) {
			t.Errorf("reason %q is not one of the few", got)
		}
		if (got == "") != (whole && first == "stop" && second == "stop") {
			t.Errorf("%q, %q, whole %v: %q", first, second, whole, got)
		}
	})
}

func TestWhenHolds(t *testing.T) {
	f := func(rule string, w When, hasTemperature bool, temperature float64, seed, want bool) {
		t.Helper()
		if got := w.Holds(hasTemperature, temperature, seed); got != want {
			t.Errorf("%s: got %v", rule, got)
		}
	}
	zero := When{HasTemperatureMax: true}
	f("no condition takes all", When{}, false, 0, false, true)
	f("no condition takes heat", When{}, true, 2, false, true)
	f("at the bound", zero, true, 0, false, true)
	f("above the bound", zero, true, 0.1, false, false)
	f("no temperature is not a low one", zero, false, 0, false, false)
	f("no temperature, a seed", zero, false, 0, true, false)
	f("no number", zero, true, math.NaN(), false, false)
	f("a seed is asked for", When{Seed: true}, false, 0, true, true)
	f("a seed is missing", When{Seed: true}, true, 0, false, false)
	f("both are asked for", When{HasTemperatureMax: true, TemperatureMax: 0.5, Seed: true}, true, 0.5, true, true)
	f("both are asked for, one is missing", When{HasTemperatureMax: true, TemperatureMax: 0.5, Seed: true}, true, 0.5, false, false)
}
