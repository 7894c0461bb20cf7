package cachekey_test

import (
	"strings"
	"testing"

	"jaegis-proxy/cachekey"
)

func TestParseKeyReadsWhatStringGives(t *testing.T) {
	k := cachekey.Key{Namespace: "documents"}
	for i := range k.Digest {
		k.Digest[i] = byte(i * 7)
	}
	for _, provider := range []string{"", "openai"} {
		k.Provider = provider
		if got, err := cachekey.ParseKey(k.String()); err != nil || got != k {
			t.Errorf("%s: %v, %v", k, got, err)
		}
	}
	s := k.String()
	for _, bad := range []string{
		"", "jaegis", "jaegis::" + s[len(s)-64:], strings.ToUpper(s), s[:len(s)-1], s + "0", "x" + s, s + ":" + s,
		"jaegis:documents::" + s[len(s)-64:], s[:len(s)-1] + "g", "jaegis:documents:" + strings.ToUpper(s[len(s)-64:]),
	} {
		if got, err := cachekey.ParseKey(bad); err == nil {
			t.Errorf("%q is the key %v", bad, got)
		}
	}
}
