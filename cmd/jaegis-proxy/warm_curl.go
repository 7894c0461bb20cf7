package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
)

// curlCall is what a curl command says.
type curlCall struct {
	w       *warmReader
	method  string
	headers []string
	urls    []string
	user    string
	data    warmBody
	hasData bool
	json    bool
	parts   []warmPart
	get     bool
	head    bool
	agent   string
	referer string
	cookies []string
	coded   bool
}

// perValue is a flag whose every value is taken by a function, in the order in which
// they stand.
type perValue func(value string) error

// String, Set and Type implement pflag.Value.
func (perValue) String() string           { return "" }
func (p perValue) Set(value string) error { return p(value) }
func (perValue) Type() string             { return "string" }

// readCurl reads a request from a curl command.
func (w *warmReader) readCurl(r *warmRequest, first string) error {
	words, err := w.shellWords(first)
	if err != nil {
		return err
	}
	c := &curlCall{w: w}
	fs := c.flags()
	if err := fs.Parse(words[1:]); err != nil {
		return curlFault(err)
	}
	if c.urls = append(c.urls, fs.Args()...); len(c.urls) != 1 {
		return fmt.Errorf("names %d URLs, and must name one", len(c.urls))
	}
	return c.request(r)
}

// curlFault tells what is wrong with a flag, and not with which value: that may
// be a credential.
func curlFault(err error) error {
	var unknown *pflag.NotExistError
	var value *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown):
		return fmt.Errorf("curl's flag %s is not understood here; see docs/documents.md for those that are", dashed(unknown.GetSpecifiedName()))
	case errors.As(err, &value):
		return fmt.Errorf("--%s: %w", value.GetFlag().Name, value.Unwrap())
	}
	return err
}

func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

func (c *curlCall) flags() *pflag.FlagSet {
	fs := newFlags("curl")
	take := func(name, short string, f func(string) error) { fs.VarP(perValue(f), name, short, "") }
	list := func(to *[]string) func(string) error {
		return func(v string) error { *to = append(*to, v); return nil }
	}
	fs.StringVarP(&c.method, "request", "X", "", "")
	take("header", "H", list(&c.headers))
	take("url", "", list(&c.urls))
	take("data", "d", func(v string) error { return c.addData(v, true, true) })
	take("data-ascii", "", func(v string) error { return c.addData(v, true, true) })
	take("data-binary", "", func(v string) error { return c.addData(v, true, false) })
	take("data-raw", "", func(v string) error { return c.addData(v, false, false) })
	take("data-urlencode", "", c.addEncoded)
	take("json", "", func(v string) error {
		c.json, c.hasData = true, c.hasData && !c.json // pieces of JSON are put together as they are
		return c.addData(v, true, false)
	})
	take("form", "F", func(v string) error { return c.addPart(v, false) })
	take("form-string", "", func(v string) error { return c.addPart(v, true) })
	fs.BoolVarP(&c.get, "get", "G", false, "")
	fs.BoolVarP(&c.head, "head", "I", false, "")
	fs.StringVarP(&c.user, "user", "u", "", "")
	fs.StringVarP(&c.agent, "user-agent", "A", "", "")
	fs.StringVarP(&c.referer, "referer", "e", "", "")
	take("cookie", "b", list(&c.cookies))
	fs.BoolVar(&c.coded, "compressed", false, "")
	// What follows says how curl is to show or send something, and changes no
	// request that is sent from here. Answers are not shown, nor are redirects
	// followed.
	for name, short := range map[string]string{
		"silent": "s", "show-error": "S", "location": "L", "fail": "f", "fail-with-body": "", "include": "i", "verbose": "v", "no-buffer": "N",
		"globoff": "g", "insecure": "k", "http1.1": "", "http2": "", "no-progress-meter": "", "progress-bar": "#", "remote-name": "O",
	} {
		fs.BoolP(name, short, false, "")
	}
	for name, short := range map[string]string{"output": "o", "write-out": "w", "max-time": "m", "connect-timeout": "", "retry": ""} {
		fs.StringP(name, short, "", "")
	}
	return fs
}

// addData adds to the body. files says that @ names one, unbroken that its line
// ends are dropped.
func (c *curlCall) addData(v string, files, unbroken bool) error {
	if c.hasData {
		c.data.add("&")
	}
	c.hasData = true
	name, isFile := strings.CutPrefix(v, "@")
	if !files || !isFile {
		c.data.add(v)
		return nil
	}
	path, err := c.w.path(name)
	c.data.pieces = append(c.data.pieces, bodyPiece{file: path, unbroken: unbroken})
	return err
}

// addEncoded adds "content", "=content" or "name=content" with content in
// percent encoding, a space as "+".
func (c *curlCall) addEncoded(v string) error {
	name, content, named := strings.Cut(v, "=")
	if !named {
		if strings.Contains(v, "@") {
			return errors.New("files are not understood; write --data-binary @FILE of what is encoded already")
		}
		name, content = "", v
	}
	if name != "" {
		name += "="
	}
	return c.addData(name+url.QueryEscape(content), false, false)
}

// addPart reads "name=value", "name=@file;type=T;filename=F" and "name=<file".
func (c *curlCall) addPart(v string, literal bool) error {
	name, value, ok := strings.Cut(v, "=")
	if !ok {
		return errors.New("must be NAME=VALUE, NAME=@FILE or NAME=<FILE")
	}
	part := warmPart{name: name, value: value}
	if literal {
		c.parts = append(c.parts, part)
		return nil
	}
	pieces := splitPart(value)
	part.value = pieces[0]
	file, isFile := strings.CutPrefix(pieces[0], "@")
	if text, ok := strings.CutPrefix(pieces[0], "<"); ok && !isFile {
		file = text
	}
	var err error
	if file != pieces[0] {
		if part.file, err = c.w.path(unquoted(file)); err != nil {
			return err
		}
	}
	if isFile {
		part.filename, part.kind = filepath.Base(unquoted(file)), fileKind(unquoted(file))
	}
	for _, option := range pieces[1:] {
		key, value, _ := strings.Cut(strings.TrimLeft(option, " "), "=")
		switch value = unquoted(value); key {
		case "type":
			part.kind = value
		case "filename":
			part.filename = value
		default:
			return fmt.Errorf("after a ; may stand type= and filename=, and not %.20q", key)
		}
	}
	if strings.ContainsAny(part.kind, "\r\n") {
		return errors.New("its type has a line end")
	}
	if part.file == "" {
		part.value = unquoted(part.value)
	}
	c.parts = append(c.parts, part)
	return nil
}

// splitPart splits at the semicolons outside quotes. One that no option follows
// belongs to a Content-Type ("text/plain; charset=utf-8").
func splitPart(s string) []string {
	pieces := []string{""}
	inQuotes, escaped := false, false
	for i, c := range s {
		rest := strings.TrimLeft(s[min(i+1, len(s)):], " ")
		switch {
		case c == ';' && !inQuotes && (strings.HasPrefix(rest, "type=") || strings.HasPrefix(rest, "filename=") || len(pieces) == 1):
			pieces = append(pieces, "")
			continue
		case c == '"' && !escaped:
			inQuotes = !inQuotes
		}
		escaped = c == '\\' && !escaped
		pieces[len(pieces)-1] += string(c)
	}
	return pieces
}

// unquoted undoes double quotes around the whole.
func unquoted(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	return strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(s[1 : len(s)-1])
}

// request makes the request.
func (c *curlCall) request(r *warmRequest) error {
	if err := c.defaults(r); err != nil {
		return err
	}
	if err := c.ownHeaders(r); err != nil {
		return err
	}
	if err := r.locate(c.urls[0]); err != nil {
		return err
	}
	switch {
	case c.hasData && c.parts != nil:
		return errors.New("has both data and a form")
	case c.get && c.parts != nil:
		return errors.New("has both --get and a form")
	case c.get:
		return c.toQuery(r)
	case c.parts != nil:
		body, kind := multipartOf(c.parts)
		r.body, r.header["Content-Type"] = body, []string{kind}
	case c.hasData:
		r.body = &c.data
	}
	return nil
}

// defaults sets what curl sends of itself, and the method.
func (c *curlCall) defaults(r *warmRequest) error {
	switch r.method = c.method; {
	case r.method != "":
	case c.head:
		r.method = http.MethodHead
	case (c.hasData || c.parts != nil) && !c.get:
		r.method = http.MethodPost
	default:
		r.method = http.MethodGet
	}
	if !isWord(r.method) {
		return errors.New("the method is none")
	}
	r.header.Set("Accept", "*/*")
	switch {
	case c.json:
		r.header.Set("Content-Type", "application/json")
		r.header.Set("Accept", "application/json")
	case c.hasData && !c.get:
		r.header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if c.coded {
		r.header.Set("Accept-Encoding", "deflate, gzip, zstd")
	}
	if c.user != "" {
		user, password, ok := strings.Cut(c.user, ":")
		if !ok {
			return errors.New("--user has no password, and nobody is there to be asked")
		}
		r.header.Set("Authorization", basic(user, password))
	}
	for _, cookies := range c.cookies {
		if !strings.Contains(cookies, "=") {
			return errors.New("--cookie names a file, which is not understood; write NAME=VALUE")
		}
	}
	for name, value := range map[string]string{"User-Agent": c.agent, "Referer": c.referer, "Cookie": strings.Join(c.cookies, ";")} {
		if value == "" {
			continue
		}
		if err := addHeader(r.header, name, []string{value}); err != nil {
			return err
		}
	}
	return nil
}

// ownHeaders adds those of -H: "Name: value", "Name;" for an empty one, and
// "Name:" to take away what curl would send.
func (c *curlCall) ownHeaders(r *warmRequest) error {
	given := http.Header{}
	for _, line := range c.headers {
		name, value, ok := strings.Cut(line, ":")
		empty, isEmpty := strings.CutSuffix(strings.TrimSpace(line), ";")
		switch {
		case strings.HasPrefix(line, "@"):
			return errors.New("--header names a file, which is not understood")
		case !ok && isEmpty:
			name, value = empty, ""
		case !ok:
			return errors.New("--header must be \"Name: value\"")
		case strings.TrimSpace(value) == "":
			r.header.Del(name)
			continue
		}
		if err := addHeader(given, strings.TrimSpace(name), []string{value}); err != nil {
			return err
		}
	}
	for name, values := range given {
		r.header[textproto.CanonicalMIMEHeaderKey(name)] = values
	}
	return nil
}

// toQuery puts the data behind the URL.
func (c *curlCall) toQuery(r *warmRequest) error {
	body := c.data.reader()
	defer func() { _ = body.Close() }() // files are only read
	data, err := io.ReadAll(io.LimitReader(body, 64<<10+1))
	switch {
	case err != nil:
		return err
	case len(data) > 64<<10:
		return errors.New("--get with more than 64 KiB of data")
	case len(data) == 0:
		return nil
	case r.url.RawQuery != "":
		r.url.RawQuery += "&"
	}
	r.url.RawQuery += string(data)
	return nil
}
