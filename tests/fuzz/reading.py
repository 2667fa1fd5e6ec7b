"""Strict parsers of answers: JSON, JSON lines, server-sent events and OTLP messages."""

from typing import Any, Final

import orjson
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from tests.fuzz.wire import Answer

EVENTS: Final = "text/event-stream"
JSON: Final = frozenset({"application/json", "application/graphql-response+json"})
_LINES: Final = frozenset({"application/jsonl", "application/x-ndjson"})
_PROTOBUF: Final = "application/x-protobuf"
_DATA: Final = b"data:"
_ERROR: Final = 400


def loads(text: str | bytes) -> Any:
    """Parse JSON without NaN and lone surrogates.

    Raises:
        ValueError: the text is not strict JSON.
    """
    return orjson.loads(text)


def values(answer: Answer) -> tuple[list[Any], list[str]]:
    """Return the JSON values in the received part of an answer, and the problems of its format."""
    try:
        if answer.media_type == _PROTOBUF:
            return [_message(answer)], []
        return [loads(text) for text in _texts(answer)], []
    except (ValueError, DecodeError) as error:
        return [], [f"the answer is no {answer.media_type}: {error}"]


def _texts(answer: Answer) -> list[bytes]:
    """Return the JSON texts in an answer, without a last one that was cut off."""
    if answer.media_type in JSON:
        return [answer.body] if answer.is_whole else []
    if answer.media_type == EVENTS:
        return [text for event in answer.body.split(b"\n\n")[:-1] if (text := _data(event))]
    if answer.media_type in _LINES:
        lines = answer.body.split(b"\n")
        return [line for line in (lines if answer.is_whole else lines[:-1]) if line]
    return []


def _data(event: bytes) -> bytes:
    lines = event.replace(b"\r\n", b"\n").split(b"\n")
    return b"\n".join(line.removeprefix(_DATA).strip() for line in lines if line.startswith(_DATA))


def _message(answer: Answer) -> dict[str, Any]:
    kind = Status if answer.status >= _ERROR else ExportTraceServiceResponse
    return MessageToDict(kind.FromString(answer.body))
