package config

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// fileName is the name under which the tests load texts that are in memory.
const fileName = "proxy.yaml"

// docs is the smallest file that asks for nothing more.
const docs = "upstreams: {docs: {url: http://docs:9000}}\n"

// loadText loads a text as if it were the file; "" is no file at all.
func loadText(text string, environ ...string) (*Config, Problems, error) {
	src := Sources{Environ: environ}
	if text != "" {
		src.File = fileName
	}
	return load(src, []byte(text))
}

// mustLoad loads a text that is to be accepted, without a warning.
func mustLoad(t *testing.T, text string, environ ...string) *Config {
	t.Helper()
	cfg, warnings, err := loadText(text, environ...)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("load %q with %q: warnings %v, errors:\n%v", text, environ, warnings, err)
	}
	return cfg
}

// mustFail loads a text that is to be refused with exactly the lines given.
func mustFail(t *testing.T, text string, environ []string, want ...string) {
	t.Helper()
	cfg, _, err := loadText(text, environ...)
	if err == nil {
		t.Errorf("load %q with %q is accepted, want %q", text, environ, want)
		return
	}
	if cfg != nil {
		t.Errorf("load %q gives a tree beside the error", text)
	}
	if got := strings.Split(err.Error(), "\n"); !slices.Equal(got, want) {
		t.Errorf("load %q with %q:\n got %s\nwant %s", text, environ, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

// flags gives parsed flags.
func flags(t *testing.T, args ...string) *pflag.FlagSet {
	t.Helper()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	AddFlags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return fs
}
