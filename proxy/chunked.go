package proxy

import (
	"bufio"
	"errors"
	"io"
	"math"

	"github.com/valyala/fasthttp"
)

// fasthttp reads chunked bodies leniently (control characters and megabytes in
// a chunk extension, white space behind a size) and shows nobody the chunk
// lines. So before it reads the body of a chunked request, onHeader tells it
// that the body has a fixed and endless length. What the handler then reads
// are the bytes as they came, which chunkReader takes apart strictly. fasthttp
// finds an unread rest and closes the connection after the answer.

// endless is the length that stands for a chunked body.
const endless = math.MaxInt

// onHeader is the server's HeaderReceived hook.
func onHeader(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	if h.ContentLength() == -1 {
		h.SetContentLength(endless)
		return fasthttp.RequestConfig{MaxRequestBodySize: 1} // all that is read ahead: every chunked body has one byte
	}
	return fasthttp.RequestConfig{}
}

var errChunk = errors.New("the chunked request body is malformed")

const (
	maxChunkLine = 256     // bytes of a chunk size with its extension
	maxTrailers  = 8 << 10 // bytes of all trailer fields, which are dropped
)

// chunkReader decodes a chunked body (RFC 9112, section 7.1): hex digits
// without sign or prefix, extensions of visible characters, CRLF and nothing
// else at line ends.
type chunkReader struct {
	r    *bufio.Reader
	left int64 // of the present chunk
	err  error
}

func newChunkReader(r io.Reader) *chunkReader {
	return &chunkReader{r: bufio.NewReaderSize(r, 4<<10)}
}

func (c *chunkReader) Read(p []byte) (int, error) {
	if c.err == nil && c.left == 0 {
		c.left, c.err = c.chunkSize()
		if c.err == nil && c.left == 0 {
			c.err = c.trailers()
		}
	}
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	if err == nil && c.left == 0 {
		err = c.lineEnd()
	}
	c.err = cutIsUnexpected(err)
	return n, c.err
}

// chunkSize reads a chunk's first line.
func (c *chunkReader) chunkSize() (int64, error) {
	line, err := c.line(maxChunkLine)
	if err != nil {
		return 0, err
	}
	size, i := int64(0), 0
	for ; i < len(line); i++ {
		d := hexDigit(line[i])
		if d < 0 {
			break
		}
		if i >= 15 {
			return 0, errChunk
		}
		size = size<<4 | int64(d)
	}
	if i == 0 || i < len(line) && line[i] != ';' {
		return 0, errChunk
	}
	return size, nil
}

// line reads up to CRLF. Nothing in it may be a control character but tab.
func (c *chunkReader) line(limit int) ([]byte, error) {
	var line []byte
	for {
		b, err := c.r.ReadByte()
		switch {
		case err != nil:
			return nil, cutIsUnexpected(err)
		case b == '\r':
			if b, err = c.r.ReadByte(); err == nil && b != '\n' {
				err = errChunk
			}
			return line, cutIsUnexpected(err)
		case b < ' ' && b != '\t' || b == 0x7f || len(line) == limit:
			return nil, errChunk
		}
		line = append(line, b)
	}
}

// lineEnd reads the CRLF behind a chunk's bytes.
func (c *chunkReader) lineEnd() error {
	line, err := c.line(1)
	if err == nil && len(line) > 0 {
		err = errChunk
	}
	return err
}

// trailers reads and drops the trailer fields: none of them may change what
// the head said, and nobody upstream asked for them.
func (c *chunkReader) trailers() error {
	for left := maxTrailers; ; {
		line, err := c.line(left)
		if err != nil {
			return err
		}
		if len(line) == 0 {
			return io.EOF
		}
		if r := scanField(line, &head{}); r != nil {
			return errChunk
		}
		left = max(0, left-len(line))
	}
}

func hexDigit(b byte) int {
	switch {
	case b >= '0' && b <= '9':
		return int(b - '0')
	case b >= 'a' && b <= 'f':
		return int(b-'a') + 10
	case b >= 'A' && b <= 'F':
		return int(b-'A') + 10
	}
	return -1
}

func cutIsUnexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
