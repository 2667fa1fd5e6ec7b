"""The exporters of these test programs, and the output of the spans that they sent."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult


def exporter(protocol: str) -> SpanExporter:
    """Return an exporter that reads its endpoint from the environment."""
    return GrpcExporter(insecure=True) if protocol == "grpc" else HttpExporter()


class Printing(SpanExporter):
    """An exporter that keeps the spans until they are printed."""

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Keep the fields that these tests compare."""
        self.spans += map(noted, spans)
        return SpanExportResult.SUCCESS

    def print(self) -> None:
        """Print the spans as JSON."""
        sys.stdout.write(json.dumps(self.spans))


def noted(span: ReadableSpan) -> dict[str, Any]:
    """Return the fields of a span that these tests compare."""
    context = span.get_span_context()
    assert context
    return {
        "id": f"{context.span_id:016x}",
        "trace_id": f"{context.trace_id:032x}",
        "parent_id": f"{span.parent.span_id:016x}" if span.parent else None,
        "name": span.name,
        "start": span.start_time,
        "end": span.end_time,
        "attributes": dict(span.attributes or {}),
    }
