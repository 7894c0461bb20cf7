package proxy

import (
	"crypto/sha256"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"jaegis-proxy/cachekey"
)

// Client is somebody whose key the proxy itself knows: it gets the upstream's
// credential, which it never sees.
type Client struct {
	Name   string
	Tenant string // whose answers it shares
	Keys   [][sha256.Size]byte
	Deny   Controls
}

// clients are the known ones, by the digest of a key. Keys are long and random,
// so that a plain digest cannot be guessed back, and looking one up tells
// nothing by the time that it takes.
type clients map[[sha256.Size]byte]*Client

func newClients(list []*Client) clients {
	known := clients{}
	for _, c := range list {
		for _, key := range c.Keys {
			known[key] = c
		}
	}
	return known
}

// of gives the client whose key is the value of a field, or nil.
func (known clients) of(value []byte) *Client {
	key := keyIn(string(value))
	if key == "" {
		return nil
	}
	return known[sha256.Sum256([]byte(key))]
}

// clientHeaders are those in which SDKs send their key.
var clientHeaders = [...]string{"Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key"}

var errUnknownClient = &refusal{http.StatusUnauthorized, "unknown_client", "the key is none that this proxy knows; send a key from its clients where the provider's key would go", false}

var errKeyInQuery = &refusal{http.StatusBadRequest, "key_in_query", "send the key of this proxy in a header, such as Authorization: Bearer, and not in the query, which goes upstream and into logs", false}

// identify finds out which client it is. Where the upstream's own credential is
// put in, nobody else gets it: once there are known clients, all others are
// refused.
func (c *call) identify() *refusal {
	known := c.table.clients
	if len(known) == 0 {
		return nil
	}
	for pair := range strings.SplitSeq(string(c.target.query), "&") {
		_, value, _ := strings.Cut(pair, "=")
		if plain, err := url.QueryUnescape(value); err == nil {
			value = plain
		}
		if value != "" && c.table.isClientKey(value) {
			return errKeyInQuery
		}
	}
	for _, name := range clientHeaders {
		if c.head.names&nameBit(name) == 0 {
			continue
		}
		if client := known.of(c.ctx.Request.Header.Peek(name)); client != nil {
			c.client, c.clientHeader = client, name
			return nil
		}
	}
	if c.route.Upstream.injects {
		return errUnknownClient
	}
	return nil
}

// tenant is whose requests these are; empty where the proxy does not know.
func (c *call) tenant() string {
	if c.client == nil {
		return ""
	}
	return c.client.Tenant
}

// hidden shows headers without those that are not to count: of a known
// client's request the one that its key came in, and those that the upstream
// gets from us.
type hidden struct {
	cachekey.Headers
	names []string
}

// Values implements cachekey.Headers.
func (h hidden) Values(name string) [][]byte {
	for _, n := range h.names {
		if strings.EqualFold(n, name) {
			return nil
		}
	}
	return h.Headers.Values(name)
}

// counting gives the headers of the call's request as they count.
func (c *call) counting(h cachekey.Headers) cachekey.Headers {
	if c.client == nil {
		return h
	}
	return c.route.counting(h, c.clientHeader)
}

// counting gives the headers of a known client's request, its key having come
// in the one named, as they count.
func (r *Route) counting(h cachekey.Headers, clientHeader string) cachekey.Headers {
	return hidden{h, append(slices.Collect(maps.Keys(r.Upstream.o.Headers)), clientHeader)}
}

// keyHeaders are the request's headers as package cachekey is to see them.
func (c *call) keyHeaders() cachekey.Headers {
	if c.client == nil {
		return keyHeaders{c}
	}
	return c.counting(keyHeaders{c})
}

// isClientKey says whether a value is the key of a known client, which is not
// to reach an upstream.
func (t *Table) isClientKey(value string) bool {
	return len(t.clients) > 0 && t.clients[sha256.Sum256([]byte(keyIn(value)))] != nil
}

// keyIn gives the key in the value of a field.
func keyIn(value string) string {
	if scheme, token, ok := strings.Cut(value, " "); ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimLeft(token, " ")
	}
	return value
}
