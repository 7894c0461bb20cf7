package telemetry

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	v1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// clearEnvironment makes the test independent of the OTEL_* of whoever runs it.
func clearEnvironment(t *testing.T) {
	t.Helper()
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "OTEL_") {
			t.Setenv(name, "") // restores it afterwards
		}
	}
}

// collectorHTTP is an OTLP/HTTP collector: it hands on what it is sent.
func collectorHTTP(t *testing.T) (url string, got <-chan *collector.ExportTraceServiceRequest) {
	t.Helper()
	requests := make(chan *collector.ExportTraceServiceRequest, 16)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/v1/traces" {
			http.Error(w, r.Method+" "+r.URL.Path, http.StatusNotFound)
			return
		}
		msg, err := readExport(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		requests <- msg
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
	}))
	t.Cleanup(srv.Close)
	return srv.URL, requests
}

func readExport(r *http.Request) (*collector.ExportTraceServiceRequest, error) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(body)
		if err != nil {
			return nil, err
		}
		body = z
	}
	raw, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	msg := &collector.ExportTraceServiceRequest{}
	if r.Header.Get("Content-Type") == "application/json" {
		return msg, protojson.Unmarshal(raw, msg)
	}
	return msg, proto.Unmarshal(raw, msg)
}

func options(endpoint string) TraceOptions {
	return TraceOptions{Endpoint: endpoint, Version: "1.2.3", Getenv: os.Getenv, Logger: slog.New(slog.DiscardHandler)}
}

// exportOne makes one span, shuts tracing down, and gives what the collector
// was sent. Shutdown flushes, so that by then it must be there.
func exportOne(t *testing.T, o TraceOptions, got <-chan *collector.ExportTraceServiceRequest) *v1.ResourceSpans {
	t.Helper()
	tracer, shutdown, err := Tracing(t.Context(), o)
	if err != nil || tracer == nil {
		t.Fatalf("tracer %v, error %v", tracer, err)
	}
	_, span := tracer.Start(t.Context(), "POST convert", trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attribute.String("long", strings.Repeat("x", 4*maxAttrValueLen))))
	span.End()
	if err := shutdown(t.Context()); err != nil {
		t.Fatalf("shutdown: %v", err)
	}
	select {
	case req := <-got:
		return req.GetResourceSpans()[0]
	default:
		t.Fatal("shutdown returned, and the collector was sent nothing")
		return nil
	}
}

func checkExported(t *testing.T, rs *v1.ResourceSpans, wantService string) {
	t.Helper()
	res := map[string]string{}
	for _, kv := range rs.GetResource().GetAttributes() {
		res[kv.GetKey()] = kv.GetValue().GetStringValue()
	}
	if res["service.name"] != wantService || res["service.version"] != "1.2.3" {
		t.Errorf("resource %v, want service %s 1.2.3", res, wantService)
	}
	span := rs.GetScopeSpans()[0].GetSpans()[0]
	if span.GetName() != "POST convert" {
		t.Errorf("span %q", span.GetName())
	}
	if n := len(span.GetAttributes()[0].GetValue().GetStringValue()); n != maxAttrValueLen {
		t.Errorf("attribute of %d bytes was sent, want it cut to %d", n, maxAttrValueLen)
	}
}

func TestSpansReachTheConfiguredCollector(t *testing.T) {
	for _, protocol := range []string{"", protocolHTTPProtobuf, protocolHTTPJSON} {
		t.Run(protocol, func(t *testing.T) {
			clearEnvironment(t)
			t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
			url, got := collectorHTTP(t)
			checkExported(t, exportOne(t, options(url), got), "jaegis-proxy")
		})
	}
}

func TestSpansReachTheCollectorOfTheEnvironment(t *testing.T) {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"} {
		t.Run(name, func(t *testing.T) {
			clearEnvironment(t)
			url, got := collectorHTTP(t)
			if strings.Contains(name, "TRACES") {
				url += "/v1/traces" // this variable names the whole URL
			}
			t.Setenv(name, url)
			t.Setenv("OTEL_SERVICE_NAME", "edge")
			checkExported(t, exportOne(t, options(""), got), "edge")
		})
	}
}

func TestTheConfiguredEndpointWinsOverTheEnvironment(t *testing.T) {
	clearEnvironment(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	url, got := collectorHTTP(t)
	checkExported(t, exportOne(t, options(url+"/"), got), "jaegis-proxy")
}

type collectorGRPC struct {
	collector.UnimplementedTraceServiceServer
	got chan *collector.ExportTraceServiceRequest
}

func (c collectorGRPC) Export(_ context.Context, r *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	c.got <- r
	return &collector.ExportTraceServiceResponse{}, nil
}

func TestSpansReachAGRPCCollector(t *testing.T) {
	clearEnvironment(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv, got := grpc.NewServer(), make(chan *collector.ExportTraceServiceRequest, 16)
	collector.RegisterTraceServiceServer(srv, collectorGRPC{got: got})
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ln) }()
	t.Cleanup(func() { srv.Stop(); <-done })
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", protocolGRPC)
	checkExported(t, exportOne(t, options("http://"+ln.Addr().String()), got), "jaegis-proxy")
}

func TestOffMeansANilTracer(t *testing.T) {
	clearEnvironment(t)
	tracer, shutdown, err := Tracing(t.Context(), options(""))
	if tracer != nil || err != nil {
		t.Errorf("tracer %v, error %v, want neither", tracer, err)
	}
	if err := shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestShutdownEndsInTimeWithACollectorThatNeverAnswers(t *testing.T) {
	clearEnvironment(t)
	release := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer srv.Close()
	defer close(release)
	tracer, shutdown, err := Tracing(t.Context(), options(srv.URL))
	if err != nil {
		t.Fatal(err)
	}
	_, span := tracer.Start(t.Context(), "lost")
	span.End()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("shutdown: %v, want to be told that the span was not sent in time", err)
	}
}

func TestPropagatorCarriesContextAndBaggage(t *testing.T) {
	in := propagation.MapCarrier{
		"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		"tracestate":  "vendor=1",
		"baggage":     "tenant=acme",
	}
	out := propagation.MapCarrier{}
	p := Propagator()
	p.Inject(p.Extract(t.Context(), in), out)
	for name, want := range in {
		if out[name] != want {
			t.Errorf("%s: %q, want %q", name, out[name], want)
		}
	}
}
