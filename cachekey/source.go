package cachekey

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

const (
	maxDecoded     = 64 << 20 // the most that a coded body is decoded to
	freeDecoded    = 1 << 20  // decoded whatever the ratio
	maxDecodeRatio = 200      // and beyond that, bytes out for each byte in
	maxZstdWindow  = 8 << 20  // as RFC 9659 has it
)

// errUndecodable says that a body is not what its Content-Encoding says, or
// decodes to more than the bounds allow. Its bytes are hashed as they came.
var errUndecodable = errors.New("cachekey: undecodable body")

// source is a body that can be read several times, decoded where coding is
// not empty.
type source struct {
	body   Body
	coding string // one of the known codings, or empty
}

// knownCoding gives the content coding that a line of Content-Encoding names,
// or "".
func knownCoding(line []byte) string {
	for _, c := range [...]string{"gzip", "zstd", "deflate"} {
		if bytes.EqualFold(line, []byte(c)) {
			return c
		}
	}
	return ""
}

// open gives the content from its first byte. Reading fails with
// errUndecodable where it cannot be decoded, and with another error only where
// the body itself cannot be read.
func (s source) open() (io.Reader, error) {
	var raw *bodyReader
	if s.body.File == nil {
		raw = &bodyReader{r: bytes.NewReader(s.body.Bytes), left: s.body.Size}
	} else {
		raw = &bodyReader{r: io.NewSectionReader(s.body.File, 0, s.body.Size), left: s.body.Size}
	}
	if s.coding == "" {
		return raw, nil
	}
	d := &decoder{raw: raw, buf: bufio.NewReader(raw)}
	d.left = min(maxDecoded, freeDecoded+maxDecodeRatio*s.body.Size)
	if err := d.start(s); err != nil {
		return nil, d.reason()
	}
	return d, nil
}

// inMemory gives the bytes of a body that needs no reading.
func (s source) inMemory() ([]byte, bool) {
	return s.body.Bytes, s.coding == "" && s.body.File == nil
}

// bodyReader reads a body and fails where it is shorter than it was said to
// be. It keeps the error, which a decoder may hide.
type bodyReader struct {
	r    io.Reader
	left int64
	err  error
}

func (b *bodyReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.left -= int64(n)
	if err == io.EOF && b.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

// decoder decodes a body. The body must be exactly one gzip member, zlib
// stream or zstd frame: of several, some programs read only the first, and what
// an upstream does not see must not be what tells two requests apart.
type decoder struct {
	raw  *bodyReader
	buf  *bufio.Reader // over raw; its ReadByte keeps inflate from reading too far
	out  io.Reader
	left int64 // bytes that may still come out
}

func (d *decoder) start(s source) (err error) {
	switch s.coding {
	case "gzip":
		z, err := gzip.NewReader(d.buf)
		if err != nil {
			return err
		}
		z.Multistream(false)
		d.out = z
	case "deflate":
		d.out, err = zlib.NewReader(d.buf)
	case "zstd":
		if err = oneZstdFrame(s); err != nil {
			return err
		}
		d.out, err = zstd.NewReader(d.buf, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxZstdWindow), zstd.WithDecoderMaxMemory(maxDecoded))
	}
	return err
}

func (d *decoder) Read(p []byte) (int, error) {
	n, err := d.out.Read(p)
	if d.left -= int64(n); d.left < 0 {
		return 0, d.reason()
	}
	switch {
	case err == io.EOF:
		if _, more := d.buf.ReadByte(); more != io.EOF {
			return n, d.reason()
		}
		return n, io.EOF
	case err != nil:
		return n, d.reason()
	}
	return n, nil
}

// reason is why decoding failed: the body could not be read, or else it is at
// fault itself.
func (d *decoder) reason() error {
	if d.raw.err != nil {
		return d.raw.err
	}
	return errUndecodable
}

// oneZstdFrame walks over the blocks of the first frame (RFC 8878, section
// 3.1.1) and fails unless the body ends where it does.
func oneZstdFrame(s source) error {
	r, err := source{body: s.body}.open()
	if err != nil {
		return err
	}
	b := bufio.NewReader(r)
	start, err := b.Peek(int(min(s.body.Size, zstd.HeaderMaxSize)))
	if err != nil {
		return err
	}
	var h zstd.Header
	if err := h.Decode(start); err != nil || h.Skippable {
		return errUndecodable
	}
	if _, err := b.Discard(h.HeaderSize); err != nil {
		return err
	}
	for last := false; !last; {
		var block [3]byte
		if _, err := io.ReadFull(b, block[:]); err != nil {
			return err
		}
		last = block[0]&1 == 1
		size := int(block[0])>>3 | int(block[1])<<5 | int(block[2])<<13
		if block[0]>>1&3 == 1 { // a run of one byte
			size = 1
		}
		if _, err := b.Discard(size); err != nil {
			return err
		}
	}
	if h.HasCheckSum {
		if _, err := b.Discard(4); err != nil {
			return err
		}
	}
	if _, err := b.ReadByte(); err != io.EOF {
		return errUndecodable
	}
	return nil
}
