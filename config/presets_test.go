package config

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// preset is a file with an upstream u of a preset.
func preset(name, more string) string {
	return "upstreams: {u: {url: http://h, preset: " + name + more + "}}\n"
}

func TestEveryPresetHasAFileThatLoadsByItself(t *testing.T) {
	entries, err := os.ReadDir("presets")
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, e := range entries {
		files = append(files, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	want := slices.Sorted(slices.Values(Presets()))
	slices.Sort(files)
	if !slices.Equal(files, want) {
		t.Errorf("files %q, presets %q", files, want)
	}
	for _, name := range Presets() {
		text, ok := Preset(name)
		if !ok || len(text) == 0 {
			t.Fatalf("%s has no file", name)
		}
		// As a user would copy it: with the URL of the upstream.
		copied := strings.Replace(string(text), "  "+name+":\n", "  "+name+":\n    url: http://h\n", 1)
		if cfg := mustLoad(t, copied); len(cfg.Routes) < 5 || cfg.Upstreams[name].IdleTimeout <= DefaultUpstream().IdleTimeout {
			t.Errorf("%s loads as %+v", name, cfg)
		}
	}
	if _, ok := Preset("../config"); ok {
		t.Error("a file that is no preset is given out")
	}
}

func TestAPresetBringsItsRoutesAfterTheUsersOwn(t *testing.T) {
	cfg := mustLoad(t, preset("openai", ", hosts: [AI.example]")+"routes: [{name: mine, namespace: builds}]\ncache: {ttl: {ai_responses: 5m}}\n")
	all := cfg.AllRoutes()
	if len(cfg.Routes) != 1 || all[0].Name != "mine" || cfg.DefaultUpstream != "u" {
		t.Fatalf("%d routes of its own, the first of all is %s, default %q", len(cfg.Routes), all[0].Name, cfg.DefaultUpstream)
	}
	chat := all[1]
	if chat.Name != "u-chat" || chat.Upstream != "u" || !slices.Equal(chat.Match.Hosts, []string{"ai.example"}) || chat.TTL != Duration(5*time.Minute) ||
		chat.Namespace != "ai_responses" || chat.Protocol != "openai-chat" || chat.Scope != "credential" || !chat.Cache {
		t.Errorf("%+v", chat)
	}
	for _, r := range all[1:] {
		if r.Upstream != "u" || !strings.HasPrefix(r.Name, "u-") || !slices.Equal(r.Match.Hosts, []string{"ai.example"}) {
			t.Errorf("%+v", r)
		}
	}
	all[1].Match.Hosts[0] = "changed" // they belong to the caller
	if cfg.PresetRoutes()[0].Match.Hosts[0] != "ai.example" || cfg.Upstreams["u"].Hosts[0] != "ai.example" {
		t.Error("changing what AllRoutes gives changes the tree")
	}
}

func TestARouteOfTheUsersTakesThePlaceOfThePresetsOfItsName(t *testing.T) {
	cfg := mustLoad(t, preset("openai", "")+"routes: [{name: U_Chat, namespace: builds, match: {path: /mine}}]\n")
	n := 0
	for _, r := range cfg.AllRoutes() {
		if fold(r.Name) == "u_chat" {
			n++
			if r.Match.Path != "/mine" {
				t.Errorf("%+v", r)
			}
		}
	}
	if n != 1 {
		t.Errorf("%d routes of that name", n)
	}
}

func TestAPresetGivesItsUpstreamTheTimeoutsOfAModel(t *testing.T) {
	u := mustLoad(t, preset("anthropic", ", idle_timeout: 7s")).Upstreams["u"]
	if u.IdleTimeout != Duration(7*time.Second) || u.FirstByteTimeout != Duration(10*time.Minute) || u.TotalTimeout != Duration(time.Hour) || u.ConnectTimeout != Duration(5*time.Second) {
		t.Errorf("%+v", u)
	}
	if u := mustLoad(t, docs, "JAEGIS_UPSTREAMS_DOCS_PRESET=ollama").Upstreams["docs"]; u.FirstByteTimeout != Duration(10*time.Minute) {
		t.Errorf("set by a variable: %+v", u)
	}
}

func TestTwoPresetsOnTheSameHostsAreRefused(t *testing.T) {
	f := func(a, b, want string) {
		t.Helper()
		text := "upstreams:\n  a: {url: http://a, " + a + "}\n  b: {url: http://b, " + b + "}\ndefault_upstream: a\n"
		_, _, err := loadText(text)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s and %s: %v", a, b, err)
		case want != "" && (err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "\n")):
			t.Errorf("%s and %s: %v, want %s", a, b, err, want)
		}
	}
	const want = "proxy.yaml:3: upstreams.b.preset: its route b-"
	for _, a := range Presets() {
		for _, b := range Presets() {
			if (a == "documents") != (b == "documents") {
				f("preset: "+a, "preset: "+b, "") // they have no path in common
				continue
			}
			f("preset: "+a, "preset: "+b, want)
			f("preset: "+a+", hosts: [x, y]", "preset: "+b+", hosts: [Y]", want)
			f("preset: "+a+", hosts: [x]", "preset: "+b, want)
			f("preset: "+a+", hosts: [x]", "preset: "+b+", hosts: [y]", "")
		}
	}
	mustFail(t, "upstreams:\n  a: {url: http://a, preset: openai}\n  b: {url: http://b, preset: openai}\ndefault_upstream: a\n", nil,
		"proxy.yaml:3: upstreams.b.preset: its route b-chat and the route a-chat of upstreams.a take the same requests; set upstreams.a.hosts and upstreams.b.hosts to the names by which clients reach each")
}

func TestMatchesThatMeet(t *testing.T) {
	f := func(a, b Match, want bool) {
		t.Helper()
		if meet(a, b) != want || meet(b, a) != want {
			t.Errorf("%+v and %+v", a, b)
		}
	}
	f(Match{Path: "/a"}, Match{Path: "/a"}, true)
	f(Match{Path: "/a"}, Match{Path: "/ab"}, false)
	f(Match{Path: "/a*"}, Match{Path: "/ab"}, true)
	f(Match{Path: "/a/*"}, Match{Path: "/a"}, false)
	f(Match{Path: "/a*"}, Match{Path: "/a/b*"}, true)
	f(Match{Path: "/a*"}, Match{Path: "/b*"}, false)
	f(Match{Path: "/*", Methods: []string{"GET"}}, Match{Path: "/*", Methods: []string{"POST"}}, false)
	f(Match{Path: "/*", Methods: []string{"GET"}}, Match{Path: "/*"}, true)
	f(Match{Path: "/*", Hosts: []string{"a"}}, Match{Path: "/*", Hosts: []string{"b"}}, false)
}

func TestWhatPresetsNeedIsChecked(t *testing.T) {
	mustFail(t, preset("openai", "")+"cache: {ttl: {ai_responses: 0}}\n", nil,
		"proxy.yaml:2: cache.ttl.ai_responses: 0, and the preset of upstreams.u needs it; set it above 0, or leave the preset out")
	long := strings.Repeat("u", 60)
	mustFail(t, "upstreams: {"+long+": {url: http://h, preset: openai}}\n", nil,
		"proxy.yaml:1: upstreams."+long+": the name is too long for one with a preset: its routes would have names such as "+long+"-chat; give it a shorter one")
	_, _, err := loadText("upstreams:\n  u: {url: http://h, preset: gemini, hosts: [a]}\n  u-model: {url: http://h, preset: openai, hosts: [b]}\n  u-rest: {url: http://h, preset: ollama, hosts: [c]}\n" +
		"default_upstream: u\n")
	if err != nil {
		t.Errorf("names that only begin alike: %v", err)
	}
	mustFail(t, "upstreams:\n  u: {url: http://h, preset: ollama, hosts: [a]}\n  u-openai: {url: http://h, preset: openai, hosts: [b]}\ndefault_upstream: u\n", nil,
		"proxy.yaml:3: upstreams.u-openai: its preset brings a route u-openai-chat, and so does that of upstreams.u; rename one of the upstreams")
}

// TestPresetsAreComplete holds the routes of all presets to what every one of
// them is to be.
func TestPresetsAreComplete(t *testing.T) {
	for _, name := range Presets() {
		cfg := mustLoad(t, preset(name, ""))
		routes := cfg.AllRoutes()
		passed := false
		for i, r := range routes {
			for _, before := range routes[:i] {
				wide, prefix := strings.CutSuffix(before.Match.Path, "*")
				if prefix && strings.HasPrefix(r.Match.Path, wide) && len(before.Match.Methods) == 0 {
					t.Errorf("%s: %s never takes a request: %s takes them all", name, r.Name, before.Name)
				}
			}
			switch {
			case !r.Cache:
				passed = true
			case r.Freshness == "origin" && !slices.Equal(r.Match.Methods, []string{"GET"}):
				t.Errorf("%s: %s is by HTTP's freshness, and not of GET alone", name, r.Name)
			case name == "documents" && r.Scope == "credential" && !r.OverrideNoStore && r.TTL > 0 && len(r.Match.Methods) == 1:
			case r.Freshness == "route" && (r.Namespace != "ai_responses" || r.TTL != Duration(2*time.Hour) || r.Scope != "credential" || !r.OverrideNoStore || !slices.Equal(r.Match.Methods, []string{"POST"})):
				t.Errorf("%s: %+v", name, r)
			}
			for _, never := range []string{"/stream", "/n", "/seed", "/temperature", "/model", "/messages", "/input", "/tools", "/previous_response_id", "/conversation", "/stream_options"} {
				if slices.Contains(r.Key.Ignore, never) {
					t.Errorf("%s: %s ignores %s", name, r.Name, never)
				}
			}
			if r.Cache && !slices.Contains(r.Key.Credentials, "Authorization") {
				t.Errorf("%s: %s does not tell callers apart", name, r.Name)
			}
			if r.Cache && name == "gemini" && (!slices.Contains(r.Key.Credentials, "?key") || !slices.Contains(r.Key.Headers, "X-Goog-User-Project")) {
				t.Errorf("gemini: %+v", r.Key)
			}
			if r.Protocol == "openai-responses" && (!reflect.DeepEqual(r.When.Without, []string{"/conversation", "/background"}) || slices.Contains(r.Key.Ignore, "/store") || slices.Contains(r.Key.Ignore, "/metadata")) {
				t.Errorf("%s: %s mixes up what is state: %+v %q", name, r.Name, r.When, r.Key.Ignore)
			}
		}
		if last := routes[len(routes)-1]; last.Cache || !passed || !strings.HasSuffix(last.Match.Path, "*") {
			t.Errorf("%s does not pass on what else there is", name)
		}
	}
}

func TestEveryIgnoredFieldOfAPresetHasItsReason(t *testing.T) {
	for _, name := range Presets() {
		text, _ := Preset(name)
		for i, line := range strings.Split(string(text), "\n") {
			field, reason, _ := strings.Cut(strings.TrimSpace(line), " #")
			if strings.HasPrefix(field, "- /") && len(strings.TrimSpace(reason)) < 8 {
				t.Errorf("%s:%d: no reason for %s", name, i+1, field)
			}
		}
	}
}

func TestPathsOfPresets(t *testing.T) {
	f := func(name, method, path, want string) {
		t.Helper()
		got := ""
		for _, r := range mustLoad(t, preset(name, "")).AllRoutes() {
			if meet(r.Match, Match{Path: path, Methods: []string{method}}) {
				got = r.Name + " " + map[bool]string{true: r.Protocol, false: "passed"}[r.Cache]
				break
			}
		}
		if got != want {
			t.Errorf("%s: %s %s is of %q, want %q", name, method, path, got, want)
		}
	}
	for _, name := range []string{"openai", "openai-compatible"} {
		f(name, "POST", "/v1/chat/completions", "u-chat openai-chat")
		f(name, "GET", "/v1/chat/completions/chatcmpl-1", "u-rest passed")
		f(name, "GET", "/v1/chat/completions", "u-rest passed")
		f(name, "POST", "/v1/completions", "u-completions openai-chat")
		f(name, "POST", "/v1/responses", "u-responses openai-responses")
		f(name, "GET", "/v1/responses/resp_1", "u-rest passed")
		f(name, "POST", "/v1/responses/resp_1/cancel", "u-rest passed")
		f(name, "POST", "/v1/embeddings", "u-embeddings openai-embeddings")
		f(name, "POST", "/v1/moderations", "u-moderations openai-moderations")
		f(name, "GET", "/v1/models", "u-models none")
		f(name, "DELETE", "/v1/models/ft-1", "u-rest passed")
		f(name, "POST", "/v1/files", "u-files passed")
		f(name, "GET", "/v1/files/f/content", "u-files passed")
		f(name, "POST", "/v1/batches", "u-batches passed")
		f(name, "POST", "/v1/fine_tuning/jobs", "u-fine-tuning passed")
		f(name, "POST", "/v1/threads/t/runs", "u-threads passed")
		f(name, "POST", "/v1/vector_stores/v/search", "u-vector-stores passed")
		f(name, "POST", "/v1/images/generations", "u-images passed")
		f(name, "POST", "/v1/audio/speech", "u-audio passed")
		f(name, "GET", "/v1/realtime", "u-realtime passed")
		f(name, "GET", "/other", "")
	}
	f("openai-compatible", "POST", "/chat/completions", "u-chat-bare openai-chat")
	f("openai-compatible", "POST", "/responses", "u-responses-bare openai-responses")
	f("openai-compatible", "POST", "/embeddings", "u-embeddings-bare openai-embeddings")
	f("openai-compatible", "GET", "/models", "u-models-bare none")
	f("anthropic", "POST", "/v1/messages", "u-messages anthropic-messages")
	f("anthropic", "POST", "/v1/messages/count_tokens", "u-count-tokens anthropic-messages")
	f("anthropic", "POST", "/v1/messages/batches", "u-batches passed")
	f("anthropic", "GET", "/v1/models", "u-models none")
	f("anthropic", "POST", "/v1/files", "u-files passed")
	f("gemini", "POST", "/v1beta/models/gemini-2.5-flash:streamGenerateContent", "u-models gemini")
	f("gemini", "POST", "/v1/models/gemini-2.5-flash:generateContent", "u-models-v1 gemini")
	f("gemini", "POST", "/v1beta/openai/chat/completions", "u-openai-chat openai-chat")
	f("gemini", "GET", "/v1beta/models", "u-model-list none")
	f("gemini", "POST", "/upload/v1beta/files", "u-uploads passed")
	f("gemini", "POST", "/v1beta/cachedContents", "u-prompt-caches passed")
	f("gemini", "GET", "/v1beta/operations/o", "u-rest passed")
	for _, op := range []string{"chat", "generate", "embed", "embeddings"} {
		f("ollama", "POST", "/api/"+op, "u-"+op+" ollama")
	}
	for _, work := range []string{"convert", "render", "extract", "ocr", "translate"} {
		f("documents", "POST", "/"+work, "u-"+work+" none")
		f("documents", "POST", "/"+work+"/pdf", "u-"+work+" none")
		f("documents", "GET", "/"+work, "")
	}
	f("documents", "GET", "/jobs/1", "u-jobs none")
	f("documents", "POST", "/jobs", "")
	f("documents", "GET", "/templates/invoice", "u-templates none")
	f("documents", "PUT", "/templates/invoice", "")
	f("documents", "GET", "/builds/1/log", "u-builds none")
	f("documents", "GET", "/sessions/1", "u-sessions none")
	f("documents", "GET", "/documents/1", "u-files none")
	f("documents", "POST", "/uploads", "u-uploads passed")
	f("ollama", "GET", "/api/tags", "u-tags passed")
	f("ollama", "POST", "/api/pull", "u-pull passed")
	f("ollama", "DELETE", "/api/delete", "u-rest passed")
	f("ollama", "POST", "/v1/chat/completions", "u-openai-chat openai-chat")
	f("ollama", "POST", "/v1/messages", "u-anthropic-messages anthropic-messages")
}

func TestACopyOfAPresetsRoutesDoesTheSame(t *testing.T) {
	for _, name := range Presets() {
		for _, hosts := range []string{"", ", hosts: [a.example, \"[::1]\"]"} {
			with := mustLoad(t, preset(name, hosts))
			copied := string(with.PresetYAML())
			got := mustLoad(t, preset(name, "")+copied)
			if hosts != "" {
				if want := with.AllRoutes(); !reflect.DeepEqual(got.Routes, want) {
					t.Errorf("%s: the copy loads as\n%+v\nwant\n%+v", name, got.Routes, want)
				}
			}
			if n := len(got.PresetRoutes()); n != 0 {
				t.Errorf("%s: %d routes are left beside the copy", name, n)
			}
			alone := mustLoad(t, "upstreams: {u: {url: http://h}}\n"+copied)
			if want := with.AllRoutes(); !reflect.DeepEqual(alone.AllRoutes(), want) {
				t.Errorf("%s: the copy loads as\n%+v\nwant\n%+v", name, alone.AllRoutes(), want)
			}
		}
	}
	cfg := mustLoad(t, docs)
	if got := cfg.PresetYAML(); got != nil {
		t.Errorf("without a preset: %s", got)
	}
	part := string(mustLoad(t, preset("openai", "")+"routes: [{name: u-chat, ttl: 1}]\n").PresetYAML())
	if strings.Contains(part, "u-chat\n") || !strings.Contains(part, "name: u-completions\n") || !strings.Contains(part, "# whose") && !strings.Contains(part, "# as in chat") {
		t.Errorf("%s", part)
	}
}

func BenchmarkLoadWithAPreset(b *testing.B) {
	text := []byte(preset("openai-compatible", ""))
	for b.Loop() {
		cfg, _, err := load(Sources{File: fileName}, text)
		if err != nil {
			b.Fatal(err)
		}
		cfg.AllRoutes()
	}
}
