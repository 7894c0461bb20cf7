package main

import (
	"cmp"
	"encoding/json"
	"strings"
	"testing"
)

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
// JSON array; all that the SDK asks for when it is empty. What they are said to
// cost is no more than when all of them are paid for.
func (r *sdkRig) embeds(t *testing.T, scenario, asked string) {
	t.Helper()
	t.Run(scenario, func(t *testing.T) {
		right := r.run(t, r.tap.URL, scenario)
		direct := r.tap.taken()
		first := r.run(t, r.proxy.URL, scenario)
		calls := r.tap.taken()
		sameEmbeddings(t, "through the proxy", first, right)
		switch asked {
		case "":
			sameLines(t, "all of it paid for", first, right)
			sameCalls(t, calls, direct)
		case "[]":
			sameCalls(t, calls, nil)
		default:
			if len(calls) != 1 || calls[0].head != direct[0].head || inputOf(t, calls[0].body) != asked {
				t.Errorf("calls to the provider: %q, want one for %s", calls, asked)
			}
		}
		sameEmbeddings(t, "from the cache", r.run(t, r.proxy.URL, scenario), right)
		sameCalls(t, r.tap.taken(), nil)
	})
}

// sameEmbeddings compares all but what they cost.
func sameEmbeddings(t *testing.T, what string, got, right []string) {
	t.Helper()
	got, cost := withoutUsage(t, got)
	right, most := withoutUsage(t, right)
	sameLines(t, what, got, right)
	if cost < 0 || cost > most {
		t.Errorf("%s: usage %d, which may be %d at most", what, cost, most)
	}
}

// withoutUsage takes out the line that says how many tokens embeddings cost.
func withoutUsage(t *testing.T, lines []string) (rest []string, tokens int) {
	t.Helper()
	for _, line := range lines {
		usage, ok := strings.CutPrefix(line, `["usage",`)
		if !ok {
			rest = append(rest, line)
			continue
		}
		// The one is of the API, the other of the ai SDK.
		var u struct {
			Prompt *int `json:"prompt_tokens"`
			Tokens *int
		}
		err := json.Unmarshal([]byte(strings.TrimSuffix(usage, "]")), &u)
		n := cmp.Or(u.Prompt, u.Tokens)
		if err != nil || n == nil {
			t.Fatalf("no tokens (%v) in %s", err, line)
		}
		tokens = *n
	}
	if len(rest) != len(lines)-1 {
		t.Fatalf("no usage in %q", lines)
	}
	return rest, tokens
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
