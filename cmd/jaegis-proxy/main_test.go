package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// outcome is what a command line did.
type outcome struct {
	code     int
	out, err string
}

func runLine(environ []string, args ...string) outcome {
	var out, errs bytes.Buffer
	code := dispatch(context.Background(), commands(), args, stdio{strings.NewReader(""), &out, &errs, environ})
	return outcome{code, out.String(), errs.String()}
}

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "proxy.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestAWrongCommandLineExitsWith2AndSaysWhy(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		got := runLine(nil, args...)
		if got.code != exitUsage || !strings.Contains(got.err, want) || got.out != "" {
			t.Errorf("%q: %+v, want code 2 and %q on standard error", args, got, want)
		}
	}
	f("usage: jaegis-proxy COMMAND")
	f(`unknown command "chekc"`, "chekc")
	f("unknown flag: --confg", "check", "--confg", "x")
	f("unknown flag: --listen", "version", "--listen", ":1")
	f(`unexpected argument "proxy.yaml"`, "check", "proxy.yaml")
	f("flag needs an argument", "check", "--config")
}

func TestHelpExitsWith0AndListsCommandsAndFlags(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		got := runLine(nil, args...)
		if got.code != exitOK || !strings.Contains(got.out, want) || got.err != "" {
			t.Errorf("%q: %+v, want code 0 and %q on standard output", args, got, want)
		}
	}
	for _, c := range commands() {
		f(c.name, "--help")
		f("usage: jaegis-proxy "+c.name, c.name, "--help")
	}
	f("usage: jaegis-proxy COMMAND", "help")
	f("--admin-listen", "check", "-h")
}

func TestCheckPrintsTheWholeTreeMaskedAndTakesItsOwnOutput(t *testing.T) {
	file := writeConfig(t, "admin: {token: hunter2}\nupstreams: {docs: {url: http://docs:9000, headers: {Authorization: Bearer hunter2}}}\n")
	got := runLine([]string{"REDIS_URL=redis://:hunter2@r:6379"}, "check", "--config", file, "--listen", ":9999")
	if got.code != exitOK || got.err != "" {
		t.Fatalf("%+v", got)
	}
	for _, want := range []string{"listen: :9999", "redis://:****@r:6379", "default_upstream: docs", "idle_timeout: 1m15s"} {
		if !strings.Contains(got.out, want) {
			t.Errorf("no %q in\n%s", want, got.out)
		}
	}
	if strings.Contains(got.out, "hunter2") {
		t.Errorf("a secret is printed:\n%s", got.out)
	}
	again := runLine(nil, "check", "--config", writeConfig(t, got.out))
	if again.code != exitOK || again.out != got.out {
		t.Errorf("its own output gives %+v", again)
	}
}

func TestCheckPrintsAllErrorsAndExitsWith2(t *testing.T) {
	file := writeConfig(t, "listen: nowhere\nlog:\n  levle: debug\n")
	got := runLine([]string{"REDIS_DB=one"}, "check", "--config", file, "--upstream", "ftp://x")
	want := file + `:1: listen: not an address to listen on: "nowhere"; write HOST:PORT, such as 127.0.0.1:8080 or :8080
` + file + `:3: log.levle: unknown key; did you mean level?
environment REDIS_DB: "one": not a whole number that fits 32 bits
flag --upstream: not a URL that begins with http:// or https:// and a host; write http://host:port
`
	if got.code != exitUsage || got.out != "" || got.err != want {
		t.Errorf("got %+v\nwant %s", got, want)
	}
}

func TestCheckPrintsWarningsBesideTheTree(t *testing.T) {
	got := runLine([]string{"JAEGIS_HOME=/x"}, "check", "--upstream", "http://docs")
	if got.code != exitOK || got.err != "warning: environment JAEGIS_HOME: ignored: it names no key\n" {
		t.Errorf("%+v", got)
	}
}

func TestVersionNamesTheBinaryAndItsGo(t *testing.T) {
	for _, args := range [][]string{{"version"}, {"--version"}} {
		got := runLine(nil, args...)
		if got.code != exitOK || !strings.HasPrefix(got.out, "jaegis-proxy "+buildVersion()) || !strings.Contains(got.out, runtime.Version()) {
			t.Errorf("%q: %+v", args, got)
		}
	}
}
