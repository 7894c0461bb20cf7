package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
)

// The stored form of an Entry, all integers big-endian:
//
//	magic "JGE" | format version (1 byte)
//	head length (4 bytes) | body length (8 bytes)
//	head
//	body
//	xxhash64 of everything before it (8 bytes)
//
// The head holds varints and length-prefixed strings in the order in which
// appendHead writes them. A change to it is a new format version: old entries
// then count as corrupt, which is to say as misses.
const (
	magic         = "JGE"
	formatVersion = 5
	frameSize     = len(magic) + 1 + 4 + 8
	checksumSize  = 8
)

// ErrCorrupt is what Decode returns, wrapped with the reason, for bytes that
// are not a whole entry of this format version.
var ErrCorrupt = errors.New("corrupt entry")

// Encode appends the stored form of e to dst and returns the result. Source is
// not part of it, nor is a Content. Times are kept to the nanosecond; a
// StoredAt that is not zero must be within the years 1678 to 2262.
func Encode(dst []byte, e *Entry) []byte {
	start := len(dst)
	dst = slices.Grow(dst, frameSize+int(e.Size())+checksumSize)
	dst = append(dst, magic...)
	dst = append(dst, formatVersion)
	dst = append(dst, make([]byte, frameSize-len(magic)-1)...)
	head := len(dst)
	dst = appendHead(dst, e)
	if len(dst)-head > math.MaxUint32 {
		panic("BUG: entry head over 4 GiB")
	}
	frame := dst[start:head]
	binary.BigEndian.PutUint32(frame[4:], uint32(len(dst)-head))
	binary.BigEndian.PutUint64(frame[8:], uint64(len(e.Body)))
	dst = append(dst, e.Body...)
	return binary.BigEndian.AppendUint64(dst, xxhash.Sum64(dst[start:]))
}

func appendHead(b []byte, e *Entry) []byte {
	b = binary.AppendVarint(b, int64(e.Status))
	b = appendTime(b, e.Lifetime.StoredAt)
	b = appendTime(b, e.Asked)
	b = binary.AppendUvarint(b, e.Stamp.Epoch)
	b = binary.AppendUvarint(b, e.Stamp.Seq.Time)
	b = binary.AppendUvarint(b, e.Stamp.Seq.N)
	b = binary.AppendVarint(b, int64(e.Lifetime.TTL))
	b = binary.AppendVarint(b, int64(e.Lifetime.StaleWhileRevalidate))
	b = binary.AppendVarint(b, int64(e.Lifetime.StaleIfError))
	b = binary.AppendVarint(b, int64(e.Lifetime.Keep))
	b = appendBool(b, e.Lifetime.AllowStale)
	b = binary.AppendUvarint(b, e.Epoch)
	b = binary.AppendVarint(b, e.Length)
	b = binary.AppendVarint(b, int64(e.UpstreamTime))
	b = appendString(b, e.Coding)
	b = appendBool(b, e.Tagged)
	b = binary.AppendUvarint(b, uint64(len(e.Header)))
	for _, f := range e.Header {
		b = appendString(b, f.Name)
		b = appendString(b, f.Value)
	}
	b = appendStrings(b, e.Vary)
	b = appendStrings(b, e.Tags)
	b = appendString(b, e.Usage.Model)
	b = binary.AppendVarint(b, e.Usage.In)
	b = binary.AppendVarint(b, e.Usage.Out)
	b = binary.AppendVarint(b, e.Usage.Cached)
	b = binary.AppendUvarint(b, uint64(len(e.Events)))
	for _, ev := range e.Events {
		b = binary.AppendVarint(b, ev.Size)
		b = binary.AppendVarint(b, int64(ev.After))
	}
	return b
}

// appendTime writes a presence byte and the nanoseconds since 1970, since the
// zero time has no such number.
func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, 0)
	}
	return binary.BigEndian.AppendUint64(append(b, 1), uint64(t.UnixNano()))
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendStrings(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = appendString(b, s)
	}
	return b
}

// Decode reads what Encode wrote. The entry's Body is a part of b, which the
// caller must not use afterwards; its strings are copies. Any error is
// ErrCorrupt: bytes cut short or run on, changed in any place, or of another
// format version. What it allocates is bounded by a small multiple of len(b),
// whatever b says of itself.
func Decode(b []byte) (*Entry, error) {
	if len(b) < frameSize+checksumSize || string(b[:len(magic)]) != magic {
		return nil, fmt.Errorf("%w: no entry begins here", ErrCorrupt)
	}
	if v := b[len(magic)]; v != formatVersion {
		return nil, fmt.Errorf("%w: format version %d is not %d", ErrCorrupt, v, formatVersion)
	}
	headLen := uint64(binary.BigEndian.Uint32(b[4:]))
	bodyLen := binary.BigEndian.Uint64(b[8:])
	content := uint64(len(b) - frameSize - checksumSize)
	if headLen > content || bodyLen != content-headLen {
		return nil, fmt.Errorf("%w: lengths do not add up", ErrCorrupt)
	}
	sumAt := len(b) - checksumSize
	if xxhash.Sum64(b[:sumAt]) != binary.BigEndian.Uint64(b[sumAt:]) {
		return nil, fmt.Errorf("%w: checksum differs", ErrCorrupt)
	}
	bodyAt := frameSize + int(headLen)
	e, err := decodeHead(b[frameSize:bodyAt])
	if err != nil {
		return nil, err
	}
	e.Body = b[bodyAt:sumAt:sumAt]
	return e, nil
}

// decodeHead turns the head into one string and cuts the entry's strings from
// it, so that they hold neither the body nor a block of memory each.
func decodeHead(b []byte) (*Entry, error) {
	c := cursor{b: b, s: string(b)}
	e := &Entry{Status: int(c.varint())}
	e.Lifetime.StoredAt = c.time()
	e.Asked = c.time()
	e.Stamp = Stamp{Epoch: c.uvarint(), Seq: Seq{Time: c.uvarint(), N: c.uvarint()}}
	e.Lifetime.TTL = time.Duration(c.varint())
	e.Lifetime.StaleWhileRevalidate = time.Duration(c.varint())
	e.Lifetime.StaleIfError = time.Duration(c.varint())
	e.Lifetime.Keep = time.Duration(c.varint())
	e.Lifetime.AllowStale = c.uvarint() == 1
	e.Epoch = c.uvarint()
	e.Length = c.varint()
	e.UpstreamTime = time.Duration(c.varint())
	e.Coding = c.string()
	e.Tagged = c.uvarint() == 1
	if n := c.count(2); n > 0 {
		e.Header = make([]Field, n)
		for i := range e.Header {
			e.Header[i] = Field{Name: c.string(), Value: c.string()}
		}
	}
	e.Vary = c.strings()
	e.Tags = c.strings()
	e.Usage = Usage{Model: c.string(), In: c.varint(), Out: c.varint(), Cached: c.varint()}
	if n := c.count(2); n > 0 {
		e.Events = make([]Event, n)
		for i := range e.Events {
			e.Events[i] = Event{Size: c.varint(), After: time.Duration(c.varint())}
		}
	}
	if c.bad || c.at != len(b) {
		return nil, fmt.Errorf("%w: head does not parse", ErrCorrupt)
	}
	return e, nil
}

// cursor reads a head. Past the first thing that does not parse it is bad and
// yields zeros.
type cursor struct {
	b   []byte
	s   string // the same bytes
	at  int
	bad bool
}

func (c *cursor) skip(n int) {
	if n <= 0 {
		c.bad, n = true, len(c.b)-c.at
	}
	c.at += n
}

func (c *cursor) varint() int64 {
	v, n := binary.Varint(c.b[c.at:])
	c.skip(n)
	return v
}

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.b[c.at:])
	c.skip(n)
	return v
}

func (c *cursor) time() time.Time {
	rest := c.b[c.at:]
	switch {
	case len(rest) >= 1 && rest[0] == 0:
		c.skip(1)
		return time.Time{}
	case len(rest) >= 9 && rest[0] == 1:
		c.skip(9)
		return time.Unix(0, int64(binary.BigEndian.Uint64(rest[1:])))
	}
	c.skip(0)
	return time.Time{}
}

func (c *cursor) string() string {
	n := c.uvarint()
	if c.bad || n > uint64(len(c.b)-c.at) {
		c.bad = true
		return ""
	}
	from := c.at
	c.at += int(n)
	return c.s[from:c.at]
}

// count reads the number of items that follow, each of at least size bytes: no
// more of them than the rest has room for.
func (c *cursor) count(size int) int {
	n := c.uvarint()
	if c.bad || n > uint64((len(c.b)-c.at)/size) {
		c.bad = true
		return 0
	}
	return int(n)
}

func (c *cursor) strings() []string {
	n := c.count(1)
	if n == 0 {
		return nil
	}
	list := make([]string, n)
	for i := range list {
		list[i] = c.string()
	}
	return list
}
