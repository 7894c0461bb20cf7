package config

import (
	"maps"
	"slices"
	"testing"
	"time"
)

func TestEnvironmentNamesReachEveryKindOfKey(t *testing.T) {
	const text = `
upstreams:
  my-docs: {url: http://docs, headers: {X-Api-Key: a}}
  Other: {url: http://other}
default_upstream: Other
cache: {ttl: {ai_responses: 1h}, stores: {templates: {url: redis://t}}}
routes:
- {name: first, namespace: builds}
- {name: convert-all, namespace: documents}
`
	cfg := mustLoad(t, text,
		"JAEGIS_SHUTDOWN_TIMEOUT=7", "JAEGIS_CACHE_KEY_SECRET=k",
		"JAEGIS_CACHE_TTL_DOCUMENTS=60", "JAEGIS_CACHE_TTL_AI_RESPONSES=2m", "JAEGIS_CACHE_TTL_MY_OWN=3m",
		"JAEGIS_CACHE_STORES_TEMPLATES_MAX_CONNECTIONS=13", "JAEGIS_CACHE_STORES_SESSIONS_URL=redis://s",
		"JAEGIS_CACHE_REDIS_TLS_CA_FILE=/ca", "JAEGIS_CACHE_REDIS_URL=rediss://r",
		"JAEGIS_UPSTREAMS_MY_DOCS_FIRST_BYTE_TIMEOUT=9s", "JAEGIS_UPSTREAMS_MY_DOCS_HEADERS_X_API_KEY=b",
		"JAEGIS_UPSTREAMS_MY_DOCS_HEADERS_X_NEW=c", "JAEGIS_UPSTREAMS_OTHER_PRESERVE_HOST=true",
		"JAEGIS_UPSTREAMS_THE_THIRD_URL=http://third", "JAEGIS_DEFAULT_UPSTREAM=the_third",
		"JAEGIS_ROUTES_CONVERT_ALL_MATCH_METHODS=GET, POST", "JAEGIS_ROUTES_CONVERT_ALL_KEY_QUERY_IGNORE=a",
		"JAEGIS_ROUTES_FIRST_STALE_IF_ERROR=1h", "JAEGIS_LOG_LEVEL=WARNING", "JAEGIS_LISTEN=",
	)
	f := func(what string, got, want any) {
		t.Helper()
		if got != want {
			t.Errorf("%s is %v, want %v", what, got, want)
		}
	}
	f("shutdown_timeout", time.Duration(cfg.ShutdownTimeout), 7*time.Second)
	f("key_secret", string(cfg.Cache.KeySecret), "k")
	f("ttl.documents", time.Duration(cfg.Cache.TTL["documents"]), time.Minute)
	f("ttl.ai_responses", time.Duration(cfg.Cache.TTL["ai_responses"]), 2*time.Minute)
	f("ttl.my_own", time.Duration(cfg.Cache.TTL["my_own"]), 3*time.Minute)
	f("ttl's size", len(cfg.Cache.TTL), 5)
	f("stores.templates.max_connections", cfg.Cache.Stores["templates"].MaxConnections, 13)
	f("stores.sessions.url", string(cfg.Cache.Stores["sessions"].URL), "redis://s")
	f("redis.tls.ca_file", cfg.Cache.Redis.TLS.CAFile, "/ca")
	f("my-docs.first_byte_timeout", time.Duration(cfg.Upstreams["my-docs"].FirstByteTimeout), 9*time.Second)
	f("Other.preserve_host", cfg.Upstreams["Other"].PreserveHost, true)
	f("the_third.url", cfg.Upstreams["the_third"].URL, "http://third")
	f("upstreams' size", len(cfg.Upstreams), 3)
	f("default_upstream", cfg.DefaultUpstream, "the_third")
	f("first.stale_if_error", time.Duration(cfg.Routes[0].StaleIfError), time.Hour)
	f("convert-all's ttl", time.Duration(cfg.Routes[1].TTL), time.Minute)
	f("convert-all's query", cfg.Routes[1].Key.Query.Ignore[0], "a")
	f("log.level", cfg.Log.Level, "warn")
	f("listen", cfg.Listen, Default().Listen)
	if got := cfg.Routes[1].Match.Methods; !slices.Equal(got, []string{"GET", "POST"}) {
		t.Errorf("methods %q", got)
	}
	if got := cfg.Upstreams["my-docs"].Headers; !maps.Equal(got, map[string]Secret{"X-Api-Key": "b", "X-New": "c"}) {
		t.Errorf("headers %#v", maps.Collect(maps.All(got)))
	}
}

func TestEveryKeyHasAnEnvironmentNameThatSetsIt(t *testing.T) {
	src := Sources{File: fileName, Environ: []string{}}
	data := []byte(docs + "routes: [{name: r, namespace: builds, store_when: [{status: [200]}]}]\ncache: {stores: {s: {url: redis://s}}}\nclients: [{name: c}]\nprices: {m: {}}\n")
	for _, v := range allVariables() {
		src.Environ = []string{v.name + "=" + v.value}
		found := newFindings(false)
		root, problem := parseYAML(fileName, data)
		if problem != nil {
			t.Fatal(problem)
		}
		o := &overlay{findings: found}
		if _, err := o.merge(newReader(fileName, lookupIn(nil), found).document(root), src); err != nil || len(o.problems)+len(o.warnings) > 0 {
			t.Errorf("%s=%s: %v %v %v", v.name, v.value, err, o.problems, o.warnings)
		}
		if got := o.sources[v.key].name; got != "environment "+v.name {
			t.Errorf("%s sets not %s, whose source is %q", v.name, v.key, got)
		}
	}
}

func TestVariablesThatNameNoKey(t *testing.T) {
	bad := func(variable, want string) {
		t.Helper()
		mustFail(t, docs, []string{variable + "=1"}, "environment "+variable+": "+want)
	}
	bad("JAEGIS_LISTNE", "names no key; did you mean JAEGIS_LISTEN?")
	bad("JAEGIS_CACHE_ENABLE", "names no key; did you mean JAEGIS_CACHE_ENABLED?")
	bad("JAEGIS_LIMITS_WHATEVER", "names no key; jaegis-proxy check prints the keys; join them with _")
	bad("JAEGIS_UPSTREAMS_DOCS", "names no key; jaegis-proxy check prints the keys; join them with _")
	bad("JAEGIS_CACHE_TTL", "names no key; jaegis-proxy check prints the keys; join them with _")
	bad("JAEGIS_CLIENTS_TEAM_A_TENANT", "names no key of a client that there is; clients are made in the file; write JAEGIS_CLIENTS_<NAME>_<KEY> to change one")
	bad("JAEGIS_PRICES_GPT_4O_INPUT", "names no key of a price that there is; models get their prices in the file; write JAEGIS_PRICES_<MODEL>_<KEY> to change one")
	bad("JAEGIS_ROUTES_CONVERT_TTL", "names no key of a route that there is; routes are made in the file; write JAEGIS_ROUTES_<NAME>_<KEY> to change one")

	warned := func(variable string) {
		t.Helper()
		_, warnings, err := loadText(docs, variable+"=1")
		if err != nil || len(warnings) != 1 || warnings[0].Source != "environment "+variable {
			t.Errorf("%s: warnings %v, errors %v", variable, warnings, err)
		}
	}
	warned("JAEGIS_HOME")
	warned("JAEGIS_MAX_WORKERS")
	warned("JAEGIS_CACHE_TYPE")

	for _, ours := range []string{"JAEGIS_CONFIG", "JAEGIS_PROXY_SERVICE_HOST", "JAEGIS_PROXY_PORT", "JAEGIS_CACHE_PORT_6379_TCP_ADDR", "JAEGIS_CACHE_SERVICE_PORT_HTTP", "OTHER"} {
		mustLoad(t, docs, ours+"=1")
	}
	// A variable that the file refers to has its purpose.
	mustLoad(t, docs+"spool: {dir: \"${JAEGIS_CACHE_DIRECTORY}\"}\n", "JAEGIS_CACHE_DIRECTORY=/x")
}

func TestAVariableThatFitsTwoNamesIsRefused(t *testing.T) {
	mustFail(t, "upstreams: {a-b: {url: http://1}, a_b: {url: http://2}}\ndefault_upstream: a-b\n", []string{"JAEGIS_UPSTREAMS_A_B_URL=http://3"},
		"environment JAEGIS_UPSTREAMS_A_B_URL: may mean upstreams.a-b.url or upstreams.a_b.url; set it in the file, or rename one of the two")
}
