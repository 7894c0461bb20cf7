package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	v1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// serveCollector is an OTLP collector that hands on the spans that it is sent.
func serveCollector(t *testing.T) (url string, spans <-chan *v1.Span) {
	t.Helper()
	got := make(chan *v1.Span, 1000)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		var msg collector.ExportTraceServiceRequest
		if err != nil || proto.Unmarshal(raw, &msg) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		for _, r := range msg.ResourceSpans {
			for _, s := range r.ScopeSpans {
				for _, span := range s.Spans {
					got <- span
				}
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(s.Close)
	return s.URL, got
}

// The span of an upstream's answer has the attributes of OpenTelemetry's
// conventions for generative AI, those that are known, and no secret.
func TestTracesTellOfAIAnswers(t *testing.T) {
	u := serveProvider(t)
	url, spans := serveCollector(t)
	p := start(t, fmt.Sprintf("upstreams: {u: {url: %q, preset: openai}}\ntelemetry: {otlp_endpoint: %q}\n", u.URL, url))
	f := func(answer string, want map[string]string, not ...string) {
		t.Helper()
		u.set(func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, answer)
			return true
		})
		ask(t, "POST", p.URL+"/v1/chat/completions", `{"model":"gpt-x","messages":[],"n":`+fmt.Sprint(len(answer))+`}`, "Content-Type", "application/json", "Authorization", "Bearer very-secret")
		for deadline := time.After(patience); ; {
			var span *v1.Span
			select {
			case span = <-spans:
			case <-deadline:
				t.Fatalf("no span of the upstream's answer\n%s", p.Log())
			}
			if span.Kind != v1.Span_SPAN_KIND_CLIENT {
				continue
			}
			got := map[string]string{}
			for _, a := range span.Attributes {
				got[a.Key] = a.Value.String()
			}
			for name, says := range want {
				if !strings.Contains(got[name], says) {
					t.Errorf("%s is %q, want %s", name, got[name], says)
				}
			}
			for _, name := range not {
				if v, ok := got[name]; ok {
					t.Errorf("%s is %q, and not known", name, v)
				}
			}
			if strings.Contains(span.String(), "secret") || span.Name != "chat gpt-x" {
				t.Errorf("span %q: %v", span.Name, span)
			}
			return
		}
	}
	f(`{"model":"gpt-x-2026","choices":[{"index":0,"message":{"content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3}}`, map[string]string{
		"gen_ai.operation.name": `"chat"`, "gen_ai.provider.name": `"openai"`, "gen_ai.request.model": `"gpt-x"`, "gen_ai.response.model": `"gpt-x-2026"`,
		"gen_ai.response.finish_reasons": `"stop"`, "gen_ai.usage.input_tokens": "7", "gen_ai.usage.output_tokens": "3", "http.response.status_code": "200",
	})
	f(`{"choices":[{"index":0,"message":{"content":"hello"},"finish_reason":"stop"}]}`, map[string]string{"gen_ai.request.model": `"gpt-x"`},
		"gen_ai.response.model", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens")
}

// Each event of a live stream is with the client before the next one leaves the
// upstream.
func TestEachEventOfALiveStreamLeavesAtOnce(t *testing.T) {
	u := serveProvider(t)
	p := startAI(t, u, "")
	f := func(path, contentType string, events []string) {
		t.Helper()
		next := make(chan struct{})
		u.set(func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Type", contentType)
			for _, e := range events {
				fmt.Fprint(w, e)
				_ = http.NewResponseController(w).Flush()
				<-next // until the client has it
			}
			return true
		})
		resp, err := http.Post(p.URL+path, "application/json", strings.NewReader(`{"stream":true}`))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		for _, e := range events {
			got := make([]byte, len(e))
			if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != e {
				t.Errorf("%s: %q, %v", path, got, err)
			}
			next <- struct{}{}
		}
		if rest, err := io.ReadAll(resp.Body); len(rest) > 0 || err != nil {
			t.Errorf("%s: %q, %v", path, rest, err)
		}
	}
	f("/chat", "text/event-stream", []string{"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n", ": ping\n\n", "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n", "data: [DONE]\n\n"})
	f("/ollama", "application/x-ndjson", []string{"{\"message\":{\"content\":\"a\"},\"done\":false}\n", "{\"message\":{\"content\":\"b\"},\"done\":false}\n", "{\"done\":true,\"done_reason\":\"stop\"}\n"})
	f("/gemini/m:streamGenerateContent", "text/event-stream", []string{"data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]}}]}\n\n", "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"b\"}]},\"finishReason\":\"STOP\"}]}\n\n"})
}
