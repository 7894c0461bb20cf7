package main

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// reading is the one way in which an upstream's bytes may be understood, by a
// reader that shares nothing with the proxy.
type reading struct {
	kind   readingKind
	status int
	body   string
}

type readingKind int

const (
	refused readingKind = iota // two readers could disagree
	whole                      // an answer, which ends within the bytes
	toClose                    // an answer that ends with the connection
	cut                        // an answer of which more must come
)

var (
	strictHead  = regexp.MustCompile("^HTTP/1\\.([01]) ([1-9][0-9]{2})(?: [^\\x00-\\x08\\x0a-\\x1f\\x7f]*)?((?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\\x00-\\x08\\x0a-\\x1f\\x7f]*)*)$")
	strictField = regexp.MustCompile("(?i)^(content-length|transfer-encoding):[ \t]*(.*?)[ \t]*$")
	strictSize  = regexp.MustCompile(`^([0-9A-Fa-f]{1,15})(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?$`)
	strictTrail = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\\x00-\\x08\\x0a-\\x1f\\x7f]*$")
	strictCount = regexp.MustCompile("^(0|[1-9][0-9]{0,17})$")
)

func readOneWay(method, raw string) reading {
	// Matching is by bytes: (?s-u) is not to be had, so each byte becomes a rune.
	runes := make([]rune, len(raw))
	for i := range len(raw) {
		runes[i] = rune(raw[i])
	}
	r := readAnswer(method, string(runes))
	back := make([]byte, 0, len(r.body))
	for _, c := range r.body {
		back = append(back, byte(c))
	}
	r.body = string(back)
	return r
}

func readAnswer(method, raw string) reading {
	head, rest, found := strings.Cut(raw, "\r\n\r\n")
	if !found {
		return reading{kind: cut}
	}
	m := strictHead.FindStringSubmatch(head)
	if m == nil {
		return reading{}
	}
	status, _ := strconv.Atoi(m[2])
	var lengths, codings []string
	for line := range strings.SplitSeq(m[3], "\r\n") {
		if f := strictField.FindStringSubmatch(line); f == nil {
			continue
		} else if strings.EqualFold(f[1], "content-length") {
			lengths = append(lengths, f[2])
		} else {
			codings = append(codings, f[2])
		}
	}
	length := -1
	if len(lengths) == 1 && strictCount.MatchString(lengths[0]) {
		length, _ = strconv.Atoi(lengths[0])
	}
	chunked := len(codings) == 1 && strings.EqualFold(codings[0], "chunked") && m[1] == "1"
	none := status < 200 || status == 204
	switch {
	case len(lengths)+len(codings) > 1, len(lengths) == 1 && length < 0, len(codings) == 1 && !chunked,
		none && (chunked || length > 0), status == 101:
		return reading{}
	case status < 200:
		return readAnswer(method, rest)
	case none, status == 304, method == "HEAD":
		return reading{kind: whole, status: status}
	case chunked:
		r := readAnswerChunks(rest)
		r.status = status
		return r
	case length < 0:
		return reading{kind: toClose, status: status, body: rest}
	case length > len(rest):
		return reading{kind: cut, status: status, body: rest}
	}
	return reading{kind: whole, status: status, body: rest[:length]}
}

func readAnswerChunks(rest string) reading {
	r := reading{kind: cut}
	for {
		line, after, found := strings.Cut(rest, "\n")
		if !found {
			return r
		}
		m := strictSize.FindStringSubmatch(strings.TrimSuffix(line, "\r"))
		if m == nil || !strings.HasSuffix(line, "\r") || len(line) > 256 {
			return reading{}
		}
		size, _ := strconv.ParseInt(m[1], 16, 64)
		if size == 0 {
			return readAnswerTrailers(r, after)
		}
		if int64(len(after)) < size+2 {
			return r
		}
		r.body += after[:size]
		if after[size:size+2] != "\r\n" {
			return reading{}
		}
		rest = after[size+2:]
	}
}

func readAnswerTrailers(r reading, rest string) reading {
	for room := 8 << 10; ; {
		line, after, found := strings.Cut(rest, "\n")
		switch {
		case !found:
			return r
		case line == "\r":
			r.kind = whole
			return r
		case len(line) > room, !strings.HasSuffix(line, "\r"), !strictTrail.MatchString(strings.TrimSuffix(line, "\r")):
			return reading{}
		}
		rest, room = after, room-len(line)
	}
}

func TestTheStrictReaderTellsAnswersApart(t *testing.T) {
	f := func(method, raw string, want reading) {
		t.Helper()
		if got := readOneWay(method, raw); got != want {
			t.Errorf("%s %q: %+v, want %+v", method, raw, got, want)
		}
	}
	f("GET", answerByLength+evilAnswer, reading{whole, 200, "hello"})
	f("GET", answerByChunks+evilAnswer, reading{whole, 200, "hello"})
	f("HEAD", answerByLength, reading{whole, 200, ""})
	f("GET", "HTTP/1.1 103 E\r\nLink: \xff\r\n\r\n"+answerByLength, reading{whole, 200, "hello"})
	f("GET", "HTTP/1.1 200 OK\r\n\r\nhell\xff", reading{toClose, 200, "hell\xff"})
	f("GET", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", reading{cut, 200, "hello"})
	f("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", reading{cut, 200, "hello"})
	f("GET", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", reading{})
	f("GET", "HTTP/1.1 200 OK\r\nX: a\nb\r\n\r\n", reading{})
	f("GET", "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello", reading{})
	f("GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", reading{})
	f("GET", "HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\nhello", reading{})
	f("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", reading{refused, 200, ""})
}
