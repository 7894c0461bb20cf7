package config

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// Sources says where a configuration comes from. Every field may be empty.
type Sources struct {
	File    string         // path of the YAML file
	Environ []string       // in the form of os.Environ
	Flags   *pflag.FlagSet // parsed, with the flags of AddFlags

	// AllowMasked lets values through that Render has masked. They then hold
	// Mask and protect nothing, so that only those who look at a tree may want
	// this, not those who serve by it.
	AllowMasked bool
}

// Load reads the configuration: the defaults, over them the file, over it the
// environment, over it the flags. It reports all that is wrong at once, as a
// Problems error, and what is odd but harmless as warnings.
func Load(src Sources) (cfg *Config, warnings Problems, err error) {
	if src.File == "" {
		return load(src, nil)
	}
	data, problem := readFile(src.File)
	if problem != nil {
		return nil, nil, Problems{*problem}
	}
	return load(src, data)
}

// load is Load with the file's content in data, and without I/O.
func load(src Sources, data []byte) (*Config, Problems, error) {
	r := newReader(src.File, lookupIn(src.Environ), src.AllowMasked)
	var file map[string]any
	if src.File != "" {
		root, problem := parseYAML(src.File, data)
		if problem != nil {
			return nil, nil, Problems{*problem}
		}
		file = r.document(root)
	}
	o := &overlay{referenced: r.referenced, sources: r.sources}
	cfg, err := o.merge(file, src)
	if err != nil {
		return nil, nil, err
	}
	cfg.Complete()
	problems := slices.Concat(r.problems, o.problems)
	warnings := slices.Concat(r.warnings, o.warnings)
	// A value that could not be read is its default here, and what follows
	// from that would only confuse: the tree is checked once it is whole.
	fallback := source{name: src.File}
	if src.File == "" {
		fallback.name = "configuration"
	}
	for _, key := range o.zeroTTLs {
		problems = append(problems, r.sources.of(key, fallback).at(key, "0 is no lifetime", "leave it out for the TTL of the namespace"))
	}
	for _, p := range cfg.problems() {
		if !blames(problems, p.Key) {
			problems = append(problems, r.sources.of(p.Key, fallback).at(p.Key, p.What, p.Fix))
		}
	}
	for _, p := range cfg.oddities() {
		warnings = append(warnings, r.sources.of(p.Key, fallback).at(p.Key, p.What, p.Fix))
	}
	if len(problems) > 0 {
		return nil, warnings.sorted(), problems.sorted()
	}
	return cfg, warnings.sorted(), nil
}

// blames says whether there is a problem already with key or with a part of
// it: then what else is said about key may only follow from that.
func blames(problems Problems, key string) bool {
	return slices.ContainsFunc(problems, func(p Problem) bool {
		return p.Key == key || (p.Key != "" && (strings.HasPrefix(p.Key, key+".") || strings.HasPrefix(key, p.Key+".")))
	})
}
