"""Tracing of the server itself (`LOOMQL_OTEL_ENDPOINT`): spans of requests, operations and MongoDB commands.

It needs the extra `loomql[otel]`. Spans contain no client data: no variables, documents or filters. Requests that
deliver a LoomQL's own spans are not traced, because a server that traces itself into itself would never stop.
"""

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from strawberry.types import ExecutionResult

from app.observability.requests import CURRENT, endpoint_of
from graphql_schema.engine.operations import LimitedSchema, OnResult
from stores.errors import StoreError

if TYPE_CHECKING:
    from opentelemetry.context import Context as OtelContext
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

OWN: Final = "loomql-own-spans"
"""Header of requests that deliver a LoomQL's own spans."""

_FAILED: Final = 500
_UNTRACED: Final = frozenset({"hello", "ping", "endSessions", "killCursors"})


class TracingError(StoreError):
    """The server cannot trace itself; the message says what to change."""


class Tracing:
    """The tracer of one process; a background thread exports spans to an OTLP endpoint over HTTP."""

    def __init__(self, endpoint: str, project: str) -> None:
        try:
            sdk = importlib.import_module("opentelemetry.sdk.trace")
            exporting = importlib.import_module("opentelemetry.sdk.trace.export")
            otlp = importlib.import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
            resources = importlib.import_module("opentelemetry.sdk.resources")
            self._propagation: Any = importlib.import_module("opentelemetry.propagate")
            self.api: Any = importlib.import_module("opentelemetry.trace")
        except ImportError as error:
            raise TracingError(
                "LOOMQL_OTEL_ENDPOINT is set, but OpenTelemetry's SDK is not installed: pip install 'loomql[otel]', or "
                "unset it"
            ) from error
        self._provider: TracerProvider = sdk.TracerProvider(
            resource=resources.Resource.create({"service.name": project})
        )
        exporter = otlp.OTLPSpanExporter(endpoint, headers={OWN: "1"})
        self._provider.add_span_processor(exporting.BatchSpanProcessor(exporter))
        self.tracer: Tracer = self._provider.get_tracer("loomql")

    def close(self) -> None:
        """Export remaining spans for up to 5 seconds, and stop the exporter's thread."""
        self._provider.force_flush(5_000)
        self._provider.shutdown()

    @contextmanager
    def span(
        self, name: str, kind: str, attributes: Mapping[str, str], sent: "OtelContext | None" = None
    ) -> "Iterator[Span]":
        """Create a span that is current in the block; `sent` is the parent context of the request."""
        kinds = self.api.SpanKind
        with self.tracer.start_as_current_span(
            name, context=sent, kind=kinds[kind], attributes=attributes, record_exception=False
        ) as span:
            yield span

    def sent(self, scope: Scope) -> "OtelContext":
        """Return the trace context in the headers of a request."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        context: OtelContext = self._propagation.extract(headers)
        return context

    def failed(self, span: "Span", description: str) -> None:
        """Mark a span as failed, with a description."""
        span.set_status(self.api.Status(self.api.StatusCode.ERROR, description))


def trace_operations(schema: LimitedSchema, tracing: Tracing) -> None:
    """Trace each operation of a schema: queries and mutations until they end, streams until they start."""

    @contextmanager
    def traced(root_field: str, name: str | None) -> Iterator[OnResult]:
        attributes = {"graphql.operation.root": root_field, **({"graphql.operation.name": name[:128]} if name else {})}
        with tracing.span(root_field or "operation", "INTERNAL", attributes) as span:

            def tell(result: ExecutionResult) -> None:
                if result.errors:
                    tracing.failed(span, str((result.errors[0].extensions or {}).get("code", "")))

            yield tell

    schema.observer = traced


@dataclass(frozen=True, slots=True)
class TracedRequests:
    """ASGI middleware that traces requests; the span of a WebSocket lasts as long as the connection."""

    app: ASGIApp
    tracing: Tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on in a span."""
        if scope["type"] == "lifespan" or any(name == OWN.encode() for name, _value in scope["headers"]):
            await self.app(scope, receive, send)
            return
        endpoint = endpoint_of(scope["path"])
        method = scope.get("method", "WEBSOCKET")
        attributes = {"http.request.method": method, "loomql.endpoint": endpoint}
        with self.tracing.span(f"{method} {endpoint}", "SERVER", attributes, self.tracing.sent(scope)) as span:

            async def send_with_status(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= _FAILED:
                        self.tracing.failed(span, str(message["status"]))
                await send(message)

            current = CURRENT.get()
            if current is not None:
                span.set_attribute("loomql.request_id", current.request_id)
            await self.app(scope, receive, send_with_status)
            if current is not None and current.operation:
                span.set_attribute("graphql.operation.root", current.operation)
            if current is not None and current.caller_id:
                span.set_attribute("enduser.id", current.caller_id)


class TracedCommands(CommandListener):
    """Traces MongoDB commands that belong to a span; other commands of the driver are not traced."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self._spans: dict[tuple[int, int], Span] = {}

    def started(self, event: CommandStartedEvent) -> None:
        """Start a span if the context has a parent span."""
        api = self._tracing.api
        if event.command_name in _UNTRACED or not api.get_current_span().get_span_context().is_valid:
            return
        collection = event.command.get("collection" if event.command_name == "getMore" else event.command_name)
        attributes = {
            "db.system.name": "mongodb",
            "db.operation.name": event.command_name,
            "db.namespace": event.database_name,
            **({"db.collection.name": collection} if isinstance(collection, str) else {}),
        }
        name = f"{event.command_name} {collection}" if isinstance(collection, str) else event.command_name
        span = self._tracing.tracer.start_span(name, kind=api.SpanKind.CLIENT, attributes=attributes)
        self._spans[event.request_id, event.operation_id or 0] = span

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """End the span."""
        if (span := self._spans.pop((event.request_id, event.operation_id or 0), None)) is not None:
            span.end()

    def failed(self, event: CommandFailedEvent) -> None:
        """End the span as failed, with the error's code name only."""
        if (span := self._spans.pop((event.request_id, event.operation_id or 0), None)) is not None:
            self._tracing.failed(span, str(event.failure.get("codeName", "failed")))
            span.end()
