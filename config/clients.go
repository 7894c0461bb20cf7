package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// hashPrefix begins each of a client's keys and names the hash.
const hashPrefix = "sha256:"

// Sums gives the SHA-256 of each of the client's keys, in their order. It
// panics for keys that Validate refuses.
func (c *Client) Sums() [][sha256.Size]byte {
	sums := make([][sha256.Size]byte, len(c.Keys))
	for i, key := range c.Keys {
		sum, ok := parseHash(key)
		if !ok {
			panic("BUG: config: the key of a client is no hash")
		}
		sums[i] = sum
	}
	return sums
}

// parseHash reads "sha256:" and 64 hexadecimal digits, in any case.
func parseHash(text string) (sum [sha256.Size]byte, ok bool) {
	digits, ok := strings.CutPrefix(text, hashPrefix)
	if !ok || len(digits) != hex.EncodedLen(len(sum)) {
		return sum, false
	}
	_, err := hex.Decode(sum[:], []byte(digits))
	return sum, err == nil
}

// clients checks those that the proxy knows itself. What is wrong with a key
// never quotes it: it may be the key itself.
func (ck *checker) clients(clients []Client) {
	first := map[string]int{}
	holders := map[[sha256.Size]byte]string{}
	for i := range clients {
		c := &clients[i]
		key := fmt.Sprintf("clients[%d]", i)
		if c.Name == "" {
			ck.fail(key+".name", "no name", "give each client one: it stands in variables, and for the tenant")
		} else {
			ck.name(key+".name", c.Name)
		}
		if at, seen := first[fold(c.Name)]; seen && c.Name != "" {
			ck.fail(key+".name", fmt.Sprintf("%q is the name of clients[%d] too", c.Name, at), "rename one of them")
		} else {
			first[fold(c.Name)] = i
		}
		if c.Tenant != "" && c.Tenant != c.Name {
			ck.name(key+".tenant", c.Tenant)
		}
		if len(c.Keys) == 0 {
			ck.fail(key+".keys", "none, so that nobody can be this client", `write the SHA-256 of its key: "sha256:..."`)
		}
		for j, hash := range c.Keys {
			ck.clientKey(fmt.Sprintf("%s.keys[%d]", key, j), hash, holders)
		}
		ck.controls(key+".deny_controls", c.DenyControls)
	}
}

func (ck *checker) clientKey(at, hash string, holders map[[sha256.Size]byte]string) {
	const fix = "write sha256: and the SHA-256 of the key in hex: printf %s KEY | sha256sum"
	sum, ok := parseHash(hash)
	holder, taken := holders[sum]
	switch {
	case !ok:
		ck.fail(at, "not sha256: and 64 hexadecimal digits (keys are never written down in plain)", fix)
	case sum == sha256.Sum256(nil), sum == sha256.Sum256([]byte("\n")):
		ck.fail(at, "the SHA-256 of an empty key", fix)
	case taken:
		ck.fail(at, "the same key as "+holder, "keep one of them")
	default:
		holders[sum] = at
	}
}

// controls checks a list of what clients may not say.
func (ck *checker) controls(key string, denied []string) {
	for i, name := range denied {
		if !slices.Contains(Controls(), name) {
			ck.fail(fmt.Sprintf("%s[%d]", key, i), strconv.Quote(name)+" is none of "+strings.Join(Controls(), ", "), didYouMean(name, Controls()))
		}
	}
}
