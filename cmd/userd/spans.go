package main

import (
	"context"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// spans counts what becomes of the spans that are exported.
type spans struct {
	exported, failed, dropped prometheus.Counter

	room    int64        // For spans that wait to be exported, or are being exported.
	waiting atomic.Int64 // Those.
}

func newSpans(registry prometheus.Registerer) *spans {
	total := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "userd_trace_spans_total", Help: "Spans that have ended, by what has become of them.",
	}, []string{"outcome"})
	registry.MustRegister(total)
	return &spans{exported: total.WithLabelValues("exported"), failed: total.WithLabelValues("failed"), dropped: total.WithLabelValues("dropped")}
}

// processor gathers spans for an exporter. The queue of the SDK drops what it has no room for and
// tells nobody: here no more come to it than it has room for.
func (s *spans) processor(exporter sdktrace.SpanExporter) sdktrace.SpanProcessor {
	readRoom := func(o *sdktrace.BatchSpanProcessorOptions) { s.room = int64(o.MaxQueueSize) }
	return &spanProcessor{sdktrace.NewBatchSpanProcessor(&spanExporter{exporter, s}, readRoom), s}
}

type spanProcessor struct {
	sdktrace.SpanProcessor
	spans *spans
}

// OnEnd implements sdktrace.SpanProcessor.
func (p *spanProcessor) OnEnd(span sdktrace.ReadOnlySpan) {
	if p.spans.waiting.Add(1) > p.spans.room {
		p.spans.waiting.Add(-1)
		p.spans.dropped.Inc()
		return
	}
	p.SpanProcessor.OnEnd(span)
}

type spanExporter struct {
	sdktrace.SpanExporter
	spans *spans
}

// ExportSpans implements sdktrace.SpanExporter.
func (e *spanExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	outcome := e.spans.exported
	if err != nil {
		outcome = e.spans.failed
	}
	outcome.Add(float64(len(spans)))
	e.spans.waiting.Add(-int64(len(spans)))
	return err
}
