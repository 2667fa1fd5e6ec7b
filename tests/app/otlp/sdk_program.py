"""Sends spans with OpenTelemetry's own SDK in a separate process, and prints them.

Arguments: the protocol (`http` or `grpc`) and the project to name in a header, or nothing.
"""

import sys

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from tests.app.otlp.sent import Printing, exporter


def main(protocol: str) -> None:
    """Send a trace of three levels with a failure, and a trace that links to it."""
    provider = TracerProvider(resource=Resource.create({"service.name": "weather"}))
    printing = Printing()
    provider.add_span_processor(SimpleSpanProcessor(printing))
    provider.add_span_processor(BatchSpanProcessor(exporter(protocol)))
    tracer = provider.get_tracer("tests.weather", "1.2.3")

    with tracer.start_as_current_span("answer", attributes={"session.id": "s-1", "input.value": "Rain?"}) as root:
        with tracer.start_as_current_span("search", kind=SpanKind.CLIENT) as search:
            search.set_attributes({"list": ["a", "b"], "numbers": [1, 2], "ratio": 0.25, "wide": 2**62, "no": False})
            search.set_attribute("json", '{"deep": [1, {"x": null}]}')
            search.add_event("found", {"count": 3})
            with tracer.start_as_current_span("fetch") as fetch:
                fetch.record_exception(ValueError("no such page"))
                fetch.set_status(Status(StatusCode.ERROR))
        root.set_attribute("output.value", "No.")
        root.set_status(StatusCode.OK)
    with tracer.start_as_current_span("later", links=[Link(root.get_span_context(), {"why": "follow-up"})]):
        trace.get_current_span().update_name("later, renamed")
    provider.shutdown()
    printing.print()


if __name__ == "__main__":
    main(*sys.argv[1:])
