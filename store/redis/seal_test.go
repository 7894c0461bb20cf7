package redis

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"jaegis-proxy/cachekey"
	"jaegis-proxy/policy"
	"jaegis-proxy/store"
)

// testKey makes a key of a number.
func testKey(n byte) EncryptionKey { return sha256.Sum256([]byte{'k', n}) }

func mustSealer(t testing.TB, keys ...EncryptionKey) *sealer {
	t.Helper()
	s, err := newSealer(keys)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func opens(s *sealer, sealed, aad []byte) ([]byte, error) {
	return s.open(bytes.Clone(sealed), aad) // which it overwrites
}

func TestWhatIsSealedOpensWithAnyOfTheKeys(t *testing.T) {
	aad, plaintext := []byte("of this name"), []byte("a plaintext")
	one, two := mustSealer(t, testKey(1)), mustSealer(t, testKey(2), testKey(1))
	f := func(by, with *sealer, want bool) {
		t.Helper()
		got, err := opens(with, by.seal([]byte("before"), plaintext, aad)[len("before"):], aad)
		if want != (err == nil && bytes.Equal(got, plaintext)) {
			t.Errorf("%q, %v", got, err)
		}
		if !want && (!isUnknownKey(err) || errors.Is(err, store.ErrCorrupt)) {
			t.Errorf("%v; want an unknown key, and nothing corrupt", err)
		}
	}
	f(one, one, true)
	f(two, two, true)
	f(one, two, true)
	f(two, one, false)
	f(mustSealer(t, testKey(3)), two, false)
}

func TestASealerWithoutKeysChangesNothing(t *testing.T) {
	off := mustSealer(t)
	got := off.seal([]byte("before"), []byte("plaintext"), nil)
	if string(got) != "beforeplaintext" {
		t.Errorf("%q", got)
	}
	if got, err := off.open([]byte("plaintext"), nil); string(got) != "plaintext" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestEveryBitOfASealCounts(t *testing.T) {
	s := mustSealer(t, testKey(1))
	aad, plaintext := []byte("of this name"), []byte("a plaintext")
	sealed := s.seal(nil, plaintext, aad)
	if len(sealed) != sealHead+len(plaintext)+tagSize {
		t.Fatalf("%d bytes", len(sealed))
	}
	refused := func(what string, sealed, aad []byte) {
		t.Helper()
		got, err := opens(s, sealed, aad)
		if got != nil || !errors.Is(err, store.ErrCorrupt) && !isUnknownKey(err) {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
	for bit := range 8 * len(sealed) {
		bad := bytes.Clone(sealed)
		bad[bit/8] ^= 1 << (bit % 8)
		refused(fmt.Sprintf("bit %d", bit), bad, aad)
	}
	for n := range sealed {
		refused(fmt.Sprintf("%d bytes of it", n), sealed[:n], aad)
	}
	refused("a byte more", append(bytes.Clone(sealed), 0), aad)
	refused("another name", sealed, []byte("of this namf"))
	refused("no name", sealed, nil)
	if got, err := opens(s, sealed, aad); err != nil || !bytes.Equal(got, plaintext) {
		t.Errorf("unchanged: %q, %v", got, err)
	}
}

func TestNoTwoSealsAreAlike(t *testing.T) {
	s := mustSealer(t, testKey(1))
	seen := map[string]bool{}
	for range 1000 {
		sealed := s.seal(nil, []byte("the same"), nil)
		salt, box := string(sealed[keyIDSize:sealHead]), string(sealed[sealHead:])
		if seen[salt] || seen[box] {
			t.Fatal("a salt or a ciphertext came twice")
		}
		seen[salt], seen[box] = true, true
	}
}

func TestSealingAndOpeningCopyNothing(t *testing.T) {
	s := mustSealer(t, testKey(1))
	b := append(make([]byte, 0, 200), "name"...)
	b = append(append(b, make([]byte, sealHead)...), "plaintext"...)
	sealed := s.seal(b[:4], b[4+sealHead:], b[:4])
	if &sealed[0] != &b[0] || string(sealed[:4]) != "name" || bytes.Contains(sealed, []byte("plaintext")) {
		t.Errorf("%q", sealed)
	}
	got, err := s.open(sealed[4:], sealed[:4])
	if err != nil || string(got) != "plaintext" || &got[0] != &sealed[4+sealHead] {
		t.Errorf("%q, %v", got, err)
	}
}

func TestTheSameKeyTwiceIsRefused(t *testing.T) {
	_, err := newSealer([]EncryptionKey{testKey(1), testKey(2), testKey(1)})
	if err == nil || err.Error() != "redis: encryption keys 1 and 3 are the same" {
		t.Errorf("%v", err)
	}
	if _, err := New(Options{URL: "redis://127.0.0.1:1", EncryptionKeys: []EncryptionKey{testKey(1), testKey(1)}}); err == nil {
		t.Error("New took it")
	}
}

func TestEncryptionKeysDoNotPrint(t *testing.T) {
	key := testKey(1)
	opts := Options{EncryptionKeys: []EncryptionKey{key}}
	asJSON, err := json.Marshal(opts.EncryptionKeys)
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range []string{fmt.Sprint(key), fmt.Sprintf("%v %+v %#v %x %d %s", opts, opts, opts, key, key, key), string(asJSON)} {
		if !strings.Contains(got, "****") || strings.Contains(got, hex.EncodeToString(key[:4])) || strings.Contains(got, fmt.Sprint(key[0], key[1], key[2])) {
			t.Errorf("printed %s", got)
		}
	}
}

// expand is HKDF (RFC 5869) with HMAC-SHA256 written down once more, for keys
// of up to 32 bytes.
func expand(key []byte, info string, size int) []byte {
	mac := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	return mac(mac(make([]byte, sha256.Size), string(key)), info+"\x01")[:size]
}

func gcm(t *testing.T, key []byte) cipher.AEAD {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return aead
}

// TestSealedValuesAreAsTheirFormatSays opens values by what the comments say of
// them, and with none of the code.
func TestSealedValuesAreAsTheirFormatSays(t *testing.T) {
	key := testKey(1)
	s := mustSealer(t, key, testKey(2))
	id := expand(key[:], "jaegis-proxy/redis/1/id", 8)
	if plain := sha256.Sum256(key[:]); bytes.Equal(id, plain[:8]) {
		t.Error("the id of a key is a hash of the bare key")
	}

	name, small := cachekey.Key{Namespace: "n", Provider: "p", Digest: [32]byte{7}}, sampleEntry(100)
	v := s.encode(&buffer{}, name, small)
	prologue := "JGR\x01S" + string([]byte{0, 0, 0, 0, 0, 0, byte(len(v) >> 8), byte(len(v))}) + "\x01n\x01p\x07" + strings.Repeat("\x00", 31)
	if !bytes.HasPrefix(v, []byte(prologue+string(id))) {
		t.Fatalf("%q", v)
	}
	// opened opens what is sealed, bound to all that is before it.
	opened := func(value []byte, at int) []byte {
		t.Helper()
		rest := value[at:]
		if !bytes.HasPrefix(rest, id) {
			t.Fatalf("%q", rest)
		}
		got, err := gcm(t, expand(key[:], "jaegis-proxy/redis/1/seal/"+string(rest[8:40]), 32)).Open(nil, make([]byte, 12), rest[40:], value[:at])
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := opened(v, len(prologue)); !bytes.Equal(got, store.Encode(nil, small)) {
		t.Errorf("%d bytes", len(got))
	}

	large := sampleEntry(maxString + 100)
	body, p := large.Body, s.newProver(len(large.Body))
	v = s.encodeLarge(name, large, p)
	prologue = "JGR\x01V" + string([]byte{0, 0, 0, 0, 0, 0, byte(len(v) >> 8), byte(len(v))}) + "\x01n\x01p\x07" + strings.Repeat("\x00", 31)
	if !bytes.HasPrefix(v, []byte(prologue+string(id))) {
		t.Fatalf("%q", v)
	}
	place := v[len(prologue) : len(prologue)+8+32+16+8+4]
	large.Body = nil
	if got := opened(v, len(prologue)+len(place)); !bytes.Equal(got, store.Encode(nil, large)) {
		t.Errorf("%d bytes", len(got))
	}
	aead := gcm(t, expand(key[:], "jaegis-proxy/redis/1/chunks/"+string(place[8:40]), 32))
	var all []byte
	for n, b := range slices.Collect(slices.Chunk(body, chunkSize)) {
		use := byte(1)
		if n == 2 {
			use = 2 // the last
		}
		got, err := aead.Open(nil, []byte{use, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(n)}, p.prove(append(make([]byte, 0, chunkSize+16), b...), n), place)
		if err != nil {
			t.Errorf("chunk %d: %v", n, err)
		}
		all = append(all, got...)
	}
	if !bytes.Equal(all, body) {
		t.Errorf("%d bytes in chunks", len(all))
	}
}

// TestValuesOfBeforeOpen keeps the format as it is: what one version has
// written the next one reads.
func TestValuesOfBeforeOpen(t *testing.T) {
	s := mustSealer(t, testKey(1))
	const sealed = "a044962f1fc35e350d39aa30c89c2a4d9d4ea17a76db4d10dcb85b6bbd4e1b2b8fa57495dbca6b9ea20e1c1dc37bba48cc86bcd77b6d34405b67106dc813a2c6308ca8"
	b, err := hex.DecodeString(sealed)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.open(b, []byte("of this name")); string(got) != "a plaintext" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func sampleEntry(size int) *store.Entry {
	return &store.Entry{
		Status:   200,
		Header:   []store.Field{{Name: "Content-Type", Value: "text/plain"}},
		Lifetime: policy.Lifetime{StoredAt: time.Unix(1_700_000_000, 0), TTL: time.Hour},
		Body:     bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size],
		Length:   int64(size),
		Tags:     []string{"route:r"},
	}
}
