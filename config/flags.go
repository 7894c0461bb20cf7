package config

import (
	"reflect"
	"strings"

	"github.com/spf13/pflag"
)

// AddFlags defines the flags that are part of a configuration: --config,
// --listen, --admin-listen, --upstream and --redis.
func AddFlags(fs *pflag.FlagSet) {
	fs.String("config", "", "read the configuration from this YAML `FILE`")
	fs.String("listen", "", "listen for requests on this `HOST:PORT`")
	fs.String("admin-listen", "", "listen for administration on this `HOST:PORT`; empty for no such listener")
	fs.String("upstream", "", "forward what matches no route to this `URL`; alone it is a complete configuration")
	fs.String("redis", "", "keep answers in the Redis at this `URL`")
}

// FromFlags gives the sources that a command line and an environment (in the
// form of os.Environ) name. The file is that of --config, or else that of
// JAEGIS_CONFIG.
func FromFlags(fs *pflag.FlagSet, environ []string) Sources {
	src := Sources{Environ: environ, Flags: fs}
	if f := fs.Lookup("config"); f != nil {
		src.File = f.Value.String()
	}
	if src.File == "" {
		src.File, _ = lookupIn(environ)(envPrefix + "CONFIG")
	}
	return src
}

// flag gives the path and the value of a flag that was set, or nil for flags
// that are not about the tree.
func (o *overlay) flag(f *pflag.Flag) ([]string, any) {
	paths := map[string][]string{
		"listen":       {"listen"},
		"admin-listen": {"admin", "listen"},
		"upstream":     {"upstreams", "default", "url"},
		"redis":        {"cache", "redis", "url"},
	}
	path, ok := paths[f.Name]
	if !ok || !f.Changed {
		return nil, nil
	}
	t := reflect.TypeFor[string]()
	if f.Name == "redis" {
		t = reflect.TypeFor[SecretURL]()
	}
	src := source{name: "flag --" + f.Name}
	if f.Name == "upstream" {
		o.sources["upstreams.default"] = src
		o.sources["default_upstream"] = src
	}
	return path, o.parse(src, path, t, f.Value.String())
}

// lookupIn reads variables from an environment in the form of os.Environ; as
// in a process, the last of several with the same name counts.
func lookupIn(environ []string) func(string) (string, bool) {
	vars := make(map[string]string, len(environ))
	for _, kv := range environ {
		if name, value, ok := strings.Cut(kv, "="); ok {
			vars[name] = value
		}
	}
	return func(name string) (string, bool) {
		v, ok := vars[name]
		return v, ok
	}
}
