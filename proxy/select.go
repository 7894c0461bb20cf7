package proxy

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/policy"
	"jaegis-proxy/store"
)

// selection tells the keys under which answers to a request may lie. Under
// base lies an answer, or a signpost that says what of the request selects
// among variants. With HTTP's own freshness base is the same for all callers,
// and own the one for this caller; otherwise they are the same.
type selection struct {
	base, own cachekey.Key
	headers   cachekey.Headers
}

// byCaller stands in a signpost for the caller's credentials.
const byCaller = "@caller"

// variant is the key of the answer that the names select. Without names that
// is base.
func (s *selection) variant(names []string, epoch uint64) cachekey.Key {
	if len(names) == 0 {
		return s.base
	}
	key := s.base
	if names[0] == byCaller {
		key = s.own
	}
	return cachekey.Variant(key, append([]string{epochName}, names...), variantOf{s.headers, epoch})
}

// epochName is no field's name.
const epochName = "@epoch"

// variantOf shows the headers that select, in a form that does not depend on
// how a client writes them (RFC 9111, section 4.1), and the epoch.
type variantOf struct {
	headers cachekey.Headers
	epoch   uint64
}

// Values implements cachekey.Headers.
func (v variantOf) Values(name string) [][]byte {
	switch name {
	case epochName:
		return [][]byte{binary.BigEndian.AppendUint64(nil, v.epoch)}
	case byCaller:
		return nil // own holds it
	}
	values := v.headers.Values(name)
	if len(values) == 0 {
		return nil
	}
	lines := make([]string, len(values))
	for i, b := range values {
		lines[i] = string(b)
	}
	if name == "Accept-Language" || name == "accept-language" {
		return [][]byte{[]byte(policy.NormalizeLanguage(lines))}
	}
	return [][]byte{[]byte(policy.NormalizeFieldLines(lines))}
}

// place says where an answer belongs: what selects it, and under which epoch.
type place struct {
	names []string
	epoch uint64
	key   cachekey.Key
}

// place finds it for an answer with this verdict. sign is the signpost that
// was found before, or nil: an epoch goes on while what selects stays the same.
func (s *selection) place(d *policy.Decision, sign *store.Entry) place {
	names := d.Vary
	if s.own != s.base && !d.Public {
		names = append([]string{byCaller}, names...)
	}
	at := place{names: names}
	switch {
	case len(names) == 0:
	case sign != nil && slices.Equal(sign.Vary, names):
		at.epoch = sign.Epoch
	default:
		at.epoch = rand.Uint64()
	}
	at.key = s.variant(names, at.epoch)
	return at
}
