package proxy

import "testing"

// A buffer is as long as was asked for, and comes back to where the next one
// of its size is taken from, never to where larger ones are.
func TestBuffersHaveTheLengthThatWasAskedFor(t *testing.T) {
	for _, n := range []int{0, 1, 1023, 1024, 1025, 32 << 10, 1<<20 - 1, 1 << 20, 32 << 20, 32<<20 + 1, 100 << 20} {
		for range 3 {
			b := getBuffer(n)
			if len(*b) != n {
				t.Fatalf("%d: length %d, capacity %d", n, len(*b), cap(*b))
			}
			putBuffer(b)
		}
	}
	for _, foreign := range []int{0, 1, 1000, 1500, 1<<20 + 5} {
		b := make([]byte, foreign)
		putBuffer(&b)
	}
	for n := range 5000 {
		if b := getBuffer(n); len(*b) != n {
			t.Fatalf("%d: length %d", n, len(*b))
		}
	}
}
