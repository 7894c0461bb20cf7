package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
)

// An answer proves itself. Its core is
//
//	hash of the request | tenant | version | time when it was made | length | filler
//
// where the filler, up to the length, follows from all that stands before it.
// Whatever an answer may be mixed with or cut at, it shows.

const (
	hashSize   = 32 // hexadecimal digits
	numberSize = 16 // decimal digits of version, time and length
)

// form is what is around the core.
type form int

const (
	formJSON   form = iota
	formChat        // an OpenAI chat completion
	formStream      // the same as a stream of events
)

// eventSize is how much of the core one event of a stream has.
const eventSize = 96

// requestHash is the hash of what selects an answer, fields with their lengths.
func requestHash(method, target, variant string, body []byte) string {
	h := sha256.New()
	fmt.Fprintf(h, "%d %s %d %s %d %s %d ", len(method), method, len(target), target, len(variant), variant, len(body))
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil))[:hashSize]
}

// coreSize is the least that a core of this tenant can have.
func coreSize(tenant string) int { return hashSize + 1 + len(tenant) + 3*(1+numberSize) + 1 }

// appendCore appends a core of size bytes.
func appendCore(b []byte, hash, tenant string, version, made int64, size int) []byte {
	start := len(b)
	b = append(append(append(append(b, hash...), '|'), tenant...), '|')
	b = append(appendNumber(b, version), '|')
	b = append(appendNumber(b, made), '|')
	b = append(appendNumber(b, int64(size)), '|')
	return appendFiller(b, b[start:], size-(len(b)-start))
}

func appendNumber(b []byte, n int64) []byte {
	var digits [numberSize]byte
	for i := range digits {
		digits[numberSize-1-i] = byte('0' + n%10)
		n /= 10
	}
	return append(b, digits[:]...)
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// appendFiller appends n letters that follow from the seed.
func appendFiller(b, seed []byte, n int) []byte {
	x := uint64(14695981039346656037) // FNV-1a
	for _, c := range seed {
		x = (x ^ uint64(c)) * 1099511628211
	}
	for n > 0 {
		x ^= x << 13 // xorshift
		x ^= x >> 7
		x ^= x << 17
		for y := x; n > 0 && y > 1<<10; y >>= 6 {
			b = append(b, alphabet[y&63])
			n--
		}
	}
	return b
}

// appendAnswer appends the whole body of the answer to an ask.
func (a *ask) appendAnswer(b []byte, version, made int64) []byte {
	switch a.form {
	case formChat:
		b = append(append(append(b, `{"object":"chat.completion","model":"`...), a.model...), `","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"`...)
		b = appendCore(b, a.hash, a.tenant, version, made, a.size)
		return append(b, `"}}],"usage":{"prompt_tokens":7,"completion_tokens":9,"total_tokens":16}}`...)
	case formStream:
		core := appendCore(make([]byte, 0, a.size), a.hash, a.tenant, version, made, a.size)
		for len(core) > 0 {
			n := min(eventSize, len(core))
			b = a.appendEvent(b, core[:n], "null")
			core = core[n:]
		}
		b = a.appendEvent(b, nil, `"stop"`)
		return append(b, "data: [DONE]\n\n"...)
	default:
		b = append(b, `{"proof":"`...)
		b = appendCore(b, a.hash, a.tenant, version, made, a.size)
		return append(b, `"}`...)
	}
}

func (a *ask) appendEvent(b, piece []byte, finish string) []byte {
	b = append(append(append(b, `data: {"object":"chat.completion.chunk","model":"`...), a.model...), `","choices":[{"index":0,"delta":{"content":"`...)
	return append(append(append(append(b, piece...), `"},"finish_reason":`...), finish...), "}]}\n\n"...)
}

// A proof is what an answer says of itself, and whether it is what it says.
type proof struct {
	verdict verdict
	version int64 // of good ones
	made    int64
}

// verify compares a body with the one that the ask has at the version that the
// body names. ended says that it came to a clean end.
func (a *ask) verify(body []byte, ended bool, scratch *[]byte) proof {
	version, made, ok := a.read(body)
	if ok {
		*scratch = a.appendAnswer((*scratch)[:0], version, made)
	}
	switch {
	case ok && bytes.Equal(body, *scratch):
		return proof{good, version, made}
	case ok && len(body) < len(*scratch) && bytes.HasPrefix(*scratch, body):
		if ended {
			return proof{cutCleanly, version, made}
		}
		return proof{cutVisibly, version, made}
	case !ok && len(body) < len(a.prefix)+2*(numberSize+1) && bytes.HasPrefix(a.prefix, body[:min(len(body), len(a.prefix))]):
		if ended {
			return proof{verdict: cutCleanly}
		}
		return proof{verdict: cutVisibly}
	case bytes.Contains(body, []byte(a.hash+"|")) && !bytes.Contains(body, []byte(a.hash+"|"+a.tenant+"|")):
		return proof{verdict: crossTenant}
	}
	return proof{verdict: wrong}
}

// read takes version and time from where they stand in the answers to an ask;
// not ok when the answer is none of these, or ends before them.
func (a *ask) read(body []byte) (version, made int64, ok bool) {
	rest, ok := bytes.CutPrefix(body, a.prefix)
	if !ok || len(rest) < 2*numberSize+1 {
		return 0, 0, false
	}
	version, err := strconv.ParseInt(string(rest[:numberSize]), 10, 64)
	if err != nil {
		return 0, 0, false
	}
	made, err = strconv.ParseInt(string(rest[numberSize+1:2*numberSize+1]), 10, 64)
	return version, made, err == nil
}
