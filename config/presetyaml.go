package config

import (
	"bytes"
	"slices"

	"go.yaml.in/yaml/v3"
)

// PresetYAML prints PresetRoutes in the form of a file's routes, with the
// comments of the presets: a copy of it, or of single routes, does the same as
// the preset did, and can be changed. It is empty when there are none.
func (c *Config) PresetYAML() []byte {
	list := &yaml.Node{Kind: yaml.SequenceNode}
	left := map[string]bool{}
	for _, r := range c.PresetRoutes() {
		left[r.Name] = true
	}
	for _, upstream := range c.presetUpstreams() {
		u := c.Upstreams[upstream]
		for _, route := range presetNodes(u.Preset) {
			name := member(route, "name")
			name.Value = presetRouteName(upstream, name.Value)
			if !left[name.Value] {
				continue
			}
			addHosts(member(route, "match"), u.Hosts)
			insertAfter(route, "match", "upstream", &yaml.Node{Kind: yaml.ScalarNode, Value: upstream})
			list.Content = append(list.Content, route)
		}
	}
	if len(list.Content) == 0 {
		return nil
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(map[string]*yaml.Node{"routes": list}); err != nil {
		panic("BUG: config: " + err.Error())
	}
	return out.Bytes()
}

// presetNodes gives the routes of a preset as they are written. They belong to
// the caller.
func presetNodes(preset string) []*yaml.Node {
	text, _ := Preset(preset)
	root, problem := parseYAML(preset, text)
	if problem != nil {
		panic("BUG: config: " + problem.String())
	}
	return member(root, "routes").Content
}

// member gives the value of a key that is there.
func member(n *yaml.Node, key string) *yaml.Node { return n.Content[keyAt(n, key)+1] }

func keyAt(n *yaml.Node, key string) int {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return i
		}
	}
	panic("BUG: config: a preset has no " + key)
}

func addHosts(match *yaml.Node, hosts []string) {
	if len(hosts) == 0 {
		return
	}
	list := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, h := range hosts {
		var host yaml.Node
		host.SetString(escape(h))
		list.Content = append(list.Content, &host)
	}
	match.Content = append(match.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: "hosts"}, list)
}

func insertAfter(n *yaml.Node, after, key string, value *yaml.Node) {
	at := keyAt(n, after) + 2
	n.Content = slices.Insert(n.Content, at, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, value)
}
