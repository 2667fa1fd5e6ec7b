"""What the programs of these tests share: the exporters, and how they tell what they sent."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult


def exporter(protocol: str) -> SpanExporter:
    """An exporter that finds its endpoint in the environment, as every program does."""
    return GrpcExporter(insecure=True) if protocol == "grpc" else HttpExporter()


class Printing(SpanExporter):
    """Keeps what it gets until it is printed."""

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Note what these tests compare."""
        self.spans += map(noted, spans)
        return SpanExportResult.SUCCESS

    def print(self) -> None:
        """Tell whoever started the program."""
        sys.stdout.write(json.dumps(self.spans))


def noted(span: ReadableSpan) -> dict[str, Any]:
    """A span as these tests compare it."""
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
