package cachekey

import (
	"errors"
	"fmt"
	"net/textproto"
	"slices"
	"strings"
)

// ErrNotPrepared is what Derive returns for a Rule whose Prepare has not been
// called or has failed.
var ErrNotPrepared = errors.New("cachekey: rule is not prepared")

// Rule says what of a request makes its key. Fill in the exported fields, call
// Prepare once, and do not change it from then on: it is then safe for
// concurrent use.
type Rule struct {
	Namespace string // [a-z0-9_-]+
	Provider  string // [A-Za-z0-9._-]*; may be empty
	Body      BodyMode
	Ignore    []string // JSON pointers (RFC 6901) of members and elements that are left out of a JSON body
	Headers   []string // request headers that enter the key, in any case and order

	Multipart Multipart // how multipart bodies count

	// QueryIgnore names, decoded, the query parameters that are left out. See
	// effectiveQuery for what is then left out.
	QueryIgnore []string

	Scope       Scope    // empty is ScopeCredential
	Credentials []string // headers, and as "?name" query parameters, that identify the caller, for ScopeCredential; empty is DefaultCredentials

	prepared prepared
}

// Multipart says what of the parts of a multipart body counts.
type Multipart struct {
	Ignore       []string // IgnoreFilename, IgnoreContentType
	IgnoreFields []string // names of form fields that are left out, whole
	Extended     bool     // filename* (RFC 8187) is another way to write filename, to the upstream too
	Exact        bool     // the header of each part counts byte for byte, not by what it says; then nothing can be ignored
}

// What can be left out of all parts.
const (
	IgnoreFilename    = "filename"     // that there is one still counts
	IgnoreContentType = "content_type" // of the part
)

func (m *Multipart) prepare() (multipartRule, error) {
	p := multipartRule{extended: m.Extended, exact: m.Exact, fields: sortedSet(m.IgnoreFields)}
	for _, what := range m.Ignore {
		switch what {
		case IgnoreFilename:
			p.filename = true
		case IgnoreContentType:
			p.contentType = true
		default:
			return p, fmt.Errorf("multipart: %q cannot be ignored: only filename and content_type can", what)
		}
	}
	if m.Exact && (m.Extended || len(m.Ignore)+len(m.IgnoreFields) > 0) {
		return p, errors.New("multipart: headers that count byte for byte leave nothing to ignore or to decode")
	}
	p.labels = sortedSet(m.Ignore)
	for _, name := range p.fields {
		p.labels = append(p.labels, "field "+name)
	}
	if m.Extended {
		p.labels = append(p.labels, "how names are encoded")
	}
	if m.Exact {
		p.labels = append(p.labels, "nothing of headers")
	}
	return p, nil
}

// prepared is what Prepare has made of a Rule.
type prepared struct {
	ok          bool
	mode        BodyMode
	scope       Scope
	ignore      []string // sorted, for the key
	multipart   multipartRule
	prune       *node    // the same as a tree; nil without any
	queryIgnore []string // sorted; the parameters that identify the caller are among them
	queryCaller []string // those
	headers     []header
	credentials []header
}

// header is a header name in the two spellings that are needed.
type header struct {
	key    string // lower case, as it is hashed
	lookup string // canonical, as it is looked up
	secret bool   // not to be shown
}

// Prepare checks the rule and makes it usable. The error names all that is
// wrong.
func (r *Rule) Prepare() error {
	r.prepared = prepared{}
	var p prepared
	var errs []error
	fail := func(err error) { errs = append(errs, err) }

	if r.Namespace == "" || strings.Trim(r.Namespace, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
		fail(fmt.Errorf("namespace %q: must be one or more of a-z 0-9 _ -", r.Namespace))
	}
	if strings.ContainsFunc(r.Provider, notProvider) {
		fail(fmt.Errorf("provider %q: may have only A-Z a-z 0-9 . _ -", r.Provider))
	}
	var err error
	if p.mode, err = r.bodyMode(); err != nil {
		fail(err)
	}
	if p.scope, err = r.scope(); err != nil {
		fail(err)
	}
	if p.prune, err = parsePointers(r.Ignore); err != nil {
		fail(err)
	}
	if p.multipart, err = r.Multipart.prepare(); err != nil {
		fail(err)
	}
	if slices.Contains(r.QueryIgnore, "") {
		fail(errors.New("ignored query parameter: empty name"))
	}
	credentials := r.Credentials
	if len(credentials) == 0 {
		credentials = DefaultCredentials
	}
	credentials, p.queryCaller = splitCredentials(credentials)
	if slices.Contains(p.queryCaller, "") {
		fail(errors.New("credential \"?\": empty name"))
	}
	if p.credentials, err = headerNames(credentials, credentials); err != nil {
		fail(err)
	}
	if p.headers, err = headerNames(r.Headers, credentials); err != nil {
		fail(err)
	}
	if len(errs) > 0 {
		return fmt.Errorf("cachekey: %w", errors.Join(errs...))
	}
	p.ignore = sortedSet(r.Ignore)
	p.queryIgnore = sortedSet(append(slices.Clone(r.QueryIgnore), p.queryCaller...))
	p.ok = true
	r.prepared = p
	return nil
}

// ignores are what does not count of a body of this kind, as the key has it.
func (p *prepared) ignores(kind string) []string {
	switch kind {
	case kindJSON:
		return p.ignore
	case kindMultipart:
		return p.multipart.labels
	}
	return nil
}

// splitCredentials tells headers and query parameters apart; the latter come
// sorted, and without their "?".
func splitCredentials(names []string) (headers, query []string) {
	for _, name := range names {
		if q, ok := strings.CutPrefix(name, "?"); ok {
			query = append(query, q)
		} else {
			headers = append(headers, name)
		}
	}
	return headers, sortedSet(query)
}

func (r *Rule) bodyMode() (BodyMode, error) {
	switch r.Body {
	case "":
		return BodyAuto, nil
	case BodyAuto, BodyJSON, BodyMultipart, BodyForm, BodyRaw:
		return r.Body, nil
	}
	return "", fmt.Errorf("body mode %q: unknown", r.Body)
}

func (r *Rule) scope() (Scope, error) {
	switch r.Scope {
	case "":
		return ScopeCredential, nil
	case ScopeCredential, ScopePublic:
		return r.Scope, nil
	}
	return "", fmt.Errorf("scope %q: unknown", r.Scope)
}

// headerNames makes headers of names, sorted and each once. Those that are
// also among secrets, or among DefaultCredentials, are not to be shown.
func headerNames(names, secrets []string) ([]header, error) {
	var out []header
	for _, name := range names {
		if !isToken(name) {
			return nil, fmt.Errorf("header %q: not a header name", name)
		}
		same := func(s string) bool { return strings.EqualFold(s, name) }
		out = append(out, header{
			key:    strings.ToLower(name),
			lookup: textproto.CanonicalMIMEHeaderKey(name),
			secret: slices.ContainsFunc(secrets, same) || slices.ContainsFunc(DefaultCredentials, same),
		})
	}
	slices.SortFunc(out, func(a, b header) int { return strings.Compare(a.key, b.key) })
	return slices.CompactFunc(out, func(a, b header) bool { return a.key == b.key }), nil
}

func sortedSet(s []string) []string {
	s = slices.Clone(s)
	slices.Sort(s)
	return slices.Compact(s)
}

func notProvider(r rune) bool {
	return r >= 0x80 || !isAlphanumeric(byte(r)) && !strings.ContainsRune("._-", r)
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// isToken tells whether s is a token (RFC 9110, section 5.6.2), as header
// names and media types are made of.
func isToken[S string | []byte](s S) bool {
	for i := range len(s) {
		if !isTokenByte(s[i]) {
			return false
		}
	}
	return len(s) > 0
}

func isTokenByte(c byte) bool {
	return isAlphanumeric(c) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
