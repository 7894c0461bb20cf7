package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// callers checks who shares answers.
func (ck *checker) callers(key string, r Route) {
	if ck.oneOf(key+".scope", r.Scope, "credential", "shared", "public") && r.Scope == "shared" && r.Freshness == "origin" {
		ck.fail(key+".scope", "shared contradicts freshness: origin, where an answer says itself whether callers share it",
			"write scope: credential, or freshness: route")
	}
	if r.ProofTTL <= 0 {
		ck.fail(key+".proof_ttl", r.ProofTTL.String()+" is not above 0", "write for how long an accepted credential counts as proof")
	}
	ck.controls(key+".deny_controls", r.DenyControls)
}

// answers checks which answers are stored.
func (ck *checker) answers(key string, r Route) {
	ck.oneOf(key+".on_abandon", r.OnAbandon, "finish", "cancel")
	if !slices.Contains(Protocols(), r.Protocol) {
		ck.fail(key+".protocol", strconv.Quote(r.Protocol)+" is none of "+strings.Join(Protocols(), ", "), didYouMean(r.Protocol, Protocols()))
		return
	}
	g := r.Gates
	for i, reason := range g.FinishReasons {
		if reason == "" || strings.ContainsAny(reason, " ,") {
			ck.fail(fmt.Sprintf("%s.gates.finish_reasons[%d]", key, i), strconv.Quote(reason)+" is no finish reason", "write the provider's word, such as stop")
		}
	}
	switch {
	case r.Protocol == "none" && (len(g.FinishReasons) > 0 || g.AllowEmpty || g.AllowBadToolArguments):
		ck.fail(key+".gates", "contradicts protocol: none, whose answers are not looked into", "name the protocol, or leave gates out")
	case (r.Protocol == "openai-embeddings" || r.Protocol == "openai-moderations") && len(g.FinishReasons) > 0:
		ck.fail(key+".gates.finish_reasons", "answers of "+r.Protocol+" name no finish reason", "leave it out")
	}
}

// requests checks which requests are cached.
func (ck *checker) requests(key string, r Route) {
	w := r.When
	if w.TemperatureMax.Set && !(w.TemperatureMax.V >= 0) { // NaN too
		ck.fail(key+".temperature_max", w.TemperatureMax.String()+" is less than 0", "")
	}
	for i, pointer := range w.Without {
		ck.pointer(fmt.Sprintf("%s.without[%d]", key, i), pointer)
	}
	asks := "temperature_max"
	if w.Seed {
		asks = "seed"
	}
	switch {
	case !w.Seed && !w.TemperatureMax.Set:
	case r.Protocol == "none":
		ck.fail(key+"."+asks, "contradicts protocol: none, whose requests are not looked into", "name the protocol, or leave it out")
	case r.Protocol == "openai-moderations":
		ck.fail(key+"."+asks, "requests for moderation have none, so that nothing would be cached", "leave it out")
	case r.Protocol == "openai-embeddings":
		ck.fail(key+"."+asks, "requests for embeddings have none, so that nothing would be cached", "leave it out")
	}
}

// replies checks how stored answers are given.
func (ck *checker) replies(key string, r Route) {
	switch {
	case r.Variants < 1 || r.Variants > 16:
		ck.fail(key+".variants", strconv.Itoa(r.Variants)+" is not from 1 to 16", "")
	case r.Variants > 1 && r.Protocol == "openai-embeddings":
		ck.fail(key+".variants", "a text has one embedding", "leave it out")
	case r.Variants > 1 && r.Freshness == "origin":
		ck.fail(key+".variants", "contradicts freshness: origin, where a request has one answer", "leave it out, or write freshness: route")
	}
	if p := r.Replay.Pace; p.PerSecond != 0 && (p.Original || !paced(p.PerSecond)) {
		ck.fail(key+".replay.pace", "not from 0.001 to 1000000 events a second", "write original, 20/s, or nothing for at once")
	}
	if r.Shadow && !r.Cache {
		ck.fail(key+".shadow", "contradicts cache: false, where there is nothing to compare with", "leave one of them out")
	}
}

// prices checks what models cost.
func (ck *checker) prices(c *Config) {
	if c.Currency == "" || len(c.Currency) > 16 || strings.ContainsAny(c.Currency, " \"'{}") {
		ck.fail("currency", strconv.Quote(c.Currency)+" is no currency", "write a short name, such as USD")
	}
	for model, p := range c.Prices {
		key := join("prices", model)
		if star := strings.IndexByte(model, '*'); model == "" || len(model) > 128 || star >= 0 && star != len(model)-1 {
			ck.fail(key, strconv.Quote(model)+" names no model", "write a name of at most 128 bytes, or the beginning of names and a * at its end")
		}
		for _, part := range []struct {
			name  string
			value float64
		}{{"input", p.Input}, {"output", p.Output}, {"cached_input", p.CachedInput}} {
			if part.name == "cached_input" && part.value == p.Input {
				continue // it is the input's, and so is what is wrong with it
			}
			if !(part.value >= 0) { // NaN too
				ck.fail(key+"."+part.name, strconv.FormatFloat(part.value, 'f', -1, 64)+" is less than 0", "write money per million tokens")
			}
		}
	}
}
