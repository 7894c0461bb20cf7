// Package protocol says what an AI answer is: where it ends, how it ended, what
// it cost, and how a batch of embeddings comes apart and together again.
//
// It is pure: bytes in, values out; no clock, no sockets, no stores. It gives
// no verdicts either: which answers may be kept is for others to say.
package protocol

// Kind names an API by the shape of its answers.
type Kind string

// The kinds. With None nothing is known of an answer: its transfer alone says
// whether it is whole.
const (
	None              Kind = "none"
	OpenAIChat        Kind = "openai-chat" // chat completions, and the older completions
	OpenAIResponses   Kind = "openai-responses"
	OpenAIEmbeddings  Kind = "openai-embeddings"
	OpenAIModerations Kind = "openai-moderations"
	AnthropicMessages Kind = "anthropic-messages"
	Gemini            Kind = "gemini" // generateContent, streamGenerateContent, embedContent, batchEmbedContents, countTokens
	Ollama            Kind = "ollama" // /api/chat, /api/generate, /api/embed, /api/embeddings
)

// CleanFinishes gives the terminal reasons, in the provider's words, of answers
// that ended as the model meant them to. What was cut short, filtered, refused
// or is to be continued is not among them. The caller owns the slice.
func (k Kind) CleanFinishes() []string {
	switch k {
	case OpenAIChat:
		return []string{"stop", "tool_calls", "function_call"}
	case OpenAIResponses:
		return []string{"completed"}
	case AnthropicMessages:
		return []string{"end_turn", "tool_use", "stop_sequence"}
	case Gemini:
		return []string{"STOP"}
	case Ollama:
		return []string{"stop"}
	}
	return nil
}

// HasFinish says whether answers of the kind name a terminal reason. Some
// answers of such a kind have none all the same, vectors and counts of tokens:
// Answer.HasFinish speaks of the one answer.
func (k Kind) HasFinish() bool {
	switch k {
	case OpenAIChat, OpenAIResponses, AnthropicMessages, Gemini, Ollama:
		return true
	}
	return false
}

// Usage is what an answer says it cost, in tokens.
type Usage struct {
	Known       bool
	Input       int64 // all input tokens, those read from and written to the provider's cache included
	Output      int64 // all output tokens, those of the reasoning included
	CachedInput int64 // those of Input that the provider read from its cache
}

// Answer is what is to be said of an answer as far as it has come.
type Answer struct {
	Whole            bool     // seen to the protocol's own end, with nothing behind it, and readable all the way
	Error            string   // a short token, such as the error's type, when it is or holds an error in spite of its status
	HasFinish        bool     // answers of its shape name a terminal reason
	Finish           []string // terminal reasons in the provider's words, of all choices, without repetition, in order
	BadToolArguments bool     // the arguments of a tool call are no valid JSON
	Empty            bool     // no text, no tool call, no vector; reasoning alone does not count
	Model            string
	Usage            Usage
}
