"""Spans from OTLP/JSON requests: hexadecimal ids, 64-bit integers as strings or numbers, bytes as Base64."""

import base64
import binascii
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

from stores.errors import BadInputError, StoreError
from stores.otel.project_routing import Projects
from stores.otel.spans import (
    OTHER_FIELDS,
    Origin,
    Resource,
    Span,
    check_id,
    check_size,
    event_of,
    link_of,
    parent_id_of,
    resource_of,
    scope_of,
)
from stores.otel.values import number

_VALUE_BYTES: Final = 8
"""Size counted for each value besides string characters: about its punctuation in the text."""

_OTHER_FIELDS: Final = ("flags", "droppedAttributesCount", "droppedEventsCount", "droppedLinksCount")
_MAX_DEPTH: Final = 100
_UINT64: Final = 1 << 64
_INT64: Final = 1 << 63
_HEX: Final = frozenset("0123456789abcdef")


class Undecoded(NamedTuple):
    """A span not yet decoded, its origin or the reason for rejection, and its approximate size."""

    message: object
    origin: Origin | StoreError
    size_bytes: int


class Part(NamedTuple):
    """The spans of one scope (at least one), with their sizes and shared messages."""

    resource_spans: dict[str, Any]
    scope_spans: dict[str, Any]
    sizes: "array[int]"


def parts_of(request: object) -> list[Part]:
    """Return the parts of a request that have spans.

    Raises:
        BadInputError: it is not an OTLP/JSON request.
    """
    whole = _object(request, "the request")
    if "resourceSpans" not in whole and whole:
        raise BadInputError(
            'the request has no resourceSpans; send {"resourceSpans": […]} with names in lowerCamelCase'
        )
    return [
        Part(resource_spans, scope_spans, sizes)
        for resource_spans in _objects(whole, "resourceSpans", "the request")
        for scope_spans in _objects(resource_spans, "scopeSpans", "resourceSpans")
        if (sizes := array("Q", map(_size, _list(scope_spans, "spans", "scopeSpans"))))
    ]


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


def undecoded_spans(parts: Iterable[Part], projects: Projects) -> Iterator[Undecoded]:
    """Yield the spans of the parts of a request, in order."""
    known: dict[str, Any] | None = None
    for part in parts:
        if known is not part.resource_spans:
            known = part.resource_spans
            resource, other_fields = _resource(known, projects), _size(known.get("resource"))
        origin = _origin(part.scope_spans, resource)
        shared_bytes = other_fields + _size(part.scope_spans.get("scope"))
        for message, size in zip(part.scope_spans["spans"], part.sizes, strict=True):
            yield Undecoded(message, _too_large(size) or origin, size + shared_bytes)


def _too_large(size: int) -> StoreError | None:
    try:
        check_size(size)
    except StoreError as error:
        return error
    return None


def _resource(resource_spans: dict[str, Any], projects: Projects) -> Resource | StoreError:
    try:
        message = _member(resource_spans, "resource")
        check_size(_size(message), "resource")
        attributes = _attributes(message)
        dropped = _integer(message, "droppedAttributesCount")
        resource_json = resource_of(attributes, dropped, _text(resource_spans, "schemaUrl"))
        return Resource.of(projects.of(attributes), resource_json)
    except StoreError as error:
        return error


def _origin(scope_spans: dict[str, Any], resource: Resource | StoreError) -> Origin | StoreError:
    if isinstance(resource, StoreError):
        return resource
    try:
        message = _member(scope_spans, "scope")
        check_size(_size(message), "scope")
        dropped, schema_url = _integer(message, "droppedAttributesCount"), _text(scope_spans, "schemaUrl")
        return resource.with_scope(
            scope_of(_text(message, "name"), _text(message, "version"), _attributes(message), dropped, schema_url)
        )
    except StoreError as error:
        return error


def span_of(message: object) -> Span:
    """Decode a span; unknown members are ignored, as the specification requires.

    Raises:
        BadInputError: a member has the wrong type, or ids or keys are invalid.
    """
    span = _object(message, "a span")
    status = _member(span, "status")
    other_fields = {name: _integer(span, member) for name, member in zip(OTHER_FIELDS, _OTHER_FIELDS, strict=True)}
    return Span(
        name=_text(span, "name"),
        trace_id=check_id(_hexadecimal(span, "traceId"), "trace_id"),
        span_id=check_id(_hexadecimal(span, "spanId"), "span_id"),
        parent_id=parent_id_of(_hexadecimal(span, "parentSpanId")),
        trace_state=_text(span, "traceState"),
        kind=_integer(span, "kind"),
        started_at=_integer(span, "startTimeUnixNano"),
        ended_at=_integer(span, "endTimeUnixNano"),
        status_code=_integer(status, "code"),
        status_message=_text(status, "message"),
        attributes=_attributes(span),
        events=[_event(event) for event in _objects(span, "events", "a span")],
        links=[_link(link) for link in _objects(span, "links", "a span")],
        other_fields={name: number for name, number in other_fields.items() if number},
    )


def _event(event: dict[str, Any]) -> dict[str, Any]:
    at, dropped = _integer(event, "timeUnixNano"), _integer(event, "droppedAttributesCount")
    return event_of(_text(event, "name"), at, _attributes(event), dropped)


def _link(link: dict[str, Any]) -> dict[str, Any]:
    return link_of(
        _hexadecimal(link, "traceId"),
        _hexadecimal(link, "spanId"),
        _text(link, "traceState"),
        _attributes(link),
        _integer(link, "droppedAttributesCount"),
        _integer(link, "flags"),
    )


def _attributes(holder: dict[str, Any]) -> dict[str, object]:
    return _pairs(_objects(holder, "attributes", "its holder"), _MAX_DEPTH)


def _pairs(pairs: Iterable[dict[str, Any]], depth: int) -> dict[str, object]:
    return {_text(pair, "key"): _value(pair.get("value"), depth) for pair in pairs}


def _value(value: object, depth: int) -> object:
    """Decode an attribute value; unknown members are ignored."""
    if value is None:
        return None
    if not depth:
        raise BadInputError(f"an attribute value is nested deeper than {_MAX_DEPTH} levels")
    for kind, inner in _object(value, "an attribute value").items():
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


def _integer64(value: object, kind: str) -> int:
    return _integer_between(value, kind, -_INT64, _INT64)


def _double(value: object, kind: str) -> float | str:
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise BadInputError(f"{kind} must be a number")
        return number(float(value))
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
    "intValue": _integer64,
    "doubleValue": _double,
    "bytesValue": _bytes,
}


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadInputError(f"{what} must be a JSON object")
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
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadInputError(f"{name} must be a string")
    return value


def _hexadecimal(holder: dict[str, Any], name: str) -> str:
    text = _text(holder, name).lower()
    if not _HEX.issuperset(text):
        raise BadInputError(f"{name} must be hexadecimal; OTLP/JSON does not use Base64 for ids")
    return text


def _integer(holder: dict[str, Any], name: str) -> int:
    value = holder.get(name)
    return 0 if value is None else _integer_between(value, name, 0, _UINT64)


def _integer_between(value: object, name: str, least: int, beyond: int) -> int:
    if isinstance(value, str) and len(value) <= 20 and value.removeprefix("-").isdecimal() and value.isascii():  # noqa: PLR2004 -- digits of 64 bits
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < beyond:
        raise BadInputError(f"{name} must be an integer from {least} to {beyond - 1}, as a number or a string")
    return value
