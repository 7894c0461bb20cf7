// Package cachekey turns a request into the key under which its answer is
// cached. It is pure: no clock, no I/O beyond reading the body it is handed,
// and the same request gives the same key on every node and after every
// restart.
//
// It does not decide whether a request may be cached (package policy does) and
// it never changes what is sent upstream: canonical forms exist for the key
// alone.
package cachekey

import (
	"encoding/hex"
	"errors"
	"io"
	"strings"
)

// Key names one cached answer. It is comparable, so it serves as a map key,
// and it prints as the name used in Redis.
type Key struct {
	Namespace string // for example "documents"; never empty, never contains ':'
	Provider  string // for example "openai"; may be empty
	Digest    [32]byte
}

// String gives "jaegis:{namespace}:[{provider}:]{sha256 hex}".
func (k Key) String() string {
	b := make([]byte, 0, len("jaegis:")+len(k.Namespace)+1+len(k.Provider)+1+64)
	b = append(b, "jaegis:"...)
	b = append(b, k.Namespace...)
	b = append(b, ':')
	if k.Provider != "" {
		b = append(b, k.Provider...)
		b = append(b, ':')
	}
	return string(hex.AppendEncode(b, k.Digest[:]))
}

// ParseKey reads what String gives.
func ParseKey(s string) (Key, error) {
	parts := strings.Split(s, ":")
	k := Key{}
	digest := parts[len(parts)-1]
	ok := (len(parts) == 3 || len(parts) == 4) && parts[0] == "jaegis" && parts[1] != "" && len(digest) == 2*len(k.Digest)
	if !ok {
		return Key{}, errNoKey
	}
	if _, err := hex.Decode(k.Digest[:], []byte(digest)); err != nil {
		return Key{}, errNoKey
	}
	k.Namespace = parts[1]
	if len(parts) == 4 {
		k.Provider = parts[2]
	}
	if k.String() != s { // upper-case digits, an empty provider
		return Key{}, errNoKey
	}
	return k, nil
}

var errNoKey = errors.New("not a key: write jaegis:NAMESPACE:DIGEST or jaegis:NAMESPACE:PROVIDER:DIGEST, with a digest of 64 lower-case hexadecimal digits")

// BodyMode says how a request body enters the key.
type BodyMode string

// The body modes. Auto picks one of the others by Content-Type.
const (
	BodyAuto      BodyMode = "auto"
	BodyJSON      BodyMode = "json"
	BodyMultipart BodyMode = "multipart"
	BodyForm      BodyMode = "form"
	BodyRaw       BodyMode = "raw"
)

// Scope says whose requests may share an entry.
type Scope string

// The scopes. Credential is the default: a keyed hash of the caller's
// credentials is part of the key, so nobody is given another's answer.
const (
	ScopeCredential Scope = "credential"
	ScopePublic     Scope = "public"
)

// DefaultCredentials are the request headers that identify a caller when a
// rule names no others.
var DefaultCredentials = []string{"Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key", "Cookie"}

// Headers gives the values of a request header, by case-insensitive name, in
// the order in which they came. The result is valid until the next call.
type Headers interface {
	Values(name string) [][]byte
}

// Body is a request body of Size bytes: all of it in Bytes or, when it was too
// large for memory, in File.
type Body struct {
	Bytes []byte
	File  io.ReaderAt
	Size  int64

	Content Content // what it came to, where that is known
}

// Request is what a key is made from. Derive keeps none of it.
type Request struct {
	Tenant   string // whose request it is, where the proxy knows that; it identifies the caller with what else does
	Method   []byte
	Upstream string // what tells this upstream from others: its base URL
	Host     []byte // the effective host the upstream will see; empty when it always is the upstream's own
	Path     []byte // the path, exactly as it is forwarded
	Query    []byte // the query without "?", exactly as it is forwarded
	Headers  Headers
	Body     Body
}
