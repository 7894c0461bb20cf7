package main

import (
	"strconv"

	"jaegis-proxy/config"
	"jaegis-proxy/policy"
	"jaegis-proxy/proxy"
)

// newLook says what is looked for in the answers of a route. Where it states no
// condition, an answer must not say itself that it is not done.
func newLook(r config.Route) *policy.Look {
	l := &policy.Look{
		Pending: len(r.StoreWhen) == 0 && r.Protocol == "none" && r.Freshness == string(policy.FreshnessRoute),
		Expiry:  policy.Expiry{SignedLinks: r.Expiry.SignedLinks, Members: r.Expiry.Members, JSON: r.Expiry.JSON},
		Tags:    tagSources(r.Tags.JSON),
	}
	for _, w := range r.StoreWhen {
		l.When = append(l.When, newCondition(w))
	}
	return l
}

func newCondition(w config.StoreWhen) policy.Condition {
	c := policy.Condition{Header: w.Header, JSON: w.JSON, In: w.In, NotIn: w.NotIn}
	for _, text := range w.Status {
		if n, err := strconv.Atoi(text); err == nil { // it has been checked
			c.Status = append(c.Status, n)
		}
	}
	switch {
	case w.Equals != "":
		c.In = []string{w.Equals}
	case len(w.In) == 0:
		c.In = nil // what is left out asks for nothing
	}
	if w.Exists.Set {
		c.Exists = policy.Absent
		if w.Exists.V {
			c.Exists = policy.Present
		}
	}
	return c
}

func newTags(t config.Tags) proxy.Tags {
	return proxy.Tags{Headers: t.Headers, Asked: tagSources(t.RequestJSON)}
}

func tagSources(list []string) []policy.TagSource {
	var out []policy.TagSource
	for _, source := range list {
		prefix, pointer := config.CutTagSource(source)
		out = append(out, policy.TagSource{Prefix: prefix, Pointer: pointer})
	}
	return out
}
