package cachekey

import (
	"compress/gzip"
	"compress/zlib"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
)

// This file says once more, slowly and with other means, what of a request is
// keyed: reference makes a plain Go value of it. Two requests must have one
// key just when their values are deeply equal.

type keyed struct {
	Namespace, Provider, Scope          string
	Method, Upstream, Host, Path, Query string
	QueryIgnore                         []string
	Headers, Credentials                map[string][]string
	ContentType, Params, Coding         []string
	Kind                                string
	BodyIgnore                          []string
	Body                                any
}

func reference(rule *Rule, w wire) keyed {
	k := keyed{
		Namespace: rule.Namespace, Provider: rule.Provider, Scope: string(rule.Scope),
		Method: w.method, Upstream: w.upstream, Host: w.host, Path: w.path,
		QueryIgnore: set(rule.QueryIgnore), Query: refQuery(w.query, rule.QueryIgnore),
		Headers: refHeaders(w, rule.Headers),
	}
	if w.method == "HEAD" {
		k.Method = "GET"
	}
	if k.Scope == "" {
		k.Scope = "credential"
	}
	if k.Scope == "credential" {
		names := rule.Credentials
		if len(names) == 0 {
			names = []string{"authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie"}
		}
		k.Credentials = refHeaders(w, names)
	}
	types := lookUp(w, "content-type")
	essence, params, known := "", []string(nil), false
	if len(types) == 1 {
		essence, params, known = refMediaType(types[0])
	}
	content, undecoded := refDecode(w.body, lookUp(w, "content-encoding"))
	k.Coding = undecoded
	if k.Kind, k.Body = "none", nil; w.body != "" {
		k.Kind, k.Body = "raw", content
		if undecoded == nil {
			k.Kind, k.Body = refBody(rule, types, essence, params, known, content)
		}
	}
	switch {
	case known && k.Kind == "json":
		k.BodyIgnore = set(rule.Ignore)
		k.ContentType, k.Params = []string{essence}, dropUTF8(params)
	case known && k.Kind == "multipart":
		k.BodyIgnore = append(set(rule.Multipart.Ignore), set(rule.Multipart.IgnoreFields)...)
		if rule.Multipart.Exact {
			k.BodyIgnore = []string{"exact"}
		}
		if rule.Multipart.Extended {
			k.BodyIgnore = append(k.BodyIgnore, "extended")
		}
		k.ContentType = []string{essence}
		for _, p := range params {
			if !strings.HasPrefix(strings.ToLower(p), "boundary=") {
				k.Params = append(k.Params, p)
			}
		}
	case k.Kind == "json":
		k.BodyIgnore = set(rule.Ignore)
		fallthrough
	default:
		k.ContentType, k.Params = types, []string{"as it came"}
	}
	return k
}

func set(s []string) []string {
	var out []string
	for _, v := range s {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	slices.Sort(out)
	return out
}

func lookUp(w wire, name string) []string {
	var out []string
	for _, line := range w.header {
		if strings.EqualFold(line[0], name) {
			out = append(out, line[1])
		}
	}
	return out
}

func refHeaders(w wire, names []string) map[string][]string {
	out := map[string][]string{}
	for _, name := range names {
		out[strings.ToLower(name)] = lookUp(w, name)
	}
	return out
}

func refQuery(query string, ignore []string) string {
	var kept []string
	for _, pair := range strings.Split(query, "&") {
		raw, _, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(raw)
		drop := err == nil && plain.MatchString(raw) && !strings.Contains(pair, ";") && slices.Contains(ignore, name)
		if len(ignore) == 0 || !drop {
			kept = append(kept, pair)
		}
	}
	return strings.Join(kept, "&")
}

var (
	plain     = regexp.MustCompile(`^[!-~]*$`)
	mediaRe   = regexp.MustCompile("^[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*(?:;(?s:(.*)))?$")
	paramRe   = regexp.MustCompile("^[ \t;]*([!#$%&'*+.^_`|~0-9A-Za-z-]+=(?:\"(?s:[^\"\\\\]|\\\\.)*\"|[!#$%&'*+.^_`|~0-9A-Za-z/:=?()-]*))[ \t]*(?:;|$)")
	tidyRe    = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9a-z-]+/[!#$%&'*+.^_`|~0-9a-z-]+(?:; ?[!#$%&'*+.^_`|~0-9A-Za-z-]+=(?:\"(?s:[^\"\\\\]|\\\\.)*\"|[!#$%&'*+.^_`|~0-9A-Za-z/:=?()-]*))*$")
	emptyRe   = regexp.MustCompile("^[ \t;]*$")
	utf8Re    = regexp.MustCompile(`^(?i:charset=("utf-8"|utf-8))$`)
	charsetRe = regexp.MustCompile(`^(?i:charset=)`)
)

func refMediaType(line string) (essence string, params []string, known bool) {
	m := mediaRe.FindStringSubmatch(latin1(line))
	if m == nil {
		return "", nil, false
	}
	rest := m[2]
	for !emptyRe.MatchString(rest) {
		p := paramRe.FindStringSubmatch(rest)
		if p == nil {
			return "", nil, false
		}
		params = append(params, unlatin1(p[1]))
		rest = rest[len(p[0]):]
	}
	return strings.ToLower(m[1]), params, true
}

// latin1 makes a rune of each byte, as regular expressions want valid UTF-8.
func latin1(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteRune(rune(s[i]))
	}
	return b.String()
}

func unlatin1(s string) string {
	var b []byte
	for _, r := range s {
		b = append(b, byte(r))
	}
	return string(b)
}

func dropUTF8(params []string) []string {
	n := 0
	for _, p := range params {
		if charsetRe.MatchString(p) {
			n++
		}
	}
	var out []string
	for _, p := range params {
		if n != 1 || !utf8Re.MatchString(p) {
			out = append(out, p)
		}
	}
	return out
}

// refDecode gives the content of a body, and its codings where it is none.
func refDecode(body string, codings []string) (string, []string) {
	if len(codings) == 0 {
		return body, nil
	}
	if len(codings) > 1 || body == "" {
		return body, codings
	}
	r := strings.NewReader(body)
	var out []byte
	var err error
	switch strings.ToLower(codings[0]) {
	case "gzip":
		var z *gzip.Reader
		if z, err = gzip.NewReader(r); err == nil {
			z.Multistream(false)
			out, err = io.ReadAll(z)
		}
	case "deflate":
		var z io.ReadCloser
		if z, err = zlib.NewReader(r); err == nil {
			out, err = io.ReadAll(z)
		}
	case "zstd":
		r = strings.NewReader("")
		out, err = refZstd(body)
	default:
		return body, codings
	}
	if err != nil || r.Len() > 0 || int64(len(out)) > freeDecoded+maxDecodeRatio*int64(len(body)) {
		return body, codings
	}
	return string(out), nil
}

// refZstd decodes a body of which no beginning is whole frames already.
func refZstd(body string) ([]byte, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderMaxWindow(maxZstdWindow), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	if !strings.HasPrefix(body, "\x28\xb5\x2f\xfd") {
		return nil, errors.New("no frame of data")
	}
	for n := 1; n < len(body); n++ {
		if _, err := z.DecodeAll([]byte(body[:n]), nil); err == nil {
			return nil, errors.New("more than a frame")
		}
	}
	return z.DecodeAll([]byte(body), nil)
}

func refBody(rule *Rule, types []string, essence string, params []string, known bool, body string) (string, any) {
	mode := string(rule.Body)
	if mode == "" || mode == "auto" {
		switch {
		case !known:
			mode = "raw"
		case essence == "application/json" || essence == "text/json" || strings.HasSuffix(essence, "+json"):
			mode = "json"
		case strings.HasPrefix(essence, "multipart/"):
			mode = "multipart"
		case essence == "application/x-www-form-urlencoded":
			mode = "form"
		}
	}
	if len(types) > 1 {
		mode = "raw"
	}
	switch mode {
	case "json":
		if v, ok := refJSON(body); ok && len(body) <= 8<<20 {
			return "json", refPrune(v, rule.Ignore)
		}
	case "multipart":
		if parts, ok := refMultipart(params, body); ok && known && tidyRe.MatchString(latin1(types[0])) {
			return "multipart", refParts(rule, parts)
		}
	case "form":
		if fields, ok := refForm(body); ok && len(body) <= 8<<20 {
			return "form", fields
		}
	}
	return "raw", body
}

// refJSON gives maps, slices and json.Numbers, and false for what is no JSON
// or has no one meaning.
func refJSON(body string) (any, bool) {
	if !utf8.ValidString(body) || hasLoneSurrogate(body) || !json.Valid([]byte(body)) {
		return nil, false
	}
	dec := json.NewDecoder(strings.NewReader(body))
	dec.UseNumber()
	return refValue(dec)
}

func refValue(dec *json.Decoder) (any, bool) {
	t, err := dec.Token()
	if err != nil {
		return nil, false
	}
	switch t {
	case json.Delim('['):
		list := []any{}
		for dec.More() {
			v, ok := refValue(dec)
			if !ok {
				return nil, false
			}
			list = append(list, v)
		}
		_, err = dec.Token()
		return list, err == nil
	case json.Delim('{'):
		object := map[string]any{}
		for dec.More() {
			name, err := dec.Token()
			if err != nil {
				return nil, false
			}
			if _, twice := object[name.(string)]; twice {
				return nil, false
			}
			v, ok := refValue(dec)
			if !ok {
				return nil, false
			}
			object[name.(string)] = v
		}
		_, err = dec.Token()
		return object, err == nil
	}
	return t, true
}

var escapes = regexp.MustCompile(`\\(u[0-9a-fA-F]{4}|.)`)

// hasLoneSurrogate looks at the escapes of a JSON text in turn.
func hasLoneSurrogate(body string) bool {
	high := -1 // where a low half must begin
	for _, m := range escapes.FindAllStringIndex(body, -1) {
		unit := uint64(0)
		if m[1]-m[0] == 6 {
			unit, _ = strconv.ParseUint(body[m[0]+2:m[1]], 16, 16)
		}
		isLow := unit >= 0xdc00 && unit < 0xe000
		if isLow != (high == m[0]) {
			return true
		}
		if high >= 0 && !isLow {
			return true
		}
		if high = -1; unit >= 0xd800 && unit < 0xdc00 {
			high = m[1]
		}
	}
	return high >= 0
}

// refPrune takes the places out that pointers name, all found before any goes.
func refPrune(v any, pointers []string) any {
	var here []string // tokens of this level that are dropped
	below := map[string][]string{}
	for _, p := range pointers {
		token, rest, deeper := strings.Cut(p[1:], "/")
		token = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
		if deeper {
			below[token] = append(below[token], "/"+rest)
		} else {
			here = append(here, token)
		}
	}
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for name, member := range v {
			if !slices.Contains(here, name) {
				out[name] = refPrune(member, below[name])
			}
		}
		return out
	case []any:
		out := []any{}
		for i, element := range v {
			if token := strconv.Itoa(i); !slices.Contains(here, token) {
				out = append(out, refPrune(element, below[token]))
			}
		}
		return out
	}
	return v
}

func refMultipart(params []string, body string) ([]string, bool) {
	boundary, n := "", 0
	for _, p := range params {
		name, value, _ := strings.Cut(p, "=")
		if strings.EqualFold(name, "boundary") || strings.HasPrefix(strings.ToLower(name), "boundary*") {
			boundary, n = value, n+1
			if name != "boundary" {
				return nil, false
			}
		}
	}
	if strings.HasPrefix(boundary, `"`) {
		boundary = boundary[1 : len(boundary)-1]
	} else if strings.ContainsAny(boundary, "'()/:=?") {
		return nil, false
	}
	if n != 1 || !regexp.MustCompile(`^[0-9a-zA-Z'()+_,\-./:=? ]{0,69}[0-9a-zA-Z'()+_,\-./:=?]$`).MatchString(boundary) || strings.Trim(boundary, "-") == "" {
		return nil, false
	}
	pieces := strings.Split(body, "--"+boundary)
	last := pieces[len(pieces)-1]
	if len(pieces) < 2 || len(pieces) > maxParts+2 || pieces[0] != "" || last != "--" && last != "--\r\n" {
		return nil, false
	}
	parts := []string{}
	for _, p := range pieces[1 : len(pieces)-1] {
		if len(p) < 4 || !strings.HasPrefix(p, "\r\n") || !strings.HasSuffix(p, "\r\n") {
			return nil, false
		}
		parts = append(parts, p[2:len(p)-2])
	}
	return parts, true
}

// refPart is what a part says and its bytes, or the whole of it in asItCame.
type refPart struct {
	headers                         map[string]string
	dispositionType, ordered, bytes string
	params                          map[string]string
	asItCame                        string
}

func refParts(rule *Rule, parts []string) []refPart {
	out := []refPart{}
	for _, p := range parts {
		part, kept := refOnePart(&rule.Multipart, p)
		if kept {
			out = append(out, part)
		}
	}
	return out
}

var headerLine = regexp.MustCompile("^([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?((?:[!-~\u0080-\u00ff](?:[\t\x20-\x7e\u0080-\u00ff]*[!-~\u0080-\u00ff])?)?)$")

func refOnePart(rule *Multipart, p string) (refPart, bool) {
	head, bytes, ok := strings.Cut("\r\n"+p, "\r\n\r\n")
	if !ok || rule.Exact || len(head)+2 > maxPartHeader {
		return refPart{asItCame: "x" + p}, true
	}
	out := refPart{headers: map[string]string{}, bytes: bytes}
	for _, line := range strings.Split(head, "\r\n")[1:] {
		m := headerLine.FindStringSubmatch(latin1(line))
		if m == nil {
			return refPart{asItCame: "x" + p}, true
		}
		name := strings.ToLower(m[1])
		if _, twice := out.headers[name]; twice {
			return refPart{asItCame: "x" + p}, true
		}
		out.headers[name] = unlatin1(m[2])
	}
	if len(out.headers) > maxPartLines {
		return refPart{asItCame: "x" + p}, true
	}
	if slices.Contains(rule.Ignore, "content_type") {
		delete(out.headers, "content-type")
	}
	kept := true
	if d, ok := out.headers["content-disposition"]; ok {
		var understood bool
		if understood, kept = out.disposition(rule, d); understood {
			delete(out.headers, "content-disposition")
		}
	}
	return out, kept
}

var (
	dispositionRe = regexp.MustCompile("^([!#$%&'*+.^_`|~0-9A-Za-z-]+)((?:;[^\\\\]*)?)$")
	dispParamRe   = regexp.MustCompile("^; ?(?:([!#$%&'+.^_`|~0-9A-Za-z-]+)=(?:\"([^\"]*)\"|([!#$%&+.^_`|~0-9A-Za-z-]+))|(filename\\*)=([!#$%&'*+.^_`|~0-9A-Za-z-]+))(;|$)")
	extendedRe    = regexp.MustCompile("^(?i:utf-8)''((?:%[0-9a-fA-F]{2}|[!#$&+.^_`|~0-9A-Za-z-])+)$")
	oddNameRe     = regexp.MustCompile("[\\x00-\\x1f\\x7f%\\\\\";]|=\\?")
)

func (p *refPart) disposition(rule *Multipart, value string) (understood, kept bool) {
	m := dispositionRe.FindStringSubmatch(latin1(value))
	if m == nil {
		return false, true
	}
	params, names := map[string]string{}, []string{}
	for rest := m[2]; rest != ""; {
		q := dispParamRe.FindStringSubmatch(rest)
		if q == nil || slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, q[1]+q[4]) }) {
			return false, true
		}
		names = append(names, q[1]+q[4])
		params[q[1]+q[4]] = unlatin1(q[2] + q[3] + q[5])
		if rest = rest[len(q[0])-len(q[6]):]; len(names) > maxPartParams {
			return false, true
		}
	}
	name, named := params["name"]
	kept = !(m[1] == "form-data" && named && slices.Contains(rule.IgnoreFields, name))
	names, ok := refFilenames(rule, names, params)
	if !ok {
		return false, kept
	}
	p.dispositionType, p.params = m[1], params
	if slices.ContainsFunc(names, func(n string) bool {
		return !slices.Contains([]string{"name", "filename", "filename*", "decoded*"}, n) || strings.ContainsAny(params[n], ";=")
	}) {
		p.ordered = "x" + strings.Join(names, ";")
	}
	return true, kept
}

// refFilenames puts what names of a file say in the place of how they are
// written, in params; and gives the names of these in order.
func refFilenames(rule *Multipart, names []string, params map[string]string) ([]string, bool) {
	ignored := slices.Contains(rule.Ignore, "filename")
	plainly, both := params["filename"]
	if x := extendedRe.FindStringSubmatch(params["filename*"]); x != nil {
		name, err := url.PathUnescape(x[1])
		if err == nil && utf8.ValidString(name) && !oddNameRe.MatchString(name) {
			at := slices.Index(names, "filename*")
			delete(params, "filename*")
			switch {
			case both && plainly == name && (rule.Extended || regexp.MustCompile(`^[ -~]+$`).MatchString(name)),
				both && ignored && plainly != "":
				names = slices.Delete(names, at, at+1)
			case both && plainly != name:
				return nil, false
			case rule.Extended:
				params["filename"], names[at] = name, "filename"
			default:
				params["decoded*"], names[at] = name, "decoded*"
			}
		}
	}
	for _, n := range []string{"filename", "decoded*"} {
		if ignored && params[n] != "" {
			params[n] = "any"
		}
	}
	return names, true
}

func refForm(body string) ([][]string, bool) {
	fields := [][]string{}
	if body == "" {
		return fields, true
	}
	if !plain.MatchString(body) || strings.ContainsAny(body, ";\x7f") {
		return nil, false
	}
	for _, pair := range strings.Split(body, "&") {
		var field []string
		for _, half := range strings.SplitN(pair, "=", 2) {
			s, err := url.QueryUnescape(half)
			if err != nil {
				return nil, false
			}
			field = append(field, s)
		}
		fields = append(fields, field)
	}
	return fields, true
}
