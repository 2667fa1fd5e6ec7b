"""OTLP/JSON requests: hexadecimal ids, 64-bit integers as strings or numbers, bytes as Base64."""

import base64
import binascii
from array import array
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Final

from stores.errors import BadInputError
from stores.otel import logs, spans
from stores.otel.logs import LogRecord
from stores.otel.spans import TRACES, AnyMessage, Part, Shared, Signal, Span

_VALUE_BYTES: Final = 8
"""Size counted for each value besides string characters: about its punctuation in the text."""

_MAX_DEPTH: Final = 100
_MAX_DIGITS: Final = 20
"""Characters of a 64-bit integer."""
_HEX: Final = frozenset("0123456789abcdef")


def parts_of(request: object, signal: Signal = TRACES) -> list[Part[object]]:
    """Return the parts of a signal's request that have spans or log records.

    Raises:
        BadInputError: it is not an OTLP/JSON request.
    """
    whole = _object(request, "the request")
    if signal.resources not in whole and whole:
        raise BadInputError(
            f'the request has no {signal.resources}; send {{"{signal.resources}": […]}} with names in lowerCamelCase'
        )
    parts: list[Part[object]] = []
    for of_resource in _objects(whole, signal.resources, "the request"):
        resource = _shared(of_resource, "resource")
        for of_scope in _objects(of_resource, signal.scopes, signal.resources):
            messages = _list(of_scope, signal.records, signal.scopes)
            # An array of sizes takes less memory than a list of pairs.
            if sizes := array("Q", map(_size, messages)):
                parts.append(Part(resource, _shared(of_scope, "scope"), zip(messages, sizes, strict=True)))
    return parts


def _size(value: object) -> int:
    """Estimate the size of a value as JSON in bytes."""
    size, stack = 0, [value]
    while stack:
        one = stack.pop()
        size += _VALUE_BYTES
        if isinstance(one, str):
            size += len(one)
        elif isinstance(one, dict):
            size += sum(map(len, one))
            stack.extend(one.values())
        elif isinstance(one, list):
            stack.extend(one)
    return size


def _shared(holder: dict[str, Any], member: str) -> Shared:
    """Return a resource or scope that is decoded when needed."""

    def decode() -> dict[str, Any]:
        message, url = _Message(_member(holder, member)), _text(holder, "schemaUrl")
        return spans.shared_fields(message, dict, url, is_scope=member == "scope")

    return Shared(_size(holder.get(member)), decode)


def span_of(message: object) -> Span:
    """Decode a span; unknown members are ignored, as the specification requires.

    Raises:
        BadInputError: a member has the wrong type, or ids or keys are invalid.
    """
    return spans.span_of(_Message(_object(message, "a span")), dict, str)


def log_of(message: object) -> LogRecord:
    """Decode a log record; unknown members are ignored.

    Raises:
        BadInputError: a member has the wrong type, or ids or keys are invalid.
    """
    record = _Message(_object(message, "a log record"))
    return logs.log_of(record, dict, str, record.body)


class _Message:
    """A JSON object that is read by the field names of protobuf; missing members have protobuf's defaults."""

    __slots__ = ("_members",)

    def __init__(self, members: dict[str, Any]) -> None:
        self._members = members

    def __getattr__(self, name: str) -> AnyMessage:
        return _READERS.get(name, _integer)(self._members, _camel_case(name))


@cache
def _camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def _pairs(pairs: Iterable[dict[str, Any]], depth: int) -> dict[str, object]:
    return {_text(pair, "key"): _value(pair.get("value"), depth) for pair in pairs}


def _value(value: object, depth: int) -> object:
    """Decode an attribute value; unknown members are ignored."""
    if value is None:
        return None
    if not depth:
        raise BadInputError(f"an attribute value is nested deeper than {_MAX_DEPTH} levels")
    for kind, inner in _object(value, "an attribute value").items():
        if inner is None:  # as JavaScript writes NaN
            continue
        if kind in _SCALARS:
            return _SCALARS[kind](inner, kind)
        if kind == "arrayValue":
            return [_value(one, depth - 1) for one in _list(_object(inner, kind), "values", kind)]
        if kind == "kvlistValue":
            return _pairs(_objects(_object(inner, kind), "values", kind), depth - 1)
    return None


def _string(value: object, kind: str) -> str:
    if not isinstance(value, str):
        raise BadInputError(f"{kind} must be a string")
    return value


def _boolean(value: object, kind: str) -> bool:
    if not isinstance(value, bool):
        raise BadInputError(f"{kind} must be true or false")
    return value


def _double(value: object, kind: str) -> float | str:
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise BadInputError(f"{kind} must be a number")
        return spans.json_number(float(value))
    except (ValueError, OverflowError):
        raise BadInputError(f"{kind} must be a number, or one of NaN, Infinity and -Infinity") from None


def _bytes(value: object, kind: str) -> str:
    """Return Base64 with padding after validating it; the URL-safe alphabet and missing padding are accepted."""
    plain = _string(value, kind).translate({ord("-"): "+", ord("_"): "/"})
    padded = plain + "=" * (-len(plain) % 4)
    try:
        base64.b64decode(padded, validate=True)
    except binascii.Error:
        raise BadInputError(f"{kind} must be Base64") from None
    return padded


_SCALARS: Final[dict[str, Callable[[object, str], object]]] = {
    "stringValue": _string,
    "boolValue": _boolean,
    "intValue": lambda value, kind: _integer_in(range(-(1 << 63), 1 << 63), value, kind),
    "doubleValue": _double,
    "bytesValue": _bytes,
}


def _object(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadInputError(f"{name} must be a JSON object")
    return value


def _member(holder: dict[str, Any], name: str) -> dict[str, Any]:
    value = holder.get(name)
    return {} if value is None else _object(value, name)


def _list(holder: dict[str, Any], name: str, where: str) -> list[Any]:
    value = holder.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadInputError(f"{name} of {where} must be a list")
    return value


def _objects(holder: dict[str, Any], name: str, where: str) -> list[dict[str, Any]]:
    return [_object(one, f"a member of {name}") for one in _list(holder, name, where)]


def _text(holder: dict[str, Any], name: str) -> str:
    value = holder.get(name)
    return "" if value is None else _string(value, name)


def _hexadecimal(holder: dict[str, Any], name: str) -> str:
    text = _text(holder, name).lower()
    if not _HEX.issuperset(text):
        raise BadInputError(f"{name} must be hexadecimal; OTLP/JSON does not use Base64 for ids")
    return text


def _integer(holder: dict[str, Any], name: str) -> int:
    value = holder.get(name)
    return 0 if value is None else _integer_in(range(1 << 64), value, name)


def _integer_in(allowed: range, value: object, name: str) -> int:
    """Return an integer that is sent as a number or as its decimal text."""
    if isinstance(value, str) and len(value) <= _MAX_DIGITS and value.removeprefix("-").isdecimal() and value.isascii():
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value not in allowed:
        limits = f"from {allowed[0]} to {allowed[-1]}"
        raise BadInputError(f"{name} must be an integer {limits}, as a number or a string")
    return value


_READERS: Final[dict[str, Callable[[dict[str, Any], str], object]]] = {
    **dict.fromkeys(("name", "version", "trace_state", "message", "event_name"), _text),
    "body": lambda holder, name: _value(holder.get(name), _MAX_DEPTH),
    **dict.fromkeys(("trace_id", "span_id", "parent_span_id"), _hexadecimal),
    **dict.fromkeys(("events", "links"), lambda holder, name: list(map(_Message, _objects(holder, name, "a span")))),
    "attributes": lambda holder, name: _pairs(_objects(holder, name, "its holder"), _MAX_DEPTH),
    "status": lambda holder, name: _Message(_member(holder, name)),
}
"""Readers of fields that are not non-negative integers."""
