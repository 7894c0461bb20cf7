package encoding

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// ErrUnknown is returned for a coding that this package cannot code.
var ErrUnknown = errors.New("unknown content coding")

// maxWindow bounds the memory that a zstd stream may ask of its decoder.
const maxWindow = 8 << 20

// Decodable says whether NewReader knows the coding.
func Decodable(coding string) bool {
	switch coding {
	case "gzip", "x-gzip", "zstd", "deflate":
		return true
	}
	return false
}

// gzipWriters are pooled by level, zstdWriters made once for each.
var (
	gzipWriters [10]sync.Pool
	zstdWriters sync.Map // zstd.EncoderLevel -> *zstd.Encoder, for EncodeAll
	gzipReaders sync.Pool
	zstdReaders sync.Pool
)

// Compress gives src in a coding: "gzip" with level 1 to 9, "zstd" with 1 to
// 22. It does not change src.
func Compress(coding string, level int, src []byte) ([]byte, error) {
	switch coding {
	case "gzip":
		return compressGzip(level, src)
	case "zstd":
		return compressZstd(level, src)
	}
	return nil, fmt.Errorf("%w: %q", ErrUnknown, coding)
}

func compressGzip(level int, src []byte) ([]byte, error) {
	if level < gzip.BestSpeed || level > gzip.BestCompression {
		return nil, fmt.Errorf("gzip level %d: must be 1 to 9", level)
	}
	out := bytes.NewBuffer(make([]byte, 0, len(src)/2+64))
	w, ok := gzipWriters[level].Get().(*gzip.Writer)
	if !ok {
		var err error
		if w, err = gzip.NewWriterLevel(out, level); err != nil {
			return nil, err
		}
	}
	w.Reset(out)
	_, err := w.Write(src)
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	w.Reset(io.Discard) // so that the pool does not hold what was written to
	gzipWriters[level].Put(w)
	return bytes.Clone(out.Bytes()), nil
}

func compressZstd(level int, src []byte) ([]byte, error) {
	if level < 1 || level > 22 {
		return nil, fmt.Errorf("zstd level %d: must be 1 to 22", level)
	}
	speed := zstd.EncoderLevelFromZstd(level)
	e, ok := zstdWriters.Load(speed)
	if !ok {
		made, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(speed), zstd.WithWindowSize(maxWindow), zstd.WithEncoderConcurrency(2))
		if err != nil {
			return nil, err
		}
		e, _ = zstdWriters.LoadOrStore(speed, made)
	}
	return bytes.Clone(e.(*zstd.Encoder).EncodeAll(src, make([]byte, 0, len(src)/2+64))), nil
}

// NewReader undoes a coding while reading from r. It hands on bytes as soon as
// what holds them has come, and a stream that is cut ends in
// io.ErrUnexpectedEOF. Close gives the decoder back; it does not close r.
func NewReader(coding string, r io.Reader) (io.ReadCloser, error) {
	switch coding {
	case "gzip", "x-gzip":
		return &gzipReader{src: r}, nil
	case "zstd":
		return newZstdReader(r)
	case "deflate":
		return &deflateReader{src: bufio.NewReader(r)}, nil
	}
	return nil, fmt.Errorf("%w: %q", ErrUnknown, coding)
}

// gzipReader reads the header of its stream with the first Read, not before:
// a stream may be opened before its first byte has come.
type gzipReader struct {
	src io.Reader
	z   *gzip.Reader
	err error
}

func (g *gzipReader) Read(p []byte) (int, error) {
	if g.z == nil && g.err == nil {
		g.start()
	}
	if g.err != nil {
		return 0, g.err
	}
	n, err := g.z.Read(p)
	g.err = err
	if n > 0 {
		err = nil
	}
	return n, err
}

func (g *gzipReader) start() {
	z, ok := gzipReaders.Get().(*gzip.Reader)
	if !ok {
		z = new(gzip.Reader)
	}
	if err := z.Reset(g.src); err != nil {
		if err == io.EOF { // an empty body is no gzip stream
			err = io.ErrUnexpectedEOF
		}
		g.err = err
		return
	}
	g.z = z
}

func (g *gzipReader) Close() error {
	if g.z != nil {
		gzipReaders.Put(g.z)
	}
	g.z, g.err = nil, io.ErrClosedPipe
	return nil
}

type zstdReader struct {
	z *zstd.Decoder
}

func newZstdReader(r io.Reader) (*zstdReader, error) {
	z, ok := zstdReaders.Get().(*zstd.Decoder)
	if ok {
		return &zstdReader{z}, z.Reset(r)
	}
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
	return &zstdReader{z}, err
}

func (z *zstdReader) Read(p []byte) (int, error) {
	if z.z == nil {
		return 0, io.ErrClosedPipe
	}
	return z.z.Read(p)
}

func (z *zstdReader) Close() error {
	if z.z == nil {
		return nil
	}
	err := z.z.Reset(nil)
	if err == nil {
		zstdReaders.Put(z.z)
	}
	z.z = nil
	return err
}

// deflateReader takes what servers send as deflate: zlib as it should be, or a
// bare deflate stream.
type deflateReader struct {
	src *bufio.Reader
	z   io.ReadCloser
	err error
}

func (d *deflateReader) Read(p []byte) (int, error) {
	if d.z == nil && d.err == nil {
		d.start()
	}
	if d.err != nil {
		return 0, d.err
	}
	return d.z.Read(p)
}

func (d *deflateReader) start() {
	head, err := d.src.Peek(2)
	switch {
	case err != nil:
		d.err = io.ErrUnexpectedEOF
	case head[0]&0x0f == 8 && (int(head[0])<<8|int(head[1]))%31 == 0:
		d.z, d.err = zlib.NewReader(d.src)
	default:
		d.z = flate.NewReader(d.src)
	}
}

func (d *deflateReader) Close() error {
	if d.z == nil {
		d.err = io.ErrClosedPipe
		return nil
	}
	err := d.z.Close()
	d.z, d.err = nil, io.ErrClosedPipe
	return err
}
