package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http/httputil"
	"strings"
	"testing"
	"testing/iotest"
)

func TestChunkReaderTakesWhatIsWellFormed(t *testing.T) {
	f := func(raw, want string) {
		t.Helper()
		for name, r := range map[string]io.Reader{
			"at once": strings.NewReader(raw), "byte by byte": iotest.OneByteReader(strings.NewReader(raw)), "with its end": iotest.DataErrReader(strings.NewReader(raw)),
		} {
			got, err := io.ReadAll(newChunkReader(r))
			if string(got) != want || err != nil {
				t.Errorf("%.60q %s: %.60q, %v, want %.60q", raw, name, got, err, want)
			}
		}
	}
	f("0\r\n\r\n", "")
	f("5\r\nhello\r\n0\r\n\r\n", "hello")
	f("2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "hello")
	f("5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n", "hello")
	f("A\r\n0123456789\r\n000\r\n\r\n", "0123456789")
	f("a;name=value\r\n0123456789\r\n0;last\r\n\r\n", "0123456789")
	f("5; name=\"a\tb\"\r\nhello\r\n0\r\n\r\n", "hello")
	f("5\r\nhello\r\n0\r\nX-Trailer: t\r\nY: u\r\n\r\n", "hello")
	f("6\r\n\r\n0\r\n\r\r\n0\r\n\r\n", "\r\n0\r\n\r")
	long := strings.Repeat("x", 100_000)
	f(fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(long), long), long)
	f("5;"+strings.Repeat("x", 200)+"\r\nhello\r\n0\r\n\r\n", "hello")
}

func TestChunkReaderRefusesWhatCanBeReadInTwoWays(t *testing.T) {
	f := func(raw string) {
		t.Helper()
		if got, err := io.ReadAll(newChunkReader(strings.NewReader(raw))); !errors.Is(err, errChunk) {
			t.Errorf("%.60q: %.60q, %v", raw, got, err)
		}
	}
	for _, size := range []string{"", " 5", "5 ", "+5", "-5", "0x5", "5_0", "g", ";x", "\t5", "1000000000000005"} {
		f(size + "\r\nhello\r\n0\r\n\r\n")
	}
	f("5\nhello\r\n0\r\n\r\n")
	f("5\r\nhello\n0\r\n\r\n")
	f("5\r\nhello0\r\n\r\n")
	f("5\r\nhelloX\r\n0\r\n\r\n")
	f("5\rhello\r\n0\r\n\r\n")
	f("5;a\nb\r\nhello\r\n0\r\n\r\n")
	f("5;a\rb\r\nhello\r\n0\r\n\r\n")
	f("5;\x00\r\nhello\r\n0\r\n\r\n")
	f("5;\x7f\r\nhello\r\n0\r\n\r\n")
	f("5;" + strings.Repeat("x", 300) + "\r\nhello\r\n0\r\n\r\n")
	f("0\r\nno colon\r\n\r\n")
	f("0\r\n folded: x\r\n\r\n")
	f("0\r\nX: a\x00\r\n\r\n")
	f("0\r\nX: a\n\r\n\r\n")
	f("0\r\n" + strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 20) + "\r\n")
}

func TestChunkReaderTellsACutFromAnEnd(t *testing.T) {
	const whole = "5;x=y\r\nhello\r\n0\r\nX: t\r\n\r\n"
	for n := range len(whole) {
		for _, r := range []io.Reader{strings.NewReader(whole[:n]), iotest.DataErrReader(strings.NewReader(whole[:n]))} {
			if got, err := io.ReadAll(newChunkReader(r)); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%q: %q, %v", whole[:n], got, err)
			}
		}
	}
}

// An error, the end too, stays.
func TestChunkReaderReadsNothingBehindItsEnd(t *testing.T) {
	for _, raw := range []string{"0\r\n\r\n3\r\nabc\r\n", "x\r\n3\r\nabc\r\n0\r\n\r\n"} {
		r := newChunkReader(strings.NewReader(raw))
		_, first := io.ReadAll(r)
		n, again := r.Read(make([]byte, 10))
		if n != 0 || first == nil && !errors.Is(again, io.EOF) || first != nil && !errors.Is(again, first) {
			t.Errorf("%q: %v, then %d bytes, %v", raw, first, n, again)
		}
	}
}

// What we take, the standard library takes too, for the same bytes: an upstream
// that is behind nobody but us is never told another body.
func FuzzChunkReader(f *testing.F) {
	for _, seed := range []string{
		"0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n", "5 \r\nhello\r\n0\r\n\r\n",
		"A\r\n0123456789\r\n00\r\n\r\n", "5\nhello\n0\n\n", "5;a\rb\r\nhello\r\n0\r\n\r\n", "ffffffffffffffffff\r\n", "1\r\na\r\n1\r\nb\r\n0\r\n\r\n",
	} {
		f.Add([]byte(seed), uint8(3))
	}
	f.Fuzz(func(t *testing.T, raw []byte, step uint8) {
		ours, err := io.ReadAll(newChunkReader(bytes.NewReader(raw)))
		again, errAgain := readInSteps(newChunkReader(iotest.OneByteReader(bytes.NewReader(raw))), int(step)+1)
		if !bytes.Equal(ours, again) || (err == nil) != (errAgain == nil) {
			t.Errorf("%q: %q, %v; in small steps %q, %v", raw, ours, err, again, errAgain)
		}
		if err != nil {
			return
		}
		theirs, theirErr := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(raw)))
		if theirErr != nil || !bytes.Equal(ours, theirs) {
			t.Errorf("%q: we read %q, they %q, %v", raw, ours, theirs, theirErr)
		}
	})
}

func readInSteps(r io.Reader, step int) (all []byte, err error) {
	for b := make([]byte, step); ; {
		n, err := r.Read(b)
		all = append(all, b[:n]...)
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
}
