package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// warmRequest is one request of a file.
type warmRequest struct {
	line   int // where it begins
	method string
	url    *url.URL // of its own host, or a path alone
	header http.Header
	body   *warmBody // nil: none
}

// hostname is the host that the request names, and its port; empty for none.
func (r *warmRequest) hostname() (host, port string) { return r.url.Hostname(), r.url.Port() }

// locate reads where a request goes. A user in it becomes a header, as curl has
// it.
func (r *warmRequest) locate(raw string) error {
	if !strings.HasPrefix(raw, "/") && !strings.Contains(raw, "://") {
		raw = "http://" + raw
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return errors.New("its URL cannot be read") // it may hold a credential
	case strings.HasPrefix(raw, "//"), u.Host == "" && u.Path == "":
		return errors.New("it names no URL; write /path, or http://HOST/path")
	case u.Host != "" && u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("its URL has the scheme %q; there are http and https", u.Scheme)
	}
	if u.User != nil {
		password, _ := u.User.Password()
		if r.header.Get("Authorization") == "" {
			r.header.Set("Authorization", basic(u.User.Username(), password))
		}
		u.User = nil
	}
	u.Fragment, r.url = "", u
	return nil
}

// warmReader reads requests one after another, with one of them in memory. The
// bodies that files hold are not read.
type warmReader struct {
	in   *bufio.Reader
	dir  string // that paths are relative to
	env  []string
	line int   // of the last one read
	read int64 // bytes of the lines so far
}

// maxWarmRequest bounds the text of one request, in bytes.
const maxWarmRequest = 16 << 20

func newWarmReader(in io.Reader, dir string, env []string) *warmReader {
	return &warmReader{in: bufio.NewReaderSize(in, 4<<10), dir: dir, env: env}
}

// next gives the next request, io.EOF at the end, a *lineError for one that
// cannot be understood, after which there may be more, or an error of reading.
func (w *warmReader) next() (*warmRequest, error) {
	for {
		text, err := w.readLine()
		if err != nil && (text == "" || !errors.Is(err, io.EOF)) {
			return nil, err
		}
		r := &warmRequest{line: w.line, header: http.Header{}}
		switch trimmed := strings.TrimSpace(text); {
		case trimmed == "", strings.HasPrefix(trimmed, "#"):
			continue
		case trimmed[0] == '{':
			err = w.readJSON(r, trimmed)
		case trimmed == "curl", strings.HasPrefix(trimmed, "curl "), strings.HasPrefix(trimmed, "curl\t"), strings.HasPrefix(trimmed, `curl\`):
			err = w.readCurl(r, text)
		default:
			err = errors.New("neither a JSON object nor a curl command begins here")
		}
		if err != nil {
			return nil, &lineError{r.line, err.Error()}
		}
		return r, nil
	}
}

var errLongRequest = fmt.Errorf("a request of more than %d MiB; name its body as a file", maxWarmRequest>>20)

// readLine reads a line with its end. One that is too long is passed over.
func (w *warmReader) readLine() (string, error) {
	w.line++
	var line []byte
	for {
		part, err := w.in.ReadSlice('\n')
		w.read += int64(len(part))
		if len(line)+len(part) <= maxWarmRequest {
			line = append(line, part...)
		} else {
			line = append(line[:0], make([]byte, maxWarmRequest+1)...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case len(line) > maxWarmRequest:
			return "", &lineError{w.line, errLongRequest.Error()}
		}
		return string(line), err
	}
}

// path gives the path of a file that a request names.
func (w *warmReader) path(name string) (string, error) {
	if name == "" || name == "-" {
		return "", errors.New("a file without a name")
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(w.dir, name)
	}
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is no file", name)
	}
	return name, nil
}

// warmBody is a request's body: pieces, of which some are files that are read
// when it is sent.
type warmBody struct{ pieces []bodyPiece }

// bodyPiece is a text, or a file.
type bodyPiece struct {
	text, file string
	unbroken   bool // without its line ends, as curl reads what a form is to hold
}

func (b *warmBody) add(text string) { b.pieces = append(b.pieces, bodyPiece{text: text}) }

// length is that of the whole; -1 when it is not known.
func (b *warmBody) length() (int64, error) {
	n := int64(0)
	for _, p := range b.pieces {
		if p.file == "" {
			n += int64(len(p.text))
			continue
		}
		info, err := os.Stat(p.file)
		if err != nil {
			return 0, err
		}
		if n += info.Size(); p.unbroken {
			return -1, nil
		}
	}
	return n, nil
}

// reader reads the pieces one after another, with one file open at a time.
func (b *warmBody) reader() io.ReadCloser { return &bodyReader{rest: b.pieces} }

type bodyReader struct {
	rest []bodyPiece
	now  io.Reader
	file *os.File
}

func (r *bodyReader) Read(p []byte) (int, error) {
	for {
		if r.now == nil {
			if len(r.rest) == 0 {
				return 0, io.EOF
			}
			if err := r.open(r.rest[0]); err != nil {
				return 0, err
			}
			r.rest = r.rest[1:]
		}
		n, err := r.now.Read(p)
		if errors.Is(err, io.EOF) {
			r.now, err = nil, r.Close()
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (r *bodyReader) open(p bodyPiece) (err error) {
	if p.file == "" {
		r.now = strings.NewReader(p.text)
		return nil
	}
	if r.file, err = os.Open(p.file); err != nil {
		return err
	}
	r.now = r.file
	if p.unbroken {
		r.now = &withoutLineEnds{r.file}
	}
	return nil
}

// Close closes the file that is open.
func (r *bodyReader) Close() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}

// withoutLineEnds drops carriage returns, line feeds and zero bytes.
type withoutLineEnds struct{ r io.Reader }

func (w *withoutLineEnds) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	kept := p[:0]
	for _, c := range p[:n] {
		if c != '\r' && c != '\n' && c != 0 {
			kept = append(kept, c)
		}
	}
	return len(kept), err
}
