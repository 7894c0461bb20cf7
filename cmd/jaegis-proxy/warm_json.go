package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
)

// warmJSON is a request as a line of JSON has it.
type warmJSON struct {
	Method    string               `json:"method"`
	URL       string               `json:"url"`
	Path      string               `json:"path"`
	Headers   map[string]oneOrMore `json:"headers"`
	Body      json.RawMessage      `json:"body"`
	BodyFile  string               `json:"body_file"`
	Form      map[string]oneOrMore `json:"form"`
	Multipart []warmJSONPart       `json:"multipart"`
}

type warmJSONPart struct {
	Name     string  `json:"name"`
	Value    *string `json:"value"`
	File     string  `json:"file"`
	Filename *string `json:"filename"`
	Type     string  `json:"type"`
}

// oneOrMore is a string, or a list of them.
type oneOrMore []string

// UnmarshalJSON implements json.Unmarshaler.
func (o *oneOrMore) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*o = oneOrMore{one}
		return nil
	}
	var more []string
	if err := json.Unmarshal(b, &more); err != nil {
		return errors.New("a value must be a string, or a list of strings")
	}
	*o = more
	return nil
}

func (w *warmReader) readJSON(r *warmRequest, text string) error {
	var j warmJSON
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&j); err != nil {
		return jsonFault(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON object")
	}
	for name, values := range j.Headers {
		if err := addHeader(r.header, name, values); err != nil {
			return err
		}
	}
	if (j.URL == "") == (j.Path == "") {
		return errors.New("write either url or path")
	}
	if j.Path != "" && !strings.HasPrefix(j.Path, "/") {
		return errors.New("path must begin with /")
	}
	if err := r.locate(j.URL + j.Path); err != nil {
		return err
	}
	if err := w.jsonBody(r, &j); err != nil {
		return err
	}
	if r.method = strings.ToUpper(j.Method); r.method == "" {
		r.method = http.MethodGet
		if r.body != nil {
			r.method = http.MethodPost
		}
	}
	if !isWord(r.method) {
		return errors.New("method is none")
	}
	return nil
}

// jsonFault tells what is wrong with a line, and nothing of what is in it.
func jsonFault(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("no JSON object: %s at byte %d", syntax.Error(), syntax.Offset)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("no whole JSON object; one request must stand in one line")
	case errors.As(err, &kind):
		return fmt.Errorf("%s is a %s, and should be a %s", kind.Field, kind.Value, kind.Type)
	}
	return errors.New(strings.TrimPrefix(err.Error(), "json: "))
}

// addHeader adds a header, if it is one that can be sent.
func addHeader(h http.Header, name string, values []string) error {
	if !isWord(name) {
		return fmt.Errorf("%.64q is no header name", name)
	}
	for _, v := range values {
		if strings.ContainsAny(v, "\r\n\x00") {
			return fmt.Errorf("the value of %s has a line end", name)
		}
		h[textproto.CanonicalMIMEHeaderKey(name)] = append(h[textproto.CanonicalMIMEHeaderKey(name)], strings.TrimSpace(v))
	}
	return nil
}

// isWord says whether s is a token of RFC 9110, section 5.6.2.
func isWord(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		return c <= ' ' || c >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c)
	})
}

func (w *warmReader) jsonBody(r *warmRequest, j *warmJSON) error {
	hasBody, bodies := len(j.Body) > 0 && string(j.Body) != "null", 0
	for _, is := range []bool{hasBody, j.BodyFile != "", j.Form != nil, j.Multipart != nil} {
		if is {
			bodies++
		}
	}
	switch {
	case bodies > 1:
		return errors.New("write one of body, body_file, form and multipart")
	case hasBody:
		return jsonText(r, j.Body)
	case j.BodyFile != "":
		path, err := w.path(j.BodyFile)
		r.body = &warmBody{pieces: []bodyPiece{{file: path}}}
		return err
	case j.Form != nil:
		form := url.Values{}
		for _, name := range slices.Sorted(maps.Keys(j.Form)) {
			form[name] = j.Form[name]
		}
		r.body = &warmBody{}
		r.body.add(form.Encode())
		byDefault(r.header, "Content-Type", "application/x-www-form-urlencoded")
	case j.Multipart != nil:
		return w.jsonParts(r, j.Multipart)
	}
	return nil
}

// jsonText makes a body of a string as it is, and of all else as JSON.
func jsonText(r *warmRequest, raw json.RawMessage) error {
	r.body = &warmBody{}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		r.body.add(text)
		return nil
	}
	r.body.add(string(bytes.TrimSpace(raw)))
	byDefault(r.header, "Content-Type", "application/json")
	return nil
}

func byDefault(h http.Header, name, value string) {
	if h[name] == nil {
		h.Set(name, value)
	}
}

func (w *warmReader) jsonParts(r *warmRequest, list []warmJSONPart) error {
	var parts []warmPart
	for i, p := range list {
		part := warmPart{name: p.Name, kind: p.Type}
		switch {
		case p.Name == "":
			return fmt.Errorf("multipart[%d] has no name", i)
		case (p.Value == nil) == (p.File == ""):
			return fmt.Errorf("multipart[%d]: write either value or file", i)
		case strings.ContainsAny(p.Type, "\r\n"):
			return fmt.Errorf("multipart[%d]: type has a line end", i)
		case p.File != "":
			var err error
			if part.file, err = w.path(p.File); err != nil {
				return err
			}
			part.filename = filepath.Base(p.File)
			if part.kind == "" {
				part.kind = fileKind(p.File)
			}
		default:
			part.value = *p.Value
		}
		if p.Filename != nil {
			part.filename = *p.Filename
		}
		parts = append(parts, part)
	}
	body, kind := multipartOf(parts)
	r.body = body
	r.header["Content-Type"] = []string{kind}
	return nil
}
