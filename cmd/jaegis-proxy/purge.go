package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"jaegis-proxy/admin"
)

func cmdPurge() command {
	const help = "make a running proxy, and all that share its Redis, forget what they have stored"
	return command{name: "purge", help: help, run: func(ctx context.Context, args []string, std stdio) int {
		fs := newFlags("purge")
		var p admin.Purge
		fs.StringVar(&p.Key, "key", "", "the answer to one request, by its key, as `jaegis-proxy key` prints it")
		fs.StringVar(&p.Namespace, "namespace", "", "everything in a namespace, such as documents")
		fs.StringVar(&p.Route, "route", "", "everything that was fetched by a route")
		fs.StringVar(&p.Tag, "tag", "", "everything with a tag")
		fs.StringVar(&p.Tenant, "tenant", "", "everything that was fetched for a tenant")
		fs.StringVar(&p.Model, "model", "", "every answer of an AI model")
		fs.BoolVar(&p.All, "all", false, "everything")
		fs.BoolVar(&p.Soft, "soft", false, "make it stale instead: it may still be given while it is refreshed, or when the upstream fails")
		addAdminFlags(fs)
		if code, ok := parseFlags(fs, help, args, std); !ok {
			return code
		}
		what, err := p.Label()
		if err != nil {
			fmt.Fprintf(std.Err, "jaegis-proxy purge: %v; see jaegis-proxy purge --help\n", err)
			return exitUsage
		}
		client, err := newAdminClient(fs, std.Environ)
		if err != nil {
			fmt.Fprintf(std.Err, "jaegis-proxy purge: %v\n", err)
			return exitUsage
		}
		body, err := json.Marshal(p)
		if err == nil {
			_, err = client.ask(ctx, http.MethodPost, "/api/v1/purge", body)
		}
		if err != nil {
			fmt.Fprintf(std.Err, "jaegis-proxy purge: %v\n", err)
			return exitFailure
		}
		fmt.Fprintf(std.Out, "purged %s\n", what)
		return exitOK
	}}
}
