package redis

import (
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"jaegis-proxy/store/storetest"
)

// A write of which the reply was lost is sent again, and finds its own manifest:
// its chunks are no old ones.
func TestAWriteThatIsSentAgainKeepsItsChunks(t *testing.T) {
	server := storetest.StartRedis(t)
	s, err := New(Options{URL: server.URL, Budget: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	raw := goredis.NewClient(&goredis.Options{Addr: server.Addr})
	t.Cleanup(func() { _ = raw.Close() })
	key := storetest.Key("b")
	e := storetest.Entry(time.Now(), storetest.Body(key, 1, 2<<20))
	name, p := key.String(), s.sealer.newProver(int(e.BodySize()))
	value := s.sealer.encodeLarge(key, e, p)
	if err := s.writeChunks(t.Context(), name, p, e); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.replace(t.Context(), name, value, e); err != nil {
			t.Fatal(err)
		}
	}
	kept := raw.PTTL(t.Context(), name).Val()
	for _, chunk := range p.m.names(name) {
		if ttl := raw.PTTL(t.Context(), chunk).Val(); ttl < kept {
			t.Errorf("a chunk is kept for %v, its manifest for %v", ttl, kept)
		}
	}
}
