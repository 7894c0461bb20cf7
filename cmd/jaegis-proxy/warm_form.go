package main

import (
	"crypto/rand"
	"encoding/base64"
	"path/filepath"
	"strings"
)

// warmPart is one part of a multipart body.
type warmPart struct {
	name     string
	value    string
	file     string // its path; empty: value is what the part holds
	filename string // empty: the part has none
	kind     string // Content-Type; empty: none
}

// multipartOf makes the body of parts, in the form in which curl and browsers send
// it, and gives its Content-Type.
func multipartOf(parts []warmPart) (*warmBody, string) {
	boundary := "jaegis-" + rand.Text()
	b := &warmBody{}
	for _, p := range parts {
		head := "--" + boundary + "\r\nContent-Disposition: form-data; name=\"" + quoted(p.name) + `"`
		if p.filename != "" {
			head += `; filename="` + quoted(p.filename) + `"`
		}
		if p.kind != "" {
			head += "\r\nContent-Type: " + p.kind
		}
		b.add(head + "\r\n\r\n")
		if p.file != "" {
			b.pieces = append(b.pieces, bodyPiece{file: p.file})
		} else {
			b.add(p.value)
		}
		b.add("\r\n")
	}
	b.add("--" + boundary + "--\r\n")
	return b, "multipart/form-data; boundary=" + boundary
}

// quoted escapes what may not stand in a quoted name, as HTML's forms do.
func quoted(s string) string {
	return strings.NewReplacer(`"`, "%22", "\r", "%0D", "\n", "%0A").Replace(s)
}

// fileKind is the Content-Type that curl gives to a file.
func fileKind(name string) string {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".gif":
		return "image/gif"
	case ".jpg", ".jpeg":
		return "image/jpeg"
	case ".png":
		return "image/png"
	case ".svg":
		return "image/svg+xml"
	case ".txt":
		return "text/plain"
	case ".htm", ".html":
		return "text/html"
	case ".pdf":
		return "application/pdf"
	case ".xml":
		return "application/xml"
	}
	return "application/octet-stream"
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}
