package protocol

import "testing"

func TestUsageOfEmbeddingsIsWhatTheProviderSays(t *testing.T) {
	f := func(said string, want Usage, joined string) {
		t.Helper()
		answer := `{"data":[{"index":0,"embedding":[1]}],"model":"m"` + said + `}`
		got := TakeUsage([]byte(answer))
		if got != want {
			t.Errorf("%s: %+v, want %+v", said, got, want)
		}
		b, ok := SplitBatch(OpenAIEmbeddings, []byte(`{"input":"a"}`))
		if !ok {
			t.Fatal("not a batch")
		}
		vectors, err := b.Take([]int{0}, []byte(answer))
		if err != nil {
			t.Fatal(err)
		}
		if body := string(b.Join(vectors, got)); body != `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1]}],"model":"m"`+joined+`}` {
			t.Errorf("%s: joined to %s", said, body)
		}
	}
	f(`,"usage":{"prompt_tokens":8,"total_tokens":8}`, Usage{Known: true, Input: 8}, `,"usage":{"prompt_tokens":8,"total_tokens":8}`)
	f(`,"usage":{"total_tokens":8}`, Usage{Known: true, Input: 8}, `,"usage":{"prompt_tokens":8,"total_tokens":8}`)
	f(`,"usage":{"prompt_tokens":10,"total_tokens":12}`, Usage{Known: true, Input: 10, Output: 2}, `,"usage":{"prompt_tokens":10,"total_tokens":12}`)
	f(`,"usage":{"prompt_tokens":10}`, Usage{Known: true, Input: 10}, `,"usage":{"prompt_tokens":10,"total_tokens":10}`)
	f(`,"usage":null`, Usage{}, ``)
	f(``, Usage{}, ``)
}

// What another provider calls a thing says nothing here.
func TestARequestIsReadAsItsKindHasIt(t *testing.T) {
	f := func(kind Kind, body string, temperature float64, has bool) {
		t.Helper()
		if r := ReadRequest(kind, "/v1/models/m:generateContent", []byte(body)); r.Temperature != temperature || r.HasTemperature != has {
			t.Errorf("%s %s: %v, %v", kind, body, r.Temperature, r.HasTemperature)
		}
	}
	f(OpenAIChat, `{"temperature":1,"options":{"temperature":0}}`, 1, true)
	f(OpenAIChat, `{"options":{"temperature":0}}`, 0, false)
	f(OpenAIChat, `{"generationConfig":{"temperature":0}}`, 0, false)
	f(Gemini, `{"generationConfig":{"temperature":0.5}}`, 0.5, true)
	f(Gemini, `{"options":{"temperature":0.5}}`, 0, false)
	f(Ollama, `{"options":{"temperature":0.5}}`, 0.5, true)
	f(Ollama, `{"generationConfig":{"temperature":0.5}}`, 0, false)
}
