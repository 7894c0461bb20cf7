package protocol

import (
	"net/url"
	"strings"
	"sync"
)

// Request is what a request asks for; what it does not say is zero.
type Request struct {
	Operation      string // chat, text_completion, embeddings or generate_content, as OpenTelemetry has them; empty for others
	Model          string
	Stream         bool
	HasTemperature bool
	Temperature    float64
	HasSeed        bool
}

// docs are walkers to use again, of *doc; they hold no text while they wait.
var docs = sync.Pool{New: func() any { return new(doc) }}

// ReadRequest reads what matters here out of a request: its path, with or
// without a query and as it was sent, and its body. It never fails: a body that
// cannot be read in one way only says nothing.
func ReadRequest(kind Kind, path string, body []byte) Request {
	path, _, _ = strings.Cut(path, "?")
	if plain, err := url.PathUnescape(path); err == nil {
		path = plain
	}
	r := Request{Operation: operation(kind, path)}
	r.Stream = kind == Ollama && r.Operation != "embeddings" && r.Operation != ""
	if kind == None || r.Operation == "" && !kind.HasFinish() {
		return r
	}
	read := r
	d := docs.Get().(*doc)
	d.begin(body)
	read.members(kind, d)
	whole := d.end()
	d.begin(nil)
	docs.Put(d)
	if whole {
		r = read
	}
	if kind == Gemini {
		r.Model, r.Stream = geminiPath(path)
	}
	return r
}

// members reads the body. What is not of this kind says nothing: another
// provider's name for a thing may be in a body by mistake.
func (r *Request) members(kind Kind, d *doc) {
	d.members(func(name []byte) {
		switch string(name) {
		case "model":
			r.Model = d.word()
		case "stream":
			switch d.kind() {
			case 't', 'f':
				r.Stream = d.isTrue()
			}
		case "temperature":
			r.Temperature, r.HasTemperature = d.number()
		case "seed":
			_, r.HasSeed = d.number()
		case "options", "generationConfig", "generation_config":
			if kind != Ollama && kind != Gemini || (kind == Ollama) != (string(name) == "options") {
				return
			}
			d.members(func(name []byte) {
				switch string(name) {
				case "temperature":
					r.Temperature, r.HasTemperature = d.number()
				case "seed":
					_, r.HasSeed = d.number()
				}
			})
		}
	})
	if !r.HasTemperature {
		r.Temperature = 0
	}
}

// operation tells by the path what is asked for, and what by the kind where
// that has one operation only.
func operation(kind Kind, path string) string {
	last := path[strings.LastIndexByte(path, '/')+1:]
	switch kind {
	case OpenAIChat:
		if last == "completions" && !strings.HasSuffix(path, "/chat/completions") {
			return "text_completion"
		}
		return "chat"
	case OpenAIResponses:
		if last == "input_tokens" {
			return ""
		}
		return "chat"
	case OpenAIEmbeddings:
		return "embeddings"
	case AnthropicMessages:
		if last == "count_tokens" {
			return ""
		}
		return "chat"
	case Gemini:
		_, method, _ := strings.Cut(last, ":")
		switch method {
		case "generateContent", "streamGenerateContent":
			return "generate_content"
		case "embedContent", "batchEmbedContents":
			return "embeddings"
		}
	case Ollama:
		switch last {
		case "chat":
			return "chat"
		case "generate":
			return "text_completion"
		case "embed", "embeddings":
			return "embeddings"
		}
	}
	return ""
}

// geminiPath finds the model, and whether a stream is asked for, in
// .../models/{model}:{method}.
func geminiPath(path string) (model string, stream bool) {
	last := path[strings.LastIndexByte(path, '/')+1:]
	model, method, ok := strings.Cut(last, ":")
	if !ok || len(model) > maxWord {
		return "", false
	}
	return model, method == "streamGenerateContent"
}
