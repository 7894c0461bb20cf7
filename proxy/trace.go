package proxy

import (
	"context"
	"net/http"
	"strings"

	"github.com/valyala/fasthttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"jaegis-proxy/internal/protocol"
)

// beginSpan begins the request's span when traces are on. Its parent is what
// the client says in traceparent.
func (c *call) beginSpan() {
	tracer := c.p.o.Tracer
	if tracer == nil {
		return
	}
	ctx := c.p.o.Propagator.Extract(context.Background(), headerCarrier{&c.ctx.Request.Header})
	_, c.span = tracer.Start(ctx, c.method, trace.WithSpanKind(trace.SpanKindServer))
}

// endSpan ends it. No credential, query or key is in it.
func (c *call) endSpan(err error) {
	if c.span == nil {
		return
	}
	c.span.SetAttributes(
		attribute.String("http.request.method", c.method),
		attribute.String("url.path", string(c.target.path)),
		attribute.Int("http.response.status_code", c.status),
		attribute.String("jaegis.outcome", c.outcome.label()),
	)
	if c.route != nil {
		c.span.SetAttributes(attribute.String("http.route", c.route.Name))
	}
	if err != nil || c.status >= http.StatusInternalServerError {
		c.span.SetStatus(codes.Error, http.StatusText(c.status))
	}
	c.span.End()
}

// spanContext is what a fetch for this request is a part of.
func (c *call) spanContext() trace.SpanContext {
	if c.span == nil {
		return trace.SpanContext{}
	}
	return c.span.SpanContext()
}

// do asks the upstream, in a span of its own when traces are on. Without them
// the client's trace context goes upstream unchanged.
func (l *leader) do(ctx context.Context) (*Response, error) {
	tracer := l.p.o.Tracer
	if tracer == nil {
		return l.askUpstream(ctx)
	}
	ctx = trace.ContextWithSpanContext(ctx, l.span)
	ctx, span := tracer.Start(ctx, l.req.Method, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("http.request.method", l.req.Method),
		attribute.String("server.address", l.route.Upstream.base.Hostname()),
	))
	l.endSpan(nil) // of a request before this one
	l.aiSpan = span
	if kind := l.route.Protocol; l.route.readsAnswers() {
		asked := protocol.ReadRequest(kind, l.req.Path, l.req.Body.bytes)
		span.SetAttributes(attribute.String("gen_ai.provider.name", providerName(kind)))
		if asked.Operation != "" {
			span.SetName(strings.TrimSpace(asked.Operation + " " + asked.Model))
			span.SetAttributes(attribute.String("gen_ai.operation.name", asked.Operation))
		}
		if asked.Model != "" {
			span.SetAttributes(attribute.String("gen_ai.request.model", asked.Model))
		}
	}
	l.p.o.Propagator.Inject(ctx, propagation.HeaderCarrier(l.req.Header))
	resp, err := l.askUpstream(ctx)
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
		return nil, err
	}
	span.SetAttributes(attribute.Int("http.response.status_code", resp.Status))
	if resp.Status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, http.StatusText(resp.Status))
	}
	return resp, nil
}

// endSpan ends the span of the fetch, once its answer has ended.
func (l *leader) endSpan(err error) {
	if l.aiSpan == nil {
		return
	}
	if err != nil {
		l.aiSpan.SetStatus(codes.Error, err.Error())
	}
	l.aiSpan.End()
	l.aiSpan = nil
}

// providerName is how OpenTelemetry calls who speaks a protocol.
func providerName(kind protocol.Kind) string {
	switch kind {
	case protocol.AnthropicMessages:
		return "anthropic"
	case protocol.Gemini:
		return "gcp.gemini"
	case protocol.Ollama:
		return "ollama"
	}
	return "openai"
}

// askUpstream sends the request and measures how long the head takes.
func (l *leader) askUpstream(ctx context.Context) (*Response, error) {
	l.about.SentAt = l.p.now()
	resp, err := l.route.Upstream.Do(ctx, l.req)
	l.p.metrics.upstream(l.route.Upstream, resp, err, l.p.now().Sub(l.about.SentAt))
	return resp, err
}

// headerCarrier lets OpenTelemetry read a client's header.
type headerCarrier struct{ h *fasthttp.RequestHeader }

func (c headerCarrier) Get(key string) string { return string(c.h.Peek(key)) }
func (c headerCarrier) Set(string, string)    {} // the client's header stays as it is
func (c headerCarrier) Keys() []string        { return nil }
