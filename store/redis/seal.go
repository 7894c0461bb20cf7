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

	"github.com/cespare/xxhash/v2"

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

// prover proves the chunks of one body, each by itself, so that they can be read
// and used one by one: what is in it is what was written there, as this chunk of
// this fill. In plain, a checksum of that says so.
//
// With a key it is the STREAM construction: the nonce is the number of the chunk
// and whether it is the last one, so that chunks cannot change places, be left
// out, or be missing at the end. And since the key belongs to the one body, they
// cannot come from another. It is safe for concurrent use.
type prover struct {
	m     manifest
	aead  cipher.AEAD // nil: in plain
	place []byte      // as in the manifest: all chunks are bound to it
}

// newProver makes one for a new body.
func (s *sealer) newProver(length int) *prover {
	m := newManifest(length, sumSize)
	var place []byte
	if s.on() {
		m.proof, place = tagSize, s.appendHead(nil)
	}
	p, err := s.proverOf(m.appendPlace(place), m)
	if err != nil {
		panic("BUG: redis: " + err.Error()) // it is the first key's
	}
	return p
}

// proverOf makes one of the place in a manifest.
func (s *sealer) proverOf(place []byte, m manifest) (*prover, error) {
	p := &prover{m: m, place: place}
	if m.proof == sumSize {
		return p, nil
	}
	k, err := s.keyOf(place)
	if err != nil {
		return nil, err
	}
	p.aead = k.aead(labelChunks, place[keyIDSize:sealHead])
	return p, nil
}

// prove makes a chunk of its bytes, in their memory, which has room for the
// proof.
func (p *prover) prove(b []byte, n int) []byte {
	if p.aead == nil {
		return binary.BigEndian.AppendUint64(b, p.sum(b, n))
	}
	return p.aead.Seal(b[:0], p.nonce(n), b, p.place)
}

// check gives the bytes of chunk n, in its memory.
func (p *prover) check(chunk []byte, n int) ([]byte, error) {
	if len(chunk) != p.m.size(n)+p.m.proof {
		return nil, errNoProof
	}
	if p.aead == nil {
		b := chunk[:len(chunk)-sumSize]
		if p.sum(b, n) != binary.BigEndian.Uint64(chunk[len(b):]) {
			return nil, errNoProof
		}
		return b, nil
	}
	b, err := p.aead.Open(chunk[:0], p.nonce(n), chunk, p.place)
	if err != nil {
		return nil, errNoProof
	}
	return b, nil
}

// errNoProof says that a chunk is not as it was written.
var errNoProof = fmt.Errorf("%w: a chunk is not what was written", store.ErrGone)

func (p *prover) sum(b []byte, n int) uint64 {
	var number [8]byte
	binary.BigEndian.PutUint64(number[:], uint64(n))
	h := xxhash.New()
	for _, part := range [...][]byte{p.place, number[:], b} {
		_, _ = h.Write(part) // a hash takes all
	}
	return h.Sum64()
}

func (p *prover) nonce(n int) []byte {
	if n == p.m.chunks()-1 {
		return nonce(nonceLastChunk, n)
	}
	return nonce(nonceChunk, n)
}
