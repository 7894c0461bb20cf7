package encoding

import (
	"bytes"
	stdflate "compress/flate"
	stdgzip "compress/gzip"
	stdzlib "compress/zlib"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
)

// flusher is a streaming compressor.
type flusher interface {
	io.WriteCloser
	Flush() error
}

// makers are compressors of others, by name; the coding is the name's first
// word.
var makers = map[string]func(io.Writer) flusher{
	"gzip": func(w io.Writer) flusher { return stdgzip.NewWriter(w) },
	"gzip with a header": func(w io.Writer) flusher {
		z := stdgzip.NewWriter(w)
		z.Name, z.Comment, z.Extra = "name", "comment", []byte("extra")
		return z
	},
	"deflate zlib":   func(w io.Writer) flusher { return stdzlib.NewWriter(w) },
	"deflate bare":   func(w io.Writer) flusher { z, _ := stdflate.NewWriter(w, 6); return z },
	"deflate stored": func(w io.Writer) flusher { z, _ := stdflate.NewWriter(w, 0); return z },
	"zstd": func(w io.Writer) flusher {
		z, _ := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
		return z
	},
	"zstd without checksum": func(w io.Writer) flusher {
		z, _ := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
		return z
	},
}

func codingOf(maker string) string {
	coding, _, _ := strings.Cut(maker, " ")
	return coding
}

func encode(t testing.TB, maker string, body []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := makers[maker](&b)
	if _, err := w.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func decodeFrom(coding string, r io.Reader) ([]byte, error) {
	d, err := NewReader(coding, r)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return io.ReadAll(d)
}

// jsonBody is n bytes of the kind that the cache holds.
func jsonBody(n int) []byte {
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, `{"id":"chatcmpl-%x","object":"chat.completion.chunk","index":%d,"delta":{"content":"word %d"}},`, rng.Uint64(), rng.IntN(9), rng.IntN(5000))
	}
	return b.Bytes()[:n]
}

func TestCompressAndNewReaderAreInverse(t *testing.T) {
	for _, size := range []int{0, 1, 100, 5000, 200_000, 9 << 20} {
		body := jsonBody(size)
		for coding, levels := range map[string][]int{"gzip": {1, 6, 9}, "zstd": {1, 3, 6, 11, 22}, "X-GZIP": {6}} {
			for _, level := range levels {
				if size > 1<<20 && level > 6 {
					continue
				}
				small, err := Compress(coding, level, body)
				if err != nil || len(small) != cap(small) {
					t.Fatalf("%s %d: %d bytes in room for %d, %v", coding, level, len(small), cap(small), err)
				}
				if got, err := decodeFrom(coding, bytes.NewReader(small)); err != nil || !bytes.Equal(got, body) {
					t.Errorf("%s %d: %d bytes of %d, %v", coding, level, len(got), size, err)
				}
			}
		}
	}
}

func TestOthersReadWhatWeCompress(t *testing.T) {
	body := jsonBody(100_000)
	small, _ := Compress("gzip", 6, body)
	r, err := stdgzip.NewReader(bytes.NewReader(small))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, body) {
		t.Errorf("gzip: %d bytes, %v", len(got), err)
	}
	small, _ = Compress("zstd", 3, body)
	z, _ := zstd.NewReader(nil)
	defer z.Close()
	if got, err := z.DecodeAll(small, nil); err != nil || !bytes.Equal(got, body) {
		t.Errorf("zstd: %d bytes, %v", len(got), err)
	}
}

func TestUnknownCodingsAndLevelsAreRefused(t *testing.T) {
	for _, coding := range []string{"", "br", "identity", "gzip, zstd", "x-zstd", "*"} {
		if _, err := Compress(coding, 6, nil); !errors.Is(err, ErrUnknown) {
			t.Errorf("Compress %q: %v", coding, err)
		}
		if _, err := NewReader(coding, nil); !errors.Is(err, ErrUnknown) || Decodable(coding) {
			t.Errorf("NewReader %q: %v, decodable: %v", coding, err, Decodable(coding))
		}
	}
	for _, coding := range []string{"gzip", "x-gzip", "GZIP", "deflate", "zstd", "Zstd"} {
		if !Decodable(coding) {
			t.Errorf("%q is not decodable", coding)
		}
	}
	for coding, level := range map[string]int{"gzip": 0, "GZIP": 10, "zstd": 0, "ZSTD": 23} {
		if _, err := Compress(coding, level, nil); err == nil {
			t.Errorf("%s level %d is allowed", coding, level)
		}
	}
	for coding, level := range map[string]int{"gzip": -1, "zstd": -1} {
		if _, err := Compress(coding, level, nil); err == nil {
			t.Errorf("%s level %d is allowed", coding, level)
		}
	}
}

func TestInputMayComeInAnyPieces(t *testing.T) {
	body := jsonBody(70_000)
	for maker := range makers {
		whole := encode(t, maker, body)
		for name, pieces := range map[string]func(io.Reader) io.Reader{
			"one byte": iotest.OneByteReader, "half": iotest.HalfReader, "error with the last bytes": iotest.DataErrReader,
		} {
			got, err := decodeFrom(codingOf(maker), pieces(bytes.NewReader(whole)))
			if err != nil || !bytes.Equal(got, body) {
				t.Errorf("%s, %s: %d bytes, %v", maker, name, len(got), err)
			}
		}
		d, _ := NewReader(codingOf(maker), bytes.NewReader(whole))
		if got, err := io.ReadAll(iotest.OneByteReader(d)); err != nil || !bytes.Equal(got, body) {
			t.Errorf("%s, read byte by byte: %d bytes, %v", maker, len(got), err)
		}
		_ = d.Close()
	}
}

func TestTruncatedInputIsNeverACleanEnd(t *testing.T) {
	cut := errors.New("cut")
	bodies := [][]byte{nil, []byte("x"), jsonBody(700)}
	for maker := range makers {
		for _, body := range bodies {
			whole := encode(t, maker, body)
			for n := range whole {
				got, err := decodeFrom(codingOf(maker), bytes.NewReader(whole[:n]))
				if err != io.ErrUnexpectedEOF || !bytes.HasPrefix(body, got) {
					t.Errorf("%s: %d of %d bytes give %d bytes, %v", maker, n, len(whole), len(got), err)
				}
			}
			for n := range len(whole) + 1 { // the whole, too: who knows what was to come
				for _, want := range []error{cut, io.ErrUnexpectedEOF} {
					source := io.MultiReader(bytes.NewReader(whole[:n]), iotest.ErrReader(want))
					got, err := decodeFrom(codingOf(maker), source)
					if err != want || !bytes.HasPrefix(body, got) {
						t.Errorf("%s: %q after %d of %d bytes gives %d bytes, %v", maker, want, n, len(whole), len(got), err)
					}
				}
			}
		}
	}
}

func TestDeflateIsToldFromZlibByItsFirstBytes(t *testing.T) {
	for seed := range 50 {
		body := jsonBody(1 + seed)
		body[0] = byte(seed)
		for level := stdflate.HuffmanOnly; level <= stdflate.BestCompression; level++ {
			var bare, wrapped bytes.Buffer
			b, _ := stdflate.NewWriter(&bare, level)
			w, _ := stdzlib.NewWriterLevel(&wrapped, level)
			for _, z := range []io.WriteCloser{b, w} {
				if _, err := z.Write(body); err != nil {
					t.Fatal(err)
				}
				if err := z.Close(); err != nil {
					t.Fatal(err)
				}
			}
			for _, r := range []io.Reader{&bare, &wrapped} {
				if got, err := decodeFrom("deflate", r); err != nil || !bytes.Equal(got, body) {
					t.Fatalf("body %d, level %d: %d bytes, %v", seed, level, len(got), err)
				}
			}
		}
	}
}

func TestAReadOfNothingWaitsForNothing(t *testing.T) {
	for _, coding := range []string{"gzip", "deflate", "zstd"} {
		s := &script{pieces: [][]byte{{1}}}
		d, _ := NewReader(coding, s)
		if n, err := d.Read(nil); n != 0 || err != nil || s.given != 0 {
			t.Errorf("%s: %d, %v, after %d pieces", coding, n, err, s.given)
		}
		_ = d.Close()
	}
}

func TestSeveralMembersAreOneBody(t *testing.T) {
	for _, maker := range []string{"gzip", "gzip with a header", "zstd"} {
		first, second := encode(t, maker, []byte("one ")), encode(t, maker, []byte("two"))
		whole := append(bytes.Clone(first), second...)
		if got, err := decodeFrom(codingOf(maker), bytes.NewReader(whole)); string(got) != "one two" || err != nil {
			t.Errorf("%s: %q, %v", maker, got, err)
		}
		for n := len(first) + 1; n < len(whole); n++ {
			if got, err := decodeFrom(codingOf(maker), bytes.NewReader(whole[:n])); err != io.ErrUnexpectedEOF {
				t.Errorf("%s: %d of %d bytes give %q, %v", maker, n, len(whole), got, err)
			}
		}
	}
}

func TestDamagedInputIsAnError(t *testing.T) {
	body := jsonBody(3000)
	for _, maker := range []string{"gzip", "deflate zlib", "zstd"} {
		whole := encode(t, maker, body)
		for i := len(whole) / 2; i < len(whole); i++ { // data and checksum
			bad := bytes.Clone(whole)
			bad[i] ^= 0x10
			if got, err := decodeFrom(codingOf(maker), bytes.NewReader(bad)); err == nil && !bytes.Equal(got, body) {
				t.Errorf("%s: damage at %d of %d went unnoticed", maker, i, len(whole))
			}
		}
	}
	for maker := range makers {
		if got, err := decodeFrom(codingOf(maker), strings.NewReader("<html>not encoded at all</html>")); err == nil {
			t.Errorf("%s: plain text gave %q", maker, got)
		}
		if _, err := decodeFrom(codingOf(maker), bytes.NewReader(append(encode(t, maker, body), "more"...))); err == nil {
			t.Errorf("%s: data behind the end went unnoticed", maker)
		}
	}
}

// script gives one piece for each Read and counts them.
type script struct {
	pieces [][]byte
	given  int
}

func (s *script) Read(p []byte) (int, error) {
	if s.given == len(s.pieces) {
		return 0, io.EOF
	}
	s.given++
	return copy(p, s.pieces[s.given-1]), nil
}

// TestEventsAreHandedOnAsTheyCome: a reader that asks its source for another
// piece before it has handed on all of the last one would hold an event back.
func TestEventsAreHandedOnAsTheyCome(t *testing.T) {
	var events []string
	for i := range 20 {
		events = append(events, fmt.Sprintf("data: {\"n\": %d, \"text\": %q}\n\n", i, strings.Repeat("ab", i*i)))
	}
	f := func(name, coding string, pieces [][]byte) {
		t.Helper()
		s := &script{pieces: pieces}
		d, err := NewReader(coding, s)
		if err != nil || s.given > 0 {
			t.Fatalf("%s: %v, after %d pieces", name, err, s.given)
		}
		defer d.Close()
		for i, want := range events {
			got := make([]byte, len(want))
			for n := 0; n < len(want); {
				k, err := d.Read(got[n:])
				if n += k; err != nil {
					t.Fatalf("%s: event %d: %v", name, i, err)
				}
			}
			if string(got) != want || s.given != i+1 {
				t.Fatalf("%s: event %d took %d pieces and is %q", name, i, s.given, got)
			}
		}
		if rest, err := io.ReadAll(d); len(rest) > 0 || err != nil {
			t.Errorf("%s: %d bytes more, %v", name, len(rest), err)
		}
	}
	for maker, make := range makers {
		var out bytes.Buffer
		var pieces [][]byte
		w := make(&out)
		for i, e := range events {
			if _, err := w.Write([]byte(e)); err != nil {
				t.Fatal(err)
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
			if i == len(events)-1 {
				break // its flush and the end are one piece below
			}
			pieces = append(pieces, bytes.Clone(out.Bytes()))
			out.Reset()
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		pieces = append(pieces, bytes.Clone(out.Bytes()))
		f(maker, codingOf(maker), pieces)
	}
	for _, maker := range []string{"gzip", "zstd"} { // one member for each event
		var pieces [][]byte
		for _, e := range events {
			pieces = append(pieces, encode(t, maker, []byte(e)))
		}
		f(maker+" in members", maker, pieces)
	}
}

func TestClosingTwiceGivesTheDecoderBackOnce(t *testing.T) {
	for _, coding := range []string{"gzip", "deflate", "zstd"} {
		small := encode(t, coding+map[string]string{"deflate": " zlib"}[coding], []byte("body"))
		d, _ := NewReader(coding, bytes.NewReader(small))
		_, _ = d.Read(make([]byte, 1))
		for range 3 {
			if err := d.Close(); err != nil {
				t.Errorf("%s: Close: %v", coding, err)
			}
		}
		if n, err := d.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s: Read after Close: %d, %v", coding, n, err)
		}
		seen := map[decoder]bool{}
		for range 10 {
			d, _ := NewReader(coding, bytes.NewReader(small))
			if inner := d.(*reader).decoder; seen[inner] {
				t.Fatalf("%s: two readers share a decoder", coding)
			} else {
				seen[inner] = true
			}
		}
	}
}

func TestAClosedReaderHoldsNoSource(t *testing.T) {
	for coding, pool := range map[string]*sync.Pool{"gzip": &gzipReaders, "deflate": &deflateReaders, "zstd": &zstdReaders} {
		d, _ := NewReader(coding, strings.NewReader("something"))
		_, _ = d.Read(make([]byte, 10))
		var in *input
		switch inner := d.(*reader).decoder.(type) {
		case *gzipDecoder:
			in = inner.input
		case *deflateDecoder:
			in = inner.input
		case *zstdDecoder:
			in = inner.input
		}
		_ = d.Close()
		if in.source != nil || pool != decoders(coding) {
			t.Errorf("%s: the pool holds %v", coding, in.source)
		}
	}
}

func TestADecoderForgetsTheBodyBefore(t *testing.T) {
	want := jsonBody(5000)
	for maker := range makers {
		coding, whole := codingOf(maker), encode(t, maker, want)
		for n := 0; n < len(whole); n += 1 + n/3 { // left in all kinds of states
			for _, before := range [][]byte{whole[:n], append(bytes.Clone(whole[:n]), "garbage"...)} {
				_, _ = decodeFrom(coding, bytes.NewReader(before))
				got, err := decodeFrom(coding, bytes.NewReader(whole))
				if err != nil || !bytes.Equal(got, want) {
					t.Fatalf("%s: after a body cut at %d: %d bytes, %v", maker, n, len(got), err)
				}
			}
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			body := jsonBody(1000 * (i + 1))
			for _, coding := range []string{"gzip", "zstd"} {
				small, err := Compress(coding, 1+i%6, body)
				if err != nil {
					t.Error(err)
				}
				if got, err := decodeFrom(coding, bytes.NewReader(small)); err != nil || !bytes.Equal(got, body) {
					t.Errorf("%s: %d bytes, %v", coding, len(got), err)
				}
			}
		})
	}
	wg.Wait()
}

func TestAWindowAboveTheBoundIsRefused(t *testing.T) {
	f := func(window int, ok bool) {
		t.Helper()
		var b bytes.Buffer
		w, err := zstd.NewWriter(&b, zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		body := make([]byte, 20<<20)
		for _, half := range [][]byte{body[:10<<20], body[10<<20:]} {
			if _, err := w.Write(half); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := decodeFrom("zstd", &b)
		if ok != (err == nil) || ok && len(got) != len(body) {
			t.Errorf("a window of %d: %d bytes, %v", window, len(got), err)
		}
	}
	f(8<<20, true)
	f(16<<20, false)
}

func BenchmarkCompress(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10, 256 << 10} {
		body := jsonBody(size)
		for _, c := range []struct {
			coding string
			level  int
		}{{"gzip", 6}, {"zstd", 1}, {"zstd", 3}} {
			b.Run(fmt.Sprintf("%s-%d/%dKiB", c.coding, c.level, size>>10), func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := Compress(c.coding, c.level, body); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10, 256 << 10} {
		body := jsonBody(size)
		for _, maker := range []string{"gzip", "deflate zlib", "zstd"} {
			small := encode(b, maker, body)
			b.Run(fmt.Sprintf("%s/%dKiB", codingOf(maker), size>>10), func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				buf := make([]byte, 32<<10)
				for b.Loop() {
					d, err := NewReader(codingOf(maker), bytes.NewReader(small))
					if err != nil {
						b.Fatal(err)
					}
					n := 0
					for err == nil {
						var k int
						k, err = d.Read(buf)
						n += k
					}
					if err != io.EOF || n != size {
						b.Fatalf("%d bytes, %v", n, err)
					}
					_ = d.Close()
				}
			})
		}
	}
}
