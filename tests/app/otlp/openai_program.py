"""Calls a model through the instrumented `openai` client and prints the spans that it sent.

Arguments: the instrumentor (`openinference` or `openllmetry`) and the address of the fake provider.
"""

import sys

from openai import OpenAI
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

from tests.app.otlp.sent import Printing, exporter

TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]


def main(instrumentor: str, address: str) -> None:
    """Send two requests below one span: one for an answer, one for a tool call."""
    provider = TracerProvider()
    printing = Printing()
    provider.add_span_processor(SimpleSpanProcessor(printing))
    provider.add_span_processor(BatchSpanProcessor(exporter("http")))
    if instrumentor == "openinference":
        from openinference.instrumentation.openai import OpenAIInstrumentor as Instrumentor  # noqa: PLC0415 -- one of two
    else:
        from opentelemetry.instrumentation.openai import OpenAIInstrumentor as Instrumentor  # noqa: PLC0415 -- one of two
    Instrumentor().instrument(tracer_provider=provider)
    client = OpenAI(base_url=address, api_key="none", max_retries=0)
    with provider.get_tracer("tests").start_as_current_span("ask"):
        client.chat.completions.create(
            model="tiny-1",
            temperature=0.5,
            messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is a weft?"}],
        )
        client.chat.completions.create(
            model="tiny-1",
            messages=[{"role": "user", "content": "Weather?"}],
            tools=TOOLS,
        )
    provider.shutdown()
    printing.print()


if __name__ == "__main__":
    main(*sys.argv[1:])
