package origintest

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// thinking is the part of AITime that passes before the first token.
const thinking = 0.25

type chatRequest struct {
	Model    string `json:"model"`
	Messages []struct {
		Role    string          `json:"role"`
		Content json.RawMessage `json:"content"` // a string, or a list of parts
	} `json:"messages"`
	Stream        bool `json:"stream"`
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
}

type usage struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens,omitempty"`
	Total      int `json:"total_tokens"`
}

// chat answers a chat completion: the same words for the same prompt and model.
func (s *Sample) chat(w http.ResponseWriter, r *http.Request) {
	var req chatRequest
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		fail(w, http.StatusBadRequest, "could not read the JSON body: "+err.Error())
		return
	}
	if req.Model == "" || len(req.Messages) == 0 {
		fail(w, http.StatusBadRequest, "model and messages are required")
		return
	}
	var prompt strings.Builder
	for _, m := range req.Messages {
		fmt.Fprintf(&prompt, "%s %s\n", m.Role, m.Content)
	}
	sum := sha256.Sum256([]byte(req.Model + "\n" + prompt.String()))
	words := compose(sum)
	c := completion{
		ID: "chatcmpl-" + hex.EncodeToString(sum[:12]), Model: req.Model,
		Created: 1_700_000_000 + int64(binary.BigEndian.Uint16(sum[:])), // from the prompt: no two calls may differ
	}
	used := usage{Prompt: len(strings.Fields(prompt.String())), Completion: len(words)}
	used.Total = used.Prompt + used.Completion
	if !s.work(r.Context(), AITime, thinking) {
		return
	}
	if req.Stream {
		s.streamChat(w, r, c, words, used, req.StreamOptions.IncludeUsage)
		return
	}
	if !s.work(r.Context(), AITime, 1-thinking) {
		return
	}
	stop := "stop"
	c.Object, c.Usage = "chat.completion", &used
	c.Choices = []choice{{Message: &message{Role: "assistant", Content: strings.Join(words, "")}, FinishReason: &stop}}
	answer(w, c)
}

type completion struct {
	ID      string   `json:"id"`
	Object  string   `json:"object"`
	Created int64    `json:"created"`
	Model   string   `json:"model"`
	Choices []choice `json:"choices"`
	Usage   *usage   `json:"usage,omitempty"`
}

type choice struct {
	Index        int      `json:"index"`
	Message      *message `json:"message,omitempty"`
	Delta        *message `json:"delta,omitempty"`
	FinishReason *string  `json:"finish_reason"`
}

type message struct {
	Role    string `json:"role,omitempty"`
	Content string `json:"content,omitempty"`
}

// streamChat sends the answer word by word, flushed one by one.
func (s *Sample) streamChat(w http.ResponseWriter, r *http.Request, c completion, words []string, used usage, withUsage bool) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	control := http.NewResponseController(w)
	c.Object = "chat.completion.chunk"
	event := func(choices []choice, u *usage) bool {
		c.Choices, c.Usage = choices, u
		data, err := json.Marshal(c)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		_, err = fmt.Fprintf(w, "data: %s\n\n", data)
		return err == nil && control.Flush() == nil
	}
	if !event([]choice{{Delta: &message{Role: "assistant"}}}, nil) {
		return
	}
	for _, word := range words {
		if !s.work(r.Context(), AITime, (1-thinking)/float64(len(words))) ||
			!event([]choice{{Delta: &message{Content: word}}}, nil) {
			return
		}
	}
	stop := "stop"
	if !event([]choice{{Delta: &message{}, FinishReason: &stop}}, nil) {
		return
	}
	if withUsage && !event([]choice{}, &used) {
		return
	}
	_, _ = io.WriteString(w, "data: [DONE]\n\n") // a client that has left needs no answer
}

// compose makes 20 to 51 words out of a digest.
func compose(sum [32]byte) []string {
	vocabulary := []string{
		"the", "document", "shows", "a", "clear", "total", "of", "invoices", "and", "each", "line", "was",
		"checked", "against", "its", "order", "so", "that", "every", "amount", "agrees", "with", "what", "we",
		"expected", "except", "where", "page", "two", "differs", "slightly", "overall",
	}
	words := make([]string, 20+int(sum[31])%32)
	for i := range words {
		words[i] = vocabulary[(int(sum[i%32])+i*7)%len(vocabulary)]
		if i > 0 {
			words[i] = " " + words[i]
		}
	}
	words[len(words)-1] += "."
	return words
}

type embedding struct {
	Object    string    `json:"object"`
	Index     int       `json:"index"`
	Embedding []float64 `json:"embedding"`
}

// embeddings answers one vector an input, made from that input alone.
func (s *Sample) embeddings(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Model string          `json:"model"`
		Input json.RawMessage `json:"input"`
	}
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		fail(w, http.StatusBadRequest, "could not read the JSON body: "+err.Error())
		return
	}
	var inputs []string
	if err := json.Unmarshal(req.Input, &inputs); err != nil {
		var one string
		if json.Unmarshal(req.Input, &one) != nil {
			fail(w, http.StatusBadRequest, "input must be a string or a list of strings")
			return
		}
		inputs = []string{one}
	}
	if req.Model == "" || len(inputs) == 0 {
		fail(w, http.StatusBadRequest, "model and input are required")
		return
	}
	data, used := make([]embedding, len(inputs)), usage{}
	for i, input := range inputs {
		data[i] = embedding{Object: "embedding", Index: i, Embedding: vector(req.Model, input)}
		used.Prompt += len(strings.Fields(input))
	}
	used.Total = used.Prompt
	if s.work(r.Context(), AITime, 1) {
		answer(w, map[string]any{"object": "list", "model": req.Model, "data": data, "usage": used})
	}
}

// vector gives 64 numbers in [-1, 1).
func vector(model, input string) []float64 {
	v := make([]float64, 0, 64)
	for block := range 4 {
		sum := sha256.Sum256(fmt.Appendf(nil, "%d %d:%s%s", block, len(model), model, input))
		for i := 0; i < len(sum); i += 2 {
			v = append(v, float64(binary.BigEndian.Uint16(sum[i:]))/32768-1)
		}
	}
	return v
}
