package cachekey

import (
	"fmt"
	"strings"
	"testing"
)

// remembers tells whether the memo has the body of w as rule reads it.
func remembers(d *Deriver, rule *Rule, w wire) bool {
	s := &scratch{}
	req := w.request()
	s.readHeaders(req.Headers)
	_, _, ok := d.Memo.find(req.Body.Bytes, s.reading(rule, s.wants(rule.prepared.mode)))
	return ok
}

func TestMemoKeepsABodyAtItsSecondSight(t *testing.T) {
	d := &Deriver{Memo: NewMemo(1 << 20)}
	rule := prepare(t, Rule{})
	w := jsonPost(`{"a":"` + strings.Repeat("x", 2000) + `"}`)
	for i, want := range []bool{false, false, true, true} {
		if got := remembers(d, rule, w); got != want {
			t.Errorf("after %d sights: remembered %v", i, got)
		}
		mustDerive(t, d, rule, w.request())
	}
}

func TestMemoGivesTheKeyThatReadingWouldGive(t *testing.T) {
	long := strings.Repeat("x", 2000)
	rules := []*Rule{
		prepare(t, Rule{}),
		prepare(t, Rule{Body: BodyRaw}),
		prepare(t, Rule{Body: BodyForm}),
		prepare(t, Rule{Ignore: []string{"/a"}}),
		prepare(t, Rule{Ignore: []string{"/b"}}),
	}
	var ws []wire
	for _, body := range []string{`{"a":"` + long + `"}`, `{"b":"` + long + `"}`, `{"a":"` + long + `" }`, long, gzipped(long), "--b\r\n" + long + "\r\n--b--"} {
		for _, contentType := range []string{"application/json", "text/plain", "multipart/mixed; boundary=b", "multipart/mixed; boundary=c"} {
			ws = append(ws, post(body, "Content-Type: "+contentType), post(body, "Content-Type: "+contentType, "Content-Encoding: gzip"))
		}
	}
	d, plain := &Deriver{Memo: NewMemo(1 << 20)}, &Deriver{}
	for range 4 {
		for _, w := range ws {
			for _, rule := range rules {
				if mustDerive(t, d, rule, w.request()) != mustDerive(t, plain, rule, w.request()) {
					t.Fatalf("another key with a memo: %+v", w)
				}
			}
		}
	}
}

func TestMemoComparesTheBytes(t *testing.T) {
	m := NewMemo(1 << 20)
	body, reading := []byte("body"), []byte("reading")
	_, id, _ := m.find(body, reading)
	// As if another body had the same hash.
	m.cache.Set(id, &remembered{body: []byte("bodi"), reading: reading})
	if _, _, ok := m.find(body, reading); ok {
		t.Error("found under another body")
	}
	m.cache.Set(id, &remembered{body: body, reading: []byte("riding")})
	if _, _, ok := m.find(body, reading); ok {
		t.Error("found under another reading")
	}
	m.cache.Set(id, &remembered{body: body, reading: reading})
	if _, _, ok := m.find(body, reading); !ok {
		t.Error("not found")
	}
}

func TestMemoOwnsWhatItKeeps(t *testing.T) {
	m := NewMemo(1 << 20)
	body, reading := []byte("body"), []byte("reading")
	for range 2 {
		_, id, _ := m.find(body, reading)
		m.offer(id, body, reading, content{kind: kindRaw})
	}
	copy(body, "XXXX")
	copy(reading, "XXXXXXX")
	if _, _, ok := m.find([]byte("body"), []byte("reading")); !ok {
		t.Error("changed with the caller's bytes")
	}
}

func TestMemoKeepsWithinItsBound(t *testing.T) {
	const bound = 1 << 20
	m := NewMemo(bound)
	for i := range 300 {
		body := fmt.Appendf(nil, "%d %s", i, strings.Repeat("x", 20_000))
		for range 2 {
			_, id, _ := m.find(body, nil)
			m.offer(id, body, nil, content{})
		}
	}
	m.cache.CleanUp()
	total, n := 0, 0
	for r := range m.cache.Values() {
		total += len(r.body)
		n++
	}
	if total > bound || n < 20 {
		t.Errorf("%d bodies, %d bytes", n, total)
	}
}

func TestMemoTakesNoBodyAboveAnEighth(t *testing.T) {
	m := NewMemo(8 << 10)
	if !m.takes(1<<10) || m.takes(1<<10+1) {
		t.Error("wrong bound")
	}
	var none *Memo
	if none.takes(1) || NewMemo(0) != nil || NewMemo(-1) != nil {
		t.Error("no memo takes something")
	}
}

func TestMemoHitsOfAnySizeAllocateNothing(t *testing.T) {
	rule := prepare(t, Rule{})
	for _, n := range []int{300, 16 << 10, 200 << 10} {
		for _, contentType := range []string{"application/json", "application/octet-stream"} {
			d := &Deriver{Memo: NewMemo(64 << 20)}
			req := benchRequest(chat(n), contentType)
			for range 3 {
				mustDerive(t, d, rule, req)
			}
			if got := testing.AllocsPerRun(200, func() { mustDerive(t, d, rule, req) }); got > 0 && !raceEnabled {
				t.Errorf("%d bytes of %s: %v allocations", n, contentType, got)
			}
		}
	}
}
