package config

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// Two keys, and a beginning of a file that has a use for keys.
const (
	key1       = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"
	key2       = "fbff2d3c4b5a69788796a5b4c3d2e1f0fbff2d3c4b5a69788796a5b4c3d2e1f0"
	withRedis  = docs + "cache:\n  redis: {url: redis://h}\n"
	keysInFile = withRedis + "  encryption: {keys: "
)

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// wantKeys checks what the parts are given.
func wantKeys(t *testing.T, cfg *Config, want ...string) {
	t.Helper()
	got := cfg.Cache.Encryption.Raw()
	if len(got) != len(want) {
		t.Fatalf("%d keys, want %d", len(got), len(want))
	}
	for i := range got {
		if !bytes.Equal(got[i][:], unhex(t, want[i])) {
			t.Errorf("key %d is another", i+1)
		}
	}
}

func TestEncryptionKeysAreReadInEveryWayOfWritingThem(t *testing.T) {
	f := func(text string) {
		t.Helper()
		wantKeys(t, mustLoad(t, keysInFile+`["`+text+`"]}`+"\n"), key2)
		wantKeys(t, mustLoad(t, withRedis, "JAEGIS_CACHE_ENCRYPTION_KEYS="+text), key2)
		wantKeys(t, mustLoad(t, keysInFile+`["${K}"]}`+"\n", "K="+text), key2)
	}
	raw := unhex(t, key2)
	f(key2)
	f(strings.ToUpper(key2))
	f(base64.StdEncoding.EncodeToString(raw))
	f(base64.RawStdEncoding.EncodeToString(raw))
	f(base64.URLEncoding.EncodeToString(raw))
	f(base64.RawURLEncoding.EncodeToString(raw))
	if text := base64.StdEncoding.EncodeToString(raw); !strings.ContainsAny(text, "+/") {
		t.Fatal("the key is the same in both alphabets: they are not told apart here")
	}
}

func TestEncryptionKeysComeInOrderAndEmptyOldOnesDoNotCount(t *testing.T) {
	wantKeys(t, mustLoad(t, withRedis))
	wantKeys(t, mustLoad(t, keysInFile+"[]}\n"))
	wantKeys(t, mustLoad(t, keysInFile+"["+key1+", "+key2+"]}\n"), key1, key2)
	wantKeys(t, mustLoad(t, keysInFile+"["+key2+", \"\", "+key1+", \"\"]}\n"), key2, key1)
}

func TestTheVariableOfEncryptionKeysTakesThePlaceOfTheFiles(t *testing.T) {
	wantKeys(t, mustLoad(t, keysInFile+"["+key1+"]}\n", "JAEGIS_CACHE_ENCRYPTION_KEYS="+key2), key2)
	wantKeys(t, mustLoad(t, keysInFile+"["+key1+"]}\n", "JAEGIS_CACHE_ENCRYPTION_KEYS= "+key2+" ,, "+key1), key2, key1)
	mustFail(t, keysInFile+"["+key1+"]}\n", []string{"JAEGIS_CACHE_ENCRYPTION_KEYS=short"},
		"environment JAEGIS_CACHE_ENCRYPTION_KEYS: key 1 is not 32 bytes, written as 64 hexadecimal digits or in base64; make one: openssl rand -hex 32")
	mustFail(t, withRedis, []string{"JAEGIS_CACHE_ENCRYPTION_KEYS=,"},
		"environment JAEGIS_CACHE_ENCRYPTION_KEYS: set, and nothing in it; write what belongs there, or do not set it")
}

// Every message is looked at for the key that is wrong, whole or in part.
func TestWrongEncryptionKeysAreRefusedAndNeverRepeated(t *testing.T) {
	f := func(keys, at, what string) {
		t.Helper()
		cfg, _, err := loadText(keysInFile + keys + "}\n")
		want := "proxy.yaml:4: cache.encryption.keys" + at + ": " + what
		if cfg != nil || err == nil || strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s:\n got %v\nwant %s...", keys, err, want)
			return
		}
		for _, key := range strings.Split(strings.Trim(keys, "[]"), ", ") {
			if key = strings.Trim(key, `"`); len(key) >= 8 && strings.Contains(err.Error(), key[:8]) {
				t.Errorf("the message has the key: %v", err)
			}
		}
	}
	const wrong = "is not 32 bytes, written as 64 hexadecimal digits or in base64; make one: openssl rand -hex 32"
	f(`[secretsecret]`, "[0]", "key 1 "+wrong)
	f(`[`+key1[:62]+`]`, "[0]", "key 1 "+wrong)
	f(`[`+key1+`00]`, "[0]", "key 1 "+wrong)
	f(`["`+key1[:63]+`g"]`, "[0]", "key 1 "+wrong)
	f(`[" `+key1[1:]+`"]`, "[0]", "key 1 "+wrong)
	f(`["`+key1+` "]`, "[0]", "key 1 "+wrong)
	f(`[`+key1+`, secretsecret]`, "[1]", "key 2 "+wrong)
	raw := unhex(t, key2)
	f(`["`+base64.StdEncoding.EncodeToString(raw[:31])+`"]`, "[0]", "key 1 "+wrong)
	f(`["`+base64.StdEncoding.EncodeToString(append(raw, 1))+`"]`, "[0]", "key 1 "+wrong)
	f(`["`+base64.StdEncoding.EncodeToString(raw)[:42]+`!="]`, "[0]", "key 1 "+wrong)
	f(`["`+base64.RawStdEncoding.EncodeToString(raw)[:42]+`B"]`, "[0]", "key 1 "+wrong) // bits that are not the key's
	f(`["`+base64.StdEncoding.EncodeToString(raw)+`="]`, "[0]", "key 1 "+wrong)
	f(`["", `+key1+`]`, "[0]", "the first key, which is the one that encrypts, is empty; write a key, or no keys at all")
	f(`[`+key1+`, `+key2+`, `+key1+`]`, "[2]", "key 3 is key 1 again; keep one of them")
	f(`[`+key2+`, "`+base64.RawURLEncoding.EncodeToString(raw)+`"]`, "[1]", "key 2 is key 1 again; keep one of them")
	f(`[[`+key1+`]]`, "[0]", "a string belongs here")
	f(key1, "", "a single value where a list of strings, such as [a, b] belongs")
	f(`[!!binary secretsecret]`, "[0]", "its YAML tag is not known here")
	f(`["secretsecret\n"]`, "[0]", "contains line ends, tabs or other characters that do not print")
	mustFail(t, keysInFile+`["${K}"]}`+"\n", nil,
		"proxy.yaml:4: cache.encryption.keys[0]: refers to K, which is not set in the environment; set it, or write a default: ${K:-value}")
	mustFail(t, keysInFile+`["${K}"]}`+"\n", []string{"K="},
		"proxy.yaml:4: cache.encryption.keys[0]: the first key, which is the one that encrypts, is empty; write a key, or no keys at all")
	wantKeys(t, mustLoad(t, keysInFile+`["${K}", "${OLD:-}"]}`+"\n", "K="+key1), key1)
}

func TestEncryptionKeysDoNotPrint(t *testing.T) {
	cfg := mustLoad(t, keysInFile+"["+key1+"]}\n")
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "cfg", cfg, "keys", cfg.Cache.Encryption)
	for _, printed := range []string{log.String(), fmt.Sprintf("%v %+v %#v %x %q", *cfg, *cfg, *cfg, cfg.Cache.Encryption.Keys, cfg.Cache.Encryption.Keys)} {
		if !strings.Contains(printed, Mask) || strings.Contains(strings.ToLower(printed), strings.ToLower(key1[:12])) || strings.Contains(printed, hex.EncodeToString([]byte(key1[:12]))) {
			t.Errorf("printed: %s", printed)
		}
	}
}

func TestEncryptionKeysWithoutARedisAreOdd(t *testing.T) {
	_, warnings, err := loadText(docs + "cache: {encryption: {keys: [" + key1 + "]}}\n")
	if err != nil || len(warnings) != 1 || warnings[0].String() != "proxy.yaml:2: cache.encryption.keys: encrypt nothing: there is no Redis, and what is in memory is not encrypted; set cache.redis.url or REDIS_URL" {
		t.Errorf("%v, %v", warnings, err)
	}
	mustLoad(t, docs+"cache: {encryption: {keys: ["+key1+"]}, stores: {s: {url: redis://s}}}\n")
}
