package flight

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

type testGroup = Group[string, string, int]

func open() *testFlight { return newFlight(roomy(), 0) }

func TestOneLeaderPerKey(t *testing.T) {
	var g testGroup
	a, leader := g.Join("a", open)
	if !leader {
		t.Error("the first one does not lead")
	}
	again, leader := g.Join("a", open)
	if leader || again != a || a.seats != 2 {
		t.Errorf("the second one leads: %v, in the same flight: %v, seats: %d", leader, again == a, a.seats)
	}
	b, leader := g.Join("b", open)
	if !leader || b == a {
		t.Error("another key is not led by its first caller")
	}
	if g.Len() != 2 {
		t.Errorf("%d flights, want 2", g.Len())
	}
}

func TestNobodySitsDownWhereItIsTooLate(t *testing.T) {
	f := func(name string, wantJoin bool, act func(*testFlight)) {
		t.Helper()
		var g testGroup
		old, _ := g.Join("k", open)
		act(old)
		got, leader := g.Join("k", open)
		if joined := got == old; joined != wantJoin || leader == wantJoin {
			t.Errorf("%s: joined: %v, leader: %v", name, joined, leader)
		}
		g.Forget("k", old)
		if left := g.Len(); left == 1 == wantJoin {
			t.Errorf("%s: %d flights left after the old one was forgotten", name, left)
		}
	}
	start := func(f *testFlight) { f.Start("", -1, false) }
	f("waiting", true, func(*testFlight) {})
	f("flowing", true, start)
	f("ended", true, func(f *testFlight) { start(f); f.Close(nil) })
	f("settled", true, func(f *testFlight) { start(f); f.Close(nil); f.Settle(1) })
	f("nobody in it, storable", true, func(f *testFlight) { start(f); f.Leave() })
	f("sealed at the start", false, func(f *testFlight) { f.Start("", -1, true) })
	f("sealed later", false, func(f *testFlight) { start(f); f.Seal() })
	f("cut", false, func(f *testFlight) { start(f); f.Close(errCut) })
	f("failed before its head", false, func(f *testFlight) { f.Close(errCut) })
	f("abandoned", false, func(f *testFlight) { f.abandon = true; f.Leave() })
	f("body given up", false, func(f *testFlight) { start(f); f.Close(nil); f.Settle(1); f.Leave(); f.Done() })
}

func TestForgetCountsOnlyTheKeysOwnFlight(t *testing.T) {
	var g testGroup
	a, _ := g.Join("k", open)
	a.Seal()
	b, _ := g.Join("k", open)
	g.Forget("k", a)
	if g.Generation() != 0 || g.Len() != 1 {
		t.Errorf("a flight that was replaced: generation %d, %d flights", g.Generation(), g.Len())
	}
	g.Forget("k", b)
	g.Forget("k", b)
	if g.Generation() != 1 || g.Len() != 0 {
		t.Errorf("the key's own: generation %d, %d flights", g.Generation(), g.Len())
	}
}

func TestAJoinerBetweenCloseAndSettleGetsAllAndTheVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g testGroup
		f, _ := g.Join("k", open)
		f.Start("head", -1, false)
		if err := f.Write([]byte("body"), true); err != nil {
			t.Fatal(err)
		}
		f.Leave()
		f.Close(nil)
		joined, leader := g.Join("k", open)
		if leader || !joined.Ended() {
			t.Fatalf("leader: %v, ended: %v", leader, joined.Ended())
		}
		got := make(chan int, 1)
		go func() { <-joined.Settled(); got <- joined.Value() }()
		synctest.Wait()
		if b, err := f.Body(); string(b) != "body" || err != nil {
			t.Errorf("Body = %q, %v", b, err)
		}
		f.Settle(5)
		g.Forget("k", f)
		f.Done()
		if v := <-got; v != 5 {
			t.Errorf("Value = %d", v)
		}
		r := joined.Reader(t.Context())
		if b, err := drain(r); string(b) != "body" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		r.Close()
		if !bodyClosed(f) {
			t.Error("the body is still held")
		}
	})
}

// TestWhatIsStoredIsNotFetchedAgain plays the whole protocol with a store that
// is a flag: who became leader although a flight ended since its look-up looks
// again.
func TestWhatIsStoredIsNotFetchedAgain(t *testing.T) {
	for range 200 {
		var g testGroup
		var stored atomic.Bool
		var fetches atomic.Int64
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				for {
					seen := g.Generation()
					if stored.Load() {
						return
					}
					f, leader := g.Join("k", open)
					if !leader {
						r := f.Reader(t.Context())
						b, err := drain(r)
						r.Close()
						if err == errCut {
							continue // its leader looks again, and so do we
						}
						if string(b) != "x" || err != nil {
							t.Errorf("%q, %v", b, err)
						}
						return
					}
					again := g.Generation() != seen
					if !again {
						fetches.Add(1)
						f.Start("", 1, false)
						if err := f.Write([]byte("x"), true); err != nil {
							t.Error(err)
						}
						stored.Store(true)
					}
					f.Close(errCut) // does nothing after a last write
					f.Leave()
					f.Settle(0)
					g.Forget("k", f)
					f.Done()
					if !again {
						return
					}
				}
			})
		}
		wg.Wait()
		if n := fetches.Load(); n != 1 {
			t.Fatalf("%d fetches", n)
		}
	}
}

func TestAnOfferedFlightTakesThePlaceOfAnOlderOne(t *testing.T) {
	var g Group[string, string, int]
	open := func() *testFlight { return newFlight(roomy(), 0) }
	older, leader := g.Join("k", open)
	if !leader {
		t.Fatal("no leader")
	}
	newer := open()
	g.Offer("k", newer)
	if f, leader := g.Join("k", open); f != newer || leader {
		t.Errorf("joined %p as leader %v, want %p", f, leader, newer)
	}
	if f := g.Find("k"); f != newer {
		t.Errorf("found %p, want %p", f, newer)
	}
	g.Forget("k", older)
	if f := g.Find("k"); f != newer {
		t.Error("the older one's end took the newer one away")
	}
	g.Forget("k", newer)
	if f := g.Find("k"); f != nil {
		t.Errorf("found %p after its end", f)
	}
	for _, f := range []*testFlight{older, newer} {
		f.Close(nil)
		f.Settle(0)
		f.Leave()
		f.Done()
	}
}
