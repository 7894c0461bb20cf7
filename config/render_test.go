package config

import (
	"bytes"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestWhatRenderPrintsLoadsToTheSameTree(t *testing.T) {
	cfg := mustLoad(t, `
admin: {token: hunter2}
upstreams: {docs: {url: http://docs, headers: {Authorization: "Bearer hunter2"}, ca_file: "/a$$b/$${X}/'q'\"#: "}}
cache: {key_secret: hunter2, encryption: {keys: [`+key1+`, "", `+key2+`]}, redis: {url: "redis://u:hunter2@h/1"}, stores: {s: {url: redis://s, password: hunter2}}}
routes: [{name: r, namespace: builds, key: {ignore: [/$$defs]}}]
`)
	if got := cfg.Upstreams["docs"].CAFile; got != `/a$b/${X}/'q'"#: ` {
		t.Fatalf("ca_file is %q", got)
	}
	checkRoundTrip(t, cfg)
	printed := string(Render(cfg))
	if strings.Contains(printed, "hunter2") || strings.Contains(printed, key1) || strings.Contains(printed, key2) {
		t.Errorf("a secret is printed:\n%s", printed)
	}
	if got := strings.Count(printed, Mask); got != 7 {
		t.Errorf("%d masks, want 7:\n%s", got, printed)
	}
}

// checkRoundTrip renders a tree, loads what comes out, and wants a tree that
// differs in nothing but that its secrets are masks.
func checkRoundTrip(t *testing.T, cfg *Config) {
	t.Helper()
	printed := Render(cfg)
	src := Sources{File: fileName, AllowMasked: true}
	again, _, err := load(src, printed)
	if err != nil {
		t.Fatalf("what is printed is refused: %v\n%s", err, printed)
	}
	if !bytes.Equal(Render(again), printed) {
		t.Fatalf("printed\n%s\nloads as\n%s", printed, Render(again))
	}
	if want := maskSecrets(cfg); !reflect.DeepEqual(again, want) {
		t.Fatalf("printed\n%s\nloads as\n%#v\nwant\n%#v", printed, again, want)
	}
}

// maskSecrets gives a copy of the tree with Mask in the place of its secrets.
func maskSecrets(cfg *Config) *Config {
	out := reflect.New(reflect.TypeFor[Config]()).Elem()
	maskInto(out, reflect.ValueOf(*cfg))
	return out.Addr().Interface().(*Config)
}

func maskInto(out, in reflect.Value) {
	switch v := in.Interface().(type) {
	case Secret:
		out.SetString(v.String())
		return
	case SecretURL:
		out.SetString(v.String())
		return
	}
	switch in.Kind() {
	case reflect.Struct:
		for i := range in.NumField() {
			maskInto(out.Field(i), in.Field(i))
		}
	case reflect.Map:
		out.Set(reflect.MakeMap(in.Type()))
		for it := in.MapRange(); it.Next(); {
			v := reflect.New(in.Type().Elem()).Elem()
			maskInto(v, it.Value())
			out.SetMapIndex(it.Key(), v)
		}
		if in.IsNil() {
			out.SetZero()
		}
	case reflect.Slice:
		out.Set(reflect.MakeSlice(in.Type(), in.Len(), in.Len()))
		for i := range in.Len() {
			maskInto(out.Index(i), in.Index(i))
		}
		if in.IsNil() {
			out.SetZero()
		}
	default:
		out.Set(in)
	}
}

func TestMasksAreRefusedByThoseWhoServe(t *testing.T) {
	const fix = "is masked: check has printed it; write the secret itself, or ${NAME} for a variable that holds it"
	mustFail(t, docs+"admin: {token: \"****\"}\ncache: {redis: {url: \"redis://:****@h\"}}\n", nil,
		"proxy.yaml:2: admin.token: "+fix, "proxy.yaml:3: cache.redis.url: "+fix)
	mustFail(t, "upstreams: {docs: {url: http://d, headers: {A: \"****\"}}}\n", nil, "proxy.yaml:1: upstreams.docs.headers.A: "+fix)
	mustFail(t, docs, []string{"JAEGIS_ADMIN_TOKEN=****"}, "environment JAEGIS_ADMIN_TOKEN: "+fix)
	mustFail(t, docs+"cache: {encryption: {keys: [\"****\"]}}\n", nil, "proxy.yaml:2: cache.encryption.keys[0]: "+fix)
	mustFail(t, docs, []string{"JAEGIS_CACHE_ENCRYPTION_KEYS=" + key1 + ",****"}, "environment JAEGIS_CACHE_ENCRYPTION_KEYS: "+fix)
}

func TestNeedsRestartNamesWhatARunningProxyDoesNotTakeUp(t *testing.T) {
	was := mustLoad(t, docs)
	f := func(text string, want ...string) {
		t.Helper()
		if got := NeedsRestart(was, mustLoad(t, docs+text)); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	f("")
	f("cache: {ttl: {documents: 1}, enabled: false, key_secret: x}\n")
	f("routes: [{name: r, namespace: builds}]\n")
	f("listen: 127.0.0.1:1\nadmin: {token: x}\nlog: {level: debug}\nspool: {memory: 0}\nshutdown_timeout: 1\n", "listen", "admin", "spool", "shutdown_timeout", "log")
	f("cache: {redis: {url: redis://h}, stores: {s: {url: redis://s}}, memory: {max_bytes: 1}, compression: {level: 9}, encryption: {keys: ["+key1+"]}, uncacheable_ttl: 1, queue: {workers: 1}, shared_fills: {enabled: false}}\n",
		"cache.redis", "cache.stores", "cache.memory", "cache.compression", "cache.encryption", "cache.uncacheable_ttl", "cache.queue", "cache.shared_fills")
	f("clients: [{name: c, keys: [\"sha256:" + strings.Repeat("0", 64) + "\"]}]\nprices: {m: {input: 1}}\n")
	f("currency: EUR\n", "currency")
	f("limits: {max_connections: 1}\ntelemetry: {otlp_endpoint: http://c}\n", "limits", "telemetry")
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(docs))
	data, err := os.ReadFile("testdata/mcp_server.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(Render(Default()))
	f.Add([]byte("admin: {token: \"${A}\", listen: \"[::1]:1\"}\nupstreams: &u\n  a: &a {url: http://a/x, headers: {X-A: b}}\n  b: {<<: *a}\ndefault_upstream: b\nroutes:\n- {name: r, ttl: 1.5, match: {hosts: [A.b], methods: [GET], path: /a*}, key: {ignore: [/a~1b]}}\n"))
	f.Add([]byte("cache: {stores: {a: {url: 'redis://u:p@h/0'}}, ttl: {x: 90m}, memory: {max_bytes: 1.5GiB}}\nspool: {dir: '$$ ${B:-c}'}\ntelemetry: {otlp_endpoint: 'https://t@h'}\n"))
	f.Add([]byte("clients: [{name: c, tenant: t, keys: ['sha256:" + strings.Repeat("Ab", 32) + "'], deny_controls: [ttl]}]\nprices: {'gpt-4o*': {input: 2.5e6, output: 1}}\ncurrency: EUR\n"))
	f.Add([]byte("upstreams: {a: {url: http://a, preset: openai, hosts: [A.b]}}\nroutes: [{name: r, ttl: 1, protocol: gemini, when: {temperature_max: 0, without: [/a]}, replay: {pace: 7 events/s}, variants: 2, gates: {finish_reasons: [STOP]}}]\n"))
	f.Add([]byte("cache: {redis: {url: redis://h}, encryption: {keys: [" + key1 + ", '', '${A}']}}\n"))
	f.Add([]byte("server: 1\nx: &x [*x]\n? {a: b}\n: c\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		src := Sources{File: fileName, Environ: []string{"A=a", "B=", "JAEGIS_CACHE_TTL_X=7", "JAEGIS_UPSTREAMS_A_URL=http://env"}}
		cfg, _, err := load(src, data)
		if err == nil {
			checkRoundTrip(t, cfg)
		} else if cfg != nil {
			t.Error("an error, and a tree beside it")
		}
	})
}

func FuzzEnvironment(f *testing.F) {
	f.Add("UPSTREAMS_DOCS_URL", "http://x")
	f.Add("UPSTREAMS_A_B_HEADERS_URL", "x")
	f.Add("ROUTES_R_TTL", "1")
	f.Add("CACHE_STORES__URL", "redis://h")
	f.Fuzz(func(t *testing.T, name, value string) {
		text := docs + "routes: [{name: r, namespace: builds}]\n"
		if cfg, _, err := loadText(text, "JAEGIS_"+name+"="+value); err == nil {
			checkRoundTrip(t, cfg)
		}
	})
}
