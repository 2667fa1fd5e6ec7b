"""Conversion of a span to a call, from its attributes by the roles of `attributes`."""

import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from stores import times
from stores.calls import CallEnd, CallStart
from stores.calls.inputs import MAX_DISPLAY_NAME, MAX_EXCEPTION, MAX_OP_NAME
from stores.errors import BadInputError, StoreError
from stores.ids import LOCAL_USER
from stores.input_checks import check_length
from stores.json import AnyJson, codec
from stores.otel.spans import ERROR, Origin, Span, time_text
from stores.otel.usage import sums_up, usage_of
from stores.senders import attributes
from stores.senders.attributes import Attributes, layout_of
from stores.usage.entries import SUM

MAX_VALUES: Final = 200_000
"""Limit on the values in all JSON strings of a span."""

_FREE_CHARACTERS: Final = 16 * 1024
"""Characters of a span's JSON strings that are decoded before values are counted; they cannot have many values."""

_OPENING: Final = ("[", "{")
"""First characters of strings that may be a JSON list or object."""

_KINDS: Final = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_CODES: Final = ("UNSET", "OK", "ERROR")
_NO_MESSAGE: Final = "the span ended with status ERROR and without a message"


_HASH_DIGITS: Final = 4

_WORD: Final = re.compile(r"[,;| /?.]*[^,;| /?.]+")
"""A word with its preceding delimiters, the same ones as in Weave."""


class _Attributes(Attributes):
    """A span's attributes with JSON strings decoded."""

    def __init__(self, span: Span) -> None:
        super().__init__(layout_of(tuple(span.attributes)), list(span.attributes.values()))
        self._free = _FREE_CHARACTERS
        self._remaining = MAX_VALUES
        for at in self.layout.json_at:
            value = self.values[at]
            if isinstance(value, str) and value.startswith('"'):
                self.values[at] = self._decode(value)
        self.values = [
            self._decode(value) if isinstance(value, str) and value[:1] in _OPENING else value for value in self.values
        ]

    def decoded(self, value: AnyJson) -> AnyJson:
        """Decode a string that starts like a JSON list or object; return any other value unchanged."""
        return self._decode(value) if isinstance(value, str) and value.startswith(_OPENING) else value

    def _decode(self, text: str) -> AnyJson:
        """Decode JSON; return the text if it is invalid, or if the span's strings have more than `MAX_VALUES`."""
        self._free -= len(text)
        if self._free < 0:
            number = text.count(",") + text.count("[") + text.count("{")
            if number > self._remaining:
                return text
            self._remaining -= number
        try:
            return codec.loads(text.encode())
        except (StoreError, UnicodeEncodeError):
            return text


def call_of(span: Span, origin: Origin, wb_user_id: str | None = None) -> tuple[CallStart, CallEnd | None]:
    """Convert a span to the start and, if it has ended, the end of a call.

    Raises:
        BadInputError: it has too many or too deep attributes, or is not a valid call.
    """
    read = _Attributes(span)
    inputs, output = _payload(span, read, "inputs"), _payload(span, read, "output")
    noted = {role: value for role in attributes.NOTED if role in read.layout.found and (value := read.pick(role))}
    usage = usage_of(read, noted, origin.scope)
    if not (inputs or output or noted or usage):
        noted = read.nested()
        noted.pop("otel_span", None)  # the span's own attributes still have it
    start = _start(span, origin, read, noted, inputs, wb_user_id)
    return start, _end(span, origin, read, output, usage) if span.ended_at else None


def _start(
    span: Span, origin: Origin, read: _Attributes, noted: dict[str, Any], inputs: AnyJson, wb_user_id: str | None
) -> CallStart:
    display_name = _text(read.pick("display_name"))
    check_length(display_name, MAX_DISPLAY_NAME, "display_name")
    return CallStart(
        project_id=origin.project_id,
        op_name=shortened(span.name),
        started_at=_time(read, "start_time", span.started_at),
        attributes={**noted, "otel_span": _otel_span(span, origin, read)},
        inputs=inputs,
        id=span.span_id,
        trace_id=span.trace_id,
        display_name=display_name,
        parent_id=span.parent_id,
        wb_user_id=wb_user_id or LOCAL_USER,
        span_attributes=read,
        values_with_files=("attributes", "inputs"),  # the span's own attributes contain the inputs too
    )


def _end(span: Span, origin: Origin, read: _Attributes, output: AnyJson, usage: dict[str, Any]) -> CallEnd:
    does_sum = bool(usage) and sums_up(usage, read.pick("operation"), span.kind)
    exception = _exception(span, read)
    check_length(exception, MAX_EXCEPTION, "status.message")
    return CallEnd(
        project_id=origin.project_id,
        id=span.span_id,
        ended_at=_time(read, "end_time", span.ended_at),
        summary={"usage": usage} if usage else {},
        exception=exception,
        output=output,
        usage_scope=SUM if does_sum else None,
    )


def _payload(span: Span, read: _Attributes, role: str) -> AnyJson:
    """Return inputs or output under their key, or unnested; empty if neither attributes nor events have a value."""
    key_and_value = read.first(role)
    if key_and_value is None:
        return payload_of_events(span.events, read.decoded, role)
    key, value = key_and_value
    if key in attributes.UNNESTED and (role == "output" or isinstance(value, dict)):
        return value
    if role == "output" or key != attributes.MESSAGES[role]:
        return {key: value}
    other_fields = (read.first(name) for name in attributes.SENT_WITH_INPUT_MESSAGES)
    return dict([key_and_value, *(more for more in other_fields if more)])


def payload_of_events(events: list[dict[str, Any]], decoded: Callable[[AnyJson], AnyJson], role: str) -> dict[str, Any]:
    """Return the first attribute of an event for the role, else the messages of events, under their key.

    Args:
        events: the events, with nested attributes.
        decoded: returns the value in a string that is JSON, and any other value unchanged.
        role: `inputs` or `output`.
    """
    keys, default_roles = attributes.EVENT_ATTRIBUTES[role], attributes.EVENT_MESSAGES[role]
    for event in events:
        if key := keys.get(event["name"]):
            value = event["attributes"]
            for step in key.split("."):
                value = value.get(step) if isinstance(value, dict) else None
            if found := decoded(value):
                return {key: found}
    messages = [
        {
            "role": default_roles[event["name"]],
            **{name: decoded(value) for name, value in event["attributes"].items()},
        }
        for event in events
        if event["name"] in default_roles
    ]
    return {attributes.MESSAGES[role]: messages} if messages else {}


def _otel_span(span: Span, origin: Origin, read: _Attributes) -> dict[str, Any]:
    return {
        "name": span.name,
        "context": {"trace_id": span.trace_id, "span_id": span.span_id, "trace_state": span.trace_state},
        "kind": _name(_KINDS, span.kind),
        "parent_id": span.parent_id,
        "start_time": time_text(span.started_at),
        "end_time": time_text(span.ended_at) if span.ended_at else None,
        "status": {"code": _name(_CODES, span.status_code), "message": span.status_message},
        "attributes": read.nested(),
        "events": span.events,
        "links": span.links,
        "resource": origin.resource,
        **({"scope": origin.scope} if origin.scope else {}),
        **span.other_fields,
    }


def _name(names: tuple[str, ...], number: int) -> str:
    """Return the name of a number, or the number if unknown."""
    return names[number] if 0 <= number < len(names) else str(number)


def _text(value: AnyJson) -> str | None:
    return value if value is None or isinstance(value, str) else codec.encode(value)


def _time(read: _Attributes, role: str, nanoseconds: int) -> int:
    text = read.pick(role)
    if isinstance(text, str):
        with suppress(BadInputError):
            return times.parse(text)
    return nanoseconds // 1000


def _exception(span: Span, read: _Attributes) -> str | None:
    if span.status_code == ERROR:
        return span.status_message or _recorded_exception(span.events) or _NO_MESSAGE
    if read.pick("level") == "ERROR":
        return _text(read.pick("level_message")) or _recorded_exception(span.events) or _NO_MESSAGE
    return None


def shortened(name: str) -> str:
    """Return the name; a too long one becomes its first words and four digits of its SHA-256.

    The call's attributes keep the whole name as `otel_span.name`.
    """
    if len(name) <= MAX_OP_NAME:
        return name
    room = MAX_OP_NAME - 1 - _HASH_DIGITS
    end = 0
    for word in _WORD.finditer(name, 0, room):
        if word.end() == room:  # Weave cuts before a word that fills the limit exactly
            break
        end = word.end()
    digest = hashlib.sha256(name.encode()).hexdigest()[:_HASH_DIGITS]
    return f"{name[: end or room]}:{digest}"


def _recorded_exception(events: list[dict[str, Any]]) -> str | None:
    """Return the last recorded exception as `type: message`; None if there is none."""
    for event in reversed(events):
        exception = event["attributes"].get("exception") if event["name"] == "exception" else None
        if isinstance(exception, dict):
            parts = [str(exception[name]) for name in ("type", "message") if exception.get(name)]
            return ": ".join(parts) or None
    return None
