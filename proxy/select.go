package proxy

import (
	"encoding/binary"
	"slices"
	"strings"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/policy"
	"jaegis-proxy/store"
)

// selection tells the keys under which answers to a request may lie. With
// HTTP's own freshness base is the same for all that is asked of one URI: there
// lies an answer to a plain GET or a signpost, which says what of the request
// selects among variants, and with it all that is known of the URI goes. all is
// the key of the request whoever asks, and own that for this caller. Elsewhere
// the three are one.
type selection struct {
	base, all, own cachekey.Key
	headers        cachekey.Headers
}

// In a signpost these stand for what is no field: the caller's credentials, and
// nothing, where the request or its Range selects without any field. byLanguage
// stands for the language of an answer, in the place of Accept-Language.
const (
	byCaller   = "@caller"
	byRequest  = "@request"
	byRange    = "@range"
	byLanguage = "@language"
)

// answer gives the keys of the i-th of several answers that are kept for a
// request.
func (s selection) answer(i int) selection {
	if i == 0 {
		return s
	}
	pick := func(key cachekey.Key) cachekey.Key {
		return cachekey.Variant(key, []string{"@variant"}, shown{{byte(i)}})
	}
	s.base, s.all, s.own = pick(s.base), pick(s.all), pick(s.own)
	return s
}

// another finds one of the other answers that are kept for the request, for
// when the one that chance has picked cannot be had: in this state or better.
func (p *Proxy) another(c *call, state policy.State) *store.Entry {
	keys, key, forward := c.keys, c.key, c.forward
	for i := range c.route.Variants {
		if i == c.picked {
			continue
		}
		c.keys = c.answers.answer(i)
		if e, got := p.find(c); e != nil && got <= state {
			return e
		}
	}
	c.keys, c.key, c.forward = keys, key, forward
	return nil
}

// shown are values that go into a key in the place of a request's headers,
// whatever name they are asked for.
type shown [][]byte

// Values implements cachekey.Headers.
func (s shown) Values(string) [][]byte { return s }

// plain says whether the request is a GET that nothing but its URI selects
// an answer to: what lies under base itself is the answer to it.
func (s *selection) plain() bool { return s.all == s.base }

// varies says whether a field of the request is among what selects.
func varies(names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return !strings.HasPrefix(name, "@") })
}

// variant is the key of the answer that the names select. Without names that
// is base.
func (s *selection) variant(names []string, epoch uint64) cachekey.Key {
	if len(names) == 0 {
		return s.base
	}
	key := s.all // a signpost leads each request to answers of its own
	if names[0] == byCaller {
		key = s.own
	}
	return cachekey.Variant(key, append([]string{epochName}, names...), variantOf{s.headers, epoch, ""})
}

// preferred is the key of what may be the answer in the one language that the
// request prefers to others; false when it prefers none.
func (s *selection) preferred(names []string, epoch uint64) (cachekey.Key, bool) {
	if !slices.Contains(names, acceptLanguage) {
		return cachekey.Key{}, false
	}
	tag, others := policy.PreferredLanguage(toStrings(s.headers.Values(acceptLanguage)))
	return s.language(names, epoch, tag), tag != "" && others
}

// inLanguage is the key under which an answer lies a second time that says
// which language it is in: for those who prefer that language to all others.
func (s *selection) inLanguage(at place, fields []store.Field) (cachekey.Key, bool) {
	tag := strings.ToLower(field(fields, "Content-Language"))
	if tag == "" || !slices.Contains(at.names, acceptLanguage) || strings.ContainsAny(tag, ", \t") {
		return cachekey.Key{}, false
	}
	return s.language(at.names, at.epoch, tag), true
}

func (s *selection) language(names []string, epoch uint64, tag string) cachekey.Key {
	in := *s
	in.headers = variantOf{s.headers, epoch, tag}
	return in.variant(append(slices.Clone(names), byLanguage), epoch)
}

const acceptLanguage = "Accept-Language"

// epochName is no field's name.
const epochName = "@epoch"

// variantOf shows the headers that select, in a form that does not depend on
// how a client writes them (RFC 9111, section 4.1), and the epoch.
type variantOf struct {
	headers  cachekey.Headers
	epoch    uint64
	language string // of the answer, in the place of what the request says, unless empty
}

// Values implements cachekey.Headers.
func (v variantOf) Values(name string) [][]byte {
	switch name {
	case epochName:
		return [][]byte{binary.BigEndian.AppendUint64(nil, v.epoch)}
	case byCaller, byRequest, byRange:
		return nil // the key holds it
	}
	isLanguage := strings.EqualFold(name, acceptLanguage)
	switch {
	case v.language == "":
	case name == byLanguage:
		return [][]byte{[]byte(v.language)}
	case isLanguage:
		return nil
	}
	values := v.headers.Values(name)
	if len(values) == 0 {
		return nil
	}
	lines := toStrings(values)
	if isLanguage {
		return [][]byte{[]byte(policy.NormalizeLanguage(lines))}
	}
	return [][]byte{[]byte(policy.NormalizeFieldLines(lines))}
}

func toStrings(values [][]byte) []string {
	out := make([]string, len(values))
	for i, b := range values {
		out[i] = string(b)
	}
	return out
}

// place says where an answer belongs: what selects it, and under which epoch.
type place struct {
	names []string
	epoch uint64
	alone bool // it answers its own Range alone
	key   cachekey.Key
	alias cachekey.Key // for those who prefer its language to all others; zero without one
}

// at is the key of the answer that the place is for.
func (s *selection) at(p *place) cachekey.Key {
	key := s.variant(p.names, p.epoch)
	if p.alone {
		key = s.part(key)
	}
	return key
}

// part is the key of the answer to the request's Range, where key is that of
// the whole.
func (s *selection) part(key cachekey.Key) cachekey.Key {
	return cachekey.Variant(key, []string{"If-Range", "Range"}, s.headers)
}

// place finds it for an answer with this verdict. An epoch goes on while what
// selects stays the same: that of the signpost that was found or, where none
// was, of one that is on its way to the store.
func (l *leader) place(d *policy.Decision) place {
	at := place{names: d.Vary, alone: d.Alone, key: l.keys.base}
	switch {
	case l.route.ProofTTL == 0 && l.keys.own != l.keys.all && !d.Public:
		at.names = append([]string{byCaller}, d.Vary...)
	case !l.keys.plain(), l.sign != nil && l.sign.Vary[0] == byRequest:
		at.names = append([]string{byRequest}, d.Vary...)
	}
	if at.alone && len(at.names) == 0 {
		at.names = []string{byRange} // an answer under base can be taken out, what it leads to alone cannot
	}
	if len(at.names) == 0 {
		return at
	}
	if l.sign != nil && slices.Equal(l.sign.Vary, at.names) {
		at.epoch = l.sign.Epoch
	} else {
		at.epoch = l.p.fills.epoch(l.keys.base, at.names)
	}
	at.key = l.keys.at(&at)
	return at
}
