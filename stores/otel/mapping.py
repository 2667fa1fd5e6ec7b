"""Conversion of a span to a call, from its attributes by the tables of `conventions`."""

import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from stores import times
from stores.calls import CallEnd, CallStart
from stores.calls.inputs import MAX_DISPLAY_NAME, MAX_EXCEPTION, MAX_OP_NAME
from stores.errors import BadInputError
from stores.ids import LOCAL_USER
from stores.input_checks import MAX_NAME, check_length
from stores.json import AnyJson, codec
from stores.json.bson_copy import ODD_KEY, JsonTraits, traits_of
from stores.otel import conventions
from stores.otel.attribute_nesting import Layout, layout_of
from stores.otel.spans import ERROR, Origin, Span, code_text, kind_text, time_text
from stores.otel.usage import sums_up, usage_of
from stores.otel.values import OPENING, Decoding
from stores.usage.entries import SUM

_ENVELOPE: Final = 2 * 11 - 1 + 2 * 3 - 1 + 2 * 2 - 1
"""Separators of `otel_span`, its context and its status."""

_EMPTY: Final = {"summary": JsonTraits()}
_NO_TRAITS: Final = JsonTraits()
_NO_MESSAGE: Final = "the span ended with status ERROR and without a message"


_HASH_DIGITS: Final = 4

_WORD: Final = re.compile(r"[,;| /?.]*[^,;| /?.]+")
"""A word with its preceding delimiters, the same ones as in Weave."""

Event = dict[str, Any]

Decode = Callable[[str], Any]
"""Decodes a string that starts like JSON."""


class _DecodedAttributes:
    """A span's attributes with JSON strings decoded, and the layout of their keys.

    Traits of decoded values are cached by `id()` while the values exist, because most are also inputs or outputs.
    """

    __slots__ = ("decode", "layout", "shape", "shapes", "values")

    def __init__(self, span: Span) -> None:
        self.layout: Layout = layout_of(tuple(span.attributes))
        self.values: list[Any] = list(span.attributes.values())
        self.shape = JsonTraits(self.layout.separators, self.layout.is_odd)
        self.shapes: dict[int, JsonTraits] = {}
        self.decode = decode = Decoding().of
        for at in self.layout.json_at:
            value = self.values[at]
            if isinstance(value, str) and value.startswith('"'):
                self.values[at] = decode(value)
        for at, value in enumerate(self.values):
            kind = type(value)
            if kind is str:
                if value[:1] in OPENING:
                    self.values[at] = inner = decode(value)
                    self.shapes[id(inner)] = shape = traits_of(inner)
                    _add(self.shape, shape)
            elif kind is not int and kind is not bool:
                _add(self.shape, traits_of(value))

    def pick(self, role: str) -> AnyJson:
        return self.layout.pick(role, self.values)


def _add(shape: JsonTraits, more: JsonTraits) -> None:
    shape.separators += more.separators
    shape.needs_conversion = shape.needs_conversion or more.needs_conversion
    shape.has_exponents = shape.has_exponents or more.has_exponents


def call_of(span: Span, origin: Origin, wb_user_id: str | None = None) -> tuple[CallStart, CallEnd | None]:
    """Convert a span to the start and, if it has ended, the end of a call.

    Raises:
        BadInputError: it has too many or too deep attributes, or is not a valid call.
    """
    read = _DecodedAttributes(span)
    inputs, output = _payload_of(read, conventions.INPUTS), _payload_of(read, conventions.OUTPUT)
    if span.events:
        inputs = inputs or _inputs_of_events(span.events, read.decode)
        output = output or _output_of_events(span.events, read.decode)
    noted = _noted(read)
    usage = usage_of(read.layout, read.values, noted, origin.scope)
    if not (inputs or output or noted or usage):
        noted = read.layout.nest(read.values)
        noted.pop("otel_span", None)  # the span's own attributes still have it
    start = _start(span, origin, read, noted, inputs, wb_user_id)
    return start, _end(span, origin, read, output, usage) if span.ended_at else None


def _start(
    span: Span,
    origin: Origin,
    read: _DecodedAttributes,
    noted: dict[str, Any],
    inputs: dict[str, Any],
    wb_user_id: str | None,
) -> CallStart:
    thread_id, is_turn = _thread(span, read)
    display_name = _text(read.pick(conventions.DISPLAY_NAME))
    check_length(display_name, MAX_DISPLAY_NAME, "display_name")
    return CallStart(
        project_id=origin.project_id,
        op_name=shortened(span.name),
        started_at=_time(read, conventions.START_TIME, span.started_at),
        attributes={**noted, "otel_span": _otel_span(span, origin, read)},
        inputs=inputs,
        id=span.span_id,
        trace_id=span.trace_id,
        display_name=display_name,
        parent_id=span.parent_id,
        thread_id=thread_id,
        turn_id=span.span_id if is_turn else None,
        wb_user_id=wb_user_id or LOCAL_USER,
        traits={"attributes": _attribute_traits(span, origin, read, noted), "inputs": _payload_traits(inputs, read)},
        values_with_files=("attributes", "inputs"),  # the span's own attributes contain the inputs too
    )


def _end(
    span: Span,
    origin: Origin,
    read: _DecodedAttributes,
    output: AnyJson,
    usage: dict[str, Any],
) -> CallEnd:
    does_sum = bool(usage) and sums_up(usage, read.pick(conventions.OPERATION), span.kind)
    exception = _exception(span, read)
    check_length(exception, MAX_EXCEPTION, "status.message")
    return CallEnd(
        project_id=origin.project_id,
        id=span.span_id,
        ended_at=_time(read, conventions.END_TIME, span.ended_at),
        summary={"usage": usage} if usage else {},
        exception=exception,
        output=output,
        traits={"output": _payload_traits(output, read), **({} if usage else _EMPTY)},
        usage_scope=SUM if does_sum else None,
    )


def _payload_of(read: _DecodedAttributes, role: str) -> AnyJson:
    """Return inputs or output under their key, or unnested; empty if no key has a value."""
    key_and_value = read.layout.first(role, read.values)
    if key_and_value is None:
        return {}
    key, value = key_and_value
    if key in conventions.UNNESTED and (role == conventions.OUTPUT or isinstance(value, dict)):
        return value
    if key != conventions.INPUT_MESSAGES:
        return {key: value}
    other_fields = (read.layout.first(name, read.values) for name in conventions.SENT_WITH_INPUT_MESSAGES)
    return dict([key_and_value, *(more for more in other_fields if more)])


def _noted(read: _DecodedAttributes) -> dict[str, Any]:
    found = read.layout.found
    return {role: value for role in conventions.NOTED if role in found and (value := read.pick(role))}


def _otel_span(span: Span, origin: Origin, read: _DecodedAttributes) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "name": span.name,
        "context": {"trace_id": span.trace_id, "span_id": span.span_id, "trace_state": span.trace_state},
        "kind": kind_text(span.kind),
        "parent_id": span.parent_id,
        "start_time": time_text(span.started_at),
        "end_time": time_text(span.ended_at) if span.ended_at else None,
        "status": {"code": code_text(span.status_code), "message": span.status_message},
        "attributes": read.layout.nest(read.values),
        "events": span.events,
        "links": span.links,
        "resource": origin.resource,
    }
    if origin.scope:
        fields["scope"] = origin.scope
    return {**fields, **span.other_fields} if span.other_fields else fields


def _attribute_traits(span: Span, origin: Origin, read: _DecodedAttributes, noted: dict[str, Any]) -> JsonTraits:
    """Combine the JSON traits of a call's attributes from those of their parts."""
    shape = JsonTraits(2 * len(noted) + 1)
    for value in noted.values():
        if type(value) is not str:
            _add(shape, traits_of(value))
    shape.separators += _ENVELOPE + 2 * len(span.other_fields) + (2 if origin.scope else 0)
    _add(shape, read.shape)
    _add(shape, origin.shape)
    for more in (span.events, span.links):
        if more:
            _add(shape, traits_of(more))
    return shape


def _payload_traits(value: AnyJson, read: _DecodedAttributes) -> JsonTraits:
    """Return the JSON traits of inputs or output, reusing cached ones for a single decoded string."""
    if isinstance(value, dict) and len(value) == 1:
        [(key, inner)] = value.items()
        known = _NO_TRAITS if type(inner) is str else read.shapes.get(id(inner))
        if known:
            is_odd = known.needs_conversion or ODD_KEY.search(key) is not None
            return JsonTraits(known.separators + 1, is_odd, known.has_exponents)
    return traits_of(value)


def _thread(span: Span, read: _DecodedAttributes) -> tuple[str | None, bool]:
    """Return the thread of a span, and True if the span is a turn of it.

    Instrumentation that only names a conversation does so on every span of a trace, so then the root is the turn.
    """
    thread = _text(read.pick(conventions.THREAD))
    is_turn = bool(thread and read.pick(conventions.TURN))
    if not thread:
        thread = _text(read.pick(conventions.CONVERSATION))
        is_turn = bool(thread) and span.parent_id is None
    check_length(thread, MAX_NAME, "thread_id")
    return thread, is_turn


def _text(value: AnyJson) -> str | None:
    return value if value is None or isinstance(value, str) else codec.encode(value)


def _time(read: _DecodedAttributes, role: str, nanoseconds: int) -> int:
    text = read.pick(role)
    if isinstance(text, str):
        with suppress(BadInputError):
            return times.parse(text)
    return nanoseconds // 1000


def _exception(span: Span, read: _DecodedAttributes) -> str | None:
    if span.status_code == ERROR:
        return span.status_message or _recorded_exception(span.events) or _NO_MESSAGE
    if read.pick(conventions.LEVEL) == "ERROR":
        return _text(read.pick(conventions.LEVEL_MESSAGE)) or _recorded_exception(span.events) or _NO_MESSAGE
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


def _inputs_of_events(events: list[Event], decode: Decode) -> dict[str, Any]:
    """Return the inputs under their key; empty if no event has them."""
    inputs = _attribute_of_event(events, conventions.EVENT_INPUTS, decode)
    messages = _messages(events, conventions.INPUT_MESSAGE_EVENTS, decode)
    return inputs or ({conventions.INPUT_MESSAGES: messages} if messages else {})


def _output_of_events(events: list[Event], decode: Decode) -> dict[str, Any]:
    """Return the output under its key; empty if no event has it."""
    output = _attribute_of_event(events, conventions.EVENT_OUTPUTS, decode)
    messages = _messages(events, conventions.OUTPUT_MESSAGE_EVENTS, decode)
    return output or ({conventions.OUTPUT_MESSAGES: messages} if messages else {})


def _recorded_exception(events: list[Event]) -> str | None:
    """Return the last recorded exception as `type: message`; None if there is none."""
    for event in reversed(events):
        exception = event["attributes"].get("exception") if event["name"] == "exception" else None
        if isinstance(exception, dict):
            parts = [str(exception[name]) for name in ("type", "message") if exception.get(name)]
            return ": ".join(parts) or None
    return None


def _attribute_of_event(events: list[Event], keys: dict[str, str], decode: Decode) -> dict[str, Any]:
    for event in events:
        key = keys.get(event["name"])
        value = _at(event["attributes"], key, decode) if key else None
        if value:
            return {str(key): value}
    return {}


def _messages(events: list[Event], roles: dict[str, str], decode: Decode) -> list[dict[str, Any]]:
    """Build one message for each message event, from its attributes."""
    return [
        {"role": roles[event["name"]], **{key: _decoded(value, decode) for key, value in event["attributes"].items()}}
        for event in events
        if event["name"] in roles
    ]


def _at(attributes: dict[str, Any], key: str, decode: Decode) -> AnyJson:
    value: Any = attributes
    for step in key.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return _decoded(value, decode)


def _decoded(value: AnyJson, decode: Decode) -> AnyJson:
    return decode(value) if isinstance(value, str) and value.startswith(OPENING) else value
