package proxy

import (
	"math/bits"
	"sync"
)

// Buffers are pooled by size, in powers of two from 1 KiB.
const smallestBuffer = 10

var buffers [16]sync.Pool

func getBuffer(n int) *[]byte {
	class := max(0, bits.Len(uint(n-1))-smallestBuffer)
	if class >= len(buffers) {
		b := make([]byte, n)
		return &b
	}
	if b, ok := buffers[class].Get().(*[]byte); ok {
		*b = (*b)[:n]
		return b
	}
	b := make([]byte, n, 1<<(class+smallestBuffer))
	return &b
}

func putBuffer(b *[]byte) {
	class := bits.Len(uint(cap(*b)-1)) - smallestBuffer
	if class >= 0 && class < len(buffers) && cap(*b) == 1<<(class+smallestBuffer) {
		buffers[class].Put(b)
	}
}
