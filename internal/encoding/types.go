package encoding

import "strings"

// Compressible says whether bodies of a media type, as Content-Type has it,
// are worth compressing. Unknown types are not: most that are large are
// compressed already.
func Compressible(contentType string) bool {
	essence, _, _ := strings.Cut(contentType, ";")
	kind, sub, ok := strings.Cut(strings.ToLower(trim(essence)), "/")
	if !ok {
		return false
	}
	if i := strings.LastIndexByte(sub, '+'); i >= 0 {
		switch sub[i:] {
		case "+json", "+xml", "+yaml", "+json-seq", "+cbor":
			return true
		case "+zip", "+gzip", "+zstd":
			return false
		}
	}
	switch kind {
	case "text":
		return true
	case "application":
		return compressibleApplication(sub)
	case "font":
		return sub == "ttf" || sub == "otf" || sub == "collection" // WOFF is compressed within
	case "image":
		return sub == "bmp" || sub == "x-icon" || sub == "vnd.microsoft.icon"
	}
	return false
}

func compressibleApplication(sub string) bool {
	switch sub {
	case "json", "ndjson", "x-ndjson", "jsonl", "x-jsonl", "jsonlines", "x-jsonlines", "json-seq", "json5", "stream+json",
		"xml", "xml-dtd", "yaml", "x-yaml", "toml", "graphql", "sql", "x-sh",
		"javascript", "x-javascript", "ecmascript", "wasm",
		"x-www-form-urlencoded", "rtf", "x-tex", "x-latex", "x-subrip",
		"cbor", "x-protobuf", "protobuf", "vnd.google.protobuf", "msgpack", "x-msgpack", "vnd.msgpack",
		"vnd.ms-fontobject", "x-font-ttf", "x-font-otf":
		return true
	}
	return false
}
