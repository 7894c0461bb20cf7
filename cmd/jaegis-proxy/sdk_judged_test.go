package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestAnswersThatSDKsGetCutShortAreNotStored(t *testing.T) {
	f := func(name, module, preset string, scenarios ...string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			startSDK(t, module, preset).passed(t, scenarios...)
		})
	}
	f("openai", "openai", "openai", "chat-length", "chat-stream-length")
	f("anthropic", "anthropic", "anthropic", "message-length", "stream-length")
	f("ai, google", "ai", "gemini", "google/length", "google/stream-length")
}

func TestSDKsGetTheSameEmbeddingsFromTheCache(t *testing.T) {
	t.Run("openai", func(t *testing.T) {
		t.Parallel()
		r := startSDK(t, "openai", "openai")
		for _, scenario := range []string{"embed", "embed-float", "embed-dimensions", "embed-tokens"} {
			r.embeds(t, scenario, "")
		}
		r.embeds(t, "embed-batch", "")
		r.embeds(t, "embed-batch-overlap", `["new"]`)
		r.embeds(t, "embed-batch-float", "")
		r.embeds(t, "embed-batch-float-subset", `[]`)
		r.embeds(t, "embed-batch-tokens", "")
		r.embeds(t, "embed-batch-tokens-overlap", `[[4]]`)
	})
	t.Run("ai", func(t *testing.T) {
		t.Parallel()
		r := startSDK(t, "ai", "openai")
		r.embeds(t, "openai-embed/one", "")
		r.embeds(t, "openai-embed/many", "")
		r.embeds(t, "openai-embed/overlap", `["new"]`)
	})
}

// embeds runs a scenario as cached does, and looks at the items that the
// provider is asked for the first time through the proxy: those in asked, a
// JSON array; all that the SDK asks for when it is empty. What they cost may
// differ: nothing is paid for items that are in the cache.
func (r *sdkRig) embeds(t *testing.T, scenario, asked string) {
	t.Helper()
	t.Run(scenario, func(t *testing.T) {
		right := r.run(t, r.tap.URL, scenario)
		direct := r.tap.taken()
		sameLines(t, "through the proxy", withoutUsage(t, r.run(t, r.proxy.URL, scenario)), withoutUsage(t, right))
		calls := r.tap.taken()
		switch asked {
		case "":
			sameCalls(t, calls, direct)
		case "[]":
			sameCalls(t, calls, nil)
		default:
			if len(calls) != 1 || calls[0].head != direct[0].head || inputOf(t, calls[0].body) != asked {
				t.Errorf("calls to the provider: %q, want one for %s", calls, asked)
			}
		}
		sameLines(t, "from the cache", withoutUsage(t, r.run(t, r.proxy.URL, scenario)), withoutUsage(t, right))
		sameCalls(t, r.tap.taken(), nil)
	})
}

// withoutUsage takes out the line that says what embeddings cost.
func withoutUsage(t *testing.T, lines []string) []string {
	t.Helper()
	i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, `["usage",`) })
	if i < 0 {
		t.Fatalf("no usage in %q", lines)
	}
	return slices.Concat(lines[:i], lines[i+1:])
}

// inputOf gives the items of a request for embeddings as a JSON array.
func inputOf(t *testing.T, body string) string {
	t.Helper()
	var request struct{ Input json.RawMessage }
	if err := json.Unmarshal([]byte(body), &request); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	if strings.HasPrefix(string(request.Input), `"`) {
		return "[" + string(request.Input) + "]"
	}
	return string(request.Input)
}
