package config

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTheFileOfJAEGISLoadsUnchanged(t *testing.T) {
	cfg, warnings, err := Load(Sources{File: "testdata/mcp_server.yaml", Flags: flags(t, "--upstream", "http://docs")})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Cache.Redis.URL = "redis://localhost:6379"
	want.Cache.Redis.SocketConnectTimeout = Duration(5 * time.Second)
	want.Cache.TTL["user_sessions"] = Duration(time.Hour)
	want.Upstreams = map[string]Upstream{"default": DefaultUpstream()}
	want.DefaultUpstream = "default"
	u := want.Upstreams["default"]
	u.URL = "http://docs"
	want.Upstreams["default"] = u
	if got, want := string(Render(cfg)), string(Render(want)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	var keys []string
	for _, w := range warnings {
		if !strings.HasPrefix(w.What, "ignored: ") {
			t.Errorf("warning %q", w)
		}
		keys = append(keys, w.Key)
	}
	if want := []string{
		"ai", "cache.redis.cluster", "cache.serialization", "processing", "logging", "templates", "security",
	}; !slices.Equal(keys, want) {
		t.Errorf("ignored %q, want %q", keys, want)
	}
}

func TestTheBlockOfJAEGISLoadsWithinAFileOfOurs(t *testing.T) {
	data, err := os.ReadFile("testdata/mcp_server.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(data), "\ncache:\n")
	block, _, _ = strings.Cut(block, "\nprocessing:\n")
	cfg, _, err := loadText(docs + "cache:\n" + block)
	if err != nil || cfg.Cache.Redis.URL != "redis://localhost:6379" || cfg.Cache.TTL["ai_responses"] != Duration(2*time.Hour) {
		t.Errorf("%+v, %v", cfg, err)
	}
}

func TestForeignSectionsAreIgnoredOnlyBesideAServersOwn(t *testing.T) {
	f := func(text string, ok bool) {
		t.Helper()
		if _, _, err := loadText(text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
	f("logging: {level: INFO}\n", false)
	f("server: {port: 1}\nlogging: {level: INFO}\n", true)
	f("mcp_server: {port: 1}\nwhatever: 3\n", true)
	f("server: {port: 1}\ncache: {redis: {hots: x}}\n", false)
}

func TestTheCacheBlockIsFoundWithinTheServersSection(t *testing.T) {
	cfg, warnings, err := loadText("mcp_server: {port: 1, cache: {redis: {url: redis://inner}}}\n")
	if err != nil || cfg.Cache.Redis.URL != "redis://inner" || !strings.Contains(warnings.Error(), "mcp_server.cache: read as cache") {
		t.Errorf("%+v, %v, %v", cfg, warnings, err)
	}
	cfg, _, err = loadText("mcp_server: {cache: {redis: {url: redis://inner}}}\ncache: {redis: {url: redis://outer}}\n")
	if err != nil || cfg.Cache.Redis.URL != "redis://outer" {
		t.Errorf("%+v, %v", cfg, err)
	}
}

func TestTheClusterOfJAEGISIsReadAsOurs(t *testing.T) {
	f := func(redis, addresses, warning string) {
		t.Helper()
		cfg, warnings, err := loadText(docs + "cache: {redis: {url: redis://h, " + redis + "}}\n")
		if err != nil {
			t.Errorf("%s: %v", redis, err)
			return
		}
		if got := cfg.Cache.Redis; got.Mode != "cluster" || strings.Join(got.Addresses, " ") != addresses || !strings.Contains(warnings.Error(), warning) {
			t.Errorf("%s: mode %s, addresses %q, %v", redis, got.Mode, got.Addresses, warnings)
		}
	}
	const read = "proxy.yaml:2: cache.redis.cluster: read as mode: cluster, and its nodes as addresses"
	f("cluster: true", "", read)
	f("cluster: {enabled: true, nodes: [\"redis://a:1\", \"redis://b:2/\", \"c:3\"]}", "a:1 b:2 c:3", read)
	f("addresses: [\"d:4\"], cluster: {nodes: [\"a:1\"], enabled: yes}", "d:4", read)
	f("cluster: {enabled: true, nodes: [\"a:1\"]}, mode: cluster", "a:1", read)
	mustFail(t, docs+"cache: {redis: {url: redis://h, mode: single, cluster: true}}\n", nil,
		"proxy.yaml:2: cache.redis.cluster: turned on, and mode says otherwise; keep mode: cluster, and addresses")
}
