package cachekey

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"sync"
)

// Deriver makes keys. The zero Deriver works. Set its fields before its first
// use, do not change or copy it afterwards; it is then safe for concurrent use.
type Deriver struct {
	// Secret keys the digests of credentials. Nodes that share a store need
	// the same one. Without it, who can read the names of keys in the store
	// can test guesses at a caller's credentials against them.
	Secret []byte

	Memo *Memo // may be nil

	pool sync.Pool // of *scratch; here because each holds the secret's HMAC
}

// Derive makes the key of a request by means of a zero Deriver.
func Derive(rule *Rule, req *Request) (Key, error) {
	var d Deriver
	return d.Derive(rule, req)
}

// Derive makes the key of a request. It fails where rule is not prepared, and
// where the body cannot be read or is not of the size that it is said to be:
// such a request must not be cached.
func (d *Deriver) Derive(rule *Rule, req *Request) (Key, error) {
	return d.derive(rule, req, nil)
}

// Explain gives the parts that make the key which Derive gives for the same
// request, in the order in which they are hashed; behind a multipart body what
// it consists of, as "part". Values of credential headers
// are shown as short keyed digests; everything else, the query too, as it is.
func (d *Deriver) Explain(rule *Rule, req *Request) ([]Part, error) {
	var parts []Part
	_, err := d.derive(rule, req, &parts)
	return parts, err
}

func (d *Deriver) derive(rule *Rule, req *Request, parts *[]Part) (Key, error) {
	if !rule.prepared.ok {
		return Key{}, ErrNotPrepared
	}
	s := d.scratch()
	defer d.release(s)

	s.readHeaders(req.Headers)
	if parts != nil {
		s.pieces, s.told = nil, s.tell
	}
	c, err := s.content(rule, d.Memo, req.Body)
	if err != nil {
		return Key{}, err
	}
	s.out.buf, s.out.parts = s.out.buf[:0], parts
	s.putRule(rule)
	s.putTarget(rule, req)
	s.putContent(rule, c, req.Body.Size)
	if parts != nil && c.kind == kindMultipart {
		*parts = append(*parts, s.pieces...)
	}
	s.putHeaders(rule, req.Headers)
	if rule.prepared.scope == ScopeCredential {
		s.putCredential(rule, req)
	}
	return Key{Namespace: rule.Namespace, Provider: rule.Provider, Digest: sha256.Sum256(s.out.buf)}, nil
}

func (d *Deriver) scratch() *scratch {
	if s, ok := d.pool.Get().(*scratch); ok {
		return s
	}
	return &scratch{sum: sha256.New(), mac: hmac.New(sha256.New, d.Secret)}
}

// readHeaders takes down the headers that say what the body is.
func (s *scratch) readHeaders(h Headers) {
	s.contentType.set(values(h, "Content-Type"))
	s.contentCoding.set(values(h, "Content-Encoding"))
	s.media.known = false
	if s.contentType.len() == 1 {
		s.media.parse(s.contentType.at(0))
	}
}

func (s *scratch) putRule(rule *Rule) {
	put(&s.out, tagFormat, format)
	put(&s.out, tagNamespace, rule.Namespace)
	put(&s.out, tagProvider, rule.Provider)
	put(&s.out, tagScope, string(rule.prepared.scope))
}

func (s *scratch) putTarget(rule *Rule, req *Request) {
	if string(req.Method) == "HEAD" { // is answered from a stored GET
		put(&s.out, tagMethod, "GET")
	} else {
		put(&s.out, tagMethod, req.Method)
	}
	put(&s.out, tagUpstream, req.Upstream)
	put(&s.out, tagHost, req.Host)
	put(&s.out, tagPath, req.Path)
	for _, name := range rule.prepared.queryIgnore {
		put(&s.out, tagQueryIgnore, name)
	}
	put(&s.out, tagQuery, s.effectiveQuery(rule, req.Query))
}

// putContent writes what the body is and what it came to.
func (s *scratch) putContent(rule *Rule, c content, size int64) {
	s.putContentType(c.kind)
	if c.coded {
		for i := range s.contentCoding.len() {
			put(&s.out, tagContentCoding, s.contentCoding.at(i))
		}
	}
	put(&s.out, tagBodyKind, c.kind)
	for _, p := range rule.prepared.ignores(c.kind) {
		put(&s.out, tagBodyIgnore, p)
	}
	s.out.putDigest(tagBody, c.digest[:], int(size))
}

// putContentType writes the Content-Type lines as they came, but for a body
// that was read as JSON or multipart the media type and those parameters that
// were not used up in reading it.
func (s *scratch) putContentType(kind string) {
	if !s.media.known || kind != kindJSON && kind != kindMultipart {
		for i := range s.contentType.len() {
			put(&s.out, tagContentType, s.contentType.at(i))
		}
		return
	}
	put(&s.out, tagMediaType, s.media.essence)
	for _, p := range s.media.params {
		if kind == kindJSON && s.media.saysUTF8(p) || kind == kindMultipart && p.isBoundary() {
			continue
		}
		put(&s.out, tagMediaParam, p.raw)
	}
}

// putHeaders writes the headers that the rule names: each name, then each of
// its values.
func (s *scratch) putHeaders(rule *Rule, h Headers) {
	for i := range rule.prepared.headers {
		name := &rule.prepared.headers[i]
		put(&s.out, tagHeader, name.key)
		for _, v := range values(h, name.lookup) {
			if name.secret {
				s.putSecret(v)
			} else {
				put(&s.out, tagHeaderValue, v)
			}
		}
	}
}

// putSecret writes a header value that is not to be shown.
func (s *scratch) putSecret(v []byte) {
	s.out.buf = appendField(s.out.buf, tagHeaderValue, v)
	if s.out.parts == nil {
		return
	}
	s.macIn = appendField(s.macIn[:0], tagFormat, "jaegis-explain-1")
	s.macIn = appendField(s.macIn, tagHeaderValue, v)
	s.out.note(tagHeaderValue, short(s.macSum()), len(v))
}

// putCredential writes a keyed digest of all that identifies the caller.
func (s *scratch) putCredential(rule *Rule, req *Request) {
	sum := s.caller(rule, req)
	s.out.buf = appendField(s.out.buf, tagCredential, sum)
	if s.out.parts != nil {
		s.out.note(tagCredential, short(sum), len(sum))
	}
}

// caller gives a keyed digest of all that identifies the caller, valid until
// the next one. What is not there counts as well: no credential is a caller
// like any other.
func (s *scratch) caller(rule *Rule, req *Request) []byte {
	s.macIn = appendField(s.macIn[:0], tagFormat, "jaegis-credential-1")
	for i := range rule.prepared.credentials {
		name := &rule.prepared.credentials[i]
		s.macIn = appendField(s.macIn, tagHeader, name.key)
		for _, v := range values(req.Headers, name.lookup) {
			s.macIn = appendField(s.macIn, tagHeaderValue, v)
		}
	}
	if req.Tenant != "" {
		s.macIn = appendField(s.macIn, tagNamespace, req.Tenant)
	}
	if names := rule.prepared.queryCaller; len(names) > 0 {
		for pair := range bytes.SplitSeq(req.Query, []byte{'&'}) {
			if s.isIgnored(pair, names) {
				s.macIn = appendField(s.macIn, tagQuery, pair)
			}
		}
	}
	return s.macSum()
}

// Caller gives a keyed digest of what identifies the request's caller to this
// rule and this upstream, by whatever scope. Only Upstream, Headers and Query of the request
// count.
func (d *Deriver) Caller(rule *Rule, req *Request) ([sha256.Size]byte, error) {
	if !rule.prepared.ok {
		return [sha256.Size]byte{}, ErrNotPrepared
	}
	s := d.scratch()
	defer d.release(s)
	sum := s.caller(rule, req)
	return sha256.Sum256(appendField(appendField(nil, tagUpstream, req.Upstream), tagCredential, sum)), nil
}

// macSum gives the HMAC-SHA256 of macIn, valid until the next call. The last
// one is remembered: a proxy mostly serves the same callers again.
func (s *scratch) macSum() []byte {
	if len(s.macOut) == 0 || !bytes.Equal(s.macIn, s.macLast) {
		s.mac.Reset()
		s.mac.Write(s.macIn)
		s.macOut = s.mac.Sum(s.macOut[:0])
		s.macLast = append(s.macLast[:0], s.macIn...)
	}
	return s.macOut
}

// short gives the beginning of a digest: enough to tell two apart by eye.
func short(sum []byte) string { return "hmac:" + hex.EncodeToString(sum[:4]) }
