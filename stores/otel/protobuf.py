"""OTLP/protobuf requests: a scanner locates resources, scopes and records, which are then decoded one at a time.

The scanner counts every field, so a small body with many empty messages costs little time and memory. A truncated or
too large body is rejected before anything is stored.
"""

import base64
from array import array
from collections.abc import Iterable, Iterator, Sized
from typing import Any, Final, TypeVar

from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord as LogMessage
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

from stores.errors import BadInputError, PayloadTooLargeError
from stores.otel import logs, spans
from stores.otel.logs import LogRecord
from stores.otel.spans import TRACES, Part, Shared, Signal, Span

MAX_FIELDS: Final = 100_000
"""Limit on resources, scopes, spans or log records, and other fields of one request."""

MAX_MEMBERS: Final = 200_000
"""Limit on the members of a list or object in an attribute."""

_FIRST, _SECOND, _SCHEMA_URL = 1, 2, 3
"""Field numbers, the same in a request, in ResourceSpans and in ScopeSpans, and in those of logs."""

_VARINT, _BYTES_8, _BYTES, _BYTES_4 = 0, 1, 2, 5
_FIXED: Final = {_BYTES_8: 8, _BYTES_4: 4}
_MAX_VARINT_BITS: Final = 70
_CONTINUES: Final = 0x80

Body = bytes | bytearray
_Range = tuple[int, int]
"""Start and end of a message in the body."""

_Message = TypeVar("_Message", bound=Message)
_Values = TypeVar("_Values", bound=Sized)


def parts_of(body: Body, signal: Signal = TRACES) -> list[Part[bytes]]:
    """Return the parts of a signal's request that have spans or log records.

    Raises:
        BadInputError: the body is not such a request, or is truncated.
        PayloadTooLargeError: it has more than `MAX_FIELDS` fields.
    """
    scanner, view = _Scanner(body, signal), memoryview(body)
    parts: list[Part[bytes]] = []
    for number, *resource_spans in scanner.fields(0, len(body)):
        if number == _FIRST:
            resource, resource_schema_url, scopes = scanner.split(*resource_spans)
            shared = _shared(view, Resource, resource, resource_schema_url)
            for scope_spans in _pairs(scopes):
                scope, schema_url, ranges = scanner.split(*scope_spans)
                if ranges:
                    parts.append(
                        Part(shared, _shared(view, InstrumentationScope, scope, schema_url), _messages(view, ranges))
                    )
    return parts


class _Scanner:
    """Finds the fields of a body's messages."""

    def __init__(self, body: Body, signal: Signal) -> None:
        self._body = body
        self._signal = signal
        self._remaining = MAX_FIELDS

    def split(self, start: int, end: int) -> "tuple[_Range, _Range, array[int]]":
        """Return the ranges of a message's first field and schema URL, and those of its second field, flat."""
        first = schema_url = (0, 0)
        second = array("Q")
        for number, *found in self.fields(start, end):
            if number == _SECOND:
                second.extend(found)
            elif number == _FIRST:
                first = found[0], found[1]
            elif number == _SCHEMA_URL:
                schema_url = found[0], found[1]
        return first, schema_url, second

    def fields(self, at: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield number, start and end of each length-delimited field."""
        body, start = self._body, at
        while at < end:
            self._remaining -= 1
            if self._remaining < 0:
                raise PayloadTooLargeError(
                    f"the request has more than {MAX_FIELDS:,} resources, scopes and {self._signal.plural}; "
                    "send smaller requests"
                )
            key, at = (body[at], at + 1) if body[at] < _CONTINUES else self._varint(at, end)
            kind = key & 7
            if kind == _BYTES:
                size, start = self._varint(at, end)
                at = start + size
            elif kind == _VARINT:
                _, at = self._varint(at, end)
            elif kind in _FIXED:
                at += _FIXED[kind]
            else:
                raise self._damaged()
            if at > end or key >> 3 == 0:
                raise self._damaged()
            if kind == _BYTES:
                yield key >> 3, start, at

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = shift = 0
        while at < end and shift < _MAX_VARINT_BITS:
            byte = self._body[at]
            at += 1
            if byte < _CONTINUES:
                return value | byte << shift, at
            value |= (byte & ~_CONTINUES) << shift
            shift += 7
        raise self._damaged()

    def _damaged(self) -> BadInputError:
        return BadInputError(f"the body is not an {self._signal.message} in protobuf, or is truncated")


def _pairs(flat: "array[int]") -> Iterator[_Range]:
    numbers = iter(flat)
    return zip(numbers, numbers, strict=True)


def _messages(view: memoryview, ranges: "array[int]") -> Iterator[tuple[bytes, int]]:
    for start, end in _pairs(ranges):
        yield bytes(view[start:end]), end - start


def _shared(
    view: memoryview, kind: type[Resource] | type[InstrumentationScope], at: _Range, schema_url: _Range
) -> Shared:
    """Return a resource or scope that is decoded when needed."""
    is_scope = kind is InstrumentationScope

    def decode() -> dict[str, Any]:
        message = _parse(kind, bytes(view[slice(*at)]), "its scope" if is_scope else "its resource")
        url = bytes(view[slice(*schema_url)]).decode(errors="replace")
        return spans.shared_fields(message, attributes_of, url, is_scope=is_scope)

    return Shared(at[1] - at[0], decode)


def _parse(kind: type[_Message], content: bytes, noun: str) -> _Message:
    try:
        return kind.FromString(content)
    except DecodeError as error:
        raise BadInputError(f"{noun} cannot be decoded ({error})") from None


def span_of(content: bytes) -> Span:
    """Decode a span.

    Raises:
        BadInputError: it cannot be decoded, or ids or attributes are invalid.
    """
    return spans.span_of(_parse(SpanMessage, content, "it"), attributes_of, bytes.hex)


def log_of(content: bytes) -> LogRecord:
    """Decode a log record.

    Raises:
        BadInputError: it cannot be decoded, or its attributes are invalid.
    """
    message = _parse(LogMessage, content, "it")
    return logs.log_of(message, attributes_of, bytes.hex, _value_of(message.body))


def attributes_of(pairs: Iterable[KeyValue]) -> dict[str, object]:
    """Convert attributes to JSON values by key; the last of equal keys wins."""
    # Most values are strings, and checking the kind takes as long as reading the value.
    return {pair.key: (value := pair.value).string_value or _value_of(value) for pair in pairs}


def _value_of(value: AnyValue) -> object:
    """Convert a value to JSON: bytes become Base64, and non-finite numbers `NaN`, `Infinity` and `-Infinity`.

    Raises:
        BadInputError: a list or an object in it has more than `MAX_MEMBERS` members.
    """
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "int_value":
            return value.int_value
        case "bool_value":
            return value.bool_value
        case "double_value":
            return spans.json_number(value.double_value)
        case "array_value":
            return [_value_of(inner) for inner in _check_length(value.array_value.values)]
        case "kvlist_value":
            return {pair.key: _value_of(pair.value) for pair in _check_length(value.kvlist_value.values)}
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
    return None


def _check_length(values: _Values) -> _Values:
    if len(values) > MAX_MEMBERS:
        raise BadInputError(f"a list or object in it has {len(values):,} values; the limit is {MAX_MEMBERS:,}")
    return values
