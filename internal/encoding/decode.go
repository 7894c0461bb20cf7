package encoding

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// zstdWindow is the largest window of the zstd content coding, in bytes
// (RFC 9659, section 3); decoders refuse larger ones, which bounds their memory.
const zstdWindow = 8 << 20

// errTrailing is for bytes behind the end of a coding that has one end only.
var errTrailing = errors.New("data behind the end of the body")

// Decoders wait in these pools. The garbage collector empties them.
var (
	gzipReaders    = sync.Pool{New: func() any { return &gzipDecoder{input: newInput()} }}
	deflateReaders = sync.Pool{New: func() any { return &deflateDecoder{input: newInput()} }}
	zstdReaders    = sync.Pool{New: func() any { return &zstdDecoder{input: newInput()} }}
)

// Decodable says whether NewReader knows the coding.
func Decodable(coding string) bool { return decoders(coding) != nil }

func decoders(coding string) *sync.Pool {
	switch c := plain(coding); {
	case strings.EqualFold(c, "gzip"):
		return &gzipReaders
	case strings.EqualFold(c, "deflate"):
		return &deflateReaders
	case strings.EqualFold(c, "zstd"):
		return &zstdReaders
	}
	return nil
}

// decoder undoes one coding for one body after the other.
type decoder interface {
	io.Reader
	begin(r io.Reader) // forgets all of the body before; nil lets go of its source
}

// NewReader undoes a coding while its input comes in: what has come is handed
// on without waiting for more. The error is ErrUnknown or nil: nothing is read
// from r before the first Read. Input that ends too early, an empty one
// included, is io.ErrUnexpectedEOF, and an error of r is given as it is, after
// the bytes that came before it.
//
// The reader is for one goroutine. Close lets go of r without closing it, and
// may be called more than once.
func NewReader(coding string, r io.Reader) (io.ReadCloser, error) {
	pool := decoders(coding)
	if pool == nil {
		return nil, fmt.Errorf("%w %q", ErrUnknown, coding)
	}
	d := pool.Get().(decoder)
	d.begin(r)
	return &reader{decoder: d, pool: pool}, nil
}

// reader lends a decoder from its pool until Close.
type reader struct {
	decoder decoder // nil once closed
	pool    *sync.Pool
	err     error // what ended the body
}

func (r *reader) Read(p []byte) (n int, err error) {
	if r.decoder == nil {
		return 0, os.ErrClosed
	}
	for n == 0 && r.err == nil && len(p) > 0 {
		n, r.err = r.decoder.Read(p)
	}
	return n, r.err
}

func (r *reader) Close() error {
	if r.decoder != nil {
		r.decoder.begin(nil)
		r.pool.Put(r.decoder)
		r.decoder = nil
	}
	return nil
}

// input reads ahead no more than its source has at once, and remembers how the
// source ended.
type input struct {
	*bufio.Reader
	source io.Reader
	cut    error // why the source ended, when that was not its end
}

func newInput() *input {
	in := &input{}
	in.Reader = bufio.NewReaderSize(in.from(nil), 8<<10)
	return in
}

// from is what the buffer reads.
func (in *input) from(r io.Reader) io.Reader {
	in.source, in.cut = r, nil
	return (*inputSource)(in)
}

func (in *input) reset(r io.Reader) { in.Reader.Reset(in.from(r)) }

// more says whether there is another byte; without, why not.
func (in *input) more() error {
	_, err := in.Peek(1)
	return err
}

type inputSource input

func (in *inputSource) Read(p []byte) (n int, err error) {
	n, err = in.source.Read(p)
	if err != io.EOF {
		in.cut = err
	}
	return n, err
}

// noEOF makes an end that comes too early an error.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// gzipDecoder reads member by member, so that the end of one is handed on
// without waiting for the next (RFC 1952, section 2.2).
type gzipDecoder struct {
	*input
	member  gzip.Reader
	in      bool // a member has begun
	members int
}

func (d *gzipDecoder) begin(r io.Reader) {
	d.reset(r)
	d.in, d.members = false, 0
}

func (d *gzipDecoder) Read(p []byte) (int, error) {
	if !d.in {
		if err := d.more(); err != nil && d.members > 0 {
			return 0, err
		}
		if err := d.member.Reset(d.input.Reader); err != nil {
			return 0, noEOF(err)
		}
		d.member.Multistream(false)
		d.in = true
		d.members++
	}
	n, err := io.Reader(&d.member).Read(p)
	if err == io.EOF {
		d.in, err = false, nil
	}
	return n, err
}

// deflateDecoder takes what servers send as deflate: zlib data, as RFC 9110
// has it, or bare deflate data.
type deflateDecoder struct {
	*input
	zlib, bare io.ReadCloser
	body       io.Reader // one of them; nil before the first byte
	ended      bool
}

func (d *deflateDecoder) begin(r io.Reader) {
	d.reset(r)
	d.body, d.ended = nil, false
}

func (d *deflateDecoder) Read(p []byte) (int, error) {
	if d.ended {
		err := d.more()
		if err == nil {
			err = errTrailing
		}
		return 0, err
	}
	if d.body == nil {
		if err := d.choose(); err != nil {
			return 0, noEOF(err)
		}
	}
	n, err := d.body.Read(p)
	if err == io.EOF {
		d.ended, err = true, nil
	}
	return n, err
}

// choose looks at the first two bytes. The test that zlib's own header makes
// (RFC 1950, section 2.2) does not hold for what compressors send bare: there
// the bits would be a stored block with padding that is not zero.
func (d *deflateDecoder) choose() (err error) {
	h, err := d.Peek(2)
	if err != nil {
		return err
	}
	if h[0]&0x0f != 8 || h[0]>>4 > 7 || (int(h[0])<<8|int(h[1]))%31 != 0 {
		d.bare, err = resetFlate(d.bare, d.input.Reader)
		d.body = d.bare
		return err
	}
	d.zlib, err = resetZlib(d.zlib, d.input.Reader)
	d.body = d.zlib
	return err
}

func resetFlate(d io.ReadCloser, r io.Reader) (io.ReadCloser, error) {
	if d == nil {
		return flate.NewReader(r), nil
	}
	return d, d.(flate.Resetter).Reset(r, nil)
}

func resetZlib(d io.ReadCloser, r io.Reader) (io.ReadCloser, error) {
	if d == nil {
		return zlib.NewReader(r)
	}
	return d, d.(zlib.Resetter).Reset(r, nil)
}

// zstdDecoder works on the goroutine that reads.
type zstdDecoder struct {
	*input
	frames *zstd.Decoder
	begun  bool
}

func (d *zstdDecoder) begin(r io.Reader) {
	if r == nil && d.frames != nil {
		_ = d.frames.Reset(nil) // only a closed one fails
	}
	d.reset(r)
	d.begun = false
}

func (d *zstdDecoder) Read(p []byte) (int, error) {
	if !d.begun {
		if err := d.start(); err != nil {
			return 0, noEOF(err)
		}
	}
	n, err := io.Reader(d.frames).Read(p)
	if err == io.EOF && d.input.cut != nil {
		err = d.input.cut // between frames the decoder takes a cut for an end
	}
	return n, err
}

func (d *zstdDecoder) start() (err error) {
	if err := d.more(); err != nil {
		return err
	}
	if d.frames == nil {
		d.frames, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(zstdWindow), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return err
		}
	}
	d.begun = true
	return d.frames.Reset(d.input.Reader)
}
