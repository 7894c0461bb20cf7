package protocol

import (
	"fmt"
	"strings"
	"testing"
)

func read(kind Kind, contentType string, pieces ...string) *Reader {
	r := NewReader(kind, contentType)
	for _, p := range pieces {
		r.Write([]byte(p))
	}
	return r
}

const (
	sse      = "text/event-stream"
	ndjson   = "application/x-ndjson"
	finished = `data: {"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}` + "\n\n"
	done     = "data: [DONE]\n\n"
)

func TestEventStreamRules(t *testing.T) {
	f := func(rule, stream string, want bool) {
		t.Helper()
		for _, pieces := range [][]string{{stream}, strings.Split(stream, "")} {
			a := read(OpenAIChat, sse, pieces...).Answer()
			if a.Whole != want || want && len(a.Finish) != 1 {
				t.Errorf("%s, in %d pieces: %+v", rule, len(pieces), a)
			}
		}
	}
	f("LF", finished+done, true)
	f("CRLF", strings.ReplaceAll(finished+done, "\n", "\r\n"), true)
	f("CR", strings.ReplaceAll(finished+done, "\n", "\r"), true)
	f("a byte-order mark at the start", "\xef\xbb\xbf"+finished+done, true)
	f("a byte-order mark later is part of a field's name", finished+"\xef\xbb\xbf"+done, false)
	f("no space after the colon", strings.ReplaceAll(finished+done, ": [", ":["), true)
	f("comments", ": hello\n\n:\n"+finished+":\n\n"+done+": bye\n\n: and again", true)
	f("data in several lines", "data: {\"choices\":[{\"finish_reason\":\ndata: \"stop\"}]}\n\n"+done, true)
	f("fields that mean nothing here", "id: 1\nretry: 10\nfoo\n"+finished+done, true)
	f("events without data", "event: ping\n\n"+finished+done, true)
	f("blank lines at the end", finished+done+"\n\r\n", true)
	f("white space at the end", finished+done+" ", true)
	f("the end mark without its blank line", finished+"data: [DONE]\n", false)
	f("an event behind the end", finished+done+finished, false)
	f("an event without data behind the end", finished+done+"event: x\n\n", false)
	f("the beginning of an event behind the end", finished+done+"d", false)
	f("the end mark twice", finished+done+done, false)
	f("an event that is not JSON", finished+"data: oops\n\n"+done, false)
	f("an event with a name twice", "data: {\"choices\":[],\"choices\":[]}\n\n"+finished+done, false)
	f("an event with invalid UTF-8", "data: {\"x\":\"\xff\"}\n\n"+finished+done, false)
	f("an event with more behind its JSON", "data: {} {}\n\n"+finished+done, false)
	f("an empty event", "data\n\n"+finished+done, false)
	f("a cut event, then the end", "data: {\"choices\":[\n\n"+finished+done, false)
	f("nothing", "", false)
}

func TestErrorEventByItsNameAlone(t *testing.T) {
	a := read(OpenAIChat, sse, finished, "event: error\ndata: {\"message\":\"gone\"}\n\n", done).Answer()
	if a.Error == "" {
		t.Errorf("no error in %+v", a)
	}
}

func TestErrorsInAnyShape(t *testing.T) {
	f := func(kind Kind, body, want string) {
		t.Helper()
		if got := read(kind, "application/json", body).Answer().Error; got != want {
			t.Errorf("%s: got %q, want %q", body, got, want)
		}
	}
	for _, kind := range []Kind{OpenAIChat, OpenAIResponses, OpenAIEmbeddings, OpenAIModerations, AnthropicMessages, Gemini, Ollama} {
		f(kind, `{"error":null}`, "")
		f(kind, `{"error":""}`, "")
		f(kind, `{"error":{}}`, "error")
		f(kind, `{"error":"no such model"}`, "error")
		f(kind, `{"error":{"code":502,"message":"x"}}`, "502")
		f(kind, `{"error":{"code":"content_filter","type":null}}`, "content_filter")
		f(kind, `{"error":{"type":"a b\n`+"é"+`"}}`, "a_b__") // a token whatever the words
		f(kind, `{"error":{"type":"`+strings.Repeat("x", 100)+`"}}`, strings.Repeat("x", 64))
		f(kind, `{"error":{"type":"`+strings.Repeat("x", 1000)+`"}}`, "error")
		f(kind, `{"error":[1]}`, "error")
	}
	f(OpenAIChat, `{"object":"error","message":"x","code":400}`, "error")
	f(AnthropicMessages, `{"type":"error"}`, "error")
}

func TestJSONBodies(t *testing.T) {
	f := func(rule string, kind Kind, body string, want bool) {
		t.Helper()
		r := read(kind, "application/json", body)
		if got := r.Answer().Whole; got != want {
			t.Errorf("%s: whole is %v", rule, got)
		}
		if r.Ended() {
			t.Errorf("%s: a body ends with its transfer alone", rule)
		}
	}
	f("an object", OpenAIChat, ` {"choices":[]} `, true)
	f("a name twice", OpenAIChat, `{"choices":[],"choices":[]}`, false)
	f("a name twice, deep down", OpenAIChat, `{"x":[{"a":1,"a":1}]}`, false)
	f("two values", OpenAIChat, `{}{}`, false)
	f("garbage behind", OpenAIChat, `{}x`, false)
	f("no object", OpenAIChat, `"x"`, false)
	f("an array", OpenAIChat, `[{}]`, false)
	f("an array from Gemini", Gemini, `[{}]`, true)
	f("nothing", OpenAIChat, ``, false)
	f("events under another name", OpenAIChat, finished+done, false)
	f("a choice left open", OpenAIChat, `{"choices":[{"finish_reason":"stop"},{"finish_reason":null}]}`, false)
	f("wrong types all over", OpenAIChat, `{"choices":{"a":[]},"model":[],"usage":7,"error":null}`, true)
	f("wrong types all over", AnthropicMessages, `{"content":"x","usage":[],"stop_reason":{},"message":1}`, true)
	f("wrong types all over", Gemini, `{"candidates":[7,{"content":[],"index":"a"}],"usageMetadata":"x"}`, true)
	f("an unknown kind knows no end", None, `half`, true)
}

func TestOnlyOneDoneBehindAnotherEndMark(t *testing.T) {
	stop := "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
	for stream, want := range map[string]bool{
		stop: true, stop + done: true, stop + done + done: false, stop + "data: [DO": false, done: false, done + stop: false,
	} {
		if got := read(AnthropicMessages, sse, stream).Answer().Whole; got != want {
			t.Errorf("%q: whole is %v", stream, got)
		}
	}
}

func TestLines(t *testing.T) {
	const line = `{"done":true,"done_reason":"stop"}`
	for stream, want := range map[string]bool{
		line + "\n": true, line + "\r\n": true, "\n" + line + "\n\n \n": true, line + "\n ": true,
		line: false, line + "\n{": false, line + "\n{}\n": false, line + "\n" + line + "\n": false, "{\n" + line + "\n": false,
	} {
		if got := read(Ollama, ndjson, stream).Answer().Whole; got != want {
			t.Errorf("%q: whole is %v", stream, got)
		}
	}
}

// An event's name is its own: it does not pass on to the next.
func TestNameOfAnEventWithoutData(t *testing.T) {
	if a := read(OpenAIChat, sse, "event: error\n\n", finished, done).Answer(); a.Error != "" || !a.Whole {
		t.Errorf("%+v", a)
	}
}

// Arguments that are told again take the place of those before.
func TestArgumentsToldAgainCountOnce(t *testing.T) {
	again := `data: {"type":"response.function_call_arguments.done","output_index":0,"arguments":"{` + strings.Repeat(" ", maxEvent/2) + `}"}` + "\n\n"
	if a := read(OpenAIResponses, sse, again, again, again, "data: {\"type\":\"response.completed\"}\n\n").Answer(); !a.Whole || a.BadToolArguments {
		t.Errorf("%+v", a)
	}
}

// Content of a candidate behind its terminal reason needs another one.
func TestGeminiCandidateReopened(t *testing.T) {
	chunk := func(text, finish string) string {
		return fmt.Sprintf(`data: {"candidates":[{"content":{"parts":[{"text":%q}]}%s}]}`+"\n\n", text, finish)
	}
	stop := `,"finishReason":"STOP"`
	for _, c := range []struct {
		stream string
		want   bool
	}{
		{chunk("a", stop), true},
		{chunk("a", stop) + chunk("b", ""), false},
		{chunk("a", stop) + chunk("b", "") + chunk("c", stop), true},
		{chunk("a", stop) + `data: {"usageMetadata":{"promptTokenCount":1}}` + "\n\n", true},
		{chunk("a", stop) + done, true},
		{chunk("a", "") + done, false},
	} {
		r := read(Gemini, sse, c.stream)
		if got := r.Answer().Whole; got != c.want || r.Ended() {
			t.Errorf("%s: whole is %v, ended %v", c.stream, got, r.Ended())
		}
	}
}

func TestToolArguments(t *testing.T) {
	f := func(rule string, kind Kind, contentType, body string, want bool) {
		t.Helper()
		if got := read(kind, contentType, body).Answer().BadToolArguments; got != want {
			t.Errorf("%s: bad is %v", rule, got)
		}
	}
	call := func(arguments string) string {
		return `{"choices":[{"message":{"tool_calls":[{"type":"function","function":{"name":"f"` + arguments + `}}]},"finish_reason":"tool_calls"}]}`
	}
	f("a text of JSON", OpenAIChat, "", call(`,"arguments":"{\"a\":[1]}"`), false)
	f("an object", OpenAIChat, "", call(`,"arguments":{"a":1}`), false)
	f("cut", OpenAIChat, "", call(`,"arguments":"{\"a\":[1"`), true)
	f("a name twice", OpenAIChat, "", call(`,"arguments":"{\"a\":1,\"a\":2}"`), true)
	f("empty", OpenAIChat, "", call(`,"arguments":""`), true)
	f("none", OpenAIChat, "", call(""), true)
	f("an item without arguments", OpenAIResponses, "", `{"output":[{"type":"function_call"}]}`, true)
	f("a custom call's input", OpenAIResponses, "", `{"output":[{"type":"custom_tool_call","input":"print("}]}`, false)
	f("Anthropic's object", AnthropicMessages, "", `{"content":[{"type":"tool_use","input":{}}]}`, false)
	f("a text in its place", AnthropicMessages, "", `{"content":[{"type":"tool_use","input":"{"}]}`, true)
	f("Ollama's object", Ollama, ndjson, `{"message":{"tool_calls":[{"function":{"arguments":{"a":1}}}]}}`+"\n", false)
	f("a text in its place", Ollama, ndjson, `{"message":{"tool_calls":[{"function":{"arguments":"x"}}]}}`+"\n", true)
	f("the server's last word counts", OpenAIResponses, sse,
		`data: {"type":"response.function_call_arguments.delta","output_index":0,"delta":"{\"a"}`+"\n\n"+
			`data: {"type":"response.function_call_arguments.done","output_index":0,"arguments":"{}"}`+"\n\n", false)
}

// What an answer makes us keep is bounded, and more than that is not whole.
func TestBounds(t *testing.T) {
	f := func(rule string, kind Kind, contentType, start, more, end string, times int) {
		t.Helper()
		r := NewReader(kind, contentType)
		r.Write([]byte(start))
		for range times {
			r.Write([]byte(more))
		}
		r.Write([]byte(end))
		if r.Answer().Whole {
			t.Errorf("%s: whole", rule)
		}
		if kept := len(r.body) + r.events.held() + len(r.lines.line) + r.out.size; kept > 2*maxEvent {
			t.Errorf("%s: keeps %d bytes", rule, kept)
		}
	}
	mb := strings.Repeat(" ", 1<<20)
	f("a long line", OpenAIChat, sse, `data: {`, mb, "}\n\n"+done, 17)
	f("a long event", OpenAIChat, sse, "data: {\n", "data: "+mb+"\n", "data: }\n\n"+done, 17)
	f("a long line behind the end", OpenAIChat, sse, finished+done+" ", mb, "", 17)
	f("a long line of JSON", Ollama, ndjson, `{`, mb, `"done":true}`+"\n", 17)
	f("a long body", OpenAIChat, "application/json", `{`, mb, `}`, 65)
	f("long arguments", OpenAIChat, sse, "",
		`data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"`+mb+`"}}]}}]}`+"\n\n", done, 17)
	many := func(n int, item string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, item, i)
		}
		return b.String()
	}
	f("many choices", OpenAIChat, sse, many(maxParts+1, `data: {"choices":[{"index":%d,"finish_reason":"stop"}]}`+"\n\n"), "", done, 0)
	f("many reasons", OpenAIChat, sse, many(maxFinish+1, `data: {"choices":[{"index":0,"finish_reason":"r%d"}]}`+"\n\n"), "", done, 0)
	f("many calls", OpenAIChat, sse,
		many(maxParts+1, `data: {"choices":[{"delta":{"tool_calls":[{"index":%d,"function":{"arguments":"{}"}}]}}]}`+"\n\n"), "", done, 0)
}

func FuzzReader(f *testing.F) {
	for i, r := range recordings() {
		f.Add(byte(i), byte(i>>1), r.body(f), uint16(7))
	}
	kinds := []Kind{OpenAIChat, OpenAIResponses, OpenAIEmbeddings, AnthropicMessages, Gemini, Ollama, None}
	types := []string{sse, ndjson, "application/json"}
	f.Fuzz(func(t *testing.T, k, c byte, body []byte, size uint16) {
		kind, contentType := kinds[int(k)%len(kinds)], types[int(c)%len(types)]
		all := read(kind, contentType, string(body))
		pieces := NewReader(kind, contentType)
		for at, n := 0, int(size)%64+1; at < len(body); at += n {
			wasEnded := pieces.Ended()
			pieces.Write(body[at:min(at+n, len(body))])
			if wasEnded && !pieces.Ended() {
				t.Fatal("an end was taken back")
			}
		}
		got, want := fmt.Sprintf("%+v", pieces.Answer()), fmt.Sprintf("%+v", all.Answer())
		if got != want || pieces.Ended() != all.Ended() {
			t.Fatalf("in pieces of %d: %s\nat once: %s", int(size)%64+1, got, want)
		}
	})
}

func BenchmarkReader(b *testing.B) {
	for _, file := range []string{"chat-text.sse", "responses-text.sse", "anthropic-thinking.sse", "gemini-text.sse", "ollama-chat.ndjson"} {
		var rec recording
		for _, r := range recordings() {
			if r.file == file {
				rec = r
			}
		}
		body := rec.body(b)
		n := NextEvent(rec.contentType(), body)
		delta := body[n : n+NextEvent(rec.contentType(), body[n:])] // one event, over and over: about 1 MB
		if rec.kind() == OpenAIResponses || rec.kind() == AnthropicMessages {
			delta = event(b, body, "delta\"")
		}
		stream := []byte(strings.Repeat(string(delta), 1<<20/len(delta)))
		b.Run(file, func(b *testing.B) {
			b.SetBytes(int64(len(stream)))
			b.ReportAllocs()
			for b.Loop() {
				r := NewReader(rec.kind(), rec.contentType())
				for at := 0; at < len(stream); at += 4096 {
					r.Write(stream[at:min(at+4096, len(stream))])
				}
			}
		})
	}
}

// event finds the first event that holds a text.
func event(b *testing.B, body []byte, text string) []byte {
	for len(body) > 0 {
		n := NextEvent(sse, body)
		if strings.Contains(string(body[:n]), text) {
			return body[:n]
		}
		body = body[n:]
	}
	b.Fatalf("no event with %s", text)
	return nil
}
