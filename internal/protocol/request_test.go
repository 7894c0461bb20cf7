package protocol

import (
	"slices"
	"strings"
	"testing"
)

func TestReadRequest(t *testing.T) {
	f := func(rule string, kind Kind, path, body string, want Request) {
		t.Helper()
		if got := ReadRequest(kind, path, []byte(body)); got != want {
			t.Errorf("%s:\n got %+v\nwant %+v", rule, got, want)
		}
	}
	const chat, completions, embeddings, generate = "chat", "text_completion", "embeddings", "generate_content"
	f("all of it", OpenAIChat, "/v1/chat/completions", `{"messages":[{"seed":1}],"temperature":0.5,"stream":true,"seed":7,"model":"m"}`,
		Request{chat, "m", true, true, 0.5, true})
	f("the older completions", OpenAIChat, "/v1/completions?x=/chat/completions", `{"model":"m"}`, Request{Operation: completions, Model: "m"})
	f("a temperature of zero is one", OpenAIChat, "/v1/chat/completions", `{"temperature":0}`, Request{Operation: chat, HasTemperature: true})
	f("null is none", OpenAIChat, "/v1/chat/completions", `{"temperature":null,"seed":null,"stream":null,"model":null}`, Request{Operation: chat})
	f("wrong types are none", OpenAIChat, "/v1/chat/completions", `{"temperature":"0","seed":"1","stream":1,"model":{}}`, Request{Operation: chat})
	f("a temperature twice says nothing", OpenAIChat, "/v1/chat/completions", `{"temperature":0,"temperature":1,"model":"m"}`, Request{Operation: chat})
	f("a cut body says nothing", OpenAIChat, "/v1/chat/completions", `{"temperature":0,"model":"m"`, Request{Operation: chat})
	f("no body", OpenAIChat, "/v1/chat/completions", ``, Request{Operation: chat})
	f("an array", OpenAIChat, "/v1/chat/completions", `[{"model":"m"}]`, Request{Operation: chat})
	f("responses", OpenAIResponses, "/v1/responses", `{"model":"m","stream":true}`, Request{Operation: chat, Model: "m", Stream: true})
	f("a count of tokens is no operation", OpenAIResponses, "/v1/responses/input_tokens", `{"model":"m"}`, Request{Model: "m"})
	f("embeddings", OpenAIEmbeddings, "/v1/embeddings", `{"model":"m","input":"x"}`, Request{Operation: embeddings, Model: "m"})
	f("messages", AnthropicMessages, "/v1/messages", `{"model":"m","stream":false}`, Request{Operation: chat, Model: "m"})
	f("a count of tokens is no operation", AnthropicMessages, "/v1/messages/count_tokens", `{"model":"m"}`, Request{Model: "m"})

	f("Gemini names model and streaming in the path", Gemini, "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
		`{"model":"other","stream":false,"generationConfig":{"temperature":0.1,"seed":3}}`, Request{generate, "gemini-2.5-flash", true, true, 0.1, true})
	f("the path may be escaped", Gemini, "/v1beta/models/gemini-2.5-flash%3AgenerateContent", `{}`, Request{Operation: generate, Model: "gemini-2.5-flash"})
	f("another way to the models", Gemini, "/v1/projects/p/locations/l/publishers/google/models/m:embedContent", `{}`, Request{Operation: embeddings, Model: "m"})
	f("a batch", Gemini, "/v1beta/models/m:batchEmbedContents", `{}`, Request{Operation: embeddings, Model: "m"})
	f("a count of tokens is no operation", Gemini, "/v1beta/models/m:countTokens", `{}`, Request{Model: "m"})
	f("a body that cannot be read leaves the path", Gemini, "/v1beta/models/m:streamGenerateContent", `{`, Request{Operation: generate, Model: "m", Stream: true})

	f("Ollama streams unless told not to", Ollama, "/api/chat", `{"model":"m"}`, Request{Operation: chat, Model: "m", Stream: true})
	f("Ollama told not to", Ollama, "/api/generate", `{"stream":false,"model":"m","options":{"temperature":0,"seed":1}}`,
		Request{Operation: completions, Model: "m", HasTemperature: true, HasSeed: true})
	f("null tells nothing", Ollama, "/api/chat", `{"stream":null}`, Request{Operation: chat, Stream: true})
	f("Ollama's vectors do not stream", Ollama, "/api/embed", `{"model":"m"}`, Request{Operation: embeddings, Model: "m"})
	f("the older ones neither", Ollama, "/api/embeddings", `{"model":"m"}`, Request{Operation: embeddings, Model: "m"})

	f("nothing is known of none", None, "/v1/chat/completions", `{"model":"m","stream":true}`, Request{})
	f("nor of what is not a kind", "x", "/v1/chat/completions", `{"model":"m","stream":true}`, Request{})
}

// What may be stored by default ended well. This is a list of what did not.
func TestCleanFinishes(t *testing.T) {
	for _, kind := range []Kind{None, OpenAIChat, OpenAIResponses, OpenAIEmbeddings, AnthropicMessages, Gemini, Ollama} {
		clean := kind.CleanFinishes()
		if kind.HasFinish() != (len(clean) > 0) {
			t.Errorf("%s: clean finishes %v, has finish %v", kind, clean, kind.HasFinish())
		}
		for _, word := range []string{
			"length", "max_tokens", "content_filter", "refusal", "pause_turn", "incomplete", "failed", "cancelled", "queued", "in_progress",
			"max_output_tokens", "model_context_window_exceeded", "SAFETY", "MAX_TOKENS", "RECITATION", "OTHER", "load", "unload", "error", "",
		} {
			if slices.Contains(clean, word) {
				t.Errorf("%s: %q is clean", kind, word)
			}
		}
	}
}

func TestNextEvent(t *testing.T) {
	f := func(contentType, body string, want ...string) {
		t.Helper()
		var got []string
		for rest := body; len(rest) > 0; {
			n := NextEvent(contentType, []byte(rest))
			got, rest = append(got, rest[:n]), rest[n:]
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", body, got, want)
		}
	}
	f(sse, "data: a\n\ndata: b\n\n", "data: a\n\n", "data: b\n\n")
	f(sse, "data: a\r\n\r\ndata: b\r\n\r\n", "data: a\r\n\r\n", "data: b\r\n\r\n")
	f(sse, "data: a\r\rdata: b\r\r", "data: a\r\r", "data: b\r\r")
	f(sse, "event: x\ndata: a\ndata: b\n\ndata: c", "event: x\ndata: a\ndata: b\n\n", "data: c")
	f(sse, ": hi\n\n\n\ndata: a\n", ": hi\n\n", "\n", "\n", "data: a\n")
	f("Text/Event-Stream;charset=utf-8", "a\n\nb", "a\n\n", "b")
	f(ndjson, "{}\n{\"a\":1}\r\n{}", "{}\n", "{\"a\":1}\r\n", "{}")
	f("application/json", "[{}\n\n,{}]", "[{}\n\n,{}]")
	f("", "a\n\nb", "a\n\nb")
	if n := NextEvent(sse, nil); n != 0 {
		t.Errorf("nothing has an event of %d bytes", n)
	}
}

// Put together again the events are the body, and a reader of events sees the
// same in either.
func FuzzNextEvent(f *testing.F) {
	f.Add("data: a\r\n\r\ndata: b\n\n")
	f.Add("\r\r\n\n:x\r\r")
	f.Fuzz(func(t *testing.T, body string) {
		for _, contentType := range []string{sse, ndjson, ""} {
			var joined strings.Builder
			one, many := events{}, events{}
			var want, got []string
			one.write([]byte(body), func(name, data []byte) { want = append(want, string(name)+"|"+string(data)) })
			for rest := []byte(body); len(rest) > 0; {
				n := NextEvent(contentType, rest)
				if n <= 0 || n > len(rest) {
					t.Fatalf("%q: an event of %d bytes", rest, n)
				}
				before := len(got)
				many.write(rest[:n], func(name, data []byte) { got = append(got, string(name)+"|"+string(data)) })
				if contentType == sse && len(got) > before+1 {
					t.Fatalf("%q: two events at once", rest[:n])
				}
				joined.Write(rest[:n])
				rest = rest[n:]
			}
			if joined.String() != body {
				t.Fatalf("%q became %q", body, joined.String())
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%q: got %q, want %q", body, got, want)
			}
		}
	})
}

func BenchmarkReadRequest(b *testing.B) {
	body := []byte(`{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("a word and ", 180) + `"}],"temperature":0}`)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		ReadRequest(OpenAIChat, "/v1/chat/completions", body)
	}
}
