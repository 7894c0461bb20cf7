package telemetry

import (
	"runtime"
	"testing"
)

func TestRegistryTellsTheBuildAndTheRuntime(t *testing.T) {
	families, err := NewRegistry("1.2.3").Gather()
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{}
	names := map[string]bool{}
	for _, family := range families {
		names[family.GetName()] = true
		if family.GetName() != "jaegis_build_info" {
			continue
		}
		m := family.GetMetric()[0]
		if m.GetGauge().GetValue() != 1 {
			t.Errorf("jaegis_build_info is %v, want 1", m.GetGauge().GetValue())
		}
		for _, l := range m.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
	}
	if labels["version"] != "1.2.3" || labels["go"] != runtime.Version() {
		t.Errorf("build labels %v", labels)
	}
	for _, want := range []string{"go_goroutines", "process_cpu_seconds_total", "process_resident_memory_bytes"} {
		if !names[want] {
			t.Errorf("no %s among the metrics", want)
		}
	}
}

func TestRegistriesDoNotShareState(t *testing.T) {
	NewRegistry("a")
	NewRegistry("b") // would panic if both registered in one place
}
