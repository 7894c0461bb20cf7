package encoding

import (
	"strings"
	"testing"
)

func TestCompressible(t *testing.T) {
	f := func(want bool, types string) {
		t.Helper()
		for _, ct := range strings.Split(types, "\n") {
			ct = strings.TrimSpace(ct)
			if got := Compressible(ct); got != want {
				t.Errorf("%q: %v", ct, got)
			}
		}
	}
	f(true, `text/plain
		text/html; charset=utf-8
		Text/Event-Stream
		application/json
		APPLICATION/JSON ; charset=UTF-8
		application/problem+json
		application/vnd.api+json
		application/x-ndjson
		application/jsonl
		application/xml
		application/xhtml+xml
		application/javascript
		application/wasm
		application/x-www-form-urlencoded
		image/svg+xml
		application/yaml
		font/ttf`)
	f(false, `
		json
		text
		/
		image/png
		image/jpeg
		image/webp
		application/zip
		application/gzip
		application/pdf
		application/octet-stream
		application/vnd.openxmlformats-officedocument.wordprocessingml.document
		application/epub+zip
		application/jsonx
		video/mp4
		audio/mpeg
		font/woff2
		multipart/form-data; boundary=json
		application/pdf; name="a.json"`)
}
