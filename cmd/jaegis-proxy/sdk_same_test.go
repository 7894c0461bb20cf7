package main

import "testing"

func TestSDKsGetTheSameFromTheCache(t *testing.T) {
	f := func(name, module, preset string, scenarios ...string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			startSDK(t, module, preset).cached(t, scenarios...)
		})
	}
	f("openai", "openai", "openai",
		"chat", "chat-tools", "chat-text-and-tools", "chat-reasoning",
		"chat-stream", "chat-stream-usage", "chat-stream-tools", "chat-stream-text-and-tools", "chat-stream-reasoning", "chat-stream-helper",
		"responses", "responses-tools", "responses-reasoning",
		"responses-stream", "responses-stream-tools", "responses-stream-reasoning",
		"moderation", "recover",
	)
	f("openai, another's API", "openai", "openai-compatible", "chat", "chat-stream", "chat-tools", "chat-stream-tools")
	f("anthropic", "anthropic", "anthropic",
		"message", "message-tools", "message-text-and-tools", "message-thinking", "message-redacted",
		"stream", "stream-tools", "stream-thinking", "stream-redacted",
		"helper", "helper-tools", "helper-thinking",
		"count-tokens", "recover",
	)
	f("ai, openai", "ai", "openai", append(ofModel("openai-chat"), ofModel("openai-responses")...)...)
	f("ai, anthropic", "ai", "anthropic", ofModel("anthropic")...)
	f("ai, google", "ai", "gemini", append(ofModel("google"), "google-embed/one", "google-embed/many", "google-embed/overlap")...)
}

// ofModel are the scenarios that testdata/sdk/ai.mjs has for each model.
func ofModel(model string) (scenarios []string) {
	for _, s := range []string{"text", "reasoning", "tools", "stream", "stream-tools", "stream-reasoning", "object", "stream-object"} {
		scenarios = append(scenarios, model+"/"+s)
	}
	return scenarios
}

func TestSDKsSeeErrorsAndFilesAsTheyAre(t *testing.T) {
	f := func(name, module, preset string, scenarios ...string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			startSDK(t, module, preset).passed(t, scenarios...)
		})
	}
	f("openai", "openai", "openai", "fail-400", "fail-401", "fail-404", "fail-429", "fail-500", "fail-stream-400", "fail-responses-400", "files")
	f("anthropic", "anthropic", "anthropic", "fail-400", "fail-401", "fail-404", "fail-429", "fail-500", "fail-stream-400")
	f("ai, openai", "ai", "openai", "openai-chat/fail", "openai-responses/fail")
	f("ai, anthropic", "ai", "anthropic", "anthropic/fail")
	f("ai, google", "ai", "gemini", "google/fail")
}

func TestAnswersThatSDKsGetCutShortAreNotStored(t *testing.T) {
	f := func(name, module, preset string, scenarios ...string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			startSDK(t, module, preset).passed(t, scenarios...)
		})
	}
	f("openai", "openai", "openai", "chat-length", "chat-stream-length")
	f("anthropic", "anthropic", "anthropic", "message-length", "stream-length")
	f("ai, google", "ai", "gemini", "google/length", "google/stream-length")
}
