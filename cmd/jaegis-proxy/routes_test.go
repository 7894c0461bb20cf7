package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"jaegis-proxy/config"
)

const withPreset = `upstreams:
  ai: {url: http://ai, preset: anthropic}
  docs: {url: http://docs:9000}
default_upstream: docs
routes:
  - {name: convert, match: {methods: [POST], path: /convert/*}, namespace: documents}
  - {name: feed, match: {path: /feed}, namespace: builds, freshness: origin}
  - {name: try, match: {path: /try}, namespace: builds, shadow: true, scope: public}
  - {name: raw, match: {path: /raw/*}, cache: false}
`

func TestRoutesPrintsATableInTheOrderOfMatching(t *testing.T) {
	got := runLine(nil, "routes", "--config", writeConfig(t, withPreset))
	if got.code != exitOK || got.err != "" {
		t.Fatalf("%+v", got)
	}
	var lines []string
	for line := range strings.Lines(got.out) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	want := []string{
		"NAME METHODS PATH UPSTREAM CACHE NAMESPACE TTL PROTOCOL SCOPE FROM",
		"convert POST /convert/* docs cached documents 1h none credential file",
		"feed any /feed docs http builds - none credential file",
		"try any /try docs shadow builds 30m none public file",
		"raw any /raw/* docs passed - - - - file",
		"ai-messages POST /v1/messages ai cached ai_responses 2h anthropic-messages credential preset anthropic",
	}
	if len(lines) < len(want) || !slices.Equal(lines[:len(want)], want) {
		t.Errorf("got\n%s", got.out)
	}
	if last := lines[len(lines)-1]; last != "default any /* docs http default - none credential default_upstream" {
		t.Errorf("the last is %s", last)
	}
}

func TestRoutesPrintsHostsWhereThereAreSome(t *testing.T) {
	file := writeConfig(t, "upstreams: {ai: {url: http://ai, preset: ollama, hosts: [A.local, b.local]}}\n")
	got := runLine(nil, "routes", "--config", file)
	if !strings.Contains(got.out, "METHODS  HOSTS") || !strings.Contains(got.out, "POST     a.local,b.local  /api/chat") || !strings.Contains(got.out, "any      any  ") {
		t.Errorf("%+v", got)
	}
}

func TestRoutesSaysSoWhereNothingIsCachedOrThereIsNoRoute(t *testing.T) {
	got := runLine([]string{"JAEGIS_CACHE_ENABLED=false"}, "routes", "--config", writeConfig(t, withPreset))
	if got.code != exitOK || strings.Contains(got.out, "cached") || strings.Contains(got.out, "http ") || !strings.Contains(got.out, "passed") {
		t.Errorf("%+v", got)
	}
	got = runLine(nil, "routes")
	if got.code != exitOK || !strings.Contains(got.out, "every request is answered with 404") {
		t.Errorf("%+v", got)
	}
}

func TestRoutesPrintsJSON(t *testing.T) {
	got := runLine(nil, "routes", "--json", "--config", writeConfig(t, withPreset))
	var rows []map[string]any
	if err := json.Unmarshal([]byte(got.out), &rows); err != nil || got.code != exitOK {
		t.Fatalf("%v in %+v", err, got)
	}
	if r := rows[4]; r["name"] != "ai-messages" || r["cache"] != "cached" || r["from"] != "preset anthropic" || r["ttl"] != "2h" || len(r["hosts"].([]any)) != 0 || r["methods"].([]any)[0] != "POST" {
		t.Errorf("%v", r)
	}
	if r := rows[3]; r["cache"] != "passed" || r["ttl"] != nil || r["namespace"] != nil {
		t.Errorf("%v", r)
	}
	if got = runLine(nil, "routes", "--json"); got.out != "[]\n" {
		t.Errorf("without routes: %+v", got)
	}
}

func TestRoutesPrintsAPresetAsItIsAndItsRoutesToCopy(t *testing.T) {
	for _, name := range config.Presets() {
		text, _ := config.Preset(name)
		if got := runLine(nil, "routes", "--preset", name); got.code != exitOK || got.out != string(text) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	file := writeConfig(t, withPreset)
	copied := runLine(nil, "routes", "--yaml", "--config", file)
	if copied.code != exitOK || !strings.Contains(copied.out, "name: ai-messages\n") || strings.Contains(copied.out, "convert") || !strings.Contains(copied.out, "# ") {
		t.Fatalf("%+v", copied)
	}
	upstreams, _, _ := strings.Cut(withPreset, "routes:")
	table := func(text string) (rows []string) {
		for line := range strings.Lines(runLine(nil, "routes", "--config", writeConfig(t, text)).out) {
			if line = strings.Join(strings.Fields(line), " "); strings.HasPrefix(line, "ai-") {
				rows = append(rows, strings.NewReplacer(" preset anthropic", "", " file", "").Replace(line))
			}
		}
		return rows
	}
	if got, want := table(strings.Replace(upstreams, ", preset: anthropic", "", 1)+copied.out), table(withPreset); !slices.Equal(got, want) || len(got) < 5 {
		t.Errorf("the copy has\n%q\nwant\n%q", got, want)
	}
}

func TestRoutesRefusesWhatItCannotDo(t *testing.T) {
	f := func(code int, want string, args ...string) {
		t.Helper()
		got := runLine(nil, append([]string{"routes"}, args...)...)
		if got.code != code || got.out != "" || !strings.Contains(got.err, want) {
			t.Errorf("%q: %+v, want code %d and %q", args, got, code, want)
		}
	}
	f(exitUsage, `there is no preset "opneai"; there are openai, anthropic`, "--preset", "opneai")
	f(exitUsage, `there is no preset ""`, "--preset", "")
	f(exitUsage, "exclude each other", "--json", "--yaml")
	f(exitUsage, "exclude each other", "--preset", "openai", "--yaml")
	f(exitUsage, "no such file", "--config", "/nowhere")
	f(exitFailure, "no preset brings a route", "--yaml", "--upstream", "http://docs")
}
