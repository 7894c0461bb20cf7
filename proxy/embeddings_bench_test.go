package proxy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// BenchmarkEmbeddingsHit is what a batch costs of which all is cached: 1,536
// dimensions, over a connection.
func BenchmarkEmbeddingsHit(b *testing.B) {
	for _, encoding := range []string{"base64", "float"} {
		for _, n := range []int{1, 100, 2048} {
			b.Run(fmt.Sprintf("%s/%d", encoding, n), func(b *testing.B) {
				r := newEmbedRig(b, func(route *Route, _ *Options) { route.MaxObjectBytes = 1 << 30 })
				items := make([]string, n)
				for i := range items {
					items[i] = fmt.Sprintf(`"the text of item %d, which is about as long as a sentence is"`, i)
				}
				body := fmt.Sprintf(`{"model":"m","dimensions":1536,"encoding_format":%q,"input":[%s]}`, encoding, strings.Join(items, ","))
				r.right(body)
				r.idle()
				size := int64(0)
				b.ReportAllocs()
				for b.Loop() {
					resp, err := http.Post(r.url, "application/json", strings.NewReader(body))
					if err != nil {
						b.Fatal(err)
					}
					size, _ = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
				}
				b.SetBytes(size)
				if calls := len(r.calls()); calls != 2 {
					b.Fatalf("%d upstream calls", calls)
				}
			})
		}
	}
}
