package config

import (
	"strings"
	"testing"
	"time"
)

// refused loads a text below a valid beginning of one line and wants the one
// problem given, for the key given, in line 2.
func refused(t *testing.T, text, key, what string) {
	t.Helper()
	_, _, err := loadText(docs + text)
	want := "proxy.yaml:2: " + key + ": " + what
	if err == nil || strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%q:\n got %v\nwant %s...", text, err, want)
	}
}

func TestListenersAreChecked(t *testing.T) {
	refused(t, "listen: localhost", "listen", "not an address to listen on")
	refused(t, "listen: :99999", "listen", "not an address to listen on")
	refused(t, "listen: http://127.0.0.1:80", "listen", "not an address to listen on")
	refused(t, "admin: {listen: 0.0.0.0:8081}", "admin.listen", "reachable from other machines, and admin.token is empty; set admin.token")
	refused(t, "admin: {listen: \":8081\"}", "admin.listen", "reachable from other machines")
	refused(t, "admin: {listen: 192.0.2.1:8081}", "admin.listen", "reachable from other machines")
	refused(t, "admin: {listen: 127.0.0.1:8080}", "admin.listen", "the same address as listen")
	refused(t, "admin: {listen: \":8080\", token: x}", "admin.listen", "the same address as listen")
}

func TestAddressesAreComparedByWhatTheyMean(t *testing.T) {
	mustFail(t, "upstreams: {d: {url: http://d}}\nlisten: localhost:08080\nadmin: {listen: LOCALHOST:8080}\n", nil,
		"proxy.yaml:3: admin.listen: the same address as listen; give it a port of its own")
	mustFail(t, "upstreams: {d: {url: http://d}}\nlisten: \"[::ffff:127.0.0.1]:1\"\nadmin: {listen: 127.0.0.1:1}\n", nil,
		"proxy.yaml:3: admin.listen: the same address as listen; give it a port of its own")
}

func TestListenersThatAreFine(t *testing.T) {
	for _, text := range []string{
		"admin: {listen: \":8081\", token: x}", "admin: {listen: localhost:1}", "admin: {listen: \"[::1]:1\"}",
		"admin: {listen: \"\"}", "admin: {listen: 127.9.9.9:8081}", "listen: :0\nadmin: {listen: 127.0.0.1:0}",
		"listen: 127.0.0.1:1\nadmin: {listen: 127.0.0.2:1}",
	} {
		mustLoad(t, docs+text+"\n")
	}
}

func TestUpstreamsAreChecked(t *testing.T) {
	f := func(upstream, key, what string) {
		t.Helper()
		_, _, err := loadText("upstreams:\n  u: " + upstream + "\n")
		want := "proxy.yaml:2: upstreams.u" + key + ": " + what
		if err == nil || strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q:\n got %v\nwant %s...", upstream, err, want)
		}
	}
	f("", ".url", "no URL; write http://host:port")
	f("{url: docs:9000}", ".url", "not a URL that begins with http:// or https:// and a host")
	f("{url: \"http://\"}", ".url", "not a URL")
	f("{url: \"http://h:0\"}", ".url", "the port is not a number from 1 to 65535")
	f("{url: \"http://h:\"}", ".url", "the port is not a number")
	f("{url: \"http://u:p@h\"}", ".url", "holds credentials; put them into headers")
	f("{url: \"http://h/?a=1\"}", ".url", "has a query or a fragment")
	f("{url: \"http://h/#\"}", ".url", "has a query or a fragment")
	f("{url: http://h, preset: opneai}", ".preset", `"opneai" is none of openai, anthropic, gemini, ollama, openai-compatible`)
	f("{url: http://h, hosts: [a.example]}", ".hosts", "without a preset there are no routes that could answer on them")
	f("{url: http://h, preset: openai, hosts: [\"a:1\"]}", ".hosts[0]", `"a:1" is not a host`)
	f("{url: http://h, idle_timeout: 0}", ".idle_timeout", "0s is not above 0")
	f("{url: http://h, connect_timeout: -1}", ".connect_timeout", "-1s is not above 0")
	f("{url: http://h, total_timeout: 1}", ".total_timeout", "shorter than connect_timeout or first_byte_timeout")
	f("{url: http://h, headers: {\"a b\": x}}", ".headers.a b", `"a b" is not a header name`)
	f("{url: http://h, headers: {Host: x}}", ".headers.Host", "belongs to the connection")
	f("{url: http://h, headers: {X-A: x, x-a: y}}", ".headers.x-a", "the same header as X-A")
	mustFail(t, "upstreams: {\"a b\": {url: http://h}}\n", nil,
		`proxy.yaml:1: upstreams.a b: "a b" is not a name; use letters, digits, _, - and ., 64 at most, a letter or digit first`)
	refused(t, "default_upstream: dosc", "default_upstream", `there is no upstream "dosc"; did you mean docs?`)
}

func TestTheCacheIsChecked(t *testing.T) {
	f := func(text, key, what string) {
		t.Helper()
		refused(t, "cache: {"+text+"}", "cache."+key, what)
	}
	f("memory: {max_bytes: 0}", "memory.max_bytes", "0 turns the memory store off, and there is no Redis")
	f("memory: {max_bytes: -1}", "memory.max_bytes", "-1 is less than 0")
	f("ttl: {documents: -1}", "ttl.documents", "-1s is negative")
	f("ttl: {Docs: 1}", "ttl.Docs", `"Docs" is not a namespace`)
	f("uncacheable_ttl: -1", "uncacheable_ttl", "-1s is negative")
	f("queue: {workers: 0}", "queue.workers", "0 is less than 1")
	f("queue: {max_bytes: 0}", "queue.max_bytes", "0 is less than 1")
	f("shared_fills: {max_bytes: 1023KiB}", "shared_fills.max_bytes", "1047552 is less than 1048576")
	f("shared_fills: {max_connections: 15}", "shared_fills.max_connections", "15 is less than 16")
	f("compression: {algorithm: lz4}", "compression.algorithm", `"lz4" is none of gzip, zstd`)
	f("compression: {level: 10}", "compression.level", "10 is not from 1 to 9, the levels of gzip")
	f("compression: {algorithm: zstd, level: 23}", "compression.level", "23 is not from 1 to 22")
	f("compression: {min_size: -1}", "compression.min_size", "-1 is less than 0")
	f("stores: {s: {db: 1}}", "stores.s.url", "no URL")
	f("stores: {\"a.b\": {url: redis://s}}", "stores.a.b", `"a.b" is not a namespace`)
	f("stores: {ledger: {url: redis://s}}", "stores.ledger", "in the health that is the name of another store's ledger")
	f("stores: {a-ledger: {url: redis://s}}", "stores.a-ledger", "in the health that is the name of another store's ledger")
	f("redis: {url: http://h}", "redis.url", "not a URL that begins with redis:// or rediss:// and a host")
	f("redis: {url: redis://h/x}", "redis.url", "what follows the host is not the number of a database")
	f("redis: {url: redis://h/1, db: 2}", "redis.db", "2, and the URL says 1")
	f("redis: {url: \"redis://h?db=1\"}", "redis.url", "has a query or a fragment")
	f("redis: {db: -1}", "redis.db", "-1 is less than 0")
	f("redis: {max_connections: 0}", "redis.max_connections", "0 is less than 1")
	f("redis: {budget: 0}", "redis.budget", "0s is not above 0")
	f("redis: {addresses: [a:1]}", "redis.addresses", "one server has one address, in url; set mode: sentinel")
	f("redis: {read_replicas: true}", "redis.read_replicas", "one server has no replicas")
	f("redis: {mode: sentinel, master_name: m}", "redis.addresses", "mode sentinel needs the sentinels' addresses; write addresses: [sentinel-1:26379")
	f("redis: {mode: sentinel, addresses: [\"a:1\"]}", "redis.master_name", "mode sentinel needs the name that the sentinels have for the primary")
	f("redis: {mode: sentinel, addresses: [\"a:1\"], master_name: m, sentinel_username: u}", "redis.sentinel_username", "has no password")
	f("max_disconnected: 1s", "max_disconnected", "1s is less than 2s")
	f("max_disconnected: 4s, redis: {mode: sentinel, addresses: [\"a:1\"], master_name: m}", "max_disconnected", "4s is less than 5s: sentinels say who the primary is some seconds late")
	f("max_disconnected: 4s, stores: {s: {mode: sentinel, addresses: [\"a:1\"], master_name: m}}", "max_disconnected", "4s is less than 5s")
	f("redis: {mode: cluster}", "redis.addresses", "mode cluster needs the address of a node")
	f("redis: {mode: cluster, addresses: [\"a:1\"], db: 2}", "redis.db", "2, and a cluster has database 0 alone")
	f("redis: {mode: cluster, url: redis://h/2}", "redis.url", "says database 2, and a cluster has 0 alone")
	f("redis: {mode: cluster, addresses: [\"a:1\"], master_name: m}", "redis.master_name", "set, and the mode is not sentinel")
	f("redis: {url: redis://h, sentinel_password: p}", "redis.sentinel_password", "set, and the mode is not sentinel")
	f("redis: {mode: cluster, addresses: [\"a:1\", b]}", "redis.addresses[1]", `"b" is not host:port`)
	f("redis: {mode: cluster, addresses: [\"redis://u:secret@a:1\"]}", "redis.addresses[0]", `"****@a:1" is not host:port`)
	f("redis: {socket_connect_timeout: -1}", "redis.socket_connect_timeout", "-1s is negative")
	f("redis: {health_check_interval: 1ms}", "redis.health_check_interval", "1ms is less than the budget of a lookup")
	f("redis: {mode: double}", "redis.mode", `"double" is none of single, sentinel, cluster`)
	f("redis: {url: rediss://h, tls: {cert_file: a}}", "redis.tls", "cert_file and key_file belong together")
	f("redis: {url: redis://h, tls: {ca_file: a}}", "redis.tls", "set for a URL without TLS")
	mustLoad(t, docs+"cache: {enabled: false, memory: {max_bytes: 0}}\n")
	mustLoad(t, docs+"cache: {memory: {max_bytes: 0}, redis: {url: rediss://u:p@h:1/2, db: 2, tls: {ca_file: a, cert_file: b, key_file: c}}}\n")
}

func TestOddRedisIsAccepted(t *testing.T) {
	f := func(cache, warning string) {
		t.Helper()
		_, warnings, err := loadText(docs + "cache: {" + cache + "}\n")
		if err != nil || warning == "" && len(warnings) > 0 || !strings.Contains(warnings.Error(), warning) {
			t.Errorf("%s: warnings %v, errors %v", cache, warnings, err)
		}
	}
	f("redis: {url: redis://h, max_connections: 3}", "cache.redis.max_connections: 3 counts as 10")
	f("stores: {s: {url: redis://h, max_connections: 9}}", "cache.stores.s.max_connections: 9 counts as 10")
	f("redis: {mode: sentinel, addresses: [\"a:1\", \"b:2\"], master_name: m, sentinel_username: u, sentinel_password: p, read_replicas: true}", "")
	f("redis: {mode: cluster, addresses: [\"[::1]:1\"], tls: {ca_file: f}}", "")
	f("stores: {s: {mode: cluster, addresses: [\"a:1\"]}}, memory: {max_bytes: 0}, enabled: false", "")
}

func TestRoutesAreChecked(t *testing.T) {
	f := func(route, key, what string) {
		t.Helper()
		refused(t, "routes: [{"+route+"}]", "routes[0]."+key, what)
	}
	const r = "name: r, namespace: builds, "
	f("namespace: builds", "name", "no name; give each route one")
	f("name: a b, namespace: builds", "name", `"a b" is not a name`)
	f("name: r", "ttl", "no ttl; set it, or cache.ttl.default")
	f("name: r, namespace: mine", "ttl", "no ttl; set it, or cache.ttl.mine")
	f(r+"ttl: 0", "ttl", "0 is no lifetime; leave it out for the TTL of the namespace, or write cache: false")
	f(r+"ttl: -1", "ttl", "-1s is negative")
	f(r+"stale_while_revalidate: -1", "stale_while_revalidate", "-1s is negative")
	f(r+"stale_if_error: -1", "stale_if_error", "-1s is negative")
	f("name: r, namespace: Docs, ttl: 1", "namespace", `"Docs" is not a namespace`)
	f(r+"upstream: dosc", "upstream", `there is no upstream "dosc"; did you mean docs?`)
	f(r+"match: {path: convert}", "match.path", `"convert" does not begin with /`)
	f(r+"match: {path: \"\"}", "match.path", `"" does not begin with /`)
	f(r+"match: {path: /a/*/b}", "match.path", `"/a/*/b" has a * that is not at its end`)
	f(r+"match: {path: \"/a?b\"}", "match.path", `"/a?b" has a query`)
	f(r+"match: {methods: [get]}", "match.methods[0]", `"get" is none of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, QUERY; did you mean GET?`)
	f(r+"match: {hosts: [a, \"a:1\"]}", "match.hosts[1]", `"a:1" is not a host`)
	f(r+"scope: shared, freshness: origin", "scope", "shared contradicts freshness: origin")
	f(r+"scope: private", "scope", `"private" is none of credential, shared, public`)
	f(r+"protocol: soap", "protocol", `"soap" is none of none, openai-chat`)
	f(r+"protocol: openai-chta", "protocol", `"openai-chta" is none of none, openai-chat, openai-responses, openai-embeddings, openai-moderations, anthropic-messages, gemini, ollama; did you mean openai-chat?`)
	f(r+"freshness: mine", "freshness", `"mine" is none of route, origin`)
	f(r+"freshness: origin, override_no_store: true", "override_no_store", "contradicts freshness: origin")
	f(r+"on_abandon: stop", "on_abandon", `"stop" is none of finish, cancel`)
	f(r+"max_request_bytes: 0", "max_request_bytes", "0 is less than 1")
	f(r+"max_object_bytes: -1", "max_object_bytes", "-1 is less than 1")
	f(r+"key: {body: xml}", "key.body", `"xml" is none of auto, json, multipart, form, raw`)
	f(r+"key: {ignore: [stream]}", "key.ignore[0]", `"stream" is not a JSON pointer; begin it with /`)
	f(r+"key: {ignore: [/a, \"\"]}", "key.ignore[1]", "the empty pointer means the whole body")
	f(r+"key: {ignore: [/a~2]}", "key.ignore[0]", `"/a~2" is not a JSON pointer; write ~ as ~0`)
	f(r+"key: {ignore: [/a/-]}", "key.ignore[0]", `"/a/-" has a -`)
	f(r+"key: {headers: [\"a b\"]}", "key.headers[0]", `"a b" is not a header name`)
	f(r+"key: {credentials: [\"\"]}", "key.credentials[0]", `"" is not a header name`)
	f(r+"key: {credentials: [\"?\"]}", "key.credentials[0]", "? without a name")
	f(r+"key: {credentials: [\"?key\"], query: {ignore: [key]}}", "key.credentials[0]", `"?key" is in key.query.ignore too`)
	f(r+"scope: shared, key: {credentials: []}", "key.credentials", "empty, so that all callers would share answers")
	f(r+"key: {credentials: []}", "key.credentials", "empty, so that all callers would share answers")
	f(r+"key: {query: {ignore: [\"\"]}}", "key.query.ignore[0]", "empty")
	f(r+"max_cached_request_bytes: 0", "max_cached_request_bytes", "0 is less than 1")
	f(r+"on_spool_full: wait", "on_spool_full", `"wait" is none of reject, bypass`)
	f(r+"key: {multipart: {ignore: [name]}}", "key.multipart.ignore[0]", `"name" is none of filename, content_type`)
	f(r+"key: {multipart: {ignore_fields: [a, \"\"]}}", "key.multipart.ignore_fields[1]", "empty; write the name of a form field")
	f(r+"key: {multipart: {headers: text}}", "key.multipart.headers", `"text" is none of auto, meaning, rfc8187, bytes`)
	f(r+"key: {multipart: {headers: bytes, ignore: [filename]}}", "key.multipart.headers", "contradicts ignore and ignore_fields")
	f(r+"key: {body: raw, multipart: {ignore_fields: [a]}}", "key.multipart", "nothing is read as multipart with body: raw")
	mustFail(t, docs+"routes: [{name: a-b, namespace: builds}, {name: A_B, namespace: builds}]\n", nil,
		`proxy.yaml:2: routes[1].name: "A_B" is the name of routes[0] too; rename one of them`)
	mustFail(t, "routes: [{name: a, namespace: builds}]\n", nil,
		"proxy.yaml:1: routes[0].upstream: no upstream, and no default_upstream; name one of upstreams")
}

func TestRoutesThatAreFine(t *testing.T) {
	for _, route := range []string{
		"ttl: 1m", "namespace: documents", "freshness: origin", "ttl: 1, freshness: origin",
		"ttl: 1, scope: public, key: {credentials: []}", "ttl: 1, on_abandon: cancel, override_no_store: true",
		`ttl: 1, match: {hosts: [a.example, "[::1]", 127.0.0.1], methods: [GET, POST], path: /*}`,
		"cache: false", "cache: false, ttl: 0", "cache: false, freshness: origin, override_no_store: true", "ttl: 1, scope: shared, proof_ttl: 1",
		"ttl: 1, key: {credentials: [Authorization, \"?key\"], query: {ignore: [k]}}",
		"ttl: 1, match: {path: /a%20b/c}", `ttl: 1, key: {ignore: [/a~0b~1c/0, /, /$defs]}`,
	} {
		mustLoad(t, docs+"routes: [{name: r, "+route+"}]\n")
	}
}

func TestTheRestIsChecked(t *testing.T) {
	refused(t, "spool: {max_bytes: -1}", "spool.max_bytes", "-1 is less than 0")
	refused(t, "limits: {max_header_bytes: 1}", "limits.max_header_bytes", "1 is less than 1024")
	refused(t, "limits: {max_header_bytes: 17MiB}", "limits.max_header_bytes", "more than 16MiB")
	refused(t, "limits: {body_timeout: 0}", "limits.body_timeout", "0s is not above 0")
	refused(t, "limits: {write_timeout: 0}", "limits.write_timeout", "0s is not above 0")
	refused(t, "limits: {max_connections: 0}", "limits.max_connections", "0 is less than 1")
	refused(t, "shutdown_timeout: -1", "shutdown_timeout", "-1s is negative")
	refused(t, "log: {format: xml}", "log.format", `"xml" is none of text, json`)
	refused(t, "telemetry: {otlp_endpoint: collector:4317}", "telemetry.otlp_endpoint", "not a URL that begins with http:// or https:// and a host")
}

func TestTreesBuiltInGoAreCompletedAndValidated(t *testing.T) {
	cfg := Default()
	u := DefaultUpstream()
	u.URL = "http://docs"
	cfg.Upstreams = map[string]Upstream{"docs": u}
	r := DefaultRoute()
	r.Name, r.Namespace = "convert", "documents"
	cfg.Routes = []Route{r}
	cfg.Complete()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	if got := cfg.Routes[0]; got.Upstream != "docs" || got.TTL != Duration(time.Hour) || cfg.DefaultUpstream != "docs" {
		t.Errorf("%+v", got)
	}
	cfg.Listen = ""
	if err := cfg.Validate(); err == nil || !strings.HasPrefix(err.Error(), "configuration: listen: not an address") {
		t.Errorf("%v", err)
	}
}

func TestHarmlessOdditiesAreWarnings(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		_, warnings, err := loadText(text)
		if err != nil || len(warnings) != 1 || !strings.HasPrefix(warnings[0].String(), want) {
			t.Errorf("%q: %v, %v, want %s", text, warnings, err, want)
		}
	}
	f("upstreams: {a: {url: http://a}, b: {url: http://b}}\n", "proxy.yaml: default_upstream: not set: requests that match no route are answered with 404")
	f(docs+"cache: {redis: {password: x}}\n", "proxy.yaml:2: cache.redis: has credentials but no url")
	f("listen: :1\n", "proxy.yaml: upstreams: there is none")
}
