package telemetry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync/atomic"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// The exporters and protocols, by the names that OpenTelemetry gives them.
const (
	exporterNone    = "none"
	exporterOTLP    = "otlp"
	exporterConsole = "console"

	protocolGRPC         = "grpc"
	protocolHTTPProtobuf = "http/protobuf"
	protocolHTTPJSON     = "http/json"
)

// destination is where spans go. An empty endpoint leaves it to the exporter,
// which knows the OTEL_* environment and its defaults.
type destination struct {
	exporter string
	protocol string
	endpoint string
}

// target decides whether and whither spans are sent.
func target(endpoint string, getenv func(string) string) (destination, error) {
	d := destination{exporter: strings.TrimSpace(getenv("OTEL_TRACES_EXPORTER")), endpoint: endpoint}
	asked := endpoint != "" ||
		getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" ||
		getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
	switch {
	case isTrue(getenv("OTEL_SDK_DISABLED")):
		d.exporter = exporterNone
	case d.exporter == "" && asked:
		d.exporter = exporterOTLP
	case d.exporter == "":
		d.exporter = exporterNone
	}
	switch d.exporter {
	case exporterNone, exporterConsole:
		return d, nil
	case exporterOTLP:
	default:
		return d, fmt.Errorf("OTEL_TRACES_EXPORTER %q: want otlp, console or none", d.exporter)
	}

	d.protocol = cmp.Or(getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"), getenv("OTEL_EXPORTER_OTLP_PROTOCOL"), protocolHTTPProtobuf)
	switch d.protocol {
	case protocolGRPC, protocolHTTPProtobuf, protocolHTTPJSON:
		return d, checkEndpoint(endpoint)
	}
	return d, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL %q: want grpc, http/protobuf or http/json", d.protocol)
}

// checkEndpoint refuses what the exporter would silently replace by its
// default.
func checkEndpoint(endpoint string) error {
	if endpoint == "" {
		return nil
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		// The error's own text repeats the URL, and with it any password.
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return fmt.Errorf("OTLP endpoint: %w", err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return fmt.Errorf("OTLP endpoint %q: want http://host:port or https://host:port", u.Redacted())
	}
	return nil
}

// open makes the exporter. It does not wait for a connection.
func (d destination) open(ctx context.Context) (sdktrace.SpanExporter, error) {
	if d.exporter == exporterConsole {
		return stdouttrace.New()
	}
	if d.protocol == protocolGRPC {
		var opts []otlptracegrpc.Option
		if d.endpoint != "" {
			opts = append(opts, otlptracegrpc.WithEndpointURL(d.endpoint))
		}
		return otlptracegrpc.New(ctx, opts...)
	}
	encoding := otlptracehttp.EncodingProtobuf
	if d.protocol == protocolHTTPJSON {
		encoding = otlptracehttp.EncodingJSON
	}
	opts := []otlptracehttp.Option{otlptracehttp.WithEncoding(encoding)}
	if d.endpoint != "" {
		u, err := tracesURL(d.endpoint)
		if err != nil {
			return nil, err
		}
		opts = append(opts, otlptracehttp.WithEndpointURL(u))
	}
	return otlptracehttp.New(ctx, opts...)
}

// tracesURL appends the signal's path to a base URL, as the OTLP exporter
// specification has it for OTEL_EXPORTER_OTLP_ENDPOINT.
func tracesURL(base string) (string, error) {
	return url.JoinPath(base, "v1", "traces")
}

// outageLog says once that spans are being lost, and once that they get
// through again, in place of a line for every batch. Errors end here: the SDK
// would print them to the standard error on its own.
type outageLog struct {
	sdktrace.SpanExporter
	log    *slog.Logger
	failed atomic.Bool
}

func (e *outageLog) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	switch {
	case err != nil && e.failed.CompareAndSwap(false, true):
		e.log.Warn("traces are not getting through", "error", err, "spans", len(spans))
	case err == nil && e.failed.CompareAndSwap(true, false):
		e.log.Info("traces get through again")
	}
	return nil
}
