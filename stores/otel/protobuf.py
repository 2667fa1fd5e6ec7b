"""Spans from OTLP/protobuf requests, decoded one at a time."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceMessage
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

from stores.errors import BadInputError, StoreError
from stores.otel.project_routing import Projects
from stores.otel.protobuf_scanner import Body, Part, Place
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
from stores.otel.values import attributes_of


class Undecoded(NamedTuple):
    """A span not yet decoded, its origin or the reason for rejection, and its approximate size."""

    message: bytes
    origin: Origin | StoreError
    size_bytes: int


def undecoded_spans(body: Body, parts: Iterable[Part], projects: Projects) -> Iterator[Undecoded]:
    """Yield the spans of the parts of a request, in order."""
    view = memoryview(body)
    known: Part | None = None
    resource: Resource | StoreError
    for part in parts:
        if known is None or known[:2] != part[:2]:
            known, resource = part, _resource(view, part, projects)
        origin = _origin(view, part, resource)
        envelope_bytes = _size(part.resource) + _size(part.scope)
        for start, end in part.byte_ranges():
            yield Undecoded(bytes(view[start:end]), origin, end - start + envelope_bytes)


def _size(byte_range: Place) -> int:
    return byte_range[1] - byte_range[0]


def _resource(body: memoryview, part: Part, projects: Projects) -> Resource | StoreError:
    try:
        check_size(_size(part.resource), "resource")
        message = ResourceMessage.FromString(_bytes(body, part.resource))
        attributes = attributes_of(message.attributes)
        resource_json = resource_of(attributes, message.dropped_attributes_count, _text(body, part.resource_schema_url))
        return Resource.of(projects.of(attributes), resource_json)
    except DecodeError as error:
        return BadInputError(f"its resource cannot be decoded ({error})")
    except StoreError as error:
        return error


def _origin(body: memoryview, part: Part, resource: Resource | StoreError) -> Origin | StoreError:
    if isinstance(resource, StoreError):
        return resource
    try:
        check_size(_size(part.scope), "scope")
        message = InstrumentationScope.FromString(_bytes(body, part.scope))
        schema_url = _text(body, part.scope_schema_url)
        attributes = attributes_of(message.attributes)
        return resource.with_scope(
            scope_of(message.name, message.version, attributes, message.dropped_attributes_count, schema_url)
        )
    except DecodeError as error:
        return BadInputError(f"its scope cannot be decoded ({error})")
    except StoreError as error:
        return error


def _bytes(body: memoryview, byte_range: Place) -> bytes:
    start, end = byte_range
    return bytes(body[start:end])


def _text(body: memoryview, byte_range: Place) -> str:
    return _bytes(body, byte_range).decode(errors="replace")


def span_of(message: bytes) -> Span:
    """Decode a span.

    Raises:
        BadInputError: it cannot be decoded, or ids or attributes are invalid.
        PayloadTooLargeError: it is larger than `spans.MAX_BYTES`.
    """
    check_size(len(message))
    try:
        span = SpanMessage.FromString(message)
    except DecodeError as error:
        raise BadInputError(f"it cannot be decoded ({error})") from None
    status = span.status
    result = Span(
        name=span.name,
        trace_id=check_id(span.trace_id.hex(), "trace_id"),
        span_id=check_id(span.span_id.hex(), "span_id"),
        parent_id=parent_id_of(span.parent_span_id.hex()),
        trace_state=span.trace_state,
        kind=span.kind,
        started_at=span.start_time_unix_nano,
        ended_at=span.end_time_unix_nano,
        status_code=status.code,
        status_message=status.message,
        attributes=attributes_of(span.attributes),
    )
    if span.events:
        result.events = [
            event_of(event.name, event.time_unix_nano, attributes_of(event.attributes), event.dropped_attributes_count)
            for event in span.events
        ]
    if span.links:
        result.links = [
            link_of(
                link.trace_id.hex(),
                link.span_id.hex(),
                link.trace_state,
                attributes_of(link.attributes),
                link.dropped_attributes_count,
                link.flags,
            )
            for link in span.links
        ]
    for name in OTHER_FIELDS:
        if number := getattr(span, name):
            result.other_fields[name] = number
    return result
