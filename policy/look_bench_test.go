package policy

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// BenchmarkReading is of a whole file in one string, and of many members.
func BenchmarkReading(b *testing.B) {
	raw := make([]byte, 6<<20)
	for i := range raw {
		raw[i] = byte(rand.Uint32())
	}
	var rows strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&rows, `{"page":%d,"text":"the quick brown fox jumps over the lazy dog","box":[1.5,2,3,4]},`, i)
	}
	for name, body := range map[string]string{
		"file": `{"file":"` + base64.StdEncoding.EncodeToString(raw) + `","status":"done"}`,
		"rows": `{"rows":[` + rows.String() + `0],"status":"done"}`,
	} {
		b.Run(name, func(b *testing.B) {
			l := Look{Pending: true, Expiry: Expiry{SignedLinks: true, Members: true}}
			if err := l.Prepare(); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				r := l.Reader(t0)
				for p := []byte(body); len(p) > 0; p = p[min(32<<10, len(p)):] {
					_, _ = r.Write(p[:min(32<<10, len(p))])
				}
				if f := r.Found(); f.Reason != "" || !r.scan.whole() {
					b.Fatal(f)
				}
			}
		})
	}
}
