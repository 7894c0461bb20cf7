package main

import (
	"fmt"
	"time"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/config"
	"jaegis-proxy/internal/protocol"
	"jaegis-proxy/policy"
	"jaegis-proxy/proxy"
)

// newTable turns the configured upstreams and routes into the proxy's.
func newTable(cfg *config.Config) (*proxy.Table, error) {
	upstreams := map[string]*proxy.Upstream{}
	for name, u := range cfg.Upstreams {
		up, err := newUpstream(name, u)
		if err != nil {
			return nil, err
		}
		upstreams[name] = up
	}
	t := &proxy.Table{KeySecret: []byte(cfg.Cache.KeySecret), Clients: newClients(cfg.Clients)}
	for _, r := range cfg.AllRoutes() {
		t.Routes = append(t.Routes, newRoute(r, upstreams[r.Upstream], cfg.Cache.Enabled))
	}
	if up := upstreams[cfg.DefaultUpstream]; up != nil {
		r := config.DefaultRoute()
		r.Name, r.Freshness = "default", string(policy.FreshnessOrigin)
		t.Fallback = newRoute(r, up, cfg.Cache.Enabled)
	}
	return t, nil
}

func newUpstream(name string, u config.Upstream) (*proxy.Upstream, error) {
	roots, err := certPool(u.CAFile)
	if err != nil {
		return nil, fmt.Errorf("upstream %s: %w", name, err)
	}
	headers := map[string]string{}
	for k, v := range u.Headers {
		headers[k] = string(v)
	}
	return proxy.NewUpstream(proxy.UpstreamOptions{
		Name: name, URL: u.URL, Headers: headers, PreserveHost: u.PreserveHost, RootCAs: roots,
		ConnectTimeout: time.Duration(u.ConnectTimeout), FirstByteTimeout: time.Duration(u.FirstByteTimeout),
		IdleTimeout: time.Duration(u.IdleTimeout), TotalTimeout: time.Duration(u.TotalTimeout),
	})
}

func newRoute(r config.Route, up *proxy.Upstream, cache bool) *proxy.Route {
	out := &proxy.Route{
		Name:     r.Name,
		Match:    policy.Match{Methods: r.Match.Methods, Hosts: r.Match.Hosts, Path: r.Match.Path},
		Upstream: up,
		Cache:    cache && r.Cache,
		Key: &cachekey.Rule{
			Namespace: r.Namespace, Body: cachekey.BodyMode(r.Key.Body), Ignore: r.Key.Ignore,
			Headers: r.Key.Headers, QueryIgnore: r.Key.Query.Ignore,
			Scope: cachekey.Scope(r.Scope), Credentials: r.Key.Credentials,
			Multipart: cachekey.Multipart{
				Ignore: r.Key.Multipart.Ignore, IgnoreFields: r.Key.Multipart.IgnoreFields,
				Extended: extendedNames(&r), Exact: r.Key.Multipart.Headers == "bytes",
			},
		},
		Rule: policy.Rule{
			Freshness: policy.Freshness(r.Freshness), TTL: time.Duration(r.TTL),
			StaleWhileRevalidate: time.Duration(r.StaleWhileRevalidate), StaleIfError: time.Duration(r.StaleIfError),
			OverrideNoStore: r.OverrideNoStore, ShareAuthorized: r.ShareAuthorized,
		},
		Protocol: protocol.Kind(r.Protocol),
		Gates: policy.Gates{
			Finish: r.Gates.FinishReasons, AllowEmpty: r.Gates.AllowEmpty, AllowBadToolArguments: r.Gates.AllowBadToolArguments,
		},
		When: proxy.When{
			When: policy.When{
				HasTemperatureMax: r.When.TemperatureMax.Set, TemperatureMax: r.When.TemperatureMax.V, Seed: r.When.Seed,
			},
			Without: r.When.Without,
		},
		Variants: r.Variants, Shadow: r.Shadow, Deny: controls(r.DenyControls),
		MaxRequestBytes:  int64(r.MaxRequestBytes),
		MaxObjectBytes:   int64(r.MaxObjectBytes),
		MaxCachedRequest: int64(r.MaxCachedRequestBytes),
		BypassSpoolFull:  r.OnSpoolFull == "bypass",
		CancelAbandoned:  r.OnAbandon == "cancel",
	}
	out.Look, out.Tags = newLook(r), newTags(r.Tags)
	if r.Scope == "shared" {
		out.Key.Scope, out.ProofTTL = cachekey.ScopeCredential, time.Duration(r.ProofTTL)
	}
	out.Pace.Original = r.Replay.Pace.Original
	if n := r.Replay.Pace.PerSecond; n > 0 {
		out.Pace.Interval = time.Duration(float64(time.Second) / n)
	}
	return out
}

// extendedNames says whether filename* is another way to write filename. To some
// upstreams it is not, so that nobody may prepare an answer for others with it.
func extendedNames(r *config.Route) bool {
	switch r.Key.Multipart.Headers {
	case "auto":
		return r.Scope == string(cachekey.ScopeCredential)
	case "rfc8187":
		return true
	}
	return false
}

// controls turns the names of what clients may not say into the proxy's form.
func controls(names []string) proxy.Controls {
	var c proxy.Controls
	for _, name := range names {
		switch name {
		case "cache-control":
			c |= proxy.ControlDirectives
		case "ttl":
			c |= proxy.ControlTTL
		case "mode":
			c |= proxy.ControlMode
		case "namespace":
			c |= proxy.ControlNamespace
		case "tags":
			c |= proxy.ControlTags
		}
	}
	return c
}

func newClients(list []config.Client) []*proxy.Client {
	var out []*proxy.Client
	for _, c := range list {
		out = append(out, &proxy.Client{Name: c.Name, Tenant: c.Tenant, Keys: c.Sums(), Deny: controls(c.DenyControls)})
	}
	return out
}

func newPrices(prices map[string]config.Price) proxy.Prices {
	out := proxy.Prices{}
	for model, p := range prices {
		out[model] = proxy.Price{Input: p.Input, Output: p.Output, CachedInput: p.CachedInput}
	}
	return out
}
