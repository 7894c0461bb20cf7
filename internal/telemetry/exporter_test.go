package telemetry

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

func TestWhatTurnsTracingOnAndOff(t *testing.T) {
	f := func(endpoint string, env map[string]string, wantOn bool) {
		t.Helper()
		d, err := target(endpoint, func(name string) string { return env[name] })
		if err != nil {
			t.Fatalf("%q %v: %v", endpoint, env, err)
		}
		if on := d.exporter != exporterNone; on != wantOn {
			t.Errorf("endpoint %q, %v: on = %v, want %v", endpoint, env, on, wantOn)
		}
	}
	f("", nil, false)
	f("http://c:4318", nil, true)
	f("", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, true)
	f("", map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, true)
	f("", map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, true)
	f("", map[string]string{"OTEL_TRACES_EXPORTER": "console"}, true)
	f("http://c:4318", map[string]string{"OTEL_TRACES_EXPORTER": "none"}, false)
	f("http://c:4318", map[string]string{"OTEL_SDK_DISABLED": "True"}, false)
	f("http://c:4318", map[string]string{"OTEL_SDK_DISABLED": "1"}, true) // the specification knows only "true"
	f("", map[string]string{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c:4318"}, false)
}

func TestSettingsThatAreNotUnderstoodAreErrors(t *testing.T) {
	f := func(endpoint string, env map[string]string, want string) {
		t.Helper()
		o := options(endpoint)
		o.Getenv = func(name string) string { return env[name] }
		tracer, _, err := Tracing(t.Context(), o)
		if tracer != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q %v: tracer %v, error %v, want one with %q", endpoint, env, tracer, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error tells the password: %v", err)
		}
	}
	f("", map[string]string{"OTEL_TRACES_EXPORTER": "zipkin"}, "otlp, console or none")
	f("http://c:4318", map[string]string{"OTEL_EXPORTER_OTLP_PROTOCOL": "thrift"}, "grpc, http/protobuf or http/json")
	f("c:4318", nil, "http://host:port")
	f("ftp://u:hunter2@c:4318", nil, "http://host:port")
	f("http://u:hunter2@[c", nil, "OTLP endpoint")
}

func TestACollectorThatIsAwayIsLoggedOnceAndCostsNothingElse(t *testing.T) {
	clearEnvironment(t)
	var mu sync.Mutex
	status := http.StatusBadRequest // not retried by the exporter
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.WriteHeader(status)
	}))
	defer srv.Close()
	exporter, err := destination{exporter: exporterOTLP, endpoint: srv.URL}.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	e := &outageLog{SpanExporter: exporter, log: slog.New(slog.NewTextHandler(&out, nil))}
	export := func() {
		t.Helper()
		if err := e.ExportSpans(t.Context(), someSpans(t)); err != nil {
			t.Errorf("an error was handed on: %v", err)
		}
	}
	export()
	export()
	if n := strings.Count(out.String(), "not getting through"); n != 1 {
		t.Errorf("%d warnings for one outage, want 1:\n%s", n, out.String())
	}
	mu.Lock()
	status = http.StatusOK
	mu.Unlock()
	export()
	export()
	if n := strings.Count(out.String(), "get through again"); n != 1 {
		t.Errorf("%d notes of the recovery, want 1:\n%s", n, out.String())
	}
}

// someSpans gives finished spans for an exporter.
func someSpans(t *testing.T) []sdktrace.ReadOnlySpan {
	t.Helper()
	return tracetest.SpanStubs{{Name: "one"}, {Name: "two"}}.Snapshots()
}
