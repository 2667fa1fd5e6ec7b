"""OpenTelemetry spans, independent of the encoding they arrived in, and the choice of their project."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final, Generic, NamedTuple, TypeVar

from stores import times
from stores.errors import BadInputError, PayloadTooLargeError, StoreError
from stores.ids import (
    MAX_PROJECT_PART,
    PROJECT_PART_RULE,
    SPAN_ID_LENGTH,
    TRACE_ID_LENGTH,
    can_start_project_part,
    check_project_id,
    is_project_part,
)
from stores.senders.attributes import nested

ENTITY: Final = "otel"
"""Entity of projects that only a resource's name determines."""

_NAMES: Final = ("openinference.project.name", "service.name")


@dataclass(frozen=True, slots=True)
class Projects:
    """Routing rule of one request.

    Attributes:
        given: project in the request, entity/project; None if it names none.
        fixed: true if `given` overrides the spans' resources.
        entity: entity of projects named only by a resource.
        check: raises if the sender may not write to a project.

    Raises:
        BadInputError: the given project id is invalid.
        ForbiddenError: the sender may not write to the given project.
    """

    given: str | None = None
    fixed: bool = False
    entity: str = ENTITY
    check: Callable[[str], None] = lambda _project_id: None

    def __post_init__(self) -> None:
        """Check the given project."""
        if self.given is not None:
            check_project_id(self.given)
            self.check(self.given)

    def of(self, resource: dict[str, object]) -> str:
        """Return the project for spans of a resource, from its attributes.

        `wandb.entity` and `wandb.project` together override the request's project. Without a project in the request,
        `openinference.project.name` or `service.name` names one.

        Raises:
            BadInputError: `wandb.entity` and `wandb.project` are not a valid project id.
            ForbiddenError: the sender may not write there.
        """
        project_id = self._choose(resource)
        self.check(project_id)
        return project_id

    def _choose(self, resource: dict[str, object]) -> str:
        entity, project = resource.get("wandb.entity"), resource.get("wandb.project")
        if entity and project and not self.fixed:
            project_id = f"{entity}/{project}"
            check_project_id(project_id, "wandb.entity and wandb.project")
            return project_id
        return self.given or self._from_name(
            next((str(name) for key in _NAMES if (name := resource.get(key))), "default")
        )

    def _from_name(self, name: str) -> str:
        """Return the project for a name, which may be a full id; invalid characters are replaced."""
        entity, slash, rest = name.partition("/")
        if slash and is_project_part(entity) and is_project_part(rest):
            return name
        part = "".join(sign if can_start_project_part(sign) else "-" for sign in name[:MAX_PROJECT_PART])
        if not is_project_part(part):
            raise BadInputError(f"the project name {name[:64]!r} of its resource is invalid; use {PROJECT_PART_RULE}")
        return f"{self.entity}/{part}"


Attributes = dict[str, object]
"""JSON values by flat key, such as `llm.model_name`."""

AnyMessage = Any
"""A message with the fields of OTLP's protobuf: of protobuf itself, or a JSON object that is read by these names."""

ERROR: Final = 2
"""Status code of a failed span."""

CLIENT: Final = 3
"""Kind of a span that calls another program."""

MAX_BYTES: Final = 8 * 1024 * 1024
"""Limit on a span in bytes; empty values take ten times as much memory as in the request."""

MAX_ORIGIN_BYTES: Final = 64 * 1024
"""Limit on a resource and on a scope in bytes, because they are stored with every span."""

OTHER_FIELDS: Final = ("flags", "dropped_attributes_count", "dropped_events_count", "dropped_links_count")
"""Further fields of a span, stored if not 0."""

_Message = TypeVar("_Message")


class Signal(NamedTuple):
    """A kind of telemetry, by its names in OTLP.

    Attributes:
        message: the name of a request's message.
        service: the name of the gRPC service.
        resources: the JSON name of the records by resource.
        scopes: the JSON name of the records by scope.
        records: the JSON name of the spans or log records.
        rejected: the JSON name of the number of rejected ones.
        plural: the noun for them in errors.
    """

    message: str
    service: str
    resources: str
    scopes: str
    records: str
    rejected: str
    plural: str


TRACES: Final = Signal(
    "ExportTraceServiceRequest",
    "opentelemetry.proto.collector.trace.v1.TraceService",
    "resourceSpans",
    "scopeSpans",
    "spans",
    "rejectedSpans",
    "spans",
)
LOGS: Final = Signal(
    "ExportLogsServiceRequest",
    "opentelemetry.proto.collector.logs.v1.LogsService",
    "resourceLogs",
    "scopeLogs",
    "logRecords",
    "rejectedLogRecords",
    "log records",
)


@dataclass(slots=True)
class Span:
    """One span. Ids are hexadecimal, times nanoseconds since the epoch (0 for none), kind and code OTLP's numbers.

    Events and links are JSON with nested attributes; `other_fields` has the fields of `OTHER_FIELDS`.
    """

    name: str
    trace_id: str
    span_id: str
    parent_id: str | None
    trace_state: str
    kind: int
    started_at: int
    ended_at: int
    status_code: int
    status_message: str
    attributes: Attributes
    events: list[dict[str, Any]]
    links: list[dict[str, Any]]
    other_fields: dict[str, int]


@dataclass(frozen=True, slots=True)
class Origin:
    """Shared data of the spans of one scope: project, and JSON stored with each span."""

    project_id: str
    resource: dict[str, Any]
    scope: dict[str, Any] = field(default_factory=dict)


class Shared(NamedTuple):
    """A resource or scope of a request: its size, and a function that decodes its fields, with flat `attributes`."""

    size_bytes: int
    decode: Callable[[], dict[str, Any]]


class Part(NamedTuple, Generic[_Message]):
    """The spans or log records of one scope (at least one), not yet decoded, each with its size in bytes."""

    resource: Shared
    scope: Shared
    records: Iterable[tuple[_Message, int]]


class Undecoded(NamedTuple, Generic[_Message]):
    """A span or log record not yet decoded.

    It has its origin or the reason for rejection, and its size with resource and scope in bytes.
    """

    message: _Message
    origin: Origin | StoreError
    size_bytes: int


def undecoded_records(parts: Iterable[Part[_Message]], projects: Projects) -> Iterator[Undecoded[_Message]]:
    """Yield the spans or log records of the parts of a request, in order."""
    known: Shared | None = None
    for part in parts:
        if part.resource is not known:
            known, resource = part.resource, _of_resource(part.resource, projects)
        origin = _with_scope(resource, part.scope)
        shared_bytes = part.resource.size_bytes + part.scope.size_bytes
        for message, size in part.records:
            yield Undecoded(message, _size_error(size) or origin, size + shared_bytes)


def _of_resource(resource: Shared, projects: Projects) -> Origin | StoreError:
    try:
        fields = _decoded(resource, "resource")
        attributes = fields.pop("attributes")
        data = {"attributes": nested(attributes), **_without_empty(**fields)}
        return Origin(projects.of(attributes), data)
    except StoreError as error:
        return error


def _with_scope(origin: Origin | StoreError, scope: Shared) -> Origin | StoreError:
    if isinstance(origin, StoreError):
        return origin
    try:
        fields = _decoded(scope, "scope")
        return replace(origin, scope=_without_empty(**fields | {"attributes": nested(fields["attributes"])}))
    except StoreError as error:
        return error


def _decoded(shared: Shared, noun: str) -> dict[str, Any]:
    if error := _size_error(shared.size_bytes, noun):
        raise error
    return shared.decode()


def _size_error(size_bytes: int, noun: str = "") -> PayloadTooLargeError | None:
    """Return the error if a span is too large, or the resource or scope named by the noun."""
    limit = MAX_ORIGIN_BYTES if noun else MAX_BYTES
    if size_bytes <= limit:
        return None
    return PayloadTooLargeError(
        f"{f'its {noun}' if noun else 'it'} has {size_bytes:,} bytes; the limit is {limit:,}. "
        "Keep large content elsewhere and send a reference to it"
    )


def span_of(message: AnyMessage, attributes_of: Callable[[Any], Attributes], hex_of: Callable[[Any], str]) -> Span:
    """Convert a message with the fields of OTLP's protobuf.

    Raises:
        BadInputError: ids are invalid, or attributes are too many or too deep.
    """
    status = message.status
    return Span(
        name=message.name,
        trace_id=_check_id(hex_of(message.trace_id), "trace_id"),
        span_id=_check_id(hex_of(message.span_id), "span_id"),
        parent_id=_check_id(text, "parent_span_id") if (text := hex_of(message.parent_span_id)).strip("0") else None,
        trace_state=message.trace_state,
        kind=message.kind,
        started_at=message.start_time_unix_nano,
        ended_at=message.end_time_unix_nano,
        status_code=status.code,
        status_message=status.message,
        attributes=attributes_of(message.attributes),
        events=[
            {
                "name": event.name,
                "timestamp": time_text(event.time_unix_nano),
                "attributes": nested(attributes_of(event.attributes)),
                **_without_empty(dropped_attributes_count=event.dropped_attributes_count),
            }
            for event in message.events
        ],
        links=[
            {
                "context": {
                    "trace_id": hex_of(link.trace_id),
                    "span_id": hex_of(link.span_id),
                    "trace_state": link.trace_state,
                },
                "attributes": nested(attributes_of(link.attributes)),
                **_without_empty(dropped_attributes_count=link.dropped_attributes_count, flags=link.flags),
            }
            for link in message.links
        ],
        other_fields={name: number for name in OTHER_FIELDS if (number := getattr(message, name))},
    )


def shared_fields(
    message: AnyMessage, attributes_of: Callable[[Any], Attributes], schema_url: str, *, is_scope: bool
) -> dict[str, Any]:
    """Return the fields of a resource or scope for `Shared`, from a message with the fields of OTLP's protobuf."""
    return {
        **({"name": message.name, "version": message.version} if is_scope else {}),
        "attributes": attributes_of(message.attributes),
        "dropped_attributes_count": message.dropped_attributes_count,
        "schema_url": schema_url,
    }


def _without_empty(**data: Any) -> dict[str, Any]:
    """Return the values that are not empty or 0."""
    return {name: value for name, value in data.items() if value}


def _check_id(text: str, name: str) -> str:
    """Check that a hexadecimal id has the right length and is not all zeros.

    Raises:
        BadInputError: it is invalid.
    """
    length = TRACE_ID_LENGTH if name == "trace_id" else SPAN_ID_LENGTH
    if len(text) != length:
        raise BadInputError(f"{name} has {len(text) / 2:g} bytes; it must have {length // 2}")
    if not text.strip("0"):
        raise BadInputError(f"{name} is all zeros, which is not a valid id")
    return text


def json_number(value: float) -> float | str:
    """Return a finite number unchanged; others become `NaN`, `Infinity` and `-Infinity`."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def time_text(nanoseconds: int) -> str:
    """Format a time as ISO 8601 in UTC with nine digits, such as 2026-01-31T12:00:00.000000001Z."""
    micros, rest = divmod(nanoseconds, 1000)
    return f"{times.to_text(micros)[:-1]}{rest:03}Z"
