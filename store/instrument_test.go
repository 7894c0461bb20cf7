package store_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"jaegis-proxy/store"
	"jaegis-proxy/store/memory"
	"jaegis-proxy/store/storetest"
)

func instrument(t testing.TB, name string, s store.Store, reg prometheus.Registerer) store.Store {
	t.Helper()
	wrapped, err := store.Instrument(s, name, reg)
	if err != nil {
		t.Fatal(err)
	}
	return wrapped
}

func openMemory(t testing.TB) *memory.Store {
	t.Helper()
	s, err := memory.New(memory.Options{MaxBytes: roomy})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestOperationsAreCountedByStoreKindAndResult(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	broken := &far{Store: openMemory(t)}
	near, far := instrument(t, "memory", openMemory(t), reg), instrument(t, "redis", broken, reg)
	key, ctx := storetest.Key("k"), t.Context()
	_, _ = near.Get(ctx, key)
	_ = near.Put(ctx, key, storetest.Entry(time.Now(), nil))
	_, _ = near.Get(ctx, key)
	_, _ = near.Get(ctx, key)
	_ = near.Put(ctx, key, storetest.Entry(time.Now(), make([]byte, roomy)))
	_ = near.Delete(ctx, key)
	_ = far.Delete(ctx, key)
	broken.err = errors.New("outage")
	_, _ = far.Get(ctx, key)
	_ = far.Put(ctx, key, storetest.Entry(time.Now(), nil))
	_ = far.Delete(ctx, key)
	broken.err = fmt.Errorf("put: %w", store.ErrFenced)
	_ = far.Put(ctx, key, storetest.Entry(time.Now(), nil))
	want := map[string]float64{
		"memory get hit": 2, "memory get miss": 1, "memory get error": 0,
		"memory put ok": 1, "memory put too_large": 1, "memory put error": 0,
		"memory delete ok": 1, "memory delete error": 0,
		"redis get hit": 0, "redis get miss": 0, "redis get error": 1,
		"redis put ok": 0, "redis put too_large": 0, "redis put fenced": 1, "redis put error": 1,
		"redis delete ok": 1, "redis delete error": 1,
	}
	if got := gather(t, reg, "jaegis_store_operations_total"); !maps.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	want = map[string]float64{"redis get": 1, "redis put": 2, "redis delete": 2}
	if got := gather(t, reg, "jaegis_store_operation_seconds"); !maps.Equal(got, want) {
		t.Errorf("timed %v; want %v", got, want)
	}
}

// gather gives the values of a metric by "store op result"; of a histogram, its
// counts.
func gather(t *testing.T, reg prometheus.Gatherer, name string) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	must(t, err)
	values := make(map[string]float64)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			label := make(map[string]string)
			for _, l := range m.GetLabel() {
				label[l.GetName()] = l.GetValue()
			}
			key := strings.TrimSpace(label["store"] + " " + label["op"] + " " + label["result"])
			values[key] = m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return values
}

func TestInstrumentedGetFromMemoryDoesNotAllocate(t *testing.T) {
	s := instrument(t, "memory", openMemory(t), prometheus.NewRegistry())
	key, ctx := storetest.Key("k"), t.Context()
	must(t, s.Put(ctx, key, storetest.Entry(time.Now(), nil)))
	if n := testing.AllocsPerRun(1000, func() { _, _ = s.Get(ctx, key) }); n != 0 {
		t.Errorf("%v allocations a Get", n)
	}
}

func TestMetricsOfAnotherShapeUnderTheNameAreAnError(t *testing.T) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "jaegis_store_operations_total", Help: "other"}))
	if _, err := store.Instrument(openMemory(t), "memory", reg); err == nil {
		t.Error("Instrument succeeded")
	}
}

func BenchmarkInstrumentedMemoryGet(b *testing.B) {
	plain := openMemory(b)
	key, ctx := storetest.Key("k"), b.Context()
	if err := plain.Put(ctx, key, storetest.Entry(time.Now(), nil)); err != nil {
		b.Fatal(err)
	}
	for name, s := range map[string]store.Store{"plain": plain, "counted": instrument(b, "memory", plain, prometheus.NewRegistry())} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = s.Get(ctx, key)
			}
		})
	}
}
