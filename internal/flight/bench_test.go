package flight

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"

	"jaegis-proxy/internal/spool"
)

// BenchmarkFanOut sends one body of 1 MiB in pieces of 16 KiB to many readers
// at once; B/s counts the bytes that the readers get.
func BenchmarkFanOut(b *testing.B) {
	const size, piece = 1 << 20, 16 << 10
	for _, sealed := range []bool{false, true} {
		for _, readers := range []int{1, 100, 1000} {
			b.Run(fmt.Sprintf("sealed=%v/readers=%d", sealed, readers), func(b *testing.B) {
				b.SetBytes(int64(readers) * size)
				b.ReportAllocs()
				body := pattern(piece)
				for b.Loop() {
					fanOut(b, readers, sealed, body, size/piece)
				}
			})
		}
	}
}

func fanOut(b *testing.B, readers int, sealed bool, piece []byte, pieces int) {
	st := &spool.Store{Memory: 4 << 20}
	f := New[string, int](context.Background(), Options{Body: st.New(-1), Window: 128 << 10})
	var wg sync.WaitGroup
	for range readers {
		f.Sit()
		r := f.Reader(context.Background())
		wg.Go(func() {
			defer r.Close()
			n := 0
			for {
				p, err := r.Next()
				if n += len(p); err == io.EOF && n == pieces*len(piece) {
					return
				}
				if err != nil {
					b.Errorf("after %d bytes: %v", n, err)
					return
				}
			}
		})
	}
	f.Leave()
	f.Start("", -1, sealed)
	for i := range pieces {
		if err := f.Write(piece, i == pieces-1); err != nil {
			b.Error(err)
		}
	}
	f.Settle(0)
	f.Done()
	wg.Wait()
}
