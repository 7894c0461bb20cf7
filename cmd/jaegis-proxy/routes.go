package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"jaegis-proxy/config"
)

func cmdRoutes() command {
	const help = "print the routes in the order of matching, those of presets included"
	return command{name: "routes", help: help, run: func(_ context.Context, args []string, std stdio) int {
		fs := newFlags("routes")
		config.AddFlags(fs)
		asJSON := fs.Bool("json", false, "print JSON")
		asYAML := fs.Bool("yaml", false, "print the routes that presets bring in the form to copy into a configuration")
		preset := fs.String("preset", "", "print the preset `NAME` as it is: "+strings.Join(config.Presets(), ", "))
		if code, ok := parseFlags(fs, help, args, std); !ok {
			return code
		}
		if *asJSON && *asYAML || fs.Changed("preset") && (*asJSON || *asYAML) {
			fmt.Fprintln(std.Err, "jaegis-proxy routes: --json, --yaml and --preset exclude each other")
			return exitUsage
		}
		if fs.Changed("preset") {
			return printPreset(std, *preset)
		}
		src := config.FromFlags(fs, std.Environ)
		src.AllowMasked = true // nothing is served by it
		cfg, ok := loadConfig(src, std)
		if !ok {
			return exitUsage
		}
		return printRoutes(std, cfg, *asJSON, *asYAML)
	}}
}

func printPreset(std stdio, name string) int {
	text, ok := config.Preset(name)
	if !ok {
		fmt.Fprintf(std.Err, "jaegis-proxy routes: there is no preset %q; there are %s\n", name, strings.Join(config.Presets(), ", "))
		return exitUsage
	}
	return writeOut(std, text)
}

func printRoutes(std stdio, cfg *config.Config, asJSON, asYAML bool) int {
	switch rows := routeRows(cfg); {
	case asYAML:
		text := cfg.PresetYAML()
		if len(text) == 0 {
			fmt.Fprintln(std.Err, "jaegis-proxy routes: no preset brings a route to this configuration; see --preset")
			return exitFailure
		}
		return writeOut(std, text)
	case asJSON:
		text, err := json.MarshalIndent(rows, "", "  ")
		if err != nil {
			fmt.Fprintf(std.Err, "jaegis-proxy routes: %v\n", err)
			return exitFailure
		}
		return writeOut(std, append(text, '\n'))
	default:
		var b strings.Builder
		writeRoutes(&b, rows)
		return writeOut(std, []byte(b.String()))
	}
}

func writeOut(std stdio, text []byte) int {
	if _, err := std.Out.Write(text); err != nil {
		fmt.Fprintf(std.Err, "jaegis-proxy routes: %v\n", err)
		return exitFailure
	}
	return exitOK
}

// routeRow is what is said of one route.
type routeRow struct {
	Name      string   `json:"name"`
	Methods   []string `json:"methods"` // empty: any
	Hosts     []string `json:"hosts"`   // empty: any
	Path      string   `json:"path"`
	Upstream  string   `json:"upstream"`
	Cache     string   `json:"cache"` // "cached", "http" (by the upstream's own word), "shadow" or "passed"
	Namespace string   `json:"namespace,omitempty"`
	TTL       string   `json:"ttl,omitempty"`
	Protocol  string   `json:"protocol,omitempty"`
	Scope     string   `json:"scope,omitempty"`
	From      string   `json:"from"` // "file", "preset NAME" or "default_upstream"
}

// routeRows lists the routes in the order of matching; what none of them takes
// goes to the default upstream, which comes last.
func routeRows(cfg *config.Config) []routeRow {
	rows := []routeRow{}
	for i, r := range cfg.AllRoutes() {
		from := "file"
		if i >= len(cfg.Routes) {
			from = "preset " + cfg.Upstreams[r.Upstream].Preset
		}
		rows = append(rows, newRouteRow(&r, cfg.Cache.Enabled, from))
	}
	if cfg.DefaultUpstream != "" {
		r := config.DefaultRoute()
		r.Name, r.Upstream, r.Freshness = "default", cfg.DefaultUpstream, "origin"
		rows = append(rows, newRouteRow(&r, cfg.Cache.Enabled, "default_upstream"))
	}
	return rows
}

func newRouteRow(r *config.Route, enabled bool, from string) routeRow {
	row := routeRow{
		Name: r.Name, Methods: append([]string{}, r.Match.Methods...), Hosts: append([]string{}, r.Match.Hosts...),
		Path: r.Match.Path, Upstream: r.Upstream, Cache: "passed", From: from,
	}
	if !r.Cache || !enabled {
		return row
	}
	row.Namespace, row.Protocol, row.Scope = r.Namespace, r.Protocol, r.Scope
	switch {
	case r.Shadow:
		row.Cache = "shadow"
	case r.Freshness == "origin":
		row.Cache = "http"
	default:
		row.Cache = "cached"
	}
	if r.Freshness == "route" {
		row.TTL = r.TTL.String()
	}
	return row
}

func writeRoutes(w io.Writer, rows []routeRow) {
	if len(rows) == 0 {
		fmt.Fprintln(w, "no routes, and no default upstream: every request is answered with 404")
		return
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(cells ...string) {
		for i, c := range cells {
			if c == "" {
				cells[i] = "-"
			}
		}
		fmt.Fprintln(tw, strings.Join(cells, "\t"))
	}
	withHosts := slices.ContainsFunc(rows, func(r routeRow) bool { return len(r.Hosts) > 0 })
	head := []string{"NAME", "METHODS", "PATH", "UPSTREAM", "CACHE", "NAMESPACE", "TTL", "PROTOCOL", "SCOPE", "FROM"}
	if withHosts {
		head = slices.Insert(head, 2, "HOSTS")
	}
	line(head...)
	for _, r := range rows {
		cells := []string{r.Name, anyOr(r.Methods), r.Path, r.Upstream, r.Cache, r.Namespace, r.TTL, r.Protocol, r.Scope, r.From}
		if withHosts {
			cells = slices.Insert(cells, 2, anyOr(r.Hosts))
		}
		line(cells...)
	}
	_ = tw.Flush() // w is a string being built
}

func anyOr(list []string) string {
	if len(list) == 0 {
		return "any"
	}
	return strings.Join(list, ",")
}
