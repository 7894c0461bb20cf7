package config

import (
	"embed"
	"slices"
	"strings"
)

// presetFiles are the presets: files of routes as anybody could write them.
//
//go:embed presets
var presetFiles embed.FS

// Presets lists the well-known APIs that an upstream may name.
func Presets() []string {
	return []string{"openai", "anthropic", "gemini", "ollama", "openai-compatible", "documents"}
}

// Preset gives the file of a preset, comments and all; ok is false for names
// that are not in Presets.
func Preset(name string) (text []byte, ok bool) {
	if !slices.Contains(Presets(), name) {
		return nil, false
	}
	text, err := presetFiles.ReadFile("presets/" + name + ".yaml")
	if err != nil {
		panic("BUG: config: " + err.Error())
	}
	return text, true
}

// AllRoutes gives all routes in the order of matching: those of the tree, then
// those that presets bring. They belong to the caller.
func (c *Config) AllRoutes() []Route {
	return append(slices.Clone(c.Routes), c.PresetRoutes()...)
}

// PresetRoutes gives the routes that the presets of upstreams bring, complete:
// each has the name "<upstream>-<route>", the upstream, and the upstream's
// hosts. A route of the tree that has such a name (in any case) takes the place
// of the preset's.
func (c *Config) PresetRoutes() []Route {
	own := map[string]bool{}
	for _, r := range c.Routes {
		own[fold(r.Name)] = true
	}
	var out []Route
	for _, name := range c.presetUpstreams() {
		u := c.Upstreams[name]
		for _, r := range presetRoutes(u.Preset) {
			r.Name = presetRouteName(name, r.Name)
			if own[fold(r.Name)] {
				continue
			}
			r.Upstream = name
			r.Match.Hosts = slices.Clone(u.Hosts)
			if r.TTL == 0 {
				r.TTL = c.Cache.TTL[r.Namespace]
			}
			out = append(out, r)
		}
	}
	return out
}

func presetRouteName(upstream, route string) string { return upstream + "-" + route }

// presetUpstreams lists the upstreams that have a preset, by name.
func (c *Config) presetUpstreams() []string {
	var names []string
	for name, u := range c.Upstreams {
		if slices.Contains(Presets(), u.Preset) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// presetTree reads the file of a preset, as files of users are read.
func presetTree(name string) map[string]any {
	text, _ := Preset(name)
	file := "presets/" + name + ".yaml"
	found := newFindings(false)
	root, problem := parseYAML(file, text)
	if problem != nil {
		panic("BUG: config: " + problem.String())
	}
	tree := newReader(file, lookupIn(nil), found).document(root)
	if len(found.problems)+len(found.warnings) > 0 {
		panic("BUG: config: " + append(found.problems, found.warnings...).Error())
	}
	return tree
}

// presetUpstream gives what a preset says of its upstream.
func presetUpstream(name string) map[string]any {
	upstreams, _ := presetTree(name)["upstreams"].(map[string]any)
	fields, _ := upstreams[name].(map[string]any)
	return fields
}

// presetRoutes gives the routes of a preset with their defaults, under their
// names in it.
func presetRoutes(name string) []Route {
	o := &overlay{findings: newFindings(false)}
	cfg, err := o.merge(map[string]any{"routes": presetTree(name)["routes"]}, Sources{})
	if err != nil {
		panic("BUG: config: preset " + name + ": " + err.Error())
	}
	return cfg.Routes
}

// presets checks what the presets of upstreams come to.
func (ck *checker) presets(c *Config) {
	names := c.presetUpstreams()
	if len(names) == 0 {
		return
	}
	routes := c.PresetRoutes()
	first := map[string]Route{}
	for _, r := range routes {
		key := join("upstreams", r.Upstream)
		if len(r.Name) > 64 {
			ck.fail(key, "the name is too long for one with a preset: its routes would have names such as "+r.Name, "give it a shorter one")
			break
		}
		if was, seen := first[fold(r.Name)]; seen {
			ck.fail(key, "its preset brings a route "+r.Name+", and so does that of upstreams."+was.Upstream, "rename one of the upstreams")
			break
		}
		first[fold(r.Name)] = r
	}
	for _, r := range routes {
		if r.Cache && r.Freshness == "route" && r.TTL <= 0 {
			ck.fail(join("cache.ttl", r.Namespace), "0, and the preset of upstreams."+r.Upstream+" needs it", "set it above 0, or leave the preset out")
			break
		}
	}
	for i, name := range names {
		for _, other := range names[:i] {
			if a, b, ok := meeting(routes, other, name); ok {
				ck.fail(join("upstreams", name)+".preset", "its route "+b.Name+" and the route "+a.Name+" of upstreams."+other+" take the same requests",
					"set upstreams."+other+".hosts and upstreams."+name+".hosts to the names by which clients reach each")
			}
		}
	}
}

// meeting finds a route of each of two upstreams that both take some request.
func meeting(routes []Route, upstream, other string) (a, b Route, ok bool) {
	for _, a := range routes {
		for _, b := range routes {
			if a.Upstream == upstream && b.Upstream == other && meet(a.Match, b.Match) {
				return a, b, true
			}
		}
	}
	return a, b, false
}

// meet says whether some request is taken by both.
func meet(a, b Match) bool {
	common := func(a, b []string) bool {
		return len(a) == 0 || len(b) == 0 || slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
	}
	pathA, anyA := strings.CutSuffix(a.Path, "*")
	pathB, anyB := strings.CutSuffix(b.Path, "*")
	paths := pathA == pathB || anyA && strings.HasPrefix(pathB, pathA) || anyB && strings.HasPrefix(pathA, pathB)
	return paths && common(a.Hosts, b.Hosts) && common(a.Methods, b.Methods)
}
