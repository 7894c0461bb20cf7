package origintest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"sync"
	"time"
)

// What the operations of Sample take at a Scale of 1.
const (
	DocumentTime = 15 * time.Second
	AITime       = 8 * time.Second
	TemplateTime = 3 * time.Second
	BuildTime    = 5 * time.Second
)

const maxSampleBody = 64 << 20 // bytes of a request body that Sample accepts

// Sample is an upstream as document and AI services are: slow, and the same
// answer to the same request, byte for byte. It serves
//
//	POST /v1/chat/completions   JSON, or events with "stream": true
//	POST /v1/embeddings         one input or a batch
//	POST /convert/...           a multipart upload
//	GET  /templates/{name}      with an ETag
//	POST /builds                a JSON object
//
// The zero value answers without delay. It is safe for concurrent use.
type Sample struct {
	Scale float64 // what the latencies are multiplied with; 0 is no latency

	mu    sync.Mutex
	calls map[string]int
}

// Handler serves the sample's APIs.
func (s *Sample) Handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern, operation string, serve http.HandlerFunc) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			s.count(operation)
			r.Body = http.MaxBytesReader(w, r.Body, maxSampleBody)
			serve(w, r)
		})
	}
	handle("POST /v1/chat/completions", "chat", s.chat)
	handle("POST /v1/embeddings", "embeddings", s.embeddings)
	handle("POST /convert/", "convert", s.convert)
	handle("GET /templates/{name}", "templates", s.template)
	handle("POST /builds", "builds", s.build)
	return mux
}

// Calls gives the number of requests by operation since the start: "chat",
// "embeddings", "convert", "templates", "builds".
func (s *Sample) Calls() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := make(map[string]int, len(s.calls))
	for k, v := range s.calls {
		calls[k] = v
	}
	return calls
}

func (s *Sample) count(operation string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls == nil {
		s.calls = map[string]int{}
	}
	s.calls[operation]++
}

// work takes part of an operation's time; false when the client left first.
func (s *Sample) work(ctx context.Context, whole time.Duration, part float64) bool {
	d := time.Duration(float64(whole) * part * s.Scale)
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

type convertedFile struct {
	Field       string `json:"field"`
	Name        string `json:"name"`
	ContentType string `json:"content_type"`
	Bytes       int    `json:"bytes"`
	SHA256      string `json:"sha256"`
	Pages       int    `json:"pages"`
	Words       int    `json:"words"`
	Text        string `json:"text"` // its beginning
}

// convert reads every part of an upload and "extracts" it.
func (s *Sample) convert(w http.ResponseWriter, r *http.Request) {
	parts, err := r.MultipartReader()
	if err != nil {
		fail(w, http.StatusUnsupportedMediaType, "send the document as multipart/form-data: "+err.Error())
		return
	}
	result := struct {
		Operation string            `json:"operation"`
		Options   map[string]string `json:"options"`
		Files     []convertedFile   `json:"files"`
	}{strings.TrimPrefix(r.URL.Path, "/convert/"), map[string]string{}, []convertedFile{}}
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			fail(w, http.StatusBadRequest, "broken upload: "+err.Error())
			return
		}
		data, err := io.ReadAll(part)
		if err != nil {
			fail(w, http.StatusBadRequest, "broken upload: "+err.Error())
			return
		}
		if part.FileName() == "" {
			result.Options[part.FormName()] = string(data)
			continue
		}
		result.Files = append(result.Files, extract(part, data))
	}
	if len(result.Files) == 0 {
		fail(w, http.StatusBadRequest, "no file in the upload")
		return
	}
	if s.work(r.Context(), DocumentTime, 1) {
		answer(w, result)
	}
}

func extract(part *multipart.Part, data []byte) convertedFile {
	sum := sha256.Sum256(data)
	text := strings.ToValidUTF8(string(data[:min(len(data), 120)]), "?")
	return convertedFile{
		Field: part.FormName(), Name: part.FileName(), ContentType: part.Header.Get("Content-Type"),
		Bytes: len(data), SHA256: hex.EncodeToString(sum[:]),
		Pages: 1 + len(data)/3000, Words: len(strings.Fields(string(data))), Text: text,
	}
}

// template serves a template by name, with an ETag of its content.
func (s *Sample) template(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	body := fmt.Sprintf("# %s\n\nDear {{.Customer}},\n\nplease find the %s of {{.Date}} below.\n\n%s\n",
		name, name, strings.Repeat("| {{.Item}} | {{.Price}} |\n", 40))
	sum := sha256.Sum256([]byte(body))
	etag := `"` + hex.EncodeToString(sum[:8]) + `"`
	if !s.work(r.Context(), TemplateTime, 1) {
		return
	}
	w.Header().Set("ETag", etag)
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", "text/markdown; charset=utf-8")
	_, _ = io.WriteString(w, body) // a client that has left needs no answer
}

// build answers a build request with the result of the build.
func (s *Sample) build(w http.ResponseWriter, r *http.Request) {
	var request map[string]any
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil || request == nil {
		fail(w, http.StatusBadRequest, "send a JSON object that says what to build")
		return
	}
	// Maps are marshalled in the order of their keys: equal requests, equal ids.
	canonical, err := json.Marshal(request)
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	sum := sha256.Sum256(canonical)
	id := hex.EncodeToString(sum[:8])
	if !s.work(r.Context(), BuildTime, 1) {
		return
	}
	answer(w, map[string]any{
		"id": "build-" + id, "status": "succeeded", "request": request,
		"artifacts": []map[string]any{
			{"name": "site.tar.gz", "sha256": hex.EncodeToString(sum[:]), "bytes": 10_000 + int(sum[0])*97},
		},
		"steps": []string{"checkout", "resolve", "compile", "test", "package"},
	})
}

// answer sends v as JSON.
func answer(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(body, '\n')) // a client that has left needs no answer
}

// fail sends an error in the shape that OpenAI's API has.
func fail(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{ // as above
		"error": map[string]any{"message": message, "type": "invalid_request_error", "param": nil, "code": nil},
	})
}
