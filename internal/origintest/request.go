package origintest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const maxHead = 4 << 20 // bytes; a head beyond this is a fault

// Field is one header field line as it came, its value without outer blanks.
type Field struct{ Name, Value string }

// Request is one request as it came in. It is never changed once recorded.
type Request struct {
	Call   int    // 1 for the origin's first request
	Head   []byte // every byte up to and with the empty line
	Framed []byte // every byte of the body as it was framed, trailers included
	Body   []byte // the body without its framing

	Method, Target, Proto string
	Path, Query           string // the target at its first "?"
	Fields                []Field
	Trailers              []Field

	// Fault says what is not well-formed about the request, strictly read;
	// empty when nothing is. Such a request is answered 400 by the origin
	// itself, and the connection is closed.
	Fault string
}

// Values gives the values of a header field, by case-insensitive name.
func (r *Request) Values(name string) []string {
	var vs []string
	for _, f := range r.Fields {
		if strings.EqualFold(f.Name, name) {
			vs = append(vs, f.Value)
		}
	}
	return vs
}

// Value gives the first value of a header field, or "".
func (r *Request) Value(name string) string {
	if vs := r.Values(name); len(vs) > 0 {
		return vs[0]
	}
	return ""
}

func (r *Request) wantsClose() bool {
	return r.Proto == "HTTP/1.0" || strings.EqualFold(r.Value("Connection"), "close")
}

// fault notes the first thing that is wrong.
func (r *Request) fault(format string, args ...any) {
	if r.Fault == "" {
		r.Fault = fmt.Sprintf(format, args...)
	}
}

// readRequest reads one request to its end; nil when no byte of one came.
// A request that expects 100-continue is given it by way of w.
func readRequest(br *bufio.Reader, w io.Writer) *Request {
	r := &Request{}
	lines, err := readLines(br, &r.Head)
	if len(r.Head) == 0 {
		return nil
	}
	if err != nil {
		r.fault("head: %v", err)
	}
	if len(lines) == 0 {
		r.fault("no request line")
		return r
	}
	r.parseLine(lines[0])
	r.Fields = r.parseFields(lines[1:])
	length, chunked := r.framing()
	if r.Fault != "" {
		return r
	}
	if strings.EqualFold(r.Value("Expect"), "100-continue") {
		_, _ = io.WriteString(w, "HTTP/1.1 100 Continue\r\n\r\n") // a failure shows when the body is read
	}
	if chunked {
		err = r.readChunks(br)
	} else {
		var body bytes.Buffer
		_, err = io.CopyN(&body, br, length)
		r.Body = body.Bytes()
		r.Framed = r.Body
	}
	if err != nil {
		r.fault("body: %v", err)
	}
	return r
}

// readLines reads lines up to an empty one, keeping every byte in raw.
func readLines(br *bufio.Reader, raw *[]byte) (lines []string, err error) {
	for {
		line, err := br.ReadSlice('\n')
		*raw = append(*raw, line...)
		start := 0
		for errors.Is(err, bufio.ErrBufferFull) {
			start += len(line)
			if len(*raw) > maxHead {
				return lines, errors.New("too large")
			}
			line, err = br.ReadSlice('\n')
			*raw = append(*raw, line...)
		}
		if err != nil {
			return lines, fmt.Errorf("cut: %w", err)
		}
		whole := (*raw)[len(*raw)-start-len(line):]
		text, ok := bytes.CutSuffix(whole, []byte("\r\n"))
		if !ok {
			return append(lines, string(whole)), errors.New("bare LF")
		}
		if len(text) == 0 {
			return lines, nil
		}
		lines = append(lines, string(text))
	}
}

func (r *Request) parseLine(line string) {
	parts := strings.Split(line, " ")
	if len(parts) != 3 || parts[1] == "" {
		r.fault("request line %q", line)
		return
	}
	r.Method, r.Target, r.Proto = parts[0], parts[1], parts[2]
	r.Path, r.Query, _ = strings.Cut(r.Target, "?")
	if !isToken(r.Method) {
		r.fault("method %q", r.Method)
	}
	if r.Proto != "HTTP/1.1" && r.Proto != "HTTP/1.0" {
		r.fault("protocol %q", r.Proto)
	}
	if strings.ContainsFunc(r.Target, func(c rune) bool { return c <= ' ' || c == 0x7f || c == '#' }) {
		r.fault("target %q", r.Target)
	}
}

func (r *Request) parseFields(lines []string) []Field {
	fields := make([]Field, 0, len(lines))
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		if !ok || !isToken(name) {
			r.fault("field line %q", line)
		}
		value = strings.Trim(value, " \t")
		if strings.ContainsFunc(value, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
			r.fault("control byte in field line %q", line)
		}
		fields = append(fields, Field{name, value})
	}
	return fields
}

// framing reads the fields that say where the body ends, with no tolerance.
func (r *Request) framing() (length int64, chunked bool) {
	if hosts := r.Values("Host"); len(hosts) != 1 {
		r.fault("%d Host fields", len(hosts))
	}
	lengths, codings := r.Values("Content-Length"), r.Values("Transfer-Encoding")
	switch {
	case len(lengths)+len(codings) > 1:
		r.fault("Content-Length %q beside Transfer-Encoding %q", lengths, codings)
	case len(codings) == 1:
		if codings[0] != "chunked" {
			r.fault("Transfer-Encoding %q", codings[0])
		}
		return 0, true
	case len(lengths) == 1:
		n, err := strconv.ParseInt(lengths[0], 10, 32)
		if err != nil || strconv.FormatInt(n, 10) != lengths[0] || n < 0 {
			r.fault("Content-Length %q", lengths[0])
		}
		return n, false
	}
	return 0, false
}

// readChunks reads a chunked body and its trailers, keeping every byte.
func (r *Request) readChunks(br *bufio.Reader) error {
	for {
		line, err := br.ReadString('\n')
		r.Framed = append(r.Framed, line...)
		if err != nil {
			return fmt.Errorf("cut in a chunk size: %w", err)
		}
		digits, _, _ := strings.Cut(strings.TrimSuffix(line, "\r\n"), ";")
		size, err := strconv.ParseUint(digits, 16, 31)
		if err != nil || strings.Trim(digits, "0123456789abcdefABCDEF") != "" || !strings.HasSuffix(line, "\r\n") {
			return fmt.Errorf("chunk size line %q", line)
		}
		if size == 0 {
			lines, err := readLines(br, &r.Framed)
			r.Trailers = r.parseFields(lines)
			return err
		}
		data := make([]byte, size+2)
		n, err := io.ReadFull(br, data)
		r.Framed = append(r.Framed, data[:n]...)
		r.Body = append(r.Body, data[:min(uint64(n), size)]...)
		if err != nil {
			return fmt.Errorf("cut in a chunk: %w", err)
		}
		if string(data[size:]) != "\r\n" {
			return fmt.Errorf("chunk of %d bytes ends in %q", size, data[size:])
		}
	}
}

// isToken says whether s is a token of RFC 9110, section 5.6.2.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		alnum := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		return !alnum && (c >= 0x7f || !strings.ContainsRune("!#$%&'*+-.^_`|~", c))
	})
}
