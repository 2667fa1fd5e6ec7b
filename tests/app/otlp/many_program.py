"""Runs several senders in one process, each with its own SDK, and prints the ids that each sent.

Arguments: the number of senders, the number of spans of each, and the service name that they report.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from tests.app.otlp.sent import exporter, noted


def send(service: str, count: int) -> list[dict[str, object]]:
    """Send that many spans in traces of five and return them."""
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(exporter("http"), max_queue_size=count, max_export_batch_size=250))
    tracer = provider.get_tracer("tests.many")
    sent = []
    for number in range(count // 5):
        with tracer.start_as_current_span("root", attributes={"number": number}) as root:
            children = [tracer.start_span(f"step {step}") for step in range(4)]
            for child in children:
                child.end()
        sent += [noted(span) for span in (root, *children)]  # type: ignore[arg-type] # its spans can be read
    provider.shutdown()
    return sent


def main(senders: str, count: str, service: str) -> None:
    """Run all senders at once and print the spans."""
    with ThreadPoolExecutor(int(senders)) as pool:
        sent = [
            span for spans in pool.map(send, [service] * int(senders), [int(count)] * int(senders)) for span in spans
        ]
    sys.stdout.write(json.dumps(sent))


if __name__ == "__main__":
    main(*sys.argv[1:])
