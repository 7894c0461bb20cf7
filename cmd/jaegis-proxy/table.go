package main

import (
	"fmt"
	"time"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/config"
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
	t := &proxy.Table{KeySecret: []byte(cfg.Cache.KeySecret)}
	for _, r := range cfg.Routes {
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
	return &proxy.Route{
		Name:     r.Name,
		Match:    policy.Match{Methods: r.Match.Methods, Hosts: r.Match.Hosts, Path: r.Match.Path},
		Upstream: up,
		Cache:    cache,
		Key: &cachekey.Rule{
			Namespace: r.Namespace, Body: cachekey.BodyMode(r.Key.Body), Ignore: r.Key.Ignore,
			Headers: r.Key.Headers, QueryIgnore: r.Key.Query.Ignore,
			Scope: cachekey.Scope(r.Scope), Credentials: r.Key.Credentials,
		},
		Rule: policy.Rule{
			Freshness: policy.Freshness(r.Freshness), TTL: time.Duration(r.TTL),
			StaleWhileRevalidate: time.Duration(r.StaleWhileRevalidate), StaleIfError: time.Duration(r.StaleIfError),
			OverrideNoStore: r.OverrideNoStore,
		},
		MaxRequestBytes: int64(r.MaxRequestBytes),
		MaxObjectBytes:  int64(r.MaxObjectBytes),
		CancelAbandoned: r.OnAbandon == "cancel",
	}
}
