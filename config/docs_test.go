package config

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

const manual = "../docs/configuration.md"

// TestTheManualHasEveryKeyWithItsDefaultAndVariable keeps docs/configuration.md
// in step with the tree.
func TestTheManualHasEveryKeyWithItsDefaultAndVariable(t *testing.T) {
	data, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string][]string{} // key -> cells
	for line := range strings.Lines(string(data)) {
		cells := strings.Split(strings.Trim(line, "|\n"), " | ")
		if len(cells) == 6 {
			rows[strings.Trim(cells[0], "` ")] = cells
		}
	}
	delete(rows, "Key")
	tree := manualTree()
	for _, v := range allVariables() {
		cells, ok := rows[v.doc]
		if !ok {
			t.Errorf("%s is missing", v.doc)
			continue
		}
		delete(rows, v.doc)
		if want := "`" + v.docEV + "`"; cells[3] != want {
			t.Errorf("%s: variable %s, want %s", v.doc, cells[3], want)
		}
		if want := defaultCell(v, tree); want != cells[2] {
			t.Errorf("%s: default %s, want %s", v.doc, cells[2], want)
		}
		if want := changeCell(v); want != cells[4] {
			t.Errorf("%s: %s, want %s", v.doc, cells[4], want)
		}
	}
	for key := range rows {
		t.Errorf("%s is no key", key)
	}
}

// manualTree is the default tree with one of everything that users name.
func manualTree() *Config {
	cfg := Default()
	cfg.Upstreams = map[string]Upstream{"docs": DefaultUpstream()}
	cfg.Cache.Stores = map[string]Redis{"s": DefaultRedis()}
	cfg.Routes = []Route{DefaultRoute()}
	cfg.Routes[0].StoreWhen = []StoreWhen{{}}
	cfg.Clients = []Client{{}}
	cfg.Prices = map[string]Price{"m": {}}
	return cfg
}

// defaultCell gives a key's default as the manual is to print it.
func defaultCell(v variable, tree *Config) string {
	switch v.doc {
	case "upstreams.NAME.url", "cache.stores.NAMESPACE.url", "routes[].name", "clients[].name", "clients[].keys":
		return "required"
	case "cache.ttl.NAMESPACE":
		return "the table below"
	case "clients[].tenant":
		return "the name"
	case "prices.MODEL.cached_input":
		return "the `input`"
	case "routes[].upstream":
		return "the `default_upstream`"
	case "routes[].ttl":
		return "the namespace's"
	case "upstreams.NAME.headers.HEADER":
		return "none"
	}
	value := at(toTree(reflect.ValueOf(*tree)), strings.ReplaceAll(v.key, "[0]", ".0"))
	if v := reflect.ValueOf(value); v.Kind() == reflect.Slice {
		value = strings.Trim(strings.ReplaceAll(fmt.Sprint(value), " ", ", "), "[]")
	}
	if text := fmt.Sprint(value); text != "" {
		return "`" + text + "`"
	}
	return "none"
}

func at(tree any, key string) any {
	for name := range strings.SplitSeq(key, ".") {
		tree = tree.(map[string]any)[name]
	}
	return tree
}

// changeCell tries whether another value of the key needs a restart.
func changeCell(v variable) string {
	was, is := manualTree(), manualTree()
	changeAt(reflect.ValueOf(is).Elem(), strings.Split(strings.ReplaceAll(v.key, "[0]", ".0"), "."))
	if len(NeedsRestart(was, is)) > 0 {
		return "restart"
	}
	return "reload"
}

// changeAt gives the value at path another one.
func changeAt(v reflect.Value, path []string) {
	switch kindOf(v.Type()) {
	case section:
		for i, f := range fieldsOf(v.Type()) {
			if f.name == path[0] {
				changeAt(v.Field(i), path[1:])
			}
		}
	case rows:
		changeAt(v.Index(0), path[1:])
	case table:
		key := reflect.ValueOf(path[0])
		elem := reflect.New(v.Type().Elem()).Elem()
		if have := v.MapIndex(key); have.IsValid() {
			elem.Set(have)
		}
		changeAt(elem, path[1:])
		if v.IsNil() {
			v.Set(reflect.MakeMap(v.Type()))
		}
		v.SetMapIndex(key, elem)
	case list:
		v.Set(reflect.Append(reflect.Zero(v.Type()), reflect.ValueOf("another").Convert(v.Type().Elem())))
	default:
		switch v.Kind() {
		case reflect.Struct:
			v.Set(map[reflect.Type]reflect.Value{
				reflect.TypeFor[Number](): reflect.ValueOf(Number{Set: true, V: 7}),
				reflect.TypeFor[Pace]():   reflect.ValueOf(Pace{Original: true}),
				reflect.TypeFor[Choice](): reflect.ValueOf(Choice{Set: true, V: true}),
			}[v.Type()])
		case reflect.Float64:
			v.SetFloat(v.Float() + 1)
		case reflect.String:
			v.SetString("another")
		case reflect.Bool:
			v.SetBool(!v.Bool())
		default:
			v.SetInt(v.Int() + 1)
		}
	}
}

func TestTheExamplesOfTheManualLoad(t *testing.T) {
	for _, file := range []string{manual, "../docs/documents.md"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		examples := strings.Split(string(data), "```yaml\n")[1:]
		if len(examples) == 0 {
			t.Fatal("no example in " + file)
		}
		for _, e := range examples {
			text, _, _ := strings.Cut(e, "```")
			mustLoad(t, text, "DOCS_KEY=k", "JAEGIS_ADMIN_TOKEN=t", "OPENAI_API_KEY=k")
		}
	}
}

func TestTheErrorsOfTheManualAreReal(t *testing.T) {
	data, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	_, _, got := load(Sources{File: fileName, Environ: []string{"JAEGIS_LISTNE=x"}, Flags: flags(t, "--upstream", "docs:9000")},
		[]byte(strings.Repeat("\n", 10)+"routes:\n- {name: convert, namespace: documents, match: {path: convert}}\n"))
	if got == nil || !strings.Contains(string(data), "\n"+got.Error()+"\n") {
		t.Errorf("the manual does not have these lines:\n%v", got)
	}
}

func TestTheManualNamesWhatPresetsIgnoreAndPutIn(t *testing.T) {
	data, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(data), "\n## Presets\n")
	for _, name := range Presets() {
		for _, r := range presetRoutes(name) {
			fields := append(append([]string{}, r.Key.Query.Ignore...), r.When.Without...)
			for _, f := range append(fields, r.Key.Ignore...) {
				if f = strings.ReplaceAll(strings.TrimPrefix(f, "/"), "/", "."); !strings.Contains(section, "`"+f+"`") && !strings.Contains(section, "`"+f+": ") {
					t.Errorf("%s: %s is not in the manual", name, f)
				}
			}
			if r.Cache && r.Freshness == "route" && !strings.Contains(section, "`"+r.Match.Path+"`") && name != "openai-compatible" {
				t.Errorf("%s: %s is not in the manual", name, r.Match.Path)
			}
		}
	}
}
