package redis

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"jaegis-proxy/store"
)

// An item of a stream has one field, itemField, and in it, sealed, the piece:
// its kind (1 byte) and its data. Items are numbered from 1, and their id is
// "number-0": whoever has read one knows which the next is, by no clock, and one
// that is added twice is there once.
const itemField = "i"

// maxItem is how much of a body one item takes at most.
const maxItem = 64 << 10

// itemOverhead is what an item takes in Redis beside its data, about.
const itemOverhead = 64

func itemID(n uint64) string { return fmt.Sprintf("%d-0", n) }

// sealing guards what lies in streams: an item that is not as it was sealed, for
// that stream and number, does not open.
type sealing interface {
	seal(plain, about []byte) []byte // it may not keep plain
	open(sealed, about []byte) ([]byte, error)
}

// encrypted seals as values are sealed.
type encrypted struct{ s *sealer }

func (e encrypted) seal(plain, about []byte) []byte {
	return e.s.seal(make([]byte, 0, sealHead+len(plain)+tagSize), plain, about)
}

func (e encrypted) open(sealed, about []byte) ([]byte, error) {
	b, err := e.s.open(sealed, about)
	if err != nil {
		return nil, errors.Join(errItem, err)
	}
	return b, nil
}

// plainly seals by a checksum alone.
type plainly struct{}

var errItem = errors.New("an item of the stream is not as it was written")

func (plainly) seal(plain, about []byte) []byte {
	out := make([]byte, 0, len(plain)+8)
	out = append(out, plain...)
	return binary.BigEndian.AppendUint64(out, checksum(plain, about))
}

func (plainly) open(sealed, about []byte) ([]byte, error) {
	n := len(sealed) - 8
	if n < 0 || binary.BigEndian.Uint64(sealed[n:]) != checksum(sealed[:n], about) {
		return nil, errItem
	}
	return sealed[:n], nil
}

func checksum(plain, about []byte) uint64 {
	h := xxhash.New()
	_, _ = h.Write(about) // a hash takes all
	_, _ = h.Write(plain)
	return h.Sum64()
}

// aboutItem is what an item is bound to.
func aboutItem(stream string, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(stream), n)
}

func (f *Fills) sealItem(stream string, n uint64, p store.Piece) []byte {
	return f.sealing.seal(append([]byte{byte(p.Kind)}, p.Data...), aboutItem(stream, n))
}

func (f *Fills) openItem(stream string, n uint64, sealed []byte) (store.Piece, error) {
	b, err := f.sealing.open(sealed, aboutItem(stream, n))
	if err != nil {
		return store.Piece{}, err
	}
	if len(b) == 0 {
		return store.Piece{}, errItem
	}
	return store.Piece{Kind: store.PieceKind(b[0]), Data: b[1:]}, nil
}
