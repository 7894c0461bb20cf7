package proxy

import (
	"crypto/sha256"
	"net/http"
	"strings"
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

// clientHeaders are those in which SDKs send their key.
var clientHeaders = [...]string{"Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key"}

var errUnknownClient = &refusal{http.StatusUnauthorized, "unknown_client", "the key is none that this proxy knows; send a key from its clients where the provider's key would go", false}

// identify finds out which client it is. Where the upstream's own credential is
// put in, nobody else gets it: once there are known clients, all others are
// refused.
func (c *call) identify() *refusal {
	known := c.table.clients
	if len(known) == 0 {
		return nil
	}
	for _, name := range clientHeaders {
		if c.head.names&nameBit(name) == 0 {
			continue
		}
		value := string(c.ctx.Request.Header.Peek(name))
		if scheme, token, ok := strings.Cut(value, " "); ok && strings.EqualFold(scheme, "Bearer") {
			value = strings.TrimLeft(token, " ")
		}
		if client := known[sha256.Sum256([]byte(value))]; client != nil && value != "" {
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

// ofClient shows the headers of a known client's request: its tenant stands in
// the place of all credentials, in a form that no header can have.
type ofClient struct {
	keyHeaders
	tenant string
}

// Values implements cachekey.Headers.
func (o ofClient) Values(name string) [][]byte {
	for i, h := range o.c.route.credentials() {
		if !strings.EqualFold(h, name) {
			continue
		}
		if i == 0 {
			return [][]byte{append([]byte{0}, o.tenant...)}
		}
		if strings.EqualFold(name, o.c.clientHeader) {
			return nil
		}
	}
	return o.keyHeaders.Values(name)
}

// injecting says whether the fields that are put into requests hold a
// credential.
func injecting(headers map[string]string) bool {
	for name := range headers {
		for _, h := range clientHeaders {
			if strings.EqualFold(name, h) {
				return true
			}
		}
	}
	return false
}
