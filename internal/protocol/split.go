package protocol

import (
	"bytes"
	"strings"
)

// A form is how the pieces of an answer are told apart.
type form int

const (
	formBody   form = iota // one JSON text
	formEvents             // server-sent events
	formLines              // a JSON text a line
)

func formOf(contentType string) form {
	essence, _, _ := strings.Cut(contentType, ";")
	switch strings.ToLower(strings.TrimSpace(essence)) {
	case "text/event-stream":
		return formEvents
	case "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines",
		"application/json-lines", "application/stream+json":
		return formLines
	}
	return formBody
}

// NextEvent gives the length of the first event of a body together with what
// delimits it: a server-sent event up to and with its blank line, or a line of
// JSON. It is the whole body when no further delimiter comes, or when the
// media type knows no events.
func NextEvent(contentType string, body []byte) int {
	switch formOf(contentType) {
	case formLines:
		if i := bytes.IndexByte(body, '\n'); i >= 0 {
			return i + 1
		}
	case formEvents:
		for at := 0; ; {
			i := bytes.IndexAny(body[at:], "\r\n")
			if i < 0 {
				break
			}
			end := at + i + 1
			if body[end-1] == '\r' && end < len(body) && body[end] == '\n' {
				end++
			}
			if i == 0 {
				return end
			}
			at = end
		}
	}
	return len(body)
}

// events takes server-sent events apart, as they come, by the rules of the
// HTML standard, section 9.2.6.
type events struct {
	line    []byte // what has come of a line
	data    []byte
	name    []byte
	begun   bool // a byte-order mark can come no more
	skipLF  bool // the last line ended with CR
	hasData bool
	fields  bool // since the last blank line something came that is no comment
}

// write calls f at each blank line that ends something: data is nil when there
// was none. What f is given is good until it returns.
func (e *events) write(p []byte, f func(name, data []byte)) {
	for len(p) > 0 {
		if e.skipLF {
			e.skipLF = false
			if p[0] == '\n' {
				p = p[1:]
				continue
			}
		}
		i := bytes.IndexAny(p, "\r\n")
		if i < 0 {
			e.line = append(e.line, p...)
			return
		}
		line := p[:i]
		if len(e.line) > 0 {
			e.line = append(e.line, line...)
			line = e.line
		}
		e.skipLF = p[i] == '\r'
		p = p[i+1:]
		e.take(line, f)
		e.line = e.line[:0]
	}
}

// take takes one line, without its end.
func (e *events) take(line []byte, f func(name, data []byte)) {
	if !e.begun {
		e.begun = true
		line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
	}
	if len(line) == 0 {
		if e.fields {
			var data []byte
			if e.hasData {
				data = e.data
			}
			f(e.name, data)
		}
		e.data, e.name, e.hasData, e.fields = e.data[:0], e.name[:0], false, false
		return
	}
	if idle(line) {
		return
	}
	e.fields = true
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(name) {
	case "event":
		e.name = append(e.name[:0], value...)
	case "data":
		if e.hasData {
			e.data = append(e.data, '\n')
		}
		e.hasData = true
		e.data = append(e.data, value...)
		if e.data == nil {
			e.data = []byte{} // there was data, with nothing in it
		}
	}
}

// pending says whether part of an event has come.
func (e *events) pending() bool { return e.fields || !idle(e.line) }

// held is how many bytes are kept.
func (e *events) held() int { return len(e.line) + len(e.data) + len(e.name) }

// idle says whether a line, or its beginning, is a comment or white space.
func idle(line []byte) bool {
	return len(line) == 0 || line[0] == ':' || len(bytes.TrimLeft(line, " \t")) == 0
}

// lines takes lines apart as they come.
type lines struct {
	line []byte // what has come of a line
}

// write calls f with each line that is not blank, without its end. What f is
// given is good until it returns.
func (l *lines) write(p []byte, f func(line []byte)) {
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			l.line = append(l.line, p...)
			return
		}
		line := p[:i]
		if len(l.line) > 0 {
			l.line = append(l.line, line...)
			line = l.line
		}
		p = p[i+1:]
		if len(bytes.TrimSpace(line)) > 0 {
			f(line)
		}
		l.line = l.line[:0]
	}
}

func (l *lines) pending() bool { return len(bytes.TrimSpace(l.line)) > 0 }
