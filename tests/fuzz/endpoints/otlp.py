"""OTLP requests: spans and log records that are valid, damaged, cut off, compressed, or a decompression bomb."""

import functools
import gzip
import json
from dataclasses import replace
from random import Random
from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from tests.fuzz import damage, texts
from tests.fuzz.wire import Request

NAME: Final = "otlp"
_PROTOBUF: Final = "application/x-protobuf"
_JSON: Final = "application/json"
_KEYS: Final = (
    "gen_ai.request.model", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "gen_ai.prompt",
    "gen_ai.prompt.0.content", "gen_ai.prompt.99999999.content", "gen_ai.completion.0.role", "gen_ai.operation.name",
    "llm.input_messages.0.message.content", "llm.token_count.prompt", "openinference.span.kind", "input.value",
    "output.value", "input.mime_type", "wandb.thread_id", "session.id", "thread.id", "weave.display_name", "metadata",
    "traceloop.entity.input", "a", "a.b", "a.b.c", "a.0.b", "exception.message",
)  # fmt: skip
_EVENTS: Final = (
    *("claude_code.user_prompt", "claude_code.api_request", "claude_code.api_error", "claude_code.tool_result"),
    *("claude_code.tool_decision", "claude_code.assistant_response", "codex.user_prompt", "codex.sse_event"),
    *("codex.api_request", "codex.tool_result", "gen_ai.user.message", "gen_ai.choice", "gen_ai.evaluation.result"),
    "gen_ai.client.inference.operation.details",
)
_EVENT_KEYS: Final = (
    *("session.id", "prompt.id", "conversation.id", "prompt", "response", "model", "cost_usd", "input_tokens"),
    *("duration_ms", "request_id", "tool_name", "tool_use_id", "success", "error", "status_code", "event.timestamp"),
    *("input_token_count", "call_id", "arguments", "output", "decision", "event.name", "query_source"),
    *("gen_ai.evaluation.name", "gen_ai.evaluation.score.value", "annotations.0.annotation.name"),
    "gen_ai.input.messages",
)
_VALUES: Final = ("gpt-4o", "[]", '{"a": 1}', '{"a": NaN}', "[" * 500, '[{"role": "user"}]', "application/json")


@functools.cache
def bombs() -> tuple[bytes, ...]:
    """Return bodies that are decompressed to 200 MiB.

    The first call takes seconds, which would delay imports. A fuzzer makes it before it watches the server.
    """
    return (gzip.compress(bytes(200 << 20), 9),)


def request(random: Random) -> Request:
    if random.random() < 0.3:
        records = logs(random)
        if random.random() < 0.5:
            return replace(_sent(random, records.SerializeToString(), _PROTOBUF), target="/v1/logs")
        return replace(_sent(random, json_of(random, records), _JSON), target="/v1/logs")
    if random.random() < 0.01:
        spans_text = texts.dense(random, 1_000_000)
        return _post(f'{{"resourceSpans": [{{"scopeSpans": [{{"spans": {spans_text}}}]}}]}}'.encode(), _JSON)
    message = spans(random)
    way = random.random()
    if way < 0.4:
        return _sent(random, message.SerializeToString(), _PROTOBUF)
    if way < 0.95:
        return _sent(random, json_of(random, message), _JSON)
    return _post(random.choice(bombs()), random.choice((_PROTOBUF, _JSON)), ("Content-Encoding", "gzip"))


def _sent(random: Random, content: bytes, media_type: str) -> Request:
    way = random.random()
    if way < 0.35:
        return _post(content, media_type)
    if way < 0.65:
        return _post(damage.of_bytes(random, content), media_type)
    if way < 0.7:
        return _post(content[: random.randrange(len(content) + 1)], media_type)
    if way < 0.75:
        return _post(random.randbytes(random.choice((0, 1, 10, 1000))), media_type)
    if way < 0.8:
        return _post(content, media_type, length=len(content) + random.choice((-1, 1, 5000)))
    if way < 0.83:
        return _post(content, media_type, cut_at=random.randrange(len(content) + 1))
    packed = gzip.compress(content)
    if way < 0.93:
        return _post(
            packed if way < 0.87 else damage.of_bytes(random, packed), media_type, ("Content-Encoding", "gzip")
        )
    header = random.choice((("Content-Encoding", "br"), ("project_id", texts.word(random)), ("project_id", "%ff/%00")))
    return _post(content, random.choice((media_type, "text/html", "application/x-protobuf;a=b")), header)


def _post(content: bytes, media_type: str, *headers: tuple[str, str], **more: Any) -> Request:
    project = () if any(name == "project_id" for name, _ in headers) else (("project_id", "fuzz/spans"),)
    return Request(NAME, "POST", "/v1/traces", (("Content-Type", media_type), *project, *headers), content, **more)


def json_of(random: Random, message: Message) -> bytes:
    content = MessageToDict(message)
    if random.random() < 0.4:
        spoil(random, content)
    return json.dumps(content).encode()


def spoil(random: Random, content: Any) -> None:
    """Replace a random part of a JSON value by a broken one."""
    while True:
        places = list(content) if isinstance(content, dict) else list(range(len(content)))
        if not places:
            return
        place = random.choice(places)
        inner = content[place]
        if not isinstance(inner, dict | list) or random.random() < 0.3:
            content[place] = texts.broken(random)
            return
        content = inner


def spans(random: Random) -> ExportTraceServiceRequest:
    """Return an export request with up to six spans."""
    trace_id = random.randbytes(16)
    ids = [random.randbytes(random.choice((8, 8, 8, 8, 8, 0, 7))) for _ in range(random.randint(0, 6))]
    made = [_span(random, trace_id, span_id, random.choice((b"", *ids))) for span_id in ids]
    return ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=made)])])


def logs(random: Random) -> ExportLogsServiceRequest:
    """Return an export request with up to twelve log records, of few sessions."""
    records = [_record(random) for _ in range(random.randint(0, 12))]
    return ExportLogsServiceRequest(resource_logs=[ResourceLogs(scope_logs=[ScopeLogs(log_records=records)])])


def _record(random: Random) -> LogRecord:
    session = AnyValue(string_value=random.choice(("one", "two", "")))
    name = random.choice(_EVENTS)
    keys = ("conversation.id" if name.startswith("codex") else "session.id", *random.sample(_EVENT_KEYS, 8))
    return LogRecord(
        time_unix_nano=random.choice((1_770_000_000_000_000_000, 1_770_000_001_000_000_000, 0, 1, 2**64 - 1)),
        event_name=name,
        body=_value(random, 3),
        span_id=random.choice((b"", bytes(8), b"12345678", b"123")),
        attributes=[
            KeyValue(key=key, value=_value(random, 3) if position else session) for position, key in enumerate(keys)
        ],
    )


def _span(random: Random, trace_id: bytes, span_id: bytes, parent_id: bytes) -> Span:
    start = random.choice((1_770_000_000_000_000_000, 1_770_000_000_000_000_000, 0, 1, 2**64 - 1))
    end = random.choice((start, min(start + 10**9, 2**64 - 1), 0))
    return Span(
        trace_id=random.choice((trace_id, trace_id, trace_id, b"", bytes(16), trace_id * 2)),
        span_id=span_id,
        parent_span_id=parent_id,
        name=_safe(random),
        start_time_unix_nano=start,
        end_time_unix_nano=end,
        status=Status(code=random.choice((Status.STATUS_CODE_UNSET, Status.STATUS_CODE_ERROR)), message=_safe(random)),
        attributes=[KeyValue(key=random.choice((*_KEYS, _safe(random))), value=_value(random, 3)) for _ in range(5)],
        events=[Span.Event(name=random.choice(("exception", "gen_ai.content.prompt")), time_unix_nano=start)],
    )


def _value(random: Random, depth: int) -> AnyValue:
    kind = random.randrange(8 if depth else 6)
    if kind < 3:
        return AnyValue(string_value=random.choice((*_VALUES, _safe(random))))
    if kind == 3:
        return AnyValue(int_value=random.choice((0, 5, -1, 2**63 - 1)))
    if kind == 4:
        return AnyValue(double_value=random.choice((0.5, float("nan"), float("inf"))))
    if kind == 5:
        return random.choice((AnyValue(), AnyValue(bool_value=True), AnyValue(bytes_value=random.randbytes(5))))
    value = AnyValue()
    for _ in range(random.randint(0, 4)):
        if kind == 6:
            value.array_value.values.append(_value(random, depth - 1))
        else:
            value.kvlist_value.values.append(KeyValue(key=random.choice(_KEYS), value=_value(random, depth - 1)))
    return value


def _safe(random: Random) -> str:
    """Return a random text that protobuf can encode."""
    return texts.text(random).encode(errors="replace").decode()
