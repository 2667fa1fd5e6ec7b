"""Builders of OTLP messages with defaults: a test names only the fields that it checks."""

import base64
from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from stores.otel import LOGS, TRACES, Signal

NOON = 1_769_860_800_000_000_000
"""2026-01-31T12:00:00Z in nanoseconds since the epoch."""

SECOND = 1_000_000_000
TRACE = "0af7651916cd43dd8448eb211c80319c"
PATHS = {TRACES: "/v1/traces", LOGS: "/v1/logs"}


def span_id(number: int) -> str:
    """Return a span id in hexadecimal."""
    return f"{number:016x}"


def any_value(value: object) -> AnyValue:
    """Return a Python value as an OTLP value."""
    match value:
        case None:
            return AnyValue()
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case str():
            return AnyValue(string_value=value)
        case bytes():
            return AnyValue(bytes_value=value)
        case list():
            found = AnyValue()
            found.array_value.values.extend(map(any_value, value))
            return found
        case dict():
            found = AnyValue()
            found.kvlist_value.values.extend(pairs(value))
            return found
        case _:
            raise TypeError(type(value))


def pairs(attributes: Mapping[str, object]) -> list[KeyValue]:
    """Return attributes as OTLP pairs."""
    return [KeyValue(key=key, value=any_value(value)) for key, value in attributes.items()]


def span(number: int = 1, attributes: Mapping[str, object] | None = None, parent: int = 0, **changes: Any) -> Span:
    """Return a span of one second; without a parent it is the root of a trace."""
    plain: dict[str, Any] = {
        "trace_id": bytes.fromhex(TRACE),
        "span_id": bytes.fromhex(span_id(number)),
        "parent_span_id": bytes.fromhex(span_id(parent)) if parent else b"",
        "name": f"step {number}",
        "kind": Span.SPAN_KIND_INTERNAL,
        "start_time_unix_nano": NOON + number * SECOND,
        "end_time_unix_nano": NOON + (number + 1) * SECOND,
        "attributes": pairs(attributes or {}),
    }
    return Span(**(plain | changes))


def failed(message: str = "") -> Status:
    """Return the status of a failed span."""
    return Status(code=Status.STATUS_CODE_ERROR, message=message)


def request(*spans: Span, resource: Mapping[str, object] | None = None) -> ExportTraceServiceRequest:
    """Return a request with the spans of one program."""
    found = ExportTraceServiceRequest()
    resource_spans = found.resource_spans.add()
    resource_spans.resource.attributes.extend(pairs(resource or {}))
    resource_spans.scope_spans.add().spans.extend(spans)
    return found


def body(*spans: Span, resource: Mapping[str, object] | None = None) -> bytes:
    """Return the protobuf bytes of such a request."""
    return request(*spans, resource=resource).SerializeToString()


def log(
    name: str, attributes: Mapping[str, object] | None = None, at_span: int = 0, body: object = None, **changes: Any
) -> LogRecord:
    """Return a log record at noon with an event's name; it refers to a span, or to none."""
    plain: dict[str, Any] = {
        "time_unix_nano": NOON,
        "event_name": name,
        "body": any_value(body),
        "trace_id": bytes.fromhex(TRACE) if at_span else b"",
        "span_id": bytes.fromhex(span_id(at_span)) if at_span else b"",
        "attributes": pairs(attributes or {}),
    }
    return LogRecord(**(plain | changes))


def logs_request(*records: LogRecord, resource: Mapping[str, object] | None = None) -> ExportLogsServiceRequest:
    """Return a request with the log records of one program."""
    found = ExportLogsServiceRequest()
    resource_logs = found.resource_logs.add()
    resource_logs.resource.attributes.extend(pairs(resource or {}))
    resource_logs.scope_logs.add().log_records.extend(records)
    return found


def logs_body(*records: LogRecord, resource: Mapping[str, object] | None = None) -> bytes:
    """Return the protobuf bytes of such a request."""
    return logs_request(*records, resource=resource).SerializeToString()


def body_of(signal: Signal, text: str = "hi", resource: Mapping[str, object] | None = None) -> bytes:
    """Return a request with one span, or one event of an agent, that becomes a call with the text as its input."""
    if signal is TRACES:
        return body(span(1, {"input.value": text}), resource=resource)
    prompt = {"session.id": "s", "prompt.id": "p", "prompt": text}
    return logs_body(log("claude_code.user_prompt", prompt), resource=resource)


def otlp_json(message: ExportTraceServiceRequest | ExportLogsServiceRequest) -> Any:
    """Return a message in OTLP's JSON, which differs from protobuf's by hexadecimal ids and numeric enums."""
    whole = json_format.MessageToDict(message, use_integers_for_enums=True)
    for of_resource in [*whole.get("resourceSpans", []), *whole.get("resourceLogs", [])]:
        for of_scope in [*of_resource.get("scopeSpans", []), *of_resource.get("scopeLogs", [])]:
            for one in [*of_scope.get("spans", []), *of_scope.get("logRecords", [])]:
                for holder in (one, *one.get("links", [])):
                    for name in ("traceId", "spanId", "parentSpanId"):
                        if name in holder:
                            holder[name] = base64.b64decode(holder[name]).hex()
    return whole
