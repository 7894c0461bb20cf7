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
	found := newFindings(src.AllowMasked)
	var file map[string]any
	if src.File != "" {
		root, problem := parseYAML(src.File, data)
		if problem != nil {
			return nil, nil, Problems{*problem}
		}
		file = newReader(src.File, lookupIn(src.Environ), found).document(root)
	}
	o := &overlay{findings: found}
	cfg, err := o.merge(file, src)
	if err != nil {
		return nil, nil, err
	}
	cfg.Complete()
	found.inspect(cfg, o.zeroTTLs, src)
	if len(found.problems) > 0 {
		return nil, found.warnings.sorted(), found.problems.sorted()
	}
	return cfg, found.warnings.sorted(), nil
}

// inspect adds what is wrong or odd about the tree as a whole. A value that
// could not be read has its default in it, and what follows from that would
// only confuse: such problems are left out.
func (f *findings) inspect(cfg *Config, zeroTTLs []string, src Sources) {
	fallback := source{name: src.File}
	if src.File == "" {
		fallback.name = "configuration"
	}
	located := func(p Problem) Problem {
		return f.sources.of(p.Key, fallback).at(p.Key, p.What, p.Fix)
	}
	for _, key := range zeroTTLs {
		f.problems = append(f.problems, located(Problem{Key: key, What: "0 is no lifetime", Fix: "leave it out for the TTL of the namespace, or write cache: false"}))
	}
	for _, p := range cfg.problems() {
		if !blames(f.problems, p.Key) {
			f.problems = append(f.problems, located(p))
		}
	}
	for _, p := range cfg.oddities() {
		f.warnings = append(f.warnings, located(p))
	}
}

// blames says whether there is a problem already with key or with a part of
// it: then what else is said about key may only follow from that.
func blames(problems Problems, key string) bool {
	return slices.ContainsFunc(problems, func(p Problem) bool {
		return p.Key == key || (p.Key != "" && (strings.HasPrefix(p.Key, key+".") || strings.HasPrefix(p.Key, key+"[") || strings.HasPrefix(key, p.Key+".")))
	})
}
