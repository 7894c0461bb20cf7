package config

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

// delim separates the names of a path within koanf. No name holds it: names
// are printable, and may well have a dot.
const delim = "\x1f"

// layer is a koanf provider of a tree that is there already.
type layer map[string]any

func (l layer) Read() (map[string]any, error) { return l, nil }

func (l layer) ReadBytes() ([]byte, error) { return nil, errors.New("BUG: a layer has no bytes") }

// merge puts the layers over each other, the environment and the flags over
// the file, and gives the tree that comes out.
func (o *overlay) merge(file map[string]any, src Sources) (*Config, error) {
	k := koanf.New(delim)
	add := func(p koanf.Provider, opts ...koanf.Option) {
		if err := k.Load(p, nil, opts...); err != nil {
			panic("BUG: config: " + err.Error()) // all layers are in memory
		}
		o.tree = k.Raw()
	}
	add(layer(sectionTree(*Default())))
	add(layer(file))
	environ := slices.Sorted(slices.Values(src.Environ))
	vars := lookupIn(src.Environ)
	fromEnv := func(prefix string, read func(name, text string) ([]string, any)) koanf.Provider {
		return env.Provider(delim, env.Opt{
			Prefix:      prefix,
			EnvironFunc: func() []string { return environ },
			TransformFunc: func(name, _ string) (string, any) {
				text, _ := vars(name)
				return settled(read(name, text))
			},
		})
	}
	add(fromEnv("REDIS_", o.redisVariable))
	add(fromEnv(envPrefix, o.variable))
	if src.Flags != nil {
		add(posflag.ProviderWithFlag(src.Flags, delim, k, func(f *pflag.Flag) (string, any) {
			return settled(o.flag(f))
		}))
		if f := src.Flags.Lookup("upstream"); f != nil && f.Changed {
			add(layer{"default_upstream": "default"})
		}
	}
	o.zeroTTLs = zeroTTLs(o.tree)
	add(elementDefaults(o.tree), koanf.WithMergeFunc(fillIn))
	return decode(k)
}

// settled gives koanf a path and a value, or an empty path for no value.
func settled(path []string, value any) (string, any) {
	if value == nil {
		return "", nil
	}
	return strings.Join(path, delim), value
}

// zeroTTLs finds routes with a TTL of 0 that was written down. Complete takes
// it as left out, but its author may have meant "do not store".
func zeroTTLs(tree map[string]any) []string {
	var keys []string
	rows, _ := tree["routes"].(map[string]any)
	for index, row := range rows {
		fields, _ := row.(map[string]any)
		if ttl, ok := fields["ttl"].(Duration); ok && ttl == 0 && fields["cache"] != false {
			keys = append(keys, displayKey([]string{"routes", index, "ttl"}))
		}
	}
	return keys
}

// elementDefaults gives the defaults of everything that the user has named.
func elementDefaults(tree map[string]any) layer {
	each := func(part any, defaults map[string]any) map[string]any {
		out := map[string]any{}
		named, _ := part.(map[string]any)
		for name := range named {
			out[name] = maps.Clone(defaults)
		}
		return out
	}
	cache, _ := tree["cache"].(map[string]any)
	return layer{
		"upstreams": upstreamDefaults(tree["upstreams"]),
		"routes":    routeDefaults(tree["routes"]),
		"clients":   each(tree["clients"], sectionTree(Client{})),
		"prices":    priceDefaults(tree["prices"]),
		"cache":     map[string]any{"stores": each(cache["stores"], sectionTree(DefaultRedis()))},
	}
}

// routeDefaults gives each route its defaults, and each of its conditions those
// of conditions.
func routeDefaults(part any) map[string]any {
	out := map[string]any{}
	rows, _ := part.(map[string]any)
	for index, row := range rows {
		defaults := sectionTree(DefaultRoute())
		fields, _ := row.(map[string]any)
		conditions, _ := fields["store_when"].(map[string]any)
		each := map[string]any{}
		for i := range conditions {
			each[i] = sectionTree(StoreWhen{})
		}
		defaults["store_when"] = each
		out[index] = defaults
	}
	return out
}

// upstreamDefaults gives each upstream its defaults: what its preset says of
// the API, and below that those of all upstreams.
func upstreamDefaults(part any) map[string]any {
	out := map[string]any{}
	named, _ := part.(map[string]any)
	for name, value := range named {
		defaults := sectionTree(DefaultUpstream())
		fields, _ := value.(map[string]any)
		if preset, _ := fields["preset"].(string); slices.Contains(Presets(), preset) {
			maps.Copy(defaults, presetUpstream(preset))
		}
		out[name] = defaults
	}
	return out
}

// priceDefaults gives each price its defaults, of which one is another part of
// the same price.
func priceDefaults(part any) map[string]any {
	out := map[string]any{}
	named, _ := part.(map[string]any)
	for model, value := range named {
		defaults := sectionTree(Price{})
		fields, _ := value.(map[string]any)
		if input, ok := fields["input"].(float64); ok {
			defaults["cached_input"] = input
		}
		out[model] = defaults
	}
	return out
}

// fillIn merges src into dest where dest has nothing.
func fillIn(src, dest map[string]any) error {
	for name, value := range src {
		have, ok := dest[name]
		if !ok {
			dest[name] = value
			continue
		}
		inner, ok := value.(map[string]any)
		if into, isMap := have.(map[string]any); ok && isMap {
			if err := fillIn(inner, into); err != nil {
				return err
			}
		}
	}
	return nil
}

// decode makes the tree of the merged layers. Values have their types already:
// only rows, kept by index so far, take their order here.
func decode(k *koanf.Koanf) (*Config, error) {
	var cfg Config
	err := k.UnmarshalWithConf("", &cfg, koanf.UnmarshalConf{
		Tag: "yaml",
		DecoderConfig: &mapstructure.DecoderConfig{
			ErrorUnused: true,
			DecodeHook: mapstructure.DecodeHookFuncType(func(from, to reflect.Type, data any) (any, error) {
				m, ok := data.(map[string]any)
				if !ok || kindOf(to) != rows {
					return data, nil
				}
				return inOrder(m)
			}),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("BUG: config: %w", err)
	}
	return &cfg, nil
}

func inOrder(m map[string]any) ([]any, error) {
	out := make([]any, len(m))
	for index, row := range m {
		i, err := strconv.Atoi(index)
		if err != nil || i < 0 || i >= len(out) {
			return nil, fmt.Errorf("row %q of %d", index, len(out))
		}
		out[i] = row
	}
	return out, nil
}
