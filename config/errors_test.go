package config

import (
	"strings"
	"testing"
)

func TestWhatIsNotOneYAMLDocumentIsRefusedWithItsLine(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if _, _, err := load(Sources{File: fileName}, []byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	f("", "proxy.yaml: is empty; write the configuration")
	f("# nothing\n", "proxy.yaml: is empty")
	f("---\n", "proxy.yaml: is empty")
	f("null\n", "proxy.yaml: is empty")
	f("\xef\xbb\xbflisten: :1\n", "proxy.yaml:1: begins with a byte order mark; save it as UTF-8 without one")
	f("\xff\xfel\x00", "proxy.yaml:1: is UTF-16; save it as UTF-8")
	f("listen: :1\n---\nlisten: :2\n", "proxy.yaml:2: a second document begins here; keep one document")
	f("log:\n\tlevel: info\n", "proxy.yaml:2: a tab in the indentation; indent with spaces")
	f("log:\n  level: [info\n", "proxy.yaml:2: not YAML: ")
	f("log: [info\n", "proxy.yaml:2: not YAML: ")
	f("log: {}\nlisten: a: b\n", "proxy.yaml:2: not YAML: ")
	f("log: {}\nlisten: %\n", "proxy.yaml:2: not YAML: ")
	f("log: \"\xff\"\n", "proxy.yaml: not YAML: ")
	f("listen\n", "proxy.yaml:1: a single value where a section of keys belongs; begin with a key")
	f("- listen\n", "proxy.yaml:1: a list where a section of keys belongs")
}

func TestEveryProblemIsReportedAtOnceInTheOrderOfTheSources(t *testing.T) {
	src := Sources{
		File:    fileName,
		Environ: []string{"JAEGIS_LIMITS_MAX_CONNECTIONS=many", "JAEGIS_CACHE_ENABLED=perhaps", "REDIS_DB=-1"},
		Flags:   flags(t, "--listen", "here"),
	}
	_, _, err := load(src, []byte(`
limits:
  idle_timeout: soon
  header_timeout: 0
upstream: {docs: {url: http://docs}}
spool: {memory: -1}
log: {level: loud}
`))
	want := `proxy.yaml:3: limits.idle_timeout: "soon": not a duration; write 90m, 1h30m, 50ms or a number of seconds
proxy.yaml:4: limits.header_timeout: 0s is not above 0; write how long to wait at most
proxy.yaml:5: upstream: unknown key; did you mean upstreams?
proxy.yaml:6: spool.memory: -1 is less than 0
proxy.yaml:7: log.level: "loud" is none of debug, info, warn, error
environment JAEGIS_CACHE_ENABLED: "perhaps": not a yes or no; write true or false
environment JAEGIS_LIMITS_MAX_CONNECTIONS: "many": not a whole number that fits 32 bits
environment REDIS_DB: -1 is less than 0
flag --listen: not an address to listen on: "here"; write HOST:PORT, such as 127.0.0.1:8080 or :8080`
	for range 10 { // the order does not depend on that of maps
		if err == nil || err.Error() != want {
			t.Fatalf("got\n%v\nwant\n%s", err, want)
		}
	}
}

func TestWrongTypesAndKeysAreRefusedWithLineAndKey(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		mustFail(t, text, nil, want...)
	}
	f("listen: [a]\n", "proxy.yaml:1: listen: a list where a string belongs")
	f("cache: true\n", "proxy.yaml:1: cache: a single value where a section of keys belongs")
	f("cache:\n  ttl: 60\n", "proxy.yaml:2: cache.ttl: a single value where a section of keys belongs")
	f("cache:\n  ttl:\n    documents: {a: 1}\n", "proxy.yaml:3: cache.ttl.documents: a section where a duration, such as 90s belongs")
	f("routes: {a: 1}\n", "proxy.yaml:1: routes: a section where a list of sections belongs")
	f(docs+"routes:\n- {name: a, namespace: builds, match: {methods: POST}}\n",
		"proxy.yaml:3: routes[0].match.methods: a single value where a list of strings, such as [a, b] belongs")
	f(docs+"routes:\n- {name: a, namespace: builds, match: {methods: [GET, {}]}}\n", "proxy.yaml:3: routes[0].match.methods[1]: a string belongs here")
	f(docs+"limits: {max_connections: 1.5}\n", `proxy.yaml:2: limits.max_connections: "1.5": not a whole number that fits 32 bits`)
	f("listen: :1\nlog: {}\nlisten: :2\n", "proxy.yaml:3: listen: written twice, first in line 1; keep one of them")
	f("upstreams:\n  a: {url: http://a}\n  a: {url: http://b}\n", "proxy.yaml:3: upstreams.a: written twice, first in line 2; keep one of them")
	f("lsiten: :1\n", "proxy.yaml:1: lsiten: unknown key; did you mean listen?")
	f("log: {xyz: 1}\n", "proxy.yaml:1: log.xyz: unknown key; known are level, format")
	f("~: 1\n", "proxy.yaml:1: a key that is not a name")
	f("log: {level: !mine info}\n", `proxy.yaml:1: log.level: the YAML tag "!mine" is not known here; leave it out`)
	f("admin:\n  token: |\n    hunter2\n", "proxy.yaml:2: admin.token: contains line ends, tabs or other characters that do not print")
	f("log: {<<: 1}\n", "proxy.yaml:1: log: << merges sections only")
}

func TestSecretsAreNeverInMessages(t *testing.T) {
	for _, text := range []string{
		"admin: {token: \"hunter2\\n\"}\n",
		"admin: {token: \"${hunter2\"}\n",
		"cache: {redis: {url: \"redis://:hunter2@\"}}\n",
		"cache: {redis: {url: \"redis://:hunter2@h:x\"}}\n",
		"cache: {redis: {url: \"redis://:hun%ter2@h\"}}\n",
		"cache: {redis: {url: \"hunter2\"}}\n",
		"cache: {redis: {url: \"redis://:hunter2@h/x\"}}\n",
		"upstreams: {a: {url: \"http://u:hunter2@h\"}}\n",
		"upstreams: {a: {url: \"http://u:hunter2@h:x\"}}\n",
		"upstreams: {a: {url: \"http://a\", headers: {A: \"hunter2\\r\\n\"}}}\n",
		"telemetry: {otlp_endpoint: \"ftp://u:hunter2@h\"}\n",
	} {
		_, _, err := loadText(text)
		if err == nil {
			t.Errorf("%q is accepted", text)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", text, err)
		}
	}
	_, _, err := loadText(docs, "JAEGIS_ADMIN_TOKEN=hunter2\n", "REDIS_URL=redis://:hunter2@h:x", "JAEGIS_UPSTREAMS_DOCS_HEADERS_A=hunter2\x00")
	if err == nil || strings.Contains(err.Error(), "hunter2") || len(strings.Split(err.Error(), "\n")) != 3 {
		t.Errorf("environment: %v", err)
	}
}

func TestUnsetVariablesAreErrorsExceptInOptionalSecrets(t *testing.T) {
	mustFail(t, "upstreams: {docs: {url: http://docs, headers: {Authorization: \"Bearer ${DOCS_KEY}\"}}}\n", nil,
		"proxy.yaml:1: upstreams.docs.headers.Authorization: refers to DOCS_KEY, which is not set in the environment; set it, or write a default: ${DOCS_KEY:-value}")
	cfg, warnings, err := loadText(docs + `admin: {token: "${A}"}
cache: {key_secret: "${B}", redis: {username: "${C}", password: "x${D}"}, stores: {s: {url: redis://s, password: "${E}"}}}
`)
	if err != nil || len(warnings) != 5 {
		t.Fatal(warnings, err)
	}
	if c := cfg.Cache; cfg.Admin.Token != "" || c.KeySecret != "" || c.Redis.Username != "" || c.Redis.Password != "" || c.Stores["s"].Password != "" {
		t.Errorf("%#v", cfg)
	}
	if want := "proxy.yaml:2: admin.token: empty, since A is not set"; warnings[0].String() != want {
		t.Errorf("warning %q, want %q", warnings[0], want)
	}
	cfg = mustLoad(t, docs+"admin: {token: \"${A}\"}\nlimits: {max_connections: \"${N}\"}\nspool: {dir: \"/a$$b/${A}\"}\n", "A=secret", "N=7")
	if cfg.Admin.Token != "secret" || cfg.Limits.MaxConnections != 7 || cfg.Spool.Dir != "/a$b/secret" {
		t.Errorf("%+v", cfg)
	}
}

func TestAFileThatAliasesBlowUpIsRefused(t *testing.T) {
	var text strings.Builder
	text.WriteString("upstreams:\n  a: &a {headers: &h {")
	for i := range 1000 {
		text.WriteString("H" + strings.Repeat("x", i%50) + string(rune('a'+i%26)) + strings.Repeat("y", i/50) + ": v, ")
	}
	text.WriteString("}, url: http://a}\n")
	for i := range 1000 {
		text.WriteString("  b" + strings.Repeat("x", i%40) + strings.Repeat("y", i/40) + ": *a\n")
	}
	_, _, err := loadText(text.String())
	if err == nil || !strings.Contains(err.Error(), "proxy.yaml: more than 100,000 values; check its aliases") {
		t.Errorf("%.300v", err)
	}
	_, _, err = loadText("log: &a\n  <<: *a\n  level: info\n")
	if err == nil {
		t.Error("a section merged into itself is accepted")
	}
}
