package origintest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// ask sends one request to a handler and returns its answer.
func ask(t *testing.T, h http.Handler, method, path, contentType, body string) *httptest.ResponseRecorder {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	return rec
}

const jsonType = "application/json"

func prompt(text string, stream bool) string {
	return fmt.Sprintf(`{"model":"m","stream":%t,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":%q}]}`, stream, text)
}

func upload(t *testing.T, name, content string) (contentType, body string) {
	t.Helper()
	var b bytes.Buffer
	form := multipart.NewWriter(&b)
	part, err := form.CreateFormFile("file", name)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(part, content)
	_ = form.WriteField("lang", "en")
	_ = form.Close()
	return form.FormDataContentType(), b.String()
}

func TestSampleGivesTheSameAnswerToTheSameRequestOnly(t *testing.T) {
	s := &Sample{}
	h := s.Handler()
	f := func(path, body, other string) {
		t.Helper()
		method := "POST"
		if body == "" {
			method = "GET"
		}
		first, again := ask(t, h, method, path, jsonType, body), ask(t, h, method, path, jsonType, body)
		if first.Code != 200 || first.Body.String() != again.Body.String() {
			t.Errorf("%s: status %d, or two answers to one request", path, first.Code)
		}
		if body == "" {
			path = other
		}
		if ask(t, h, method, path, jsonType, other).Body.String() == first.Body.String() {
			t.Errorf("%s: one answer to two requests", path)
		}
	}
	f("/v1/chat/completions", prompt("a", false), prompt("b", false))
	f("/v1/chat/completions", prompt("a", true), prompt("b", true))
	f("/v1/embeddings", `{"model":"m","input":"a"}`, `{"model":"m","input":"b"}`)
	f("/builds", `{"project":"a"}`, `{"project":"b"}`)
	f("/templates/invoice", "", "/templates/letter")
	want := map[string]int{"chat": 6, "embeddings": 3, "builds": 3, "templates": 3}
	if got := s.Calls(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("calls %v, want %v", got, want)
	}
}

func TestSampleStreamSaysWhatTheWholeAnswerSays(t *testing.T) {
	h := (&Sample{}).Handler()
	var whole completion
	if err := json.Unmarshal(ask(t, h, "POST", "/v1/chat/completions", jsonType, prompt("q", false)).Body.Bytes(), &whole); err != nil {
		t.Fatal(err)
	}
	stream := ask(t, h, "POST", "/v1/chat/completions", jsonType, prompt("q", true)).Body.String()
	events, ok := strings.CutSuffix(stream, "data: [DONE]\n\n")
	if !ok {
		t.Fatalf("no end mark in %q", stream)
	}
	var text, finish string
	var used *usage
	for _, event := range strings.Split(strings.TrimSuffix(events, "\n\n"), "\n\n") {
		var c completion
		if err := json.Unmarshal([]byte(strings.TrimPrefix(event, "data: ")), &c); err != nil {
			t.Fatal(err)
		}
		used = c.Usage
		for _, choice := range c.Choices {
			text += choice.Delta.Content
			if choice.FinishReason != nil {
				finish = *choice.FinishReason
			}
		}
	}
	if text != whole.Choices[0].Message.Content || finish != "stop" {
		t.Errorf("streamed %q (%s), whole %q", text, finish, whole.Choices[0].Message.Content)
	}
	if used == nil || *used != *whole.Usage {
		t.Errorf("usage of the stream %v, of the whole %v", used, whole.Usage)
	}
}

func TestSampleEmbedsEachInputOfABatchByItself(t *testing.T) {
	h := (&Sample{}).Handler()
	get := func(input string) (vectors []string) {
		t.Helper()
		var list struct {
			Data []struct{ Embedding []float64 }
		}
		body := ask(t, h, "POST", "/v1/embeddings", jsonType, `{"model":"m","input":`+input+`}`).Body.Bytes()
		if err := json.Unmarshal(body, &list); err != nil {
			t.Fatal(err)
		}
		for _, d := range list.Data {
			vectors = append(vectors, fmt.Sprint(d.Embedding))
		}
		return vectors
	}
	batch, one := get(`["a","b"]`), get(`"b"`)
	if len(batch) != 2 || len(one) != 1 || batch[1] != one[0] || batch[0] == batch[1] {
		t.Errorf("batch %v, one %v", batch, one)
	}
}

func TestSampleConvertsUploads(t *testing.T) {
	h := (&Sample{}).Handler()
	contentType, body := upload(t, "a.txt", "hello two words")
	rec := ask(t, h, "POST", "/convert/pdf", contentType, body)
	for _, want := range []string{`"operation":"pdf"`, `"name":"a.txt"`, `"bytes":15`, `"words":3`, `"lang":"en"`, `"sha256":"`} {
		if !strings.Contains(rec.Body.String(), want) {
			t.Errorf("no %s in %s", want, rec.Body)
		}
	}
}

func TestSampleTemplatesRevalidate(t *testing.T) {
	h := (&Sample{}).Handler()
	etag := ask(t, h, "GET", "/templates/x", "", "").Header().Get("ETag")
	req := httptest.NewRequestWithContext(t.Context(), "GET", "/templates/x", nil)
	req.Header.Set("If-None-Match", etag)
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	if etag == "" || rec.Code != http.StatusNotModified || rec.Body.Len() != 0 {
		t.Errorf("ETag %q, status %d, body %q", etag, rec.Code, rec.Body)
	}
}

func TestSampleRefusesWhatItCannotRead(t *testing.T) {
	h := (&Sample{}).Handler()
	f := func(path, contentType, body string, want int) {
		t.Helper()
		rec := ask(t, h, "POST", path, contentType, body)
		if rec.Code != want || !strings.Contains(rec.Body.String(), `"error"`) {
			t.Errorf("%s %q: status %d, want %d; %s", path, body, rec.Code, want, rec.Body)
		}
	}
	f("/v1/chat/completions", jsonType, "{", 400)
	f("/v1/chat/completions", jsonType, "{}", 400)
	f("/v1/embeddings", jsonType, `{"model":"m","input":3}`, 400)
	f("/v1/embeddings", jsonType, `{"model":"m","input":[]}`, 400)
	f("/builds", jsonType, "null", 400)
	f("/convert/pdf", jsonType, "{}", 415)
	f("/convert/pdf", "multipart/form-data; boundary=b", "--b\r\ncut", 400)
	f("/convert/pdf", "multipart/form-data; boundary=b", "--b--\r\n", 400)
}

func TestSampleTakesItsTimes(t *testing.T) {
	contentType, body := upload(t, "a", "b")
	f := func(method, path, contentType, body string, want time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			h, start := (&Sample{Scale: 0.1}).Handler(), time.Now()
			ask(t, h, method, path, contentType, body)
			if took := time.Since(start).Round(10 * time.Millisecond); took != want {
				t.Errorf("%s took %v, want %v", path, took, want)
			}
		})
	}
	f("POST", "/convert/pdf", contentType, body, 1500*time.Millisecond)
	f("POST", "/v1/chat/completions", jsonType, prompt("q", false), 800*time.Millisecond)
	f("POST", "/v1/chat/completions", jsonType, prompt("q", true), 800*time.Millisecond)
	f("POST", "/v1/embeddings", jsonType, `{"model":"m","input":"a"}`, 800*time.Millisecond)
	f("GET", "/templates/x", "", "", 300*time.Millisecond)
	f("POST", "/builds", jsonType, `{"project":"a"}`, 500*time.Millisecond)
}
