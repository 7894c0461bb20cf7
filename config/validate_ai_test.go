package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

func TestRoutesOfAIProtocolsAreChecked(t *testing.T) {
	f := func(route, key, what string) {
		t.Helper()
		refused(t, "routes: [{name: r, ttl: 1, "+route+"}]", "routes[0]."+key, what)
	}
	f("proof_ttl: 0", "proof_ttl", "0s is not above 0")
	f("gates: {allow_empty: true}", "gates", "contradicts protocol: none")
	f("gates: {allow_bad_tool_arguments: true}", "gates", "contradicts protocol: none")
	f("gates: {finish_reasons: [stop]}", "gates", "contradicts protocol: none")
	f("protocol: openai-embeddings, gates: {finish_reasons: [stop]}", "gates.finish_reasons", "answers of openai-embeddings name no finish reason")
	f("protocol: openai-chat, gates: {finish_reasons: [\"\"]}", "gates.finish_reasons[0]", `"" is no finish reason`)
	f("protocol: openai-chat, gates: {finish_reasons: [\"stop, length\"]}", "gates.finish_reasons[0]", `"stop, length" is no finish reason`)
	f("when: {temperature_max: 0}", "when.temperature_max", "contradicts protocol: none")
	f("when: {seed: true}", "when.seed", "contradicts protocol: none")
	f("protocol: openai-embeddings, when: {seed: true}", "when.seed", "requests for embeddings have none")
	f("protocol: openai-chat, when: {temperature_max: -0.1}", "when.temperature_max", "-0.1 is less than 0")
	f("when: {without: [conversation]}", "when.without[0]", `"conversation" is not a JSON pointer`)
	f("when: {without: [\"\"]}", "when.without[0]", "the empty pointer means the whole body")
	f("variants: 0", "variants", "0 is not from 1 to 16")
	f("variants: 17", "variants", "17 is not from 1 to 16")
	f("variants: 2, protocol: openai-embeddings", "variants", "a text has one embedding")
	f("variants: 2, freshness: origin", "variants", "contradicts freshness: origin")
	f("shadow: true, cache: false", "shadow", "contradicts cache: false")
	f("deny_controls: [ttl, mdoe]", "deny_controls[1]", `"mdoe" is none of cache-control, ttl, mode, namespace, tags; did you mean mode?`)
	for _, protocol := range Protocols() {
		mustLoad(t, docs+"routes: [{name: r, ttl: 1, protocol: "+protocol+"}]\n")
	}
	for _, route := range []string{
		"scope: shared, proof_ttl: 1m", "variants: 16, replay: {pace: original}", "shadow: true, when: {without: [/conversation]}",
		"protocol: gemini, gates: {finish_reasons: [STOP, MAX_TOKENS], allow_empty: true}, when: {temperature_max: 0, seed: true}",
		"deny_controls: [cache-control, ttl, mode, namespace, tags]", "protocol: ollama, freshness: origin",
	} {
		mustLoad(t, docs+"routes: [{name: r, ttl: 1, "+route+"}]\n")
	}
}

func TestDefaultsOfARouteCacheAllWhosePathMatches(t *testing.T) {
	r := mustLoad(t, docs+"routes: [{name: r, ttl: 1}]\n").Routes[0]
	if !r.Cache || r.Protocol != "none" || r.Variants != 1 || r.Shadow || r.When.Seed || r.When.TemperatureMax.Set || r.Replay.Pace != (Pace{}) || r.ProofTTL.String() != "10m" {
		t.Errorf("%+v", r)
	}
}

func TestPricesAreRead(t *testing.T) {
	cfg := mustLoad(t, docs+`
currency: EUR
prices:
  gpt-4o: {input: 2.5, output: 10, cached_input: 1.25}
  "gpt-4o*": {input: 2.5, output: 10}
  meta-llama/Llama-3.1:free: {}
  text-embedding-3-small: {input: 2e-2}
`, "JAEGIS_PRICES_GPT_4O_OUTPUT=11", "JAEGIS_PRICES_TEXT_EMBEDDING_3_SMALL_INPUT=0.03")
	for model, want := range map[string]Price{
		"gpt-4o": {2.5, 11, 1.25}, "gpt-4o*": {2.5, 10, 2.5}, "meta-llama/Llama-3.1:free": {}, "text-embedding-3-small": {0.03, 0, 0.03},
	} {
		if got := cfg.Prices[model]; got != want {
			t.Errorf("%s: %+v, want %+v", model, got, want)
		}
	}
	if cfg.Currency != "EUR" || len(cfg.Prices) != 4 {
		t.Errorf("%q %+v", cfg.Currency, cfg.Prices)
	}
	checkRoundTrip(t, cfg)
}

func TestPricesAreChecked(t *testing.T) {
	f := func(prices, key, what string) {
		t.Helper()
		refused(t, "prices: {"+prices+"}", "prices."+key, what)
	}
	f("m: {input: -1}", "m.input", "-1 is less than 0; write money per million tokens")
	f("m: {cached_input: -2}", "m.cached_input", "-2 is less than 0")
	f("m: {input: 1, output: -1}", "m.output", "-1 is less than 0")
	f("m: {input: much}", "m.input", `"much": not a number`)
	f("m: {input: NaN}", "m.input", `"NaN": not a number`)
	f("m: {input: .inf}", "m.input", `".inf": not a number`)
	f("m: 3", "m", "a single value where a section of keys belongs")
	f("m: {inptu: 3}", "m.inptu", "unknown key; did you mean input?")
	f("\"a*b\": {}", "a*b", `"a*b" names no model`)
	f("\"**\": {}", "**", `"**" names no model`)
	f(strings.Repeat("m", 129)+": {}", strings.Repeat("m", 129), "")
	refused(t, "currency: \"\"", "currency", `"" is no currency`)
	refused(t, "currency: US Dollars", "currency", `"US Dollars" is no currency`)
}

// hashOf writes a key as clients have it.
func hashOf(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hashPrefix + hex.EncodeToString(sum[:])
}

func TestClientsAreRead(t *testing.T) {
	cfg := mustLoad(t, docs+fmt.Sprintf(`
clients:
- {name: team-a, keys: [%q, %q]}
- {name: b, tenant: team-a, keys: ["%s"], deny_controls: [ttl]}
`, hashOf("one"), hashPrefix+strings.ToUpper(hashOf("two")[len(hashPrefix):]), "${KEY}"), "KEY="+hashOf("three"), "JAEGIS_CLIENTS_TEAM_A_DENY_CONTROLS=mode,tags")
	a, b := cfg.Clients[0], cfg.Clients[1]
	if a.Tenant != "team-a" || b.Tenant != "team-a" || b.DenyControls[0] != "ttl" || len(a.DenyControls) != 2 {
		t.Errorf("%+v", cfg.Clients)
	}
	if got := a.Sums(); len(got) != 2 || got[0] != sha256.Sum256([]byte("one")) || got[1] != sha256.Sum256([]byte("two")) {
		t.Errorf("%x", got)
	}
	if got := b.Sums(); len(got) != 1 || got[0] != sha256.Sum256([]byte("three")) {
		t.Errorf("%x", got)
	}
	checkRoundTrip(t, cfg)
}

func TestClientsAreChecked(t *testing.T) {
	f := func(clients, key, what string) {
		t.Helper()
		refused(t, "clients: ["+clients+"]", "clients["+key, what)
	}
	one, two := hashOf("one"), hashOf("two")
	const fix = "write sha256: and the SHA-256 of the key in hex: printf %s KEY | sha256sum"
	f("{keys: [\""+one+"\"]}", "0].name", "no name")
	f("{name: a b, keys: [\""+one+"\"]}", "0].name", `"a b" is not a name`)
	f("{name: a, keys: [\""+one+"\"]}, {name: A, keys: [\""+two+"\"]}", "1].name", `"A" is the name of clients[0] too`)
	f("{name: a, tenant: a b, keys: [\""+one+"\"]}", "0].tenant", `"a b" is not a name`)
	f("{name: a}", "0].keys", "none, so that nobody can be this client")
	f("{name: a, keys: [\""+one+"\", \""+one+"\"]}", "0].keys[1]", "the same key as clients[0].keys[0]; keep one of them")
	f("{name: a, keys: [\""+one+"\"]}, {name: b, keys: [\"SHA256:\", \""+two+"\"]}", "1].keys[0]", "not sha256: and 64 hexadecimal digits (keys are never written down in plain); "+fix)
	f("{name: a, keys: [\""+one+"\"]}, {name: b, keys: [\""+hashPrefix+strings.ToUpper(one[len(hashPrefix):])+"\"]}", "1].keys[0]", "the same key as clients[0].keys[0]")
	f("{name: a, keys: [\""+hashOf("")+"\"]}", "0].keys[0]", "the SHA-256 of an empty key; "+fix)
	f("{name: a, keys: [\""+hashOf("\n")+"\"]}", "0].keys[0]", "the SHA-256 of an empty key")
	f("{name: a, keys: [\""+one+"\"], deny_controls: [all]}", "0].deny_controls[0]", `"all" is none of cache-control, ttl, mode, namespace, tags`)
}

func TestKeysOfClientsInPlainAreRefusedAndNeverShown(t *testing.T) {
	const plain = "hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter22" // 64 bytes
	for _, keys := range []string{
		"[" + plain + "]", "[\"sha256:" + plain + "\"]", "[sha256:" + plain[:9] + "]", plain, "{" + plain + ": 1}", "[{" + plain + ": 1}]",
		"[\"" + plain + "\\n\"]", "[\"${" + plain + "\"]", "[!" + plain + " x]",
	} {
		_, _, err := loadText(docs + "clients: [{name: a, keys: " + keys + "}]\n")
		if err == nil {
			t.Errorf("%s is accepted", keys)
		} else if strings.Contains(err.Error(), plain[:9]) {
			t.Errorf("%s: %v", keys, err)
		}
	}
	_, _, err := loadText(docs+"clients: [{name: a}]\n", "JAEGIS_CLIENTS_A_KEYS="+plain)
	if err == nil || strings.Contains(err.Error(), plain[:9]) || !strings.Contains(err.Error(), "environment JAEGIS_CLIENTS_A_KEYS: not sha256:") {
		t.Errorf("%v", err)
	}
}
