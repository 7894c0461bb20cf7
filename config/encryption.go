package config

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
)

// encryptionKeySize is the length of a key of AES-256.
const encryptionKeySize = 32

// Raw gives the keys in their order, without the empty ones. It panics for keys
// that Validate refuses and for masks.
func (e *Encryption) Raw() [][encryptionKeySize]byte {
	var keys [][encryptionKeySize]byte
	for _, text := range e.Keys {
		if text == "" {
			continue
		}
		key, ok := parseEncryptionKey(string(text))
		if !ok {
			panic("BUG: config: an encryption key is none")
		}
		keys = append(keys, key)
	}
	return keys
}

// parseEncryptionKey reads 64 hexadecimal digits in any case, or base64 of
// either alphabet, padded or not. No text can be both: 32 bytes are 43
// characters in base64, 44 with padding.
func parseEncryptionKey(text string) (key [encryptionKeySize]byte, ok bool) {
	if len(text) == hex.EncodedLen(len(key)) {
		_, err := hex.Decode(key[:], []byte(text))
		return key, err == nil
	}
	enc := base64.RawStdEncoding
	if strings.ContainsAny(text, "-_") {
		enc = base64.RawURLEncoding
	}
	if len(text) == base64.StdEncoding.EncodedLen(len(key)) {
		text = strings.TrimSuffix(text, "=")
	}
	if len(text) != enc.EncodedLen(len(key)) {
		return key, false
	}
	// Strict: one key is written in one way, but for the alphabets.
	b, err := enc.Strict().DecodeString(text)
	if err != nil || len(b) != len(key) {
		return key, false
	}
	return [encryptionKeySize]byte(b), true
}

// encryption checks the keys. What is wrong never quotes them.
func (ck *checker) encryption(e Encryption) {
	first := map[[encryptionKeySize]byte]int{}
	for i, text := range e.Keys {
		at := fmt.Sprintf("cache.encryption.keys[%d]", i)
		key, ok := parseEncryptionKey(string(text))
		seen, twice := first[key]
		switch {
		case text == Mask:
			// Somebody only looks at what check has printed.
		case text == "" && i == 0:
			ck.fail(at, "the first key, which is the one that encrypts, is empty", "write a key, or no keys at all")
		case text == "":
		case !ok:
			ck.fail(at, fmt.Sprintf("key %d is not 32 bytes, written as 64 hexadecimal digits or in base64", i+1), "make one: openssl rand -hex 32")
		case twice:
			ck.fail(at, fmt.Sprintf("key %d is key %d again", i+1, seen+1), "keep one of them")
		default:
			first[key] = i
		}
	}
}
