"""Spans of OpenTelemetry as they are read, whatever they came as."""

from dataclasses import dataclass, field
from typing import Any, Final, Self

from stores import times
from stores.errors import BadInputError, PayloadTooLargeError
from stores.ids import SPAN_ID_LENGTH, TRACE_ID_LENGTH
from stores.json.inspection import JsonTraits, shape_of
from stores.otel.attribute_nesting import nested

Attributes = dict[str, object]
"""Values of JSON by their flat keys, `llm.model_name` and the like."""

ERROR: Final = 2
"""The code of a status that says that the span failed."""

CLIENT: Final = 3
"""The kind of a span that asks something of another program."""

MAX_BYTES: Final = 8 * 1024 * 1024
"""The largest span that is decoded: values without content take ten times as much memory as they come in."""

MAX_ORIGIN_BYTES: Final = 64 * 1024
"""The largest resource, and the largest scope: each is kept with every single span."""

BESIDE: Final = ("flags", "dropped_attributes_count", "dropped_events_count", "dropped_links_count")
"""What else is kept of a span where it is not 0."""

_KINDS: Final = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_CODES: Final = ("UNSET", "OK", "ERROR")
_ID_LENGTHS: Final = {"span_id": SPAN_ID_LENGTH, "parent_span_id": SPAN_ID_LENGTH, "trace_id": TRACE_ID_LENGTH}


@dataclass(slots=True)
class Span:
    """One span. Ids are hexadecimal, times nanoseconds since the epoch with 0 for none, kind and code OTLP's numbers.

    Events and links are JSON already, their attributes nested; `beside` has what there is of the numbers of `BESIDE`.
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
    beside: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Origin:
    """What the spans of one scope of one resource have in common: the project, and JSON to keep with each of them."""

    project_id: str
    resource: dict[str, Any]
    scope: dict[str, Any]
    shape: JsonTraits


@dataclass(frozen=True, slots=True)
class Resource:
    """What the spans of one resource have in common, whatever their scope."""

    project_id: str
    told: dict[str, Any]
    shape: JsonTraits

    @classmethod
    def of(cls, project_id: str, told: dict[str, Any]) -> Self:
        """A resource, whose spans are those of a project."""
        return cls(project_id, told, shape_of([told]))

    def with_scope(self, scope: dict[str, Any]) -> Origin:
        """The origin of the spans of one of its scopes."""
        mine, its = self.shape, shape_of([scope])
        separators, is_odd = mine.separators + its.separators, mine.is_odd or its.is_odd
        shape = JsonTraits(separators, is_odd, mine.has_exponents or its.has_exponents)
        return Origin(self.project_id, self.told, scope, shape)


def check_size(size_bytes: int, what: str = "") -> None:
    """Hold a span, or a resource or scope that is named, to its largest size.

    Raises:
        PayloadTooLargeError: it is larger.
    """
    limit = MAX_ORIGIN_BYTES if what else MAX_BYTES
    if size_bytes > limit:
        raise PayloadTooLargeError(
            f"{f'its {what}' if what else 'it'} has {size_bytes:,} bytes; the limit is {limit:,}. "
            "Keep large content elsewhere and send a reference to it"
        )


def resource_of(attributes: Attributes, dropped: int, schema_url: str) -> dict[str, Any]:
    """A resource as JSON.

    Raises:
        BadInputError: of two keys one is the beginning of the other.
    """
    return {"attributes": nested(attributes), **_given(dropped_attributes_count=dropped, schema_url=schema_url)}


def scope_of(name: str, version: str, attributes: Attributes, dropped: int, schema_url: str) -> dict[str, Any]:
    """What instrumented a program, as JSON; empty where nothing is said of it."""
    more = {"dropped_attributes_count": dropped, "schema_url": schema_url}
    return _given(name=name, version=version, attributes=nested(attributes), **more)


def event_of(name: str, nanoseconds: int, attributes: Attributes, dropped: int) -> dict[str, Any]:
    """An event as JSON."""
    at = time_text(nanoseconds)
    return {"name": name, "timestamp": at, "attributes": nested(attributes), **_given(dropped_attributes_count=dropped)}


def link_of(
    trace_id: str, span_id: str, trace_state: str, attributes: Attributes, dropped: int, flags: int
) -> dict[str, Any]:
    """A link to another span as JSON."""
    context = {"trace_id": trace_id, "span_id": span_id, "trace_state": trace_state}
    beside = _given(dropped_attributes_count=dropped, flags=flags)
    return {"context": context, "attributes": nested(attributes), **beside}


def _given(**told: object) -> dict[str, Any]:
    """What is said, by name: all that is not empty or 0."""
    return {name: value for name, value in told.items() if value}


def check_id(text: str, name: str) -> str:
    """Hold a hexadecimal id to its length, and to more than zeros.

    Raises:
        BadInputError: it breaks one of the rules.
    """
    length = _ID_LENGTHS[name]
    if len(text) != length:
        raise BadInputError(f"{name} has {len(text) / 2:g} bytes; it must have {length // 2}")
    if not text.strip("0"):
        raise BadInputError(f"{name} is all zeros, which no span or trace is called")
    return text


def parent_id_of(text: str) -> str | None:
    """The id of a parent; None where it is empty or all zeros.

    Raises:
        BadInputError: it has another length than span ids.
    """
    return check_id(text, "parent_span_id") if text.strip("0") else None


def time_text(nanoseconds: int) -> str:
    """ISO 8601 in UTC with nine digits, as in 2026-01-31T12:00:00.000000001Z."""
    micros, rest = divmod(nanoseconds, 1000)
    return f"{times.to_text(micros)[:-1]}{rest:03}Z"


def kind_text(kind: int) -> str:
    """The name of a span's kind; its number where it has none."""
    return _KINDS[kind] if 0 <= kind < len(_KINDS) else str(kind)


def code_text(code: int) -> str:
    """The name of a status's code; its number where it has none."""
    return _CODES[code] if 0 <= code < len(_CODES) else str(code)
