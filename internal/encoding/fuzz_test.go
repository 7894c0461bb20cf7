package encoding

import (
	"bytes"
	stdflate "compress/flate"
	stdgzip "compress/gzip"
	stdzlib "compress/zlib"
	"io"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
)

// reference decodes with another implementation, or another way of the same.
func reference(coding string, input []byte) (io.Reader, error) {
	switch coding {
	case "gzip":
		return stdgzip.NewReader(bytes.NewReader(input))
	case "deflate":
		if z, err := stdzlib.NewReader(bytes.NewReader(input)); err == nil {
			return z, nil
		}
		return stdflate.NewReader(bytes.NewReader(input)), nil
	}
	z, err := zstd.NewReader(bytes.NewBuffer(input), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	return z.IOReadCloser(), nil
}

// FuzzNewReader: what is decoded without an error is what others decode, in
// whatever pieces the input comes.
func FuzzNewReader(f *testing.F) {
	codings := []string{"gzip", "deflate", "zstd"}
	for maker := range makers {
		whole := encode(f, maker, jsonBody(300))
		for i, c := range codings {
			if c == codingOf(maker) {
				f.Add(uint8(i), whole)
				f.Add(uint8(i), whole[:len(whole)/2])
				f.Add(uint8(i), append(bytes.Clone(whole), whole...))
			}
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, input []byte) {
		const most = 1 << 20
		coding := codings[int(which)%len(codings)]
		read := func(r io.Reader) ([]byte, error) {
			d, err := NewReader(coding, r)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			return io.ReadAll(io.LimitReader(d, most))
		}
		got, err := read(bytes.NewReader(input))
		again, err2 := read(iotest.OneByteReader(bytes.NewReader(input)))
		if !bytes.Equal(got, again) || (err == nil) != (err2 == nil) {
			t.Errorf("%s: %d bytes, %v; byte by byte %d bytes, %v", coding, len(got), err, len(again), err2)
		}
		if err != nil {
			return
		}
		if len(input) == 0 {
			t.Errorf("%s: an empty input is a clean end", coding)
		}
		r, err := reference(coding, input)
		if err != nil {
			t.Fatalf("%s: only ours decodes it: %v", coding, err)
		}
		want, err := io.ReadAll(io.LimitReader(r, most))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, the reference gives %d, %v", coding, len(got), len(want), err)
		}
	})
}

// FuzzCompress: what is compressed comes back, whole or with an error.
func FuzzCompress(f *testing.F) {
	f.Add(uint8(0), uint8(6), uint16(0), []byte("some body"))
	f.Add(uint8(1), uint8(3), uint16(9), jsonBody(500))
	f.Fuzz(func(t *testing.T, which, level uint8, cut uint16, body []byte) {
		coding, level2 := []string{"gzip", "zstd"}[which%2], 1+int(level%9)
		small, err := Compress(coding, level2, body)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeFrom(coding, bytes.NewReader(small)); err != nil || !bytes.Equal(got, body) {
			t.Errorf("%s %d: %d bytes of %d, %v", coding, level2, len(got), len(body), err)
		}
		n := int(cut) % len(small)
		if got, err := decodeFrom(coding, bytes.NewReader(small[:n])); err != io.ErrUnexpectedEOF || !bytes.HasPrefix(body, got) {
			t.Errorf("%s %d: cut at %d of %d: %d bytes, %v", coding, level2, n, len(small), len(got), err)
		}
	})
}
