"""OpenTelemetry spans, independent of the encoding they arrived in."""

from dataclasses import dataclass, field
from typing import Any, Final, Self

from stores import times
from stores.errors import BadInputError, PayloadTooLargeError
from stores.ids import SPAN_ID_LENGTH, TRACE_ID_LENGTH
from stores.json.bson_copy import JsonTraits, traits_of
from stores.otel.attribute_nesting import nested

Attributes = dict[str, object]
"""JSON values by flat key, such as `llm.model_name`."""

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

_KINDS: Final = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_CODES: Final = ("UNSET", "OK", "ERROR")
_ID_LENGTHS: Final = {"span_id": SPAN_ID_LENGTH, "parent_span_id": SPAN_ID_LENGTH, "trace_id": TRACE_ID_LENGTH}


@dataclass(slots=True)
class Span:
    """One span. Ids are hexadecimal, times nanoseconds since the epoch (0 for none), kind and code OTLP's numbers.

    Events and links are JSON with nested attributes; `other_fields` has the non-zero fields of `OTHER_FIELDS`.
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
    events: list[dict[str, Any]] = field(default_factory=list)
    links: list[dict[str, Any]] = field(default_factory=list)
    other_fields: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Origin:
    """Shared data of the spans of one scope: project, and JSON stored with each span."""

    project_id: str
    resource: dict[str, Any]
    scope: dict[str, Any]
    shape: JsonTraits


@dataclass(frozen=True, slots=True)
class Resource:
    """Shared data of the spans of one resource."""

    project_id: str
    data: dict[str, Any]
    shape: JsonTraits

    @classmethod
    def of(cls, project_id: str, data: dict[str, Any]) -> Self:
        """Build a resource whose spans belong to a project."""
        return cls(project_id, data, traits_of([data]))

    def with_scope(self, scope: dict[str, Any]) -> Origin:
        """Build the origin of the spans of one of its scopes."""
        mine, its = self.shape, traits_of([scope])
        separators, needs_conversion = mine.separators + its.separators, mine.needs_conversion or its.needs_conversion
        shape = JsonTraits(separators, needs_conversion, mine.has_exponents or its.has_exponents)
        return Origin(self.project_id, self.data, scope, shape)


def check_size(size_bytes: int, what: str = "") -> None:
    """Check the size of a span, or of the resource or scope named by `what`.

    Raises:
        PayloadTooLargeError: it is too large.
    """
    limit = MAX_ORIGIN_BYTES if what else MAX_BYTES
    if size_bytes > limit:
        raise PayloadTooLargeError(
            f"{f'its {what}' if what else 'it'} has {size_bytes:,} bytes; the limit is {limit:,}. "
            "Keep large content elsewhere and send a reference to it"
        )


def resource_of(attributes: Attributes, dropped: int, schema_url: str) -> dict[str, Any]:
    """Convert a resource to JSON.

    Raises:
        BadInputError: its attributes are too many or too deep.
    """
    return {"attributes": nested(attributes), **_without_empty(dropped_attributes_count=dropped, schema_url=schema_url)}


def scope_of(name: str, version: str, attributes: Attributes, dropped: int, schema_url: str) -> dict[str, Any]:
    """Convert an instrumentation scope to JSON; empty if it has no content."""
    more = {"dropped_attributes_count": dropped, "schema_url": schema_url}
    return _without_empty(name=name, version=version, attributes=nested(attributes), **more)


def event_of(name: str, nanoseconds: int, attributes: Attributes, dropped: int) -> dict[str, Any]:
    """Convert an event to JSON."""
    at = time_text(nanoseconds)
    return {
        "name": name,
        "timestamp": at,
        "attributes": nested(attributes),
        **_without_empty(dropped_attributes_count=dropped),
    }


def link_of(
    trace_id: str, span_id: str, trace_state: str, attributes: Attributes, dropped: int, flags: int
) -> dict[str, Any]:
    """Convert a link to another span to JSON."""
    context = {"trace_id": trace_id, "span_id": span_id, "trace_state": trace_state}
    other_fields = _without_empty(dropped_attributes_count=dropped, flags=flags)
    return {"context": context, "attributes": nested(attributes), **other_fields}


def _without_empty(**data: object) -> dict[str, Any]:
    """Return the values that are not empty or 0."""
    return {name: value for name, value in data.items() if value}


def check_id(text: str, name: str) -> str:
    """Check that a hexadecimal id has the right length and is not all zeros.

    Raises:
        BadInputError: it is invalid.
    """
    length = _ID_LENGTHS[name]
    if len(text) != length:
        raise BadInputError(f"{name} has {len(text) / 2:g} bytes; it must have {length // 2}")
    if not text.strip("0"):
        raise BadInputError(f"{name} is all zeros, which is not a valid id")
    return text


def parent_id_of(text: str) -> str | None:
    """Return a parent id; None if it is empty or all zeros.

    Raises:
        BadInputError: its length is not that of span ids.
    """
    return check_id(text, "parent_span_id") if text.strip("0") else None


def time_text(nanoseconds: int) -> str:
    """Format a time as ISO 8601 in UTC with nine digits, such as 2026-01-31T12:00:00.000000001Z."""
    micros, rest = divmod(nanoseconds, 1000)
    return f"{times.to_text(micros)[:-1]}{rest:03}Z"


def kind_text(kind: int) -> str:
    """Return the name of a span kind, or its number if unknown."""
    return _KINDS[kind] if 0 <= kind < len(_KINDS) else str(kind)


def code_text(code: int) -> str:
    """Return the name of a status code, or its number if unknown."""
    return _CODES[code] if 0 <= code < len(_CODES) else str(code)
