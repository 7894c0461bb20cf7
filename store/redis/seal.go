package redis

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"jaegis-proxy/store"
)

// Sealed bytes:
//
//	id of the key (8 bytes) | salt (32) | ciphertext, as long as the plaintext | tag (16)
//
// Each seal has an AES-256 key of its own, which HKDF with HMAC-SHA256 (RFC
// 5869) makes of a configured key and the salt. AES-GCM is lost once a nonce
// comes twice under one key, and nonces of 96 bits that are drawn at random may
// do so after some 2^32 values, which many nodes with the same key do write in
// time. Salts of 256 bits do not meet however many values are written, and the
// nonces under the key that each makes are counted, not drawn.
//
// The id is made of the key by HKDF too, under a label of its own: it tells
// which key it was and nothing about it.
const (
	keyIDSize = 8
	saltSize  = 32
	sealHead  = keyIDSize + saltSize
	tagSize   = 16

	labelID     = "jaegis-proxy/redis/1/id"
	labelSeal   = "jaegis-proxy/redis/1/seal/"
	labelChunks = "jaegis-proxy/redis/1/chunks/"
)

// What the nonces of one derived key are for.
const (
	nonceWhole = iota
	nonceManifest
	nonceChunk
	nonceLastChunk
)

// errNotSealed says that a value is in plain where all must be sealed: whoever
// can write to Redis could have made it up.
var errNotSealed = errors.New("not encrypted")

// unknownKeyError says that a value is sealed with a key that is not here. It
// may be another node's that has been given its keys earlier: the value is of
// no use here, and not corrupt.
type unknownKeyError struct{ id keyID }

func (e *unknownKeyError) Error() string { return "encrypted with the unknown key " + e.id.String() }

type keyID [keyIDSize]byte

func (id keyID) String() string { return hex.EncodeToString(id[:]) }

// sealer encrypts and authenticates with the first of its keys and opens what
// any of them has sealed. Without keys it is off. It is safe for concurrent
// use.
type sealer struct{ keys []rootKey }

// rootKey is a configured key, made ready for deriving others.
type rootKey struct {
	id     keyID
	secret []byte // of HKDF, after its first step
}

// newSealer makes a sealer. The error never tells anything of a key.
func newSealer(keys []EncryptionKey) (*sealer, error) {
	s := &sealer{}
	for i, key := range keys {
		secret, err := hkdf.Extract(sha256.New, key[:], nil)
		if err != nil {
			return nil, fmt.Errorf("redis: encryption: %w", err)
		}
		k := rootKey{secret: secret}
		copy(k.id[:], k.derive(labelID, nil, keyIDSize))
		for j := range s.keys {
			if s.keys[j].id == k.id {
				return nil, fmt.Errorf("redis: encryption keys %d and %d are the same", j+1, i+1)
			}
		}
		s.keys = append(s.keys, k)
	}
	return s, nil
}

func (s *sealer) on() bool { return len(s.keys) > 0 }

// ids gives the ids of the keys, in their order.
func (s *sealer) ids() []string {
	ids := make([]string, len(s.keys))
	for i := range s.keys {
		ids[i] = s.keys[i].id.String()
	}
	return ids
}

// seal appends plaintext to dst, encrypted, and bound to aad: it opens with the
// same aad alone. Everybody who seals has aad begin in a way of their own, so
// that nobody's can stand in another's place. plaintext may already lie in the
// memory of dst, sealHead bytes behind its end, and is then encrypted where it
// is. A sealer that is off appends plaintext as it is.
func (s *sealer) seal(dst, plaintext, aad []byte) []byte {
	if !s.on() {
		return append(dst, plaintext...)
	}
	dst = s.appendHead(dst)
	salt := dst[len(dst)-saltSize:]
	return s.keys[0].aead(labelSeal, salt).Seal(dst, nonce(nonceWhole, 0), plaintext, aad)
}

// open gives back the plaintext of what seal appended. It is in the memory of
// sealed, of which all that follows the first sealHead bytes is overwritten,
// with an error too. That is store.ErrCorrupt or an unknownKeyError.
func (s *sealer) open(sealed, aad []byte) ([]byte, error) {
	if !s.on() {
		return sealed, nil
	}
	k, err := s.keyOf(sealed)
	if err != nil {
		return nil, err
	}
	box := sealed[sealHead:]
	plaintext, err := k.aead(labelSeal, sealed[keyIDSize:sealHead]).Open(box[:0], nonce(nonceWhole, 0), box, aad)
	if err != nil {
		return nil, fmt.Errorf("%w: the seal is broken", store.ErrCorrupt)
	}
	return plaintext, nil
}

// appendHead appends the id of the first key and a salt.
func (s *sealer) appendHead(dst []byte) []byte {
	dst = append(dst, s.keys[0].id[:]...)
	var salt [saltSize]byte
	_, _ = rand.Read(salt[:]) // never fails
	return append(dst, salt[:]...)
}

// keyOf gives the key that sealed bytes, or the beginning of some, name.
func (s *sealer) keyOf(sealed []byte) (*rootKey, error) {
	if len(sealed) < sealHead {
		return nil, fmt.Errorf("%w: too short for a seal", store.ErrCorrupt)
	}
	for i := range s.keys {
		if bytes.Equal(s.keys[i].id[:], sealed[:keyIDSize]) {
			return &s.keys[i], nil
		}
	}
	return nil, &unknownKeyError{keyID(sealed[:keyIDSize])}
}

func (k *rootKey) derive(label string, salt []byte, size int) []byte {
	b, err := hkdf.Expand(sha256.New, k.secret, label+string(salt), size)
	if err != nil {
		panic("BUG: redis: " + err.Error()) // the sizes are ours, and right
	}
	return b
}

func (k *rootKey) aead(label string, salt []byte) cipher.AEAD {
	block, err := aes.NewCipher(k.derive(label, salt, 32))
	if err != nil {
		panic("BUG: redis: " + err.Error())
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic("BUG: redis: " + err.Error())
	}
	return gcm
}

func nonce(use byte, n int) []byte {
	var b [12]byte
	b[0] = use
	binary.BigEndian.PutUint64(b[4:], uint64(n))
	return b[:]
}

// chunkSealer seals the chunks of one value, each by itself, so that they can
// be read and used one by one. It is the STREAM construction: the nonce is the
// number of the chunk and whether it is the last one, so that chunks cannot
// change places, be left out, or be missing at the end. And since the key
// belongs to the one value, they cannot come from another. It is safe for
// concurrent use.
type chunkSealer struct {
	aead cipher.AEAD
	head []byte // of the manifest, to which all are bound
}

// chunks gives the sealer of chunks for a manifest that begins with head: all
// of it but the seal. sealed is where in head the id of the key stands.
func (k *rootKey) chunks(head []byte, sealed int) *chunkSealer {
	return &chunkSealer{k.aead(labelChunks, head[sealed+keyIDSize:sealed+sealHead]), head}
}

// finish gives the manifest: the head and its seal.
func (c *chunkSealer) finish() []byte {
	return c.aead.Seal(bytes.Clone(c.head), nonce(nonceManifest, 0), nil, c.head)
}

// verify looks at a manifest's seal.
func (c *chunkSealer) verify(tag []byte) error {
	if _, err := c.aead.Open(nil, nonce(nonceManifest, 0), tag, c.head); err != nil {
		return fmt.Errorf("%w: the seal of the manifest is broken", store.ErrCorrupt)
	}
	return nil
}

// sealAll turns the value in b, which m is of, into its sealed chunks, in the
// same memory as far as it goes.
func (c *chunkSealer) sealAll(b []byte, m manifest) []byte {
	plain := b
	b = append(b, make([]byte, m.chunks()*tagSize)...)
	// From the last one on, since each moves to make room for the seals before
	// it.
	for n := m.chunks() - 1; n >= 0; n-- {
		from, to := m.slot(n)
		size := copy(b[from:to-tagSize], plain[n*m.chunk:min((n+1)*m.chunk, len(plain))])
		c.aead.Seal(b[from:from], c.nonce(n, m), b[from:from+size], c.head)
	}
	return b
}

// openAll opens the chunks from and up to, but not including, to, which are in
// their slots of b, and moves what was in them to where it belongs in the value.
func (c *chunkSealer) openAll(b []byte, m manifest, from, to int) error {
	for n := from; n < to; n++ {
		at, end := m.slot(n)
		chunk := b[at:end:end]
		plaintext, err := c.aead.Open(chunk[:0], c.nonce(n, m), chunk, c.head)
		if err != nil {
			return fmt.Errorf("%w: the seal of chunk %d is broken", store.ErrCorrupt, n)
		}
		copy(b[n*m.chunk:], plaintext)
	}
	return nil
}

func (c *chunkSealer) nonce(n int, m manifest) []byte {
	if n == m.chunks()-1 {
		return nonce(nonceLastChunk, n)
	}
	return nonce(nonceChunk, n)
}
