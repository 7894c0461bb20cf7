package protocol

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// A recording is an answer in testdata and what is to be said of it.
type recording struct {
	file string
	want Answer
	mark string // the stream may end after the first event that holds this; at its last event where empty
	open bool   // at its end it has no end mark, so that Ended stays false
}

func (r *recording) kind() Kind {
	prefix, _, _ := strings.Cut(r.file, "-")
	prefix, _, _ = strings.Cut(prefix, ".")
	return map[string]Kind{
		"chat": OpenAIChat, "completions": OpenAIChat, "responses": OpenAIResponses, "embeddings": OpenAIEmbeddings,
		"anthropic": AnthropicMessages, "gemini": Gemini, "ollama": Ollama,
	}[prefix]
}

func (r *recording) contentType() string {
	return map[string]string{
		".sse": "text/event-stream; charset=utf-8", ".ndjson": "application/x-ndjson", ".json": "application/json; charset=utf-8",
	}[filepath.Ext(r.file)]
}

func (r *recording) isStream() bool { return filepath.Ext(r.file) != ".json" }

func (r *recording) body(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", r.file))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// end is the length of the shortest beginning that may count as whole.
func (r *recording) end(body []byte) int {
	if !r.isStream() {
		return len(bytes.TrimRight(body, " \r\n"))
	}
	at := 0
	for at < len(body) {
		n := NextEvent(r.contentType(), body[at:])
		holds := r.mark != "" && bytes.Contains(body[at:at+n], []byte(r.mark))
		if at += n; holds {
			break
		}
	}
	if bytes.HasSuffix(body[:at], []byte("\r\n")) {
		at-- // CR ends a line; LF behind it belongs to it, but is not needed
	}
	return at
}

func whole(model string, u Usage, finish ...string) Answer {
	u.Known = u != Usage{}
	return Answer{Whole: true, HasFinish: true, Finish: finish, Model: model, Usage: u}
}

func (a Answer) empty() Answer              { a.Empty = true; return a }
func (a Answer) badTools() Answer           { a.BadToolArguments = true; return a }
func (a Answer) plain() Answer              { a.HasFinish = false; return a }
func (a Answer) half() Answer               { a.Whole = false; return a }
func (a Answer) failed(token string) Answer { a.Error = token; return a }

// recordings are what the providers' public documentation shows, in all the
// shapes that matter here.
func recordings() []recording {
	chat, gpt41, azure := "gpt-4o-2024-08-06", "gpt-4.1-2025-04-14", "gpt-4o"
	gpt5, sonnet, opus := "gpt-5-2025-08-07", "claude-sonnet-4-5-20250929", "claude-opus-4-1-20250805"
	gemini, qwen, llama := "gemini-2.5-flash", "qwen3:8b", "llama3.2"
	used := Usage{Input: 1117, Output: 46, CachedInput: 1024}
	responses := Usage{Input: 37, Output: 811, CachedInput: 5}
	claude := func(output int64) Usage { return Usage{Input: 1125, Output: output, CachedInput: 1000} }
	small, local, none := Usage{Input: 8, Output: 2}, Usage{Input: 169, Output: 15}, Usage{}
	return []recording{
		{file: "chat-text.sse", want: whole(chat, used, "stop")},
		{file: "chat-tools.sse", want: whole(chat, none, "tool_calls")},
		{file: "chat-tools-cut-arguments.sse", want: whole(chat, none, "tool_calls").badTools()},
		{file: "chat-two-choices.sse", want: whole(chat, none, "stop", "length")},
		{file: "chat-choice-left-open.sse", want: whole(chat, none, "stop").half()},
		{file: "chat-refusal.sse", want: whole(chat, none, "refusal", "stop")},
		{file: "chat-sorted.sse", want: whole(azure, none, "tool_calls")},
		{file: "chat-reasoning-only.sse", want: whole(chat, none, "stop").empty()},
		{file: "chat-error.sse", want: whole(chat, none).failed("server_error"), mark: `"error"`},
		{file: "chat-no-index-tools.sse", want: whole(chat, none, "tool_calls")},
		{file: "completions.sse", want: whole("gpt-3.5-turbo-instruct", none, "stop")},
		{file: "chat-text.json", want: whole(gpt41, used, "stop")},
		{file: "chat-tools.json", want: whole(gpt41, used, "tool_calls")},
		{file: "chat-tools-bad.json", want: whole(gpt41, used, "tool_calls").badTools()},
		{file: "chat-function-call.json", want: whole(gpt41, used, "function_call")},
		{file: "chat-length.json", want: whole(gpt41, used, "length")},
		{file: "chat-empty.json", want: whole(gpt41, used, "stop").empty()},
		{file: "chat-choice-error.json", want: whole("m-1", Usage{Known: true, Input: 3, Output: 1}, "stop").failed("502")},
		{file: "chat-error.json", want: whole("", none).empty().failed("tokens")},

		{file: "responses-text.sse", want: whole(gpt5, responses, "completed")},
		{file: "responses-tools.sse", want: whole(gpt5, responses, "completed")},
		{file: "responses-tools-bad.sse", want: whole(gpt5, responses, "completed").badTools()},
		{file: "responses-done-after.sse", want: whole(gpt5, responses, "completed"), mark: "response.completed"},
		{file: "responses-incomplete.sse", want: whole(gpt5, responses, "max_output_tokens")},
		{file: "responses-failed.sse", want: whole(gpt5, none).empty().failed("server_error")},
		{file: "responses-error.sse", want: whole(gpt5, none).empty().failed("rate_limit_exceeded"), open: true},
		{file: "responses-refusal.sse", want: whole(gpt5, responses, "refusal", "completed")},
		{file: "responses-sorted.sse", want: whole(gpt5, responses, "completed")},
		{file: "responses-text.json", want: whole(gpt5, responses, "completed")},
		{file: "responses-queued.json", want: whole(gpt5, none, "queued").empty()},
		{file: "responses-incomplete.json", want: whole(gpt5, responses, "content_filter")},
		{file: "responses-failed.json", want: whole(gpt5, none).empty().failed("server_error")},
		{file: "responses-input-tokens.json", want: whole("", none).plain()},

		{file: "anthropic-thinking.sse", want: whole(sonnet, claude(89), "end_turn")},
		{file: "anthropic-tools.sse", want: whole(sonnet, claude(128), "tool_use")},
		{file: "anthropic-tools-cut.sse", want: whole(sonnet, claude(5), "max_tokens").badTools()},
		{file: "anthropic-thinking-only.sse", want: whole(sonnet, claude(9), "end_turn").empty()},
		{file: "anthropic-error.sse", want: whole(sonnet, claude(1)).failed("overloaded_error"), open: true},
		{file: "anthropic-refusal.sse", want: whole(sonnet, claude(2), "refusal")},
		{file: "anthropic-pause.sse", want: whole(sonnet, Usage{Input: 10682, Output: 510}, "pause_turn")},
		{file: "anthropic-text.json", want: whole(opus, Usage{Input: 42, Output: 6, CachedInput: 30}, "end_turn")},
		{file: "anthropic-tools.json", want: whole(opus, Usage{Input: 12, Output: 6}, "tool_use")},
		{file: "anthropic-error.json", want: whole("", none).empty().failed("overloaded_error")},
		{file: "anthropic-count.json", want: whole("", none).plain()},

		{file: "gemini-text.sse", want: whole(gemini, Usage{Input: 13, Output: 51, CachedInput: 4}, "STOP"), open: true},
		{file: "gemini-tools.sse", want: whole(gemini, small, "STOP"), open: true},
		{file: "gemini-stop-in-each.sse", want: whole(gemini, small, "STOP"), mark: "STOP", open: true},
		{file: "gemini-stop-first.sse", want: whole(gemini, small, "STOP"), mark: "STOP", open: true},
		{file: "gemini-two.sse", want: whole(gemini, small, "STOP", "MAX_TOKENS"), open: true},
		{file: "gemini-blocked.sse", want: whole(gemini, Usage{Input: 7}, "PROHIBITED_CONTENT").empty(), open: true},
		{file: "gemini-error.sse", want: whole(gemini, small).failed("UNAVAILABLE").half(), open: true},
		{file: "gemini-array.json", want: whole(gemini, Usage{Input: 13, Output: 51, CachedInput: 4}, "STOP")},
		{file: "gemini-text.json", want: whole(gemini, Usage{Input: 8, Output: 5}, "STOP")},
		{file: "gemini-safety.json", want: whole(gemini, Usage{Input: 9}, "SAFETY").empty()},
		{file: "gemini-malformed-call.json", want: whole(gemini, none, "MALFORMED_FUNCTION_CALL").empty().badTools()},
		{file: "gemini-embed.json", want: whole("", none).plain()},
		{file: "gemini-batch-embed.json", want: whole("", none).plain()},
		{file: "gemini-count.json", want: whole("", none).plain()},
		{file: "gemini-error.json", want: whole("", none).empty().failed("RESOURCE_EXHAUSTED")},

		{file: "ollama-chat.ndjson", want: whole(qwen, local, "stop")},
		{file: "ollama-tools.ndjson", want: whole(qwen, local, "stop")},
		{file: "ollama-thinking-only.ndjson", want: whole(qwen, local, "length").empty()},
		{file: "ollama-error.ndjson", want: whole(qwen, none).failed("error"), open: true},
		{file: "ollama-generate.ndjson", want: whole(llama, local, "stop")},
		{file: "ollama-load.ndjson", want: whole(llama, none, "load").empty()},
		{file: "ollama-chat.json", want: whole(qwen, local, "stop")},
		{file: "ollama-not-done.json", want: whole(qwen, none).half()},
		{file: "ollama-embed.json", want: whole("all-minilm", Usage{Input: 8}).plain()},
		{file: "ollama-embeddings.json", want: whole("", none).plain()},
		{file: "ollama-error.json", want: whole("", none).empty().failed("error")},

		{file: "embeddings-floats.json", want: whole("text-embedding-3-small", Usage{Input: 8}).plain()},
		{file: "embeddings-base64.json", want: whole("text-embedding-3-small", Usage{Input: 8}).plain()},
		{file: "embeddings-none.json", want: whole("text-embedding-3-small", Usage{Input: 8}).plain().empty()},
		{file: "embeddings-hole.json", want: whole("text-embedding-3-small", Usage{Input: 8}).plain().empty()},
	}
}

func TestEveryRecordingIsTested(t *testing.T) {
	files, err := filepath.Glob("testdata/*.*")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, r := range recordings() {
		listed[filepath.Join("testdata", r.file)] = true
	}
	for _, file := range files {
		if !listed[file] {
			t.Errorf("%s is not in the table", file)
		}
	}
}

// The same is said of an answer in whatever pieces it comes.
func TestRecordedAnswers(t *testing.T) {
	for _, r := range recordings() {
		t.Run(r.file, func(t *testing.T) {
			body := r.body(t)
			check := func(how string, next func() int) {
				t.Helper()
				reader := NewReader(r.kind(), r.contentType())
				for at := 0; at < len(body); {
					n := min(next(), len(body)-at)
					piece := bytes.Clone(body[at : at+n])
					reader.Write(piece)
					clear(piece) // nothing of it may be kept
					at += n
				}
				for range 2 { // asking changes nothing
					if got := reader.Answer(); !reflect.DeepEqual(got, r.want) {
						t.Errorf("%s:\n got %+v\nwant %+v", how, got, r.want)
					}
				}
				if got, want := reader.Ended(), r.isStream() && !r.open; got != want {
					t.Errorf("%s: Ended is %v", how, got)
				}
			}
			check("whole", func() int { return len(body) })
			check("byte by byte", func() int { return 1 })
			for seed := range uint64(20) {
				random := rand.New(rand.NewPCG(seed, 1))
				check("in random pieces", func() int { return random.IntN(60) }) // of no bytes too
			}
		})
	}
}

// However an answer is cut, it is not taken for a whole one.
func TestCutAtEveryByte(t *testing.T) {
	for _, r := range recordings() {
		t.Run(r.file, func(t *testing.T) {
			body := r.body(t)
			end := r.end(body)
			reader := NewReader(r.kind(), r.contentType())
			for n := range end {
				if reader.Ended() || reader.Answer().Whole {
					t.Fatalf("whole after %d of %d bytes: ...%q", n, end, body[max(0, n-40):n])
				}
				reader.Write(body[n : n+1])
			}
			if got := reader.Answer().Whole; !got && r.want.Whole {
				t.Errorf("not whole after %d bytes, its end", end)
			}
		})
	}
}
