package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const serviceName = "jaegis-proxy"

// What spans may cost when the collector is slow or gone: a bounded queue that
// drops what does not fit and never makes a request wait, and an export that
// gives up. The bounds are for the whole process.
const (
	maxQueuedSpans  = 4096
	maxBatchSpans   = 512
	batchDelay      = 2 * time.Second
	exportTimeout   = 10 * time.Second
	maxSpanEvents   = 32
	maxSpanAttrs    = 64
	maxAttrValueLen = 1024 // bytes
)

// TraceOptions says where spans go.
type TraceOptions struct {
	// Endpoint is the base URL of an OTLP collector, for example
	// http://collector:4318. When it is not empty it wins over the endpoint
	// named by the OTEL_* environment, and tracing is on.
	Endpoint string

	// Version becomes the resource attribute service.version.
	Version string

	// Getenv reads the environment that decides whether tracing is on, and by
	// which exporter and protocol; normally os.Getenv. The OpenTelemetry SDK
	// reads its finer settings (headers, certificates, sampler, resource
	// attributes) from the process environment by itself.
	Getenv func(string) string

	// Logger hears of exports that fail, once per outage.
	Logger *slog.Logger
}

// Tracing gives the tracer for the whole process, or nil when tracing is off,
// so that callers make no tracer call at all then. shutdown sends what is
// still queued, within ctx, and ends the background work; it is never nil and
// may be called once. An error means settings that contradict each other or
// are not understood; a collector that cannot be reached is not an error.
//
// Tracing is on when Endpoint, OTEL_EXPORTER_OTLP_ENDPOINT,
// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_TRACES_EXPORTER is set; and off
// whatever else is set when OTEL_SDK_DISABLED is true or OTEL_TRACES_EXPORTER
// is none.
func Tracing(ctx context.Context, o TraceOptions) (tracer trace.Tracer, shutdown func(context.Context) error, err error) {
	off := func(context.Context) error { return nil }
	t, err := target(o.Endpoint, o.Getenv)
	if err != nil || t.exporter == exporterNone {
		return nil, off, err
	}
	exporter, err := t.open(ctx)
	if err != nil {
		return nil, off, fmt.Errorf("trace exporter: %w", err)
	}
	res, err := describe(ctx, o.Version)
	if err != nil {
		return nil, off, errors.Join(err, exporter.Shutdown(ctx))
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithResource(res),
		sdktrace.WithRawSpanLimits(spanLimits()),
		sdktrace.WithBatcher(&outageLog{SpanExporter: exporter, log: o.Logger},
			sdktrace.WithMaxQueueSize(maxQueuedSpans),
			sdktrace.WithMaxExportBatchSize(maxBatchSpans),
			sdktrace.WithBatchTimeout(batchDelay),
			sdktrace.WithExportTimeout(exportTimeout),
		),
	)
	return provider.Tracer(serviceName, trace.WithInstrumentationVersion(o.Version)), provider.Shutdown, nil
}

// Propagator carries trace context and baggage in the W3C header fields
// traceparent, tracestate and baggage.
func Propagator() propagation.TextMapPropagator {
	return propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
}

// describe says who sends the spans. What the environment says
// (OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES) comes last and wins.
func describe(ctx context.Context, version string) (*resource.Resource, error) {
	res, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithHost(),
		resource.WithAttributes(
			attribute.String("service.name", serviceName),
			attribute.String("service.version", version),
		),
		resource.WithFromEnv(),
	)
	// A detector that knows only part of the truth is no reason not to trace.
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, fmt.Errorf("trace resource: %w", err)
	}
	return res, nil
}

func spanLimits() sdktrace.SpanLimits {
	l := sdktrace.NewSpanLimits()
	l.AttributeValueLengthLimit = maxAttrValueLen
	l.AttributeCountLimit = maxSpanAttrs
	l.EventCountLimit = maxSpanEvents
	return l
}

// isTrue reads an OTEL_* boolean: only "true", in any case, is true.
func isTrue(s string) bool { return strings.EqualFold(strings.TrimSpace(s), "true") }
