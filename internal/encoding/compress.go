package encoding

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// ErrUnknown is for a coding that this package cannot make or undo.
var ErrUnknown = errors.New("unknown content coding")

// Coders wait in these pools, by level. The garbage collector empties them.
var (
	gzipWriters [gzip.BestCompression + 1]sync.Pool               // of *gzipWriter
	zstdWriters [zstd.SpeedBestCompression + 1]sync.Pool          // of *zstd.Encoder
	zstdResults = sync.Pool{New: func() any { return &[]byte{} }} // room for results whose size is not known
)

// roomLimit is the most bytes of room that a pool keeps for the next body.
const roomLimit = 1 << 20

// gzipWriter is a coder with the room it writes into.
type gzipWriter struct {
	*gzip.Writer
	room bytes.Buffer
}

// Compress gives src in a coding: gzip with level 1 to 9, or zstd with level 1
// to 22 as the zstd command counts them. The result has exactly the size it
// needs. It is safe for concurrent use.
func Compress(coding string, level int, src []byte) ([]byte, error) {
	switch c := plain(coding); {
	case strings.EqualFold(c, "gzip"):
		return compressGzip(level, src)
	case strings.EqualFold(c, "zstd"):
		return compressZstd(level, src)
	}
	return nil, fmt.Errorf("%w %q", ErrUnknown, coding)
}

func compressGzip(level int, src []byte) ([]byte, error) {
	w, err := getGzip(level)
	if err != nil {
		return nil, err
	}
	w.room.Reset()
	w.Reset(&w.room)
	if _, err := w.Write(src); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	result := exactly(w.room.Bytes())
	if w.room.Cap() <= roomLimit {
		gzipWriters[level].Put(w)
	}
	return result, nil
}

func getGzip(level int) (*gzipWriter, error) {
	if level < gzip.BestSpeed || level > gzip.BestCompression {
		return nil, fmt.Errorf("gzip level %d is not in 1 to 9", level)
	}
	w, _ := gzipWriters[level].Get().(*gzipWriter)
	if w == nil {
		w = &gzipWriter{}
		var err error
		if w.Writer, err = gzip.NewWriterLevel(nil, level); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func compressZstd(level int, src []byte) ([]byte, error) {
	w, speed, err := getZstd(level)
	if err != nil {
		return nil, err
	}
	room := zstdResults.Get().(*[]byte)
	*room = w.EncodeAll(src, (*room)[:0])
	zstdWriters[speed].Put(w)
	result := exactly(*room)
	if cap(*room) <= roomLimit {
		zstdResults.Put(room)
	}
	return result, nil
}

func getZstd(level int) (w *zstd.Encoder, speed zstd.EncoderLevel, err error) {
	if level < 1 || level > 22 {
		return nil, 0, fmt.Errorf("zstd level %d is not in 1 to 22", level)
	}
	speed = zstd.EncoderLevelFromZstd(level)
	if w, _ = zstdWriters[speed].Get().(*zstd.Encoder); w == nil {
		w, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(speed), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(zstdWindow))
	}
	return w, speed, err
}

// CompressTo writes src to dst in a coding, as Compress makes it, in memory that
// does not grow with src. An error of either is given as it is.
func CompressTo(dst io.Writer, coding string, level int, src io.Reader) error {
	switch c := plain(coding); {
	case strings.EqualFold(c, "gzip"):
		return gzipTo(dst, level, src)
	case strings.EqualFold(c, "zstd"):
		return zstdTo(dst, level, src)
	}
	return fmt.Errorf("%w %q", ErrUnknown, coding)
}

func gzipTo(dst io.Writer, level int, src io.Reader) error {
	w, err := getGzip(level)
	if err != nil {
		return err
	}
	defer gzipWriters[level].Put(w)
	w.Reset(dst)
	defer w.Reset(nil)
	if _, err := io.Copy(w.Writer, src); err != nil {
		return err
	}
	return w.Close()
}

func zstdTo(dst io.Writer, level int, src io.Reader) error {
	w, speed, err := getZstd(level)
	if err != nil {
		return err
	}
	defer zstdWriters[speed].Put(w)
	w.Reset(dst)
	defer w.Reset(nil)
	if _, err := io.Copy(w, src); err != nil {
		return err
	}
	return w.Close()
}

// exactly is a copy without spare room: it may be kept for long.
func exactly(b []byte) []byte {
	c := make([]byte, len(b))
	copy(c, b)
	return c
}
