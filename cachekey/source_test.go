package cachekey

import (
	"encoding/binary"
	"strings"
	"testing"
)

func coded(coding, body string) wire {
	return post(body, "Content-Type: application/json", "Content-Encoding: "+coding)
}

// zstdFrame is a frame of one raw block with a window of 2^log bytes.
func zstdFrame(log int, content string) string {
	b := binary.LittleEndian.AppendUint32(nil, 0xFD2FB528)
	b = append(b, 0, byte((log-10)<<3))
	n := len(content)<<3 | 1
	return string(append(b, byte(n), byte(n>>8), byte(n>>16))) + content
}

func TestCodedBodyHasTheKeyOfItsContent(t *testing.T) {
	for _, body := range []string{`{"a":1}`, strings.Repeat("[", 500) + strings.Repeat("]", 500), "not JSON"} {
		same(t, Rule{},
			jsonPost(body),
			coded("gzip", gzipped(body)), coded("GZIP", gzipped(body)),
			coded("deflate", deflated(body)), coded("zstd", zstdCoded(body)), coded("zstd", zstdFrame(17, body)),
		)
	}
	parts := formData("b", "A: b\r\n\r\nx")
	same(t, Rule{}, parts, post(gzipped(parts.body), "Content-Type: multipart/form-data; boundary=b", "Content-Encoding: gzip"))
}

func TestCodedBodyThatCannotBeDecodedIsHashedAsItIs(t *testing.T) {
	const body = `{"a":1}`
	skippable := "\x50\x2a\x4d\x18\x01\x00\x00\x00x"
	wrongSum := []byte(gzipped(body))
	wrongSum[len(wrongSum)-8]++
	differ(t, Rule{},
		jsonPost(body),
		coded("gzip", body),
		coded("deflate", body),
		coded("zstd", body),
		coded("br", body),
		coded("identity", body),
		coded("", body),
		jsonPost(gzipped(body)),
		coded("br", gzipped(body)),
		coded("x-gzip", gzipped(body)),
		coded("gzip, gzip", gzipped(gzipped(body))),
		coded("gzip", gzipped(body)).with("Content-Encoding: gzip"),
		coded("gzip", gzipped(body)+"x"),
		coded("gzip", gzipped(body)+gzipped("")), // some read the first member only
		coded("gzip", gzipped(`{"a"`)+gzipped(`:1}`)),
		coded("gzip", gzipped(body)[:20]),
		coded("gzip", string(wrongSum)),
		coded("deflate", deflated(body)+"x"),
		coded("deflate", deflated(body)[2:]), // without its zlib header
		coded("zstd", zstdCoded(body)+"x"),
		coded("zstd", zstdCoded(body)+zstdCoded("")),
		coded("zstd", skippable+zstdCoded(body)),
		coded("zstd", zstdCoded(body)+skippable),
		coded("zstd", zstdCoded(body)[:12]),
		coded("zstd", zstdFrame(24, body)), // a window that decoders need not support
	)
}

func TestBombIsHashedAsItIs(t *testing.T) {
	rule := prepare(t, Rule{})
	isCoded := func(coding, body string) bool {
		parts, err := new(Deriver).Explain(rule, coded(coding, body).request())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range parts {
			if p.Name == "content-encoding" {
				return true
			}
		}
		return false
	}
	zeros := strings.Repeat("0", 3<<20)
	for coding, encode := range map[string]func(string) string{"gzip": gzipped, "deflate": deflated, "zstd": zstdCoded} {
		if !isCoded(coding, encode(zeros)) {
			t.Errorf("%s: decoded beyond the ratio", coding)
		}
		if isCoded(coding, encode(zeros[:1<<20])) {
			t.Errorf("%s: small body not decoded", coding)
		}
	}
	frame := func(n int) string { // of raw blocks: only the size counts
		var b strings.Builder
		b.WriteString(zstdFrame(17, "")[:6])
		for n > 0 {
			m := min(n, 128<<10)
			n -= m
			header := m << 3
			if n == 0 {
				header |= 1
			}
			b.WriteString(string([]byte{byte(header), byte(header >> 8), byte(header >> 16)}))
			b.WriteString(strings.Repeat("x", m))
		}
		return b.String()
	}
	if isCoded("zstd", frame(maxDecoded)) {
		t.Error("body of just the bound not decoded")
	}
	if !isCoded("zstd", frame(maxDecoded+1)) {
		t.Error("decoded beyond the bound")
	}
}
