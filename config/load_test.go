package config

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestNothingGivesTheDefaultsAndAWarning(t *testing.T) {
	cfg, warnings, err := Load(Sources{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"configuration: upstreams: there is none: every request is answered with 404; set upstreams, or --upstream URL"}
	if got := strings.Split(warnings.Error(), "\n"); !slices.Equal(got, want) {
		t.Errorf("warnings %q, want %q", got, want)
	}
	if got, want := Render(cfg), Render(Default()); string(got) != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestAnUpstreamFlagAloneIsACompleteConfiguration(t *testing.T) {
	cfg, warnings, err := Load(Sources{Flags: flags(t, "--upstream", "http://docs:9000")})
	if err != nil || len(warnings) > 0 {
		t.Fatal(warnings, err)
	}
	want := DefaultUpstream()
	want.URL = "http://docs:9000"
	if got := cfg.Upstreams["default"]; len(cfg.Upstreams) != 1 || got.URL != want.URL || got.TotalTimeout != want.TotalTimeout || cfg.DefaultUpstream != "default" {
		t.Errorf("upstreams %+v, default %q", cfg.Upstreams, cfg.DefaultUpstream)
	}
}

func TestFlagsWinOverEnvironmentOverFileOverDefaults(t *testing.T) {
	text := docs + "listen: 127.0.0.1:2\nadmin: {listen: 127.0.0.1:3}\nlog: {format: json}\nspool: {dir: /file}\ncache: {redis: {url: redis://file, db: 1, budget: 7ms}}\n"
	src := Sources{
		File: fileName,
		Environ: []string{
			"JAEGIS_LISTEN=127.0.0.1:4", "JAEGIS_ADMIN_LISTEN=127.0.0.1:5", "JAEGIS_SPOOL_DIR=/env",
			"REDIS_URL=redis://redis-env", "JAEGIS_CACHE_REDIS_URL=redis://jaegis-env", "REDIS_DB=2",
		},
		Flags: flags(t, "--listen", "127.0.0.1:6", "--redis", "redis://flag", "--upstream", "http://flag"),
	}
	cfg, _, err := load(src, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	f := func(what string, got, want any) {
		t.Helper()
		if got != want {
			t.Errorf("%s is %v, want %v", what, got, want)
		}
	}
	f("listen", cfg.Listen, "127.0.0.1:6")
	f("admin.listen", cfg.Admin.Listen, "127.0.0.1:5")
	f("spool.dir", cfg.Spool.Dir, "/env")
	f("log.format", cfg.Log.Format, "json")
	f("log.level", cfg.Log.Level, "info")
	f("cache.redis.url", string(cfg.Cache.Redis.URL), "redis://flag")
	f("cache.redis.db", cfg.Cache.Redis.DB, 2)
	f("cache.redis.budget", time.Duration(cfg.Cache.Redis.Budget), 7*time.Millisecond)
	f("default_upstream", cfg.DefaultUpstream, "default")
	f("upstreams.docs.url", cfg.Upstreams["docs"].URL, "http://docs:9000")
	f("upstreams.default.url", cfg.Upstreams["default"].URL, "http://flag")
}

func TestJAEGISNamesWinOverREDISNames(t *testing.T) {
	cfg := mustLoad(t, docs, "JAEGIS_CACHE_REDIS_SOCKET_TIMEOUT=2", "REDIS_SOCKET_TIMEOUT=9", "REDIS_URL=redis://h",
		"REDIS_PASSWORD=p", "REDIS_MAX_CONNECTIONS=17", "REDIS_RETRY_ON_TIMEOUT=false")
	want := DefaultRedis()
	want.URL, want.Password, want.MaxConnections, want.RetryOnTimeout = "redis://h", "p", 17, false
	want.SocketTimeout, want.Addresses = Duration(2*time.Second), []string{}
	if got := cfg.Cache.Redis; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestAPartOfASectionKeepsTheDefaultsOfTheRest(t *testing.T) {
	want := string(Render(mustLoad(t, docs)))
	for _, text := range []string{
		"cache:\n", "cache: {}\n", "cache: {redis: }\n", "cache: {ttl: {}}\n", "cache: {ttl: null, memory: ~}\n",
		"routes: []\n", "routes:\n", "limits: {header_timeout: }\n",
		"cache: {redis: {password: null, url: \"\", addresses: []}}\n", "cache: {ttl: {documents: 1h}}\n",
	} {
		if got := string(Render(mustLoad(t, docs+text))); got != want {
			t.Errorf("%q changes the defaults:\n%s", text, got)
		}
	}
}

func TestAnEmptyValueIsNotGivenUnlessItIsAString(t *testing.T) {
	cfg := mustLoad(t, docs+"limits: {header_timeout: \"\"}\ncache: {enabled: \"${UNSET:-}\"}\nspool: {dir: \"\"}\nadmin: {listen: \"\"}\n")
	if cfg.Limits.HeaderTimeout != Default().Limits.HeaderTimeout || !cfg.Cache.Enabled || cfg.Admin.Listen != "" {
		t.Errorf("%+v %+v %+v", cfg.Limits, cfg.Cache, cfg.Admin)
	}
	mustFail(t, docs+"log: {level: \"\"}\n", nil, `proxy.yaml:2: log.level: "" is none of debug, info, warn, error`)
}

func TestNamedElementsHaveDefaultsOfTheirOwn(t *testing.T) {
	cfg := mustLoad(t, `
upstreams: {a.b: {url: http://a, total_timeout: 3m}, c: {url: http://c}}
default_upstream: c
cache: {ttl: {mine: 5m}, stores: {mine: {url: redis://m, db: 3}}}
routes:
  - {name: one, upstream: a.b, namespace: mine}
  - {name: two, namespace: documents, key: {body: raw, credentials: [X-Me]}, match: {hosts: [Example.COM]}}
`)
	if u := cfg.Upstreams["a.b"]; u.TotalTimeout != Duration(3*time.Minute) || u.ConnectTimeout != Duration(5*time.Second) {
		t.Errorf("upstream %+v", u)
	}
	if s := cfg.Cache.Stores["mine"]; s.DB != 3 || s.MaxConnections != 20 || !s.RetryOnTimeout {
		t.Errorf("store %+v", s)
	}
	one, two := cfg.Routes[0], cfg.Routes[1]
	if one.Name != "one" || one.TTL != Duration(5*time.Minute) || one.Match.Path != "/*" || len(one.Key.Credentials) != 5 || one.Upstream != "a.b" {
		t.Errorf("first route %+v", one)
	}
	if two.Name != "two" || two.TTL != Duration(time.Hour) || two.Upstream != "c" || two.Key.Body != "raw" ||
		!slices.Equal(two.Key.Credentials, []string{"X-Me"}) || two.Scope != "credential" || two.Match.Hosts[0] != "example.com" {
		t.Errorf("second route %+v", two)
	}
}

func TestRoutesKeepTheirOrder(t *testing.T) {
	var text strings.Builder
	text.WriteString(docs + "routes:\n")
	var want []string
	for i := range 25 { // past 10, where an order by text would differ
		name := "r" + strings.Repeat("x", i)
		want = append(want, name)
		text.WriteString("- {name: " + name + ", namespace: builds}\n")
	}
	var got []string
	for _, r := range mustLoad(t, text.String()).Routes {
		got = append(got, r.Name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestAliasesAndMergeKeysWork(t *testing.T) {
	cfg := mustLoad(t, `
upstreams:
  a: &base {url: http://a, idle_timeout: 3s}
  b: {<<: *base, url: http://b}
  c: {<<: [{idle_timeout: 9s}, *base]}
  d: *base
default_upstream: a
`)
	for name, want := range map[string]Upstream{
		"a": {URL: "http://a", IdleTimeout: 3e9}, "b": {URL: "http://b", IdleTimeout: 3e9},
		"c": {URL: "http://a", IdleTimeout: 9e9}, "d": {URL: "http://a", IdleTimeout: 3e9},
	} {
		if got := cfg.Upstreams[name]; got.URL != want.URL || got.IdleTimeout != want.IdleTimeout {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestLoadReadsAFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "proxy.yaml")
	if err := os.WriteFile(name, []byte(docs), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, src := range []Sources{
		{File: name},
		FromFlags(flags(t, "--config", name), nil),
		FromFlags(flags(t), []string{"JAEGIS_CONFIG=" + name}),
		FromFlags(flags(t, "--config", name), []string{"JAEGIS_CONFIG=/nowhere"}),
	} {
		cfg, warnings, err := Load(src)
		if err != nil || len(warnings) > 0 || cfg.DefaultUpstream != "docs" {
			t.Errorf("%+v: %+v, %v, %v", src, cfg, warnings, err)
		}
	}
}

func TestFilesThatCannotBeReadAreNamed(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "big.yaml")
	if err := os.WriteFile(big, make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	f := func(file, want string) {
		t.Helper()
		if _, _, err := Load(Sources{File: file}); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", file, err, want)
		}
	}
	missing := filepath.Join(dir, "missing.yaml")
	f(missing, missing+": there is no such file; give the path of the configuration with --config")
	f(dir, dir+": is a directory; name the file in it")
	f(big, big+": is larger than 1 MiB; check that this is the configuration")
}
