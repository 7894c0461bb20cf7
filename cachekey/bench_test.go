package cachekey

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"
)

// chat is a chat request of about n bytes.
func chat(n int) string {
	r := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	b.WriteString(`{"model":"m-large","temperature":0,"stream":false,"messages":[{"role":"system","content":"You are a careful clerk."}`)
	for b.Len() < n-80 {
		fmt.Fprintf(&b, `, {"role":"user","content":"line %x of the document, \"quoted\" and so on"}`, r.Uint64())
	}
	b.WriteString(`], "user":"u-1"}`)
	return b.String()
}

// fixed are headers as a server has them: without a copy at each look.
type fixed struct {
	names  []string
	values [][][]byte
}

func (f *fixed) Values(name string) [][]byte {
	for i, n := range f.names {
		if strings.EqualFold(n, name) {
			return f.values[i]
		}
	}
	return nil
}

func benchRequest(body, contentType string) *Request {
	w := wire{method: "POST", upstream: "https://api.example.com", path: "/v1/chat/completions", body: body}
	req := w.request()
	req.Headers = &fixed{
		names:  []string{"Host", "User-Agent", "Content-Type", "Authorization", "Accept"},
		values: [][][]byte{{[]byte("h")}, {[]byte("ua")}, {[]byte(contentType)}, {[]byte("Bearer sk-0123456789abcdef0123456789abcdef")}, {[]byte("*/*")}},
	}
	return req
}

func BenchmarkDerive(b *testing.B) {
	sizes := []struct {
		name string
		n    int
	}{{"300B", 300}, {"1KB", 1024}, {"16KB", 16 << 10}, {"200KB", 200 << 10}}
	for _, size := range sizes {
		body := chat(size.n)
		for _, kind := range []string{"raw", "json"} {
			contentType := map[string]string{"raw": "application/octet-stream", "json": "application/json"}[kind]
			req := benchRequest(body, contentType)
			rule := prepare(b, Rule{})
			b.Run(kind+"/"+size.name, func(b *testing.B) {
				benchDerive(b, &Deriver{Secret: []byte("secret")}, rule, req)
			})
			b.Run(kind+"-memo-hit/"+size.name, func(b *testing.B) {
				benchDerive(b, &Deriver{Secret: []byte("secret"), Memo: NewMemo(64 << 20)}, rule, req)
			})
		}
		b.Run("json-memo-miss/"+size.name, func(b *testing.B) {
			req := benchRequest(body, "application/json")
			at := strings.Index(body, "careful")
			d := &Deriver{Secret: []byte("secret"), Memo: NewMemo(64 << 20)}
			rule := prepare(b, Rule{})
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n++
				copy(req.Body.Bytes[at:], fmt.Sprintf("%07x", n&0xfffffff))
				if _, err := d.Derive(rule, req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func benchDerive(b *testing.B, d *Deriver, rule *Rule, req *Request) {
	for range 3 { // twice to be remembered
		mustDerive(b, d, rule, req)
	}
	b.SetBytes(req.Body.Size)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Derive(rule, req); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDigest is a multipart body that is digested while it comes in, in
// pieces as they are read from a client, by boundaries of several clients;
// beside SHA-256 alone. "dashes" is the worst that a file can be to the search
// for a boundary that begins with many.
func BenchmarkDigest(b *testing.B) {
	const piece = 32 << 10
	data := make([]byte, 16<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data)
	rule := prepare(b, Rule{})
	digest := func(b *testing.B, boundary string, data []byte) {
		b.SetBytes(int64(len(data)))
		defer perCore(b, int64(len(data)))()
		for b.Loop() {
			g, err := new(Deriver).Digest(rule, pairs{{"Content-Type", "multipart/form-data; boundary=" + boundary}}, -1)
			if err != nil {
				b.Fatal(err)
			}
			_, _ = g.Write([]byte("--" + boundary + "\r\n" + filePart))
			for i := 0; i < len(data); i += piece {
				_, _ = g.Write(data[i : i+piece])
			}
			_, _ = g.Write([]byte("\r\n--" + boundary + "--\r\n"))
			if _, ok := g.split.end(); !ok {
				b.Fatal("not read as multipart")
			}
		}
	}
	for name, boundary := range map[string]string{
		"webkit": "----WebKitFormBoundary7MA4YWxkTrZu0gW", "curl": "------------------------d74496d66958873e", "undici": "----formdata-undici-057289017482",
		"go": "abcdef0123456789abcdef0123456789abcdef0123456789abcdef012345",
	} {
		b.Run("multipart/"+name, func(b *testing.B) { digest(b, boundary, data) })
		b.Run("dashes/"+name, func(b *testing.B) { digest(b, boundary, bytes.Repeat([]byte("-"), len(data))) })
	}
	b.Run("sha256", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		defer perCore(b, int64(len(data)))()
		h := sha256.New()
		for b.Loop() {
			for i := 0; i < len(data); i += piece {
				h.Write(data[i : i+piece])
			}
		}
	})
}

// perCore begins to measure the processor's time, which counts what others do on
// the machine for less than the clock does. The function that it gives reports
// how many GB were taken in a second of it.
func perCore(b *testing.B, n int64) func() {
	spent := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := spent()
	return func() {
		b.ReportMetric(float64(n)*float64(b.N)/float64(spent()-before), "GB/core-s")
	}
}

func BenchmarkDeriveParallel(b *testing.B) {
	req := benchRequest(chat(16<<10), "application/json")
	d := &Deriver{Secret: []byte("secret"), Memo: NewMemo(64 << 20)}
	rule := prepare(b, Rule{})
	for range 3 {
		mustDerive(b, d, rule, req)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := d.Derive(rule, req); err != nil {
				b.Fatal(err)
			}
		}
	})
}
