package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// module is the prefix of the import paths that are our own.
const module = "jaegis-proxy/"

// mayImport says which of our packages a package may import. One that is not
// here imports none of ours. Imports run downward only, and what joins the
// parts (config, the stores, telemetry) is named by the command alone.
var mayImport = map[string][]string{
	"proxy":              {"cachekey", "policy", "store", "internal/flight", "internal/protocol", "internal/spool", "internal/encoding"},
	"admin":              {"store", "cachekey"},
	"store":              {"cachekey", "policy"},
	"store/memory":       {"store", "cachekey", "policy"},
	"store/redis":        {"store", "cachekey", "policy"},
	"store/storetest":    {"store", "cachekey", "policy"},
	"internal/flight":    {"internal/spool"},
	"benchmarks/history": {"store/storetest", "internal/proxytest"},
	"benchmarks/large":   {"store/storetest", "internal/proxytest"},
	"benchmarks/faults":  {"store/storetest", "internal/origintest", "internal/proxytest"},
}

// testHelpers may be imported by any test file besides; realStores by the tests
// of those packages that work on a store, which they test on the real ones.
var (
	testHelpers = []string{"store/storetest", "internal/origintest"}
	realStores  = []string{"store/memory", "store/redis"}
)

// testOnly is the package that is part of tests without having files of that
// name: it may wait for outside processes as tests do.
const testOnly = "store/storetest"

// Past these a file or a function outside tests is two.
const (
	maxFileLines = 500
	maxFuncLines = 60
)

func TestTheHouseIsInOrder(t *testing.T) {
	faults, files := inspect(t, os.DirFS("../.."))
	for _, f := range faults {
		t.Error(f)
	}
	if files < 10 {
		t.Errorf("only %d Go files were found: this looks at the wrong folder", files)
	}
}

// inspect reads every Go file of a tree and tells what is not as it should be.
func inspect(t *testing.T, tree fs.FS) (faults []string, files int) {
	t.Helper()
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		if d.IsDir() {
			if name != "." && (strings.HasPrefix(base, ".") || base == "testdata" || base == "node_modules") {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		files++
		src, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		found, err := inspectFile(name, src)
		faults = append(faults, found...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return faults, files
}

func inspectFile(name string, src []byte) ([]string, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	isTest := strings.HasSuffix(name, "_test.go")
	faults := forbiddenImports(path.Dir(name), isTest, file)
	if isTest {
		return faults, nil
	}
	if n := fset.Position(file.FileEnd).Line; n > maxFileLines {
		faults = append(faults, fmt.Sprintf("%s has %d lines, more than %d", name, n, maxFileLines))
	}
	for _, decl := range file.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		lines := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1
		if lines > maxFuncLines {
			faults = append(faults, fmt.Sprintf("%s: %s has %d lines, more than %d", name, fn.Name.Name, lines, maxFuncLines))
		}
		if fn.Recv == nil && fn.Name.Name == "init" {
			faults = append(faults, name+": func init; make it where it is used")
		}
	}
	if path.Dir(name) == testOnly {
		return faults, nil
	}
	return append(faults, sleeps(name, file)...), nil
}

func forbiddenImports(pkg string, isTest bool, file *ast.File) (faults []string) {
	worksOnStore := pkg == "store" || slices.Contains(mayImport[pkg], "store")
	for _, spec := range file.Imports {
		full, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the compiler will say so
		}
		ours, ok := strings.CutPrefix(full, module)
		if !ok || pkg == "cmd" || strings.HasPrefix(pkg, "cmd/") {
			continue
		}
		allowed := slices.Contains(mayImport[pkg], ours) ||
			isTest && (ours == pkg || slices.Contains(testHelpers, ours) || worksOnStore && slices.Contains(realStores, ours))
		if !allowed {
			faults = append(faults, fmt.Sprintf("%s imports %s", pkg, ours))
		}
	}
	return faults
}

// sleeps finds time.Sleep, called or handed on, under whatever name the file
// imports package time.
func sleeps(name string, file *ast.File) (faults []string) {
	pkg := ""
	for _, spec := range file.Imports {
		if spec.Path.Value == `"time"` {
			pkg = "time"
			if spec.Name != nil {
				pkg = spec.Name.Name
			}
		}
	}
	if pkg == "" {
		return nil
	}
	ast.Inspect(file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok || sel.Sel.Name != "Sleep" {
			return true
		}
		if id, ok := sel.X.(*ast.Ident); ok && id.Name == pkg {
			faults = append(faults, name+": time.Sleep; wait for what is waited for, or for a timer and an end")
		}
		return true
	})
	return faults
}

func TestTheHouseCheckFindsWhatIsOutOfOrder(t *testing.T) {
	f := func(name, src string, want ...string) {
		t.Helper()
		tree := fstest.MapFS{
			name:                      {Data: []byte(src)},
			"web/node_modules/x/x.go": {Data: []byte("package x; import _ \"jaegis-proxy/config\"")},
		}
		got, files := inspect(t, tree)
		if files != 1 {
			t.Errorf("%s: %d files were read, want 1", name, files)
		}
		if !slices.EqualFunc(got, want, strings.Contains) {
			t.Errorf("%s:\n%s\ngave %q, want %q", name, src, got, want)
		}
	}
	imports := func(paths ...string) string {
		src := "package p\n"
		for _, p := range paths {
			src += fmt.Sprintf("import _ %q\n", p)
		}
		return src
	}
	for _, ours := range []string{"config", "store/memory", "store/redis", "internal/telemetry", "admin", "proxy", "cmd/jaegis-proxy"} {
		for _, pkg := range []string{"proxy", "admin", "store", "policy", "cachekey", "config", "internal/flight", "internal/encoding", "benchmarks/barefast"} {
			f(pkg+"/x.go", imports(module+ours), pkg+" imports "+ours)
		}
	}
	f("cmd/jaegis-proxy/x.go", imports(module+"config", module+"store/redis", module+"internal/telemetry", module+"proxy"))
	f("proxy/x.go", imports(module+"store", module+"internal/spool", "github.com/valyala/fasthttp"))
	f("policy/x.go", imports(module+"cachekey"), "policy imports cachekey")
	f("internal/flight/x.go", imports(module+"internal/spool", module+"store"), "internal/flight imports store")
	f("internal/spool/x.go", imports(module+"internal/flight"), "internal/spool imports internal/flight")
	f("proxy/deeper/x.go", imports(module+"store"), "proxy/deeper imports store")

	f("proxy/x.go", imports(module+"internal/origintest"), "proxy imports internal/origintest")
	f("proxy/x_test.go", imports(module+"internal/origintest", module+"store/storetest", module+"proxy"))
	f("policy/x_test.go", imports(module+"store"), "policy imports store")
	f("proxy/x_test.go", imports(module+"store/memory"))
	f("store/x_test.go", imports(module+"store/memory", module+"store/redis"))
	f("policy/x_test.go", imports(module+"store/memory"), "policy imports store/memory")
	f("store/x_test.go", imports(module+"config"), "store imports config")

	f("store/x.go", "package store\nfunc init() {}\n", "func init")
	f("store/x.go", "package store\ntype T int\nfunc (T) init() {}\n")
	f("store/x.go", "package store\nimport \"time\"\nfunc f() { time.Sleep(1) }\n", "time.Sleep")
	f("store/x.go", "package store\nimport zzz \"time\"\nvar f = zzz.Sleep\n", "time.Sleep")
	f("store/storetest/x.go", "package storetest\nimport \"time\"\nfunc f() { time.Sleep(1) }\n")
	f("internal/origintest/x.go", "package origintest\nimport \"time\"\nfunc f() { time.Sleep(1) }\n", "time.Sleep")
	f("store/x_test.go", "package store\nimport \"time\"\nfunc f() { time.Sleep(1) }\nfunc init() {}\n")
	f("store/x.go", "package store\nimport \"time\"\ntype l struct{}\nfunc (l) Sleep(time.Duration) {}\nfunc f() { l{}.Sleep(1) }\n")

	body := func(lines int) string {
		return "package p\nfunc f() {\n" + strings.Repeat("\t_ = 1\n", lines-2) + "}\n"
	}
	f("proxy/x.go", body(maxFuncLines))
	f("proxy/x.go", body(maxFuncLines+1), "f has 61 lines")
	f("proxy/x_test.go", body(maxFuncLines+1))
	f("proxy/x.go", "package p\n"+strings.Repeat("// x\n", maxFileLines-2)+"// end")
	f("proxy/x.go", "package p\n"+strings.Repeat("// x\n", maxFileLines-1)+"// end", "has 501 lines")
	f("proxy/x_test.go", "package p\n"+strings.Repeat("// x\n", maxFileLines+10))
}
