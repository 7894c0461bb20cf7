package proxy

import (
	"slices"
	"strings"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/internal/protocol"
	"jaegis-proxy/store"
)

// An entry's labels are what it can be purged by (see store.Ledger). Those of
// its key and namespace it has by itself; these are the others.

// ledger is the one of the call's namespace.
func (c *call) ledger() *store.Ledger { return c.p.o.Ledger(c.keys.base.Namespace) }

// tags are the labels of an answer with these fields that lies under the key:
// its route, its tenant, the model that was asked and the one that answered, the
// groups and tags that its fields name, what the client said, what the bodies of
// request and answer say where the route names that, and the key by which the
// request is known, where the answer lies under that of a variant.
func (l *leader) tags(fields []store.Field, key cachekey.Key) []string {
	tags := append(groupsOf(fields), store.LabelRoute+l.route.Name)
	if l.tenant != "" {
		tags = append(tags, store.LabelTenant+l.tenant)
	}
	asked := l.askedModel()
	if asked != "" {
		tags = append(tags, store.LabelModel+asked)
	}
	if answered := l.usage().Model; answered != "" && answered != asked {
		tags = append(tags, store.LabelModel+answered)
	}
	for _, list := range [][]string{l.controls.tags, l.askedTags, l.headerTags(toHeader(fields)), l.bodyTags} {
		for _, tag := range list {
			if label := store.LabelTag + tag; !slices.Contains(tags, label) {
				tags = append(tags, label)
			}
		}
	}
	for _, of := range []cachekey.Key{l.keys.base, l.keys.own} {
		if label := store.LabelKey + of.String(); of != key && !slices.Contains(tags, label) {
			tags = append(tags, label)
		}
	}
	return tags
}

// retag gives the labels of an answer that was stored before, with new fields:
// what clients said of it stays.
func (l *leader) retag(stored *store.Entry, fields []store.Field) []string {
	tags := l.tags(fields, l.keys.base)
	for _, tag := range stored.Tags {
		if !strings.HasPrefix(tag, groupTag) && !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	return tags
}

// askedModel is the model that the request names.
func (l *leader) askedModel() string {
	if l.model == "" && l.route.readsAnswers() {
		l.model = protocol.ReadRequest(l.route.Protocol, l.req.Path, l.req.Body.bytes).Model
	}
	return l.model
}
