"""Spans out of OTLP requests in JSON: ids in hexadecimal, 64-bit integers as strings or numbers, bytes in Base64."""

import base64
import binascii
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

from stores.errors import BadInputError, StoreError
from stores.otel.project_routing import Projects
from stores.otel.spans import (
    BESIDE,
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
"""What a value counts as, beside the characters of a string: about what its signs take in the text."""

_BESIDE: Final = ("flags", "droppedAttributesCount", "droppedEventsCount", "droppedLinksCount")
_DEEPEST: Final = 100
_UINT64: Final = 1 << 64
_INT64: Final = 1 << 63
_HEX: Final = frozenset("0123456789abcdef")


class Undecoded(NamedTuple):
    """A span that waits to be read, where it is from or why it cannot be stored, and about how large it is."""

    message: object
    origin: Origin | StoreError
    size_bytes: int


class Part(NamedTuple):
    """The spans of one scope, of which there is at least one, with their sizes and what they have in common."""

    resource_spans: dict[str, Any]
    scope_spans: dict[str, Any]
    sizes: "array[int]"


def parts_of(request: object) -> list[Part]:
    """The parts of a request, those without spans left out.

    Raises:
        BadInputError: it is no request in OTLP's JSON.
    """
    whole = _object(request, "the request")
    if "resourceSpans" not in whole and whole:
        raise BadInputError('the request has no resourceSpans; write {"resourceSpans": […]}, names in lowerCamelCase')
    return [
        Part(resource_spans, scope_spans, sizes)
        for resource_spans in _objects(whole, "resourceSpans", "the request")
        for scope_spans in _objects(resource_spans, "scopeSpans", "resourceSpans")
        if (sizes := array("Q", map(_size, _list(scope_spans, "spans", "scopeSpans"))))
    ]


def _size(value: object) -> int:
    """About how many bytes a value takes as JSON."""
    size, waiting = 0, [value]
    while waiting:
        one = waiting.pop()
        size += _VALUE_BYTES
        if isinstance(one, str):
            size += len(one)
        elif isinstance(one, dict):
            size += sum(map(len, one))
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
    return size


def undecoded_spans(parts: Iterable[Part], projects: Projects) -> Iterator[Undecoded]:
    """The spans of the parts of a request, in its order."""
    known: dict[str, Any] | None = None
    for part in parts:
        if known is not part.resource_spans:
            known = part.resource_spans
            resource, beside = _resource(known, projects), _size(known.get("resource"))
        origin = _origin(part.scope_spans, resource)
        more = beside + _size(part.scope_spans.get("scope"))
        for message, size in zip(part.scope_spans["spans"], part.sizes, strict=True):
            yield Undecoded(message, _too_large(size) or origin, size + more)


def _too_large(size: int) -> StoreError | None:
    try:
        check_size(size)
    except StoreError as error:
        return error
    return None


def _resource(resource_spans: dict[str, Any], projects: Projects) -> Resource | StoreError:
    try:
        of = _member(resource_spans, "resource")
        check_size(_size(of), "resource")
        attributes = _attributes(of)
        dropped = _integer(of, "droppedAttributesCount")
        told = resource_of(attributes, dropped, _text(resource_spans, "schemaUrl"))
        return Resource.of(projects.of(attributes), told)
    except StoreError as error:
        return error


def _origin(scope_spans: dict[str, Any], resource: Resource | StoreError) -> Origin | StoreError:
    if isinstance(resource, StoreError):
        return resource
    try:
        by = _member(scope_spans, "scope")
        check_size(_size(by), "scope")
        dropped, schema_url = _integer(by, "droppedAttributesCount"), _text(scope_spans, "schemaUrl")
        return resource.with_scope(
            scope_of(_text(by, "name"), _text(by, "version"), _attributes(by), dropped, schema_url)
        )
    except StoreError as error:
        return error


def span_of(message: object) -> Span:
    """A span as OTLP's JSON has it; members that it does not know are left aside, as the specification asks.

    Raises:
        BadInputError: a member is of the wrong type, or its ids or keys break a rule.
    """
    span = _object(message, "a span")
    status = _member(span, "status")
    beside = {name: _integer(span, member) for name, member in zip(BESIDE, _BESIDE, strict=True)}
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
        beside={name: number for name, number in beside.items() if number},
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
    return _pairs(_objects(holder, "attributes", "its holder"), _DEEPEST)


def _pairs(pairs: Iterable[dict[str, Any]], depth: int) -> dict[str, object]:
    return {_text(pair, "key"): _value(pair.get("value"), depth) for pair in pairs}


def _value(value: object, depth: int) -> object:
    """A value of an attribute; of members that it does not know it takes no notice."""
    if value is None:
        return None
    if not depth:
        raise BadInputError(f"a value of an attribute nests deeper than {_DEEPEST} levels")
    for kind, inner in _object(value, "a value of an attribute").items():
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
    return _whole(value, kind, -_INT64, _INT64)


def _double(value: object, kind: str) -> float | str:
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise BadInputError(f"{kind} must be a number")
        return number(float(value))
    except (ValueError, OverflowError):
        raise BadInputError(f"{kind} must be a number, or one of NaN, Infinity and -Infinity") from None


def _bytes(value: object, kind: str) -> str:
    """Base64 as it came, once it is known to be some; the URL's alphabet and missing padding are taken, too."""
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
        raise BadInputError(f"{name} must be hexadecimal; OTLP's JSON has no ids in Base64")
    return text


def _integer(holder: dict[str, Any], name: str) -> int:
    value = holder.get(name)
    return 0 if value is None else _whole(value, name, 0, _UINT64)


def _whole(value: object, name: str, least: int, beyond: int) -> int:
    if isinstance(value, str) and len(value) <= 20 and value.removeprefix("-").isdecimal() and value.isascii():  # noqa: PLR2004 -- digits of 64 bits
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < beyond:
        raise BadInputError(f"{name} must be a whole number from {least} to {beyond - 1}, as a number or a string")
    return value
