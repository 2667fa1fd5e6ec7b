"""Spans out of OTLP requests in protobuf, each decoded when its turn comes."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

from stores.errors import BadInputError, PayloadTooLargeError, StoreError
from stores.otel.projects import Projects
from stores.otel.spans import Origin, Span, check_id, event_of, link_of, parent_id_of, resource_of, scope_of
from stores.otel.values import attributes_of

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE: Final = "loomql.otlp"


def _undecoded_request() -> Any:  # noqa: ANN401 -- protobuf makes the class
    """The class of an ExportTraceServiceRequest that holds its resources, scopes and spans as bytes.

    To decode all of a large request at once would keep everybody else waiting, and take its size in memory again.
    """
    file = descriptor_pb2.FileDescriptorProto(name="loomql/otlp.proto", package=_PACKAGE, syntax="proto3")
    parts = {
        "ScopeSpans": {"scope": (1, False, ""), "spans": (2, True, "")},
        "ResourceSpans": {"resource": (1, False, ""), "scope_spans": (2, True, "ScopeSpans")},
        "Request": {"resource_spans": (1, True, "ResourceSpans")},
    }
    for name, fields in parts.items():
        message = file.message_type.add(name=name)
        for field, (number, many, kind) in fields.items():
            label = _Field.LABEL_REPEATED if many else _Field.LABEL_OPTIONAL
            added = message.field.add(name=field, number=number, label=label, type=_Field.TYPE_BYTES)
            if kind:
                added.type, added.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Request"))


_Request: Final = _undecoded_request()


MAX_SPAN_BYTES: Final = 8 * 1024 * 1024
"""The largest span that is decoded: values without content take ten times as much memory as they come in."""


class Undecoded(NamedTuple):
    """A span that waits to be decoded, where it is from or why it cannot be stored, and about how large it is."""

    message: bytes
    origin: Origin | StoreError
    size_bytes: int


def request_of(body: bytes | bytearray) -> Any:  # noqa: ANN401 -- of the class above
    """A request, whose spans are yet to be decoded.

    Raises:
        BadInputError: it cannot be decoded.
    """
    try:
        return _Request.FromString(body)
    except DecodeError as error:
        raise BadInputError(
            f"the body is not an ExportTraceServiceRequest in protobuf, or is cut off ({error})"
        ) from None


def undecoded_spans(request: Any, projects: Projects) -> Iterator[Undecoded]:  # noqa: ANN401 -- of the class above
    """The spans of a request in its order."""
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            origin = _origin(resource_spans.resource, scope_spans.scope, projects)
            for message in scope_spans.spans:
                yield Undecoded(message, origin, len(message))


def _origin(resource: bytes, scope: bytes, projects: Projects) -> Origin | StoreError:
    try:
        of, by = Resource.FromString(resource), InstrumentationScope.FromString(scope)
        attributes = attributes_of(of.attributes)
        return Origin.of(
            projects.of(attributes),
            resource_of(attributes, of.dropped_attributes_count),
            scope_of(by.name, by.version, attributes_of(by.attributes)),
        )
    except DecodeError as error:
        return BadInputError(f"its resource or scope cannot be decoded ({error})")
    except StoreError as error:
        return error


def span_of(message: bytes) -> Span:
    """A span as protobuf has it.

    Raises:
        BadInputError: it cannot be decoded, or its ids or attributes break a rule.
        PayloadTooLargeError: it is larger than `MAX_SPAN_BYTES`.
    """
    if len(message) > MAX_SPAN_BYTES:
        raise PayloadTooLargeError(
            f"it has {len(message):,} bytes; the limit is {MAX_SPAN_BYTES:,}. "
            "Keep large content elsewhere and send a reference to it"
        )
    try:
        span = SpanMessage.FromString(message)
    except DecodeError as error:
        raise BadInputError(f"it cannot be decoded ({error})") from None
    status = span.status
    found = Span(
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
        found.events = [
            event_of(event.name, event.time_unix_nano, attributes_of(event.attributes), event.dropped_attributes_count)
            for event in span.events
        ]
    if span.links:
        found.links = [
            link_of(
                link.trace_id.hex(),
                link.span_id.hex(),
                link.trace_state,
                attributes_of(link.attributes),
                link.dropped_attributes_count,
            )
            for link in span.links
        ]
    for name in ("dropped_attributes_count", "dropped_events_count", "dropped_links_count"):
        if count := getattr(span, name):
            found.dropped[name] = count
    return found
