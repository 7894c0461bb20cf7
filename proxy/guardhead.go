package proxy

import "bytes"

// statusLine reads "HTTP/1.1 200 OK". The reason may be missing, and so may the
// blank before it, which many upstreams leave out: nobody reads a reason.
func (f *framing) statusLine(line []byte) error {
	const version = len("HTTP/1.1 ")
	if len(line) < version+3 || string(line[:7]) != "HTTP/1." || line[8] != ' ' || line[7] != '0' && line[7] != '1' {
		return badAnswer("the status line is not that of HTTP/1.1 or HTTP/1.0")
	}
	digits, reason := line[version:version+3], line[version+3:]
	f.status = 0
	for _, d := range digits {
		if d < '0' || d > '9' {
			return badAnswer("the status is not a number of three digits")
		}
		f.status = f.status*10 + int(d-'0')
	}
	if f.status < 100 || len(reason) > 0 && reason[0] != ' ' {
		return badAnswer("the status is not a number of three digits")
	}
	if hasControl(reason) {
		return badAnswer("the status line holds a control character")
	}
	f.old = line[7] == '0'
	return nil
}

// fieldLine checks a field and notes it if it frames the body.
func (f *framing) fieldLine(line []byte) error {
	name, value, err := splitField(line)
	switch {
	case err != nil:
		return err
	case len(name) == len("Content-Length") && bytes.EqualFold(name, []byte("Content-Length")):
		value = trimOWS(value)
		if f.lengths++; f.lengths > 1 || !validLength(value) {
			return badAnswer("Content-Length must be one plain decimal number")
		}
		f.length = 0
		for _, d := range value {
			f.length = f.length*10 + int64(d-'0')
		}
	case len(name) == len("Transfer-Encoding") && bytes.EqualFold(name, []byte("Transfer-Encoding")):
		if f.codings++; f.codings > 1 || !bytes.EqualFold(trimOWS(value), []byte("chunked")) {
			return badAnswer("the only Transfer-Encoding understood is \"chunked\"")
		}
	}
	return nil
}

// headEnd is at the empty line. A length of 0 where there can be no body is
// forbidden, but common, and nobody can read it in two ways.
func (f *framing) headEnd() error {
	chunked := f.codings > 0
	bodiless := f.status < 200 || f.status == 204
	switch {
	case chunked && f.lengths > 0:
		return badAnswer("Content-Length and Transfer-Encoding exclude each other")
	case chunked && f.old:
		return badAnswer("HTTP/1.0 has no Transfer-Encoding")
	case bodiless && (chunked || f.length > 0):
		return badAnswer("a body is announced where there can be none")
	case f.status == 101:
		return badAnswer("nobody asked for another protocol")
	case f.status < 200:
		f.begin(f.head)
	case bodiless, f.head, f.status == 304:
		f.step = stepEnded
	case chunked:
		f.nextChunk()
	case f.lengths == 0:
		f.step = stepToClose
	case f.length == 0:
		f.step = stepEnded
	default:
		f.step, f.left = stepSized, f.length
	}
	return nil
}

// splitField takes "Name: value" apart.
func splitField(line []byte) (name, value []byte, err error) {
	if line[0] == ' ' || line[0] == '\t' {
		return nil, nil, badAnswer("a header line is folded")
	}
	i := 0
	for i < len(line) && tokenTable[line[i]] != 0 {
		i++
	}
	if i == 0 || i == len(line) || line[i] != ':' {
		return nil, nil, badAnswer("a header line has no proper name")
	}
	name, value = line[:i], line[i+1:]
	if hasControl(value) {
		return nil, nil, badAnswer("a header value holds a control character")
	}
	return name, value, nil
}

// hasControl looks for control characters other than tab.
func hasControl(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return true
		}
	}
	return false
}
